"""From the bootstrap's ``overload_manager`` to what measures and what is asked."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from sidecar.config.compile.connection_limits import DOWNSTREAM_CONNECTIONS
from sidecar.config.compile.overload import compile_actions, compile_points, refresh_s
from sidecar.config.registry import resolve_any
from sidecar.core.errors import ConfigError
from sidecar.core.overload import Overload
from sidecar.core.runtime import Runtime
from sidecar.server.connection_limits import GlobalLimit
from sidecar.server.overload_manager import OverloadManager
from sidecar.server.resource_monitors import (
    CgroupMemory,
    CpuUtilization,
    FixedHeap,
    InjectedResource,
    Monitor,
    container_times,
    host_times,
)

__all__ = ["compile_overload"]

_MONITORS = "envoy.extensions.resource_monitors"


def compile_overload(
    bootstrap: Any,
    runtime: Runtime,
    scope: Any,
    limit: GlobalLimit | None,
    warn: Callable[[str, str], None],
) -> OverloadManager | None:
    """The overload manager; None where there is none.  Raises: ConfigError."""
    if not bootstrap.HasField("overload_manager"):
        return None
    message = bootstrap.overload_manager
    overload = Overload()
    manager = OverloadManager(overload, refresh_s(message), scope)
    for index, each in enumerate(message.resource_monitors):
        kind, config = resolve_any(each.typed_config)
        path = f"overload_manager.resource_monitors[{index}].typed_config"
        if kind == DOWNSTREAM_CONNECTIONS:
            if limit is not None:
                manager.add_told(each.name, partial(_share, limit))
            continue
        try:
            manager.add_monitor(each.name, _monitor(kind, config, runtime))
        except (OSError, ValueError) as error:
            raise ConfigError(path, str(error)) from error
    for action in compile_actions(message, overload, scope):
        manager.add_action(action)
    for point in compile_points(message, overload, scope, warn):
        manager.add_point(point)
    return manager


def _share(limit: GlobalLimit) -> float:
    return min(limit.count.total() / limit.maximum, 1.0)


def _monitor(kind: str, config: Any, runtime: Runtime) -> Monitor:
    """Raises: OSError, ValueError."""
    if kind == f"{_MONITORS}.fixed_heap.v3.FixedHeapConfig":
        if config.HasField("max_heap_size_bytes_runtime"):
            number = config.max_heap_size_bytes_runtime
            return FixedHeap(partial(runtime.integer, number.runtime_key, number.default_value))
        return FixedHeap(lambda: int(config.max_heap_size_bytes))
    if kind == f"{_MONITORS}.cgroup_memory.v3.CgroupMemoryConfig":
        return CgroupMemory(config.max_memory_bytes)
    if kind == f"{_MONITORS}.cpu_utilization.v3.CpuUtilizationConfig":
        return CpuUtilization(partial(container_times, time.monotonic) if config.mode else host_times)
    if kind == f"{_MONITORS}.injected_resource.v3.InjectedResourceConfig":
        directory = os.path.dirname(config.filename) or "."
        if not os.path.isdir(directory):
            raise ValueError(
                f"unable to add filesystem watch for file {config.filename}: No such file or directory"
            )
        return InjectedResource(config.filename)
    raise ValueError(f"no resource monitor is made of {kind}")
