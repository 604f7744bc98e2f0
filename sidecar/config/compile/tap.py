"""``envoy.config.tap.v3.TapConfig`` compiled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sidecar.api.taps import FORMATS, Attached, Tap
from sidecar.config.compile.chance import compile_chance
from sidecar.config.compile.exchange_match import compile_exchange_predicate
from sidecar.config.messages import message_class
from sidecar.core.errors import ConfigError

if TYPE_CHECKING:
    from sidecar.core.runtime import Runtime

__all__ = ["compile_tap", "compile_tap_request"]

_FORMATS_OF_ADMIN = {
    "streaming_admin": ("JSON_BODY_AS_BYTES", "JSON_BODY_AS_STRING"),
    "buffered_admin": ("JSON_BODY_AS_BYTES", "JSON_BODY_AS_STRING", "PROTO_BINARY_LENGTH_DELIMITED"),
}


def compile_tap(message: Any, path: str, runtime: Runtime, *, is_admin: bool) -> Tap:
    """The tap; ``is_admin``: it was asked for at the admin interface.

    What makes Envoy abort when such a request comes is refused.  Raises: ConfigError.
    """
    rule = "match" if message.HasField("match") else "match_config"
    if not message.HasField(rule):
        raise ConfigError(path, "Neither match nor match_config is set in TapConfig")
    output = message.output_config
    sink = output.sinks[0]
    at = f"{path}.output_config.sinks[0]"
    kind = sink.WhichOneof("output_sink_type")
    form = FORMATS[sink.format][0]
    if kind in _FORMATS_OF_ADMIN:
        if not is_admin:
            reason = "an output to the admin interface is for taps that are asked for there (/tap)"
            raise ConfigError(f"{at}.{kind}", reason)
        if form not in _FORMATS_OF_ADMIN[kind]:
            raise ConfigError(f"{at}.format", f"{kind} has no format {form}")
    elif kind != "file_per_tap":
        raise ConfigError(f"{at}.{kind}", f"{kind} is not supported")
    sizes = {
        name: getattr(output, name).value if output.HasField(name) else 1024
        for name in ("max_buffered_rx_bytes", "max_buffered_tx_bytes")
    }
    return Tap(
        compile_exchange_predicate(getattr(message, rule), f"{path}.{rule}"),
        form,
        kind,
        is_streaming=output.streaming,
        is_enabled=compile_chance(message.tap_enabled, runtime) if message.HasField("tap_enabled") else None,
        path_prefix=sink.file_per_tap.path_prefix,
        max_traces=sink.buffered_admin.max_traces,
        timeout_s=sink.buffered_admin.timeout.ToMilliseconds() / 1000,
        **sizes,
    )


def compile_tap_request(data: bytes, runtime: Runtime) -> Attached:
    """The tap of an ``envoy.admin.v3.TapRequest`` that was checked.  Raises: ConfigError."""
    request: Any = message_class("envoy.admin.v3.TapRequest").FromString(data)  # type: ignore[union-attr]
    tap = compile_tap(request.tap_config, "tap_config", runtime, is_admin=True)
    return Attached(request.config_id, tap)
