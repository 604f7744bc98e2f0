"""The stats of one connection manager, resolved once: ``stats.downstream_rq_total.value += 1``.

Names: Envoy's configuration/http/http_conn_man/stats, and ``/stats`` of 1.40.
"""

from __future__ import annotations

from sidecar.observability.stats import Counter, Scope

__all__ = ["HcmStats"]


class HcmStats:
    """``http.<stat_prefix>.``: an attribute for each stat, of its name."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        counter = scope.counter
        gauge = scope.gauge
        self.downstream_cx_delayed_close_timeout = counter("downstream_cx_delayed_close_timeout")
        self.downstream_cx_destroy = counter("downstream_cx_destroy")
        self.downstream_cx_destroy_active_rq = counter("downstream_cx_destroy_active_rq")
        self.downstream_cx_destroy_local = counter("downstream_cx_destroy_local")
        self.downstream_cx_destroy_local_active_rq = counter("downstream_cx_destroy_local_active_rq")
        self.downstream_cx_destroy_remote = counter("downstream_cx_destroy_remote")
        self.downstream_cx_destroy_remote_active_rq = counter("downstream_cx_destroy_remote_active_rq")
        self.downstream_cx_drain_close = counter("downstream_cx_drain_close")
        self.downstream_cx_http1_total = counter("downstream_cx_http1_total")
        self.downstream_cx_http2_total = counter("downstream_cx_http2_total")
        self.downstream_cx_http3_total = counter("downstream_cx_http3_total")
        self.downstream_cx_idle_timeout = counter("downstream_cx_idle_timeout")
        self.downstream_cx_max_duration_reached = counter("downstream_cx_max_duration_reached")
        self.downstream_cx_max_requests_reached = counter("downstream_cx_max_requests_reached")
        self.downstream_cx_overload_disable_keepalive = counter("downstream_cx_overload_disable_keepalive")
        self.downstream_cx_protocol_error = counter("downstream_cx_protocol_error")
        self.downstream_cx_rx_bytes_total = counter("downstream_cx_rx_bytes_total")
        self.downstream_cx_ssl_total = counter("downstream_cx_ssl_total")
        self.downstream_cx_total = counter("downstream_cx_total")
        self.downstream_cx_tx_bytes_total = counter("downstream_cx_tx_bytes_total")
        self.downstream_cx_upgrades_total = counter("downstream_cx_upgrades_total")
        self.downstream_flow_control_paused_reading_total = counter(
            "downstream_flow_control_paused_reading_total"
        )
        self.downstream_flow_control_resumed_reading_total = counter(
            "downstream_flow_control_resumed_reading_total"
        )
        self.downstream_rq_1xx = counter("downstream_rq_1xx")
        self.downstream_rq_2xx = counter("downstream_rq_2xx")
        self.downstream_rq_3xx = counter("downstream_rq_3xx")
        self.downstream_rq_4xx = counter("downstream_rq_4xx")
        self.downstream_rq_5xx = counter("downstream_rq_5xx")
        self.downstream_rq_completed = counter("downstream_rq_completed")
        self.downstream_rq_failed_path_normalization = counter("downstream_rq_failed_path_normalization")
        self.downstream_rq_header_timeout = counter("downstream_rq_header_timeout")
        self.downstream_rq_http1_total = counter("downstream_rq_http1_total")
        self.downstream_rq_http2_total = counter("downstream_rq_http2_total")
        self.downstream_rq_http3_total = counter("downstream_rq_http3_total")
        self.downstream_rq_idle_timeout = counter("downstream_rq_idle_timeout")
        self.downstream_rq_max_duration_reached = counter("downstream_rq_max_duration_reached")
        self.downstream_rq_non_relative_path = counter("downstream_rq_non_relative_path")
        self.downstream_rq_overload_close = counter("downstream_rq_overload_close")
        self.downstream_rq_redirected_with_normalized_path = counter(
            "downstream_rq_redirected_with_normalized_path"
        )
        self.downstream_rq_rejected_via_ip_detection = counter("downstream_rq_rejected_via_ip_detection")
        self.downstream_rq_response_before_rq_complete = counter("downstream_rq_response_before_rq_complete")
        self.downstream_rq_rx_reset = counter("downstream_rq_rx_reset")
        self.downstream_rq_timeout = counter("downstream_rq_timeout")
        self.downstream_rq_too_large = counter("downstream_rq_too_large")
        self.downstream_rq_too_many_premature_resets = counter("downstream_rq_too_many_premature_resets")
        self.downstream_rq_total = counter("downstream_rq_total")
        self.downstream_rq_tx_reset = counter("downstream_rq_tx_reset")
        self.downstream_rq_ws_on_non_ws_route = counter("downstream_rq_ws_on_non_ws_route")
        self.no_cluster = counter("no_cluster")
        self.no_route = counter("no_route")
        self.passthrough_internal_redirect_bad_location = counter(
            "passthrough_internal_redirect_bad_location"
        )
        self.passthrough_internal_redirect_no_route = counter("passthrough_internal_redirect_no_route")
        self.passthrough_internal_redirect_predicate = counter("passthrough_internal_redirect_predicate")
        self.passthrough_internal_redirect_too_many_redirects = counter(
            "passthrough_internal_redirect_too_many_redirects"
        )
        self.passthrough_internal_redirect_unsafe_scheme = counter(
            "passthrough_internal_redirect_unsafe_scheme"
        )
        self.rq_direct_response = counter("rq_direct_response")
        self.rq_overload_local_reply = counter("rq_overload_local_reply")
        self.rq_redirect = counter("rq_redirect")
        self.rq_reset_after_downstream_response_started = counter(
            "rq_reset_after_downstream_response_started"
        )
        self.rq_total = counter("rq_total")
        self.rs_too_large = counter("rs_too_large")
        self.downstream_cx_active = gauge("downstream_cx_active")
        self.downstream_cx_http1_active = gauge("downstream_cx_http1_active")
        self.downstream_cx_http1_soft_drain = gauge("downstream_cx_http1_soft_drain")
        self.downstream_cx_http2_active = gauge("downstream_cx_http2_active")
        self.downstream_cx_http3_active = gauge("downstream_cx_http3_active")
        self.downstream_cx_rx_bytes_buffered = gauge("downstream_cx_rx_bytes_buffered")
        self.downstream_cx_ssl_active = gauge("downstream_cx_ssl_active")
        self.downstream_cx_tx_bytes_buffered = gauge("downstream_cx_tx_bytes_buffered")
        self.downstream_cx_upgrades_active = gauge("downstream_cx_upgrades_active")
        self.downstream_rq_active = gauge("downstream_rq_active")
        self.downstream_cx_length_ms = scope.histogram("downstream_cx_length_ms", "milliseconds")
        self.downstream_rq_time = scope.histogram("downstream_rq_time", "milliseconds")
        tracing = scope.scope("tracing")
        for name in ("random_sampling", "service_forced", "client_enabled", "not_traceable"):
            tracing.counter(name)
        self.tracing_health_check = tracing.counter("health_check")

    def codec_counter(self, name: str) -> Counter:
        """A counter that all codecs of the proxy share (``http1.``, ``http2.``)."""
        return self.scope.store.counter(name)

    def count_refused(self, *, is_remote: bool, is_tls: bool = True) -> None:
        """A connection ended in its TLS handshake, or before; ``is_remote``: not by us."""
        self.downstream_cx_total.value += 1
        if is_tls:
            self.downstream_cx_ssl_total.value += 1
        self.downstream_cx_destroy.value += 1
        (self.downstream_cx_destroy_remote if is_remote else self.downstream_cx_destroy_local).value += 1
