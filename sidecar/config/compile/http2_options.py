"""Compiles ``envoy.config.core.v3.Http2ProtocolOptions``, of connection managers and of clusters alike."""

from __future__ import annotations

from typing import Any

from sidecar.codec.h2_types import H2Settings, KeepaliveSettings

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
    "stream_reset_burst",
    "stream_reset_rate",
    "enable_huffman_encoding",
    "use_oghttp2_codec",
)


def compile_http2_options(options: Any, *, stream_error: bool | None = None, **limits: int) -> H2Settings:
    """What the codecs need.

    ``stream_error`` is ``stream_error_on_invalid_http_message`` of the connection manager, None where it is
    not set; ``limits`` are those of headers, which stand elsewhere in the API.
    """
    values: dict[str, Any] = dict(limits)
    for name in _WRAPPED:
        if options.HasField(name):
            values[name] = getattr(options, name).value
    if options.HasField("override_stream_error_on_invalid_http_message"):
        stream_error = options.override_stream_error_on_invalid_http_message.value
    elif stream_error is None:
        stream_error = options.stream_error_on_invalid_http_messaging
    if options.HasField("connection_keepalive"):
        values["keepalive"] = _compile_keepalive(options.connection_keepalive)
    if options.HasField("max_metadata_size"):
        values["max_metadata_size"] = options.max_metadata_size.value
    if options.HasField("max_header_field_size_kb"):
        values["max_header_field_bytes"] = options.max_header_field_size_kb.value * 1024
    # Each once, in the order of the file; those that differ were refused.
    custom = {each.identifier.value: each.value.value for each in options.custom_settings_parameters}
    return H2Settings(
        allow_connect=options.allow_connect,
        allow_metadata=options.allow_metadata,
        override_stream_error_on_invalid_http_message=stream_error,
        custom_settings=tuple(custom.items()),
        # nghttp2, which is Envoy's default, takes no notice of it.
        disallow_obs_text=options.disallow_obs_text.value and options.use_oghttp2_codec.value,
        **values,
    )


def _compile_keepalive(settings: Any) -> KeepaliveSettings:
    jitter = settings.interval_jitter.value if settings.HasField("interval_jitter") else 15.0
    return KeepaliveSettings(
        timeout_s=_seconds(settings.timeout),
        interval_s=_seconds(settings.interval),
        jitter_percent=jitter,
        connection_idle_interval_s=_seconds(settings.connection_idle_interval),
    )


def _seconds(duration: Any) -> float:
    return float(duration.seconds + duration.nanos / 1e9)
