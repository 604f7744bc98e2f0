"""``Http2ProtocolOptions``: what its rules cannot say.  Reasons are Envoy's words where it has any (1.40)."""

from __future__ import annotations

from typing import Any

from sidecar.config.context import Context
from sidecar.config.errors import Path

__all__ = ["check_http2_options"]

#: RFC 9113 §6.5.2, RFC 8441 §3.
_ENABLE_PUSH, _INITIAL_WINDOW_SIZE, _MAX_FRAME_SIZE, _ENABLE_CONNECT_PROTOCOL = 2, 4, 5, 8
#: Parameters that a field of their own may set.
_NAMED = {1: "hpack_table_size", 3: "max_concurrent_streams", 4: "initial_stream_window_size"}


def check_http2_options(context: Context, path: Path, options: Any) -> None:
    """The custom SETTINGS: no two of one kind that differ, none that a named field sets too."""
    seen: dict[int, int] = {}
    for index, parameter in enumerate(options.custom_settings_parameters):
        here: Path = (*path, "custom_settings_parameters", index)
        identifier = parameter.identifier.value
        value = parameter.value.value
        error = context.report.error
        if seen.setdefault(identifier, value) != value:
            error(
                here,
                "inconsistent HTTP/2 custom SETTINGS parameter(s) detected; "
                f"identifiers = {{0x{identifier:02x}}}",
            )
        elif identifier == _ENABLE_PUSH and value == 1:
            error(
                here,
                "server push is not supported by Envoy and can not be enabled via a SETTINGS parameter.",
            )
        elif identifier == _ENABLE_CONNECT_PROTOCOL:
            error(
                here,
                'the "allow_connect" SETTINGS parameter must only be configured through the named field',
            )
        elif identifier in _NAMED and options.HasField(_NAMED[identifier]):
            error(
                here,
                f"the {{{_NAMED[identifier]}}} HTTP/2 SETTINGS parameter(s) can not be configured through "
                "both named and custom parameters",
            )
        elif _is_invalid(identifier, value):
            context.report.refuse_to_serve(
                here, f"RFC 9113 allows no setting {identifier} of {value}", "Envoy would send no SETTINGS"
            )


def _is_invalid(identifier: int, value: int) -> bool:
    return (
        (identifier == _ENABLE_PUSH and value > 1)
        or (identifier == _INITIAL_WINDOW_SIZE and value >= 1 << 31)
        or (identifier == _MAX_FRAME_SIZE and not 16384 <= value < 1 << 24)
    )
