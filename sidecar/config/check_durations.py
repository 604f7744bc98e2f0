"""Durations that Envoy reads as milliseconds must not be negative (``DurationUtil``); no rule says so."""

from __future__ import annotations

from sidecar.config.context import Context
from sidecar.config.errors import Path

__all__ = ["check_duration"]

#: By the name of the field; those that have a rule of their own are told by that.
_READ_AS_MILLISECONDS = frozenset(
    (
        "timeout",
        "idle_timeout",
        "max_stream_duration",
        "grpc_timeout_header_max",
        "grpc_timeout_header_offset",
        "max_grpc_timeout",
        "grpc_timeout_offset",
        "max_connection_duration",
        "stream_idle_timeout",
        "stream_flush_timeout",
        "flush_timeout",
        "request_timeout",
        "request_headers_timeout",
        "drain_timeout",
        "delayed_close_timeout",
        "listener_filters_timeout",
        "failed_refetch_duration",
        "max_lifetime",
        "slow_start_window",
        "blackout_period",
        "weight_expiration_period",
        "weight_update_period",
        "refresh_interval",
    )
)


def check_duration(context: Context, path: Path, duration: object) -> None:
    """Report a negative ``google.protobuf.Duration``."""
    seconds: int = getattr(duration, "seconds", 0)
    nanos: int = getattr(duration, "nanos", 0)
    is_negative = seconds < 0 or nanos < 0
    if is_negative and path and path[-1] in _READ_AS_MILLISECONDS and not context.report.has_failed(path):
        value = seconds + nanos / 1e9
        context.report.error(path, f"Invalid duration: Expected positive duration: {value:g}s")
