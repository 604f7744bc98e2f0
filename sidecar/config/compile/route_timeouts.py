"""The limits of time of a RouteAction (envoy.config.route.v3), compiled."""

from __future__ import annotations

from typing import Any

from sidecar.router.route import Route
from sidecar.router.timeouts import GrpcTimeouts, StreamDuration

__all__ = ["compile_timeouts", "duration_s"]


def duration_s(message: Any) -> float:
    """Seconds of a google.protobuf.Duration in whole milliseconds: less than one is none, as in Envoy."""
    return float(message.seconds + message.nanos // 1_000_000 / 1000)


def _optional_s(message: Any, field: str) -> float | None:
    return duration_s(getattr(message, field)) if message.HasField(field) else None


def compile_timeouts(route: Route, action: Any) -> None:
    """Give ``route`` the timeouts of ``action``; ``max_stream_duration`` leaves no timeout beside it."""
    if action.HasField("timeout"):
        route.timeout_s = duration_s(action.timeout)
    if action.HasField("idle_timeout"):
        route.idle_timeout_s = duration_s(action.idle_timeout)
    if action.HasField("flush_timeout"):
        route.flush_timeout_s = duration_s(action.flush_timeout)
    if action.HasField("max_stream_duration"):
        duration = action.max_stream_duration
        route.timeout_s = 0.0
        route.durations = StreamDuration(
            _optional_s(duration, "max_stream_duration"),
            _optional_s(duration, "grpc_timeout_header_max"),
            _optional_s(duration, "grpc_timeout_header_offset"),
        )
    elif action.HasField("max_grpc_timeout"):
        offset = _optional_s(action, "grpc_timeout_offset") or 0.0
        route.grpc_timeouts = GrpcTimeouts(duration_s(action.max_grpc_timeout), offset)
