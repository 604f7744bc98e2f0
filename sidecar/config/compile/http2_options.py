"""Compiles ``envoy.config.core.v3.Http2ProtocolOptions``, of connection managers and of clusters alike."""

from __future__ import annotations

from typing import Any

from sidecar.codec.h2_types import H2Settings

__all__ = ["compile_http2_options"]

#: Fields whose absence means the default, by the same name in :class:`H2Settings`.
_WRAPPED = (
    "hpack_table_size",
    "max_concurrent_streams",
    "initial_stream_window_size",
    "initial_connection_window_size",
    "max_outbound_frames",
    "max_outbound_control_frames",
    "max_consecutive_inbound_frames_with_empty_payload",
    "max_inbound_priority_frames_per_stream",
    "max_inbound_window_update_frames_per_data_frame_sent",
    "override_stream_error_on_invalid_http_message",
)


def compile_http2_options(options: Any, **limits: int) -> H2Settings:
    """What the codecs need; ``limits`` are those of headers, which stand elsewhere in the API."""
    values: dict[str, Any] = dict(limits)
    for name in _WRAPPED:
        if options.HasField(name):
            values[name] = getattr(options, name).value
    return H2Settings(allow_connect=options.allow_connect, **values)
