"""Limits on downstream connections: the overload manager's resource monitor, and keys of the runtime."""

from __future__ import annotations

from typing import Any

from sidecar.config.registry import resolve_any
from sidecar.core.runtime import Number, Runtime

__all__ = ["DOWNSTREAM_CONNECTIONS", "global_limit", "listener_limit"]

DOWNSTREAM_CONNECTIONS = (
    "envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig"
)
_NONE = -1
_NO_LIMIT = 2**64 - 1


def global_limit(bootstrap: Any, runtime: Runtime) -> int | None:
    """How many connections all listeners of a ``Bootstrap`` take together; None without a limit."""
    for monitor in bootstrap.overload_manager.resource_monitors:
        name, message = resolve_any(monitor.typed_config)
        if name == DOWNSTREAM_CONNECTIONS and message is not None:
            limit: Any = message
            return int(limit.max_active_downstream_connections)
    return _or_none(runtime.integer("overload.global_downstream_max_connections", _NONE))


def listener_limit(name: str, runtime: Runtime) -> Number | None:
    """How many connections the listener of this name takes; None without a limit, now and later."""
    key = f"envoy.resource_limits.listener.{name}.connection_limit"
    return runtime.number(key, _NO_LIMIT) if runtime.follows(key) else None


def _or_none(value: int) -> int | None:
    return None if value == _NONE else value
