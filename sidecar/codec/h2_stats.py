"""The stats of HTTP/2 codecs: ``http2.`` for downstream, ``cluster.<name>.http2.`` for upstream.

Names are Envoy's (``source/common/http/http2/codec_stats.h``); all exist from the first codec on.
"""

from __future__ import annotations

from typing import Any

__all__ = ["H2Stats"]

_FLOODS = {
    "http2.inbound_empty_frames_flood": "inbound_empty_frames_flood",
    "http2.inbound_priority_frames_flood": "inbound_priority_frames_flood",
    "http2.inbound_window_update_frames_flood": "inbound_window_update_frames_flood",
    "http2.outbound_control_frames_flood": "outbound_control_flood",
    "http2.outbound_frames_flood": "outbound_flood",
    "http2.too_many_headers": "header_overflow",
    "http2.header_list_size_too_large": "header_list_size_too_large",
    "http2.invalid.header.field": "rx_messaging_error",
    "http2.violation.of.messaging.rule": "rx_messaging_error",
}
_COUNTERS = (
    "cookies_total_bytes_too_large",
    "dropped_headers_with_underscores",
    "goaway_sent",
    "header_list_size_too_large",
    "header_overflow",
    "headers_cb_no_stream",
    "inbound_empty_frames_flood",
    "inbound_priority_frames_flood",
    "inbound_window_update_frames_flood",
    "keepalive_timeout",
    "metadata_empty_frames",
    "nghttp2_downstream_connections",
    "nghttp2_upstream_connections",
    "oghttp2_downstream_connections",
    "oghttp2_upstream_connections",
    "outbound_control_flood",
    "outbound_flood",
    "requests_rejected_with_underscores_in_headers",
    "rx_messaging_error",
    "rx_reset",
    "stream_refused_errors",
    "trailers",
    "tx_flush_timeout",
    "tx_reset",
)


class H2Stats:
    """One scope's HTTP/2 stats, resolved once.  ``scope`` is anything that gives counters and gauges."""

    __slots__ = (
        "_by_details",
        "_connections",
        "goaway_sent",
        "keepalive_timeout",
        "rx_reset",
        "stream_refused_errors",
        "streams_active",
        "trailers",
        "tx_flush_timeout",
        "tx_reset",
    )

    def __init__(self, scope: Any) -> None:
        counters = {name: scope.counter(name) for name in _COUNTERS}
        self.rx_reset = counters["rx_reset"]
        self.tx_reset = counters["tx_reset"]
        self.tx_flush_timeout = counters["tx_flush_timeout"]
        self.stream_refused_errors = counters["stream_refused_errors"]
        self.trailers = counters["trailers"]
        self.goaway_sent = counters["goaway_sent"]
        self.keepalive_timeout = counters["keepalive_timeout"]
        self._connections = {
            (side, library): counters[f"{library}_{side}_connections"]
            for side in ("downstream", "upstream")
            for library in ("nghttp2", "oghttp2")
        }
        self._by_details = {details: counters[name] for details, name in _FLOODS.items()}
        for gauge in ("deferred_stream_close", "outbound_control_frames_active", "outbound_frames_active"):
            scope.gauge(gauge)
        scope.gauge("pending_send_bytes")
        for histogram in ("cookie_count", "cookie_size", "header_count", "header_list_size"):
            scope.histogram(histogram)  # Envoy's hold values only where they are looked at
        self.streams_active = scope.gauge("streams_active")

    def count_connection(self, side: str, *, use_oghttp2_codec: bool) -> None:
        """A connection of the library that Envoy would use; neither is ours."""
        self._connections[side, "oghttp2" if use_oghttp2_codec else "nghttp2"].value += 1

    def count_error(self, details: str) -> None:
        """Count an error of stream or connection by its response code details."""
        counter = self._by_details.get(details)
        if counter is not None:
            counter.value += 1
