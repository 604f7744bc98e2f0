"""``overload_manager`` of the bootstrap: triggers, actions, load-shed points, and what to measure."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from sidecar.config.check_overload import kind_of_action
from sidecar.config.compile.route_timeouts import duration_s
from sidecar.config.registry import resolve_any
from sidecar.core.overload import (
    LoadShedPoint,
    Overload,
    OverloadAction,
    ScaledTimers,
    StreamMemory,
    Trigger,
)

__all__ = ["compile_actions", "compile_points", "refresh_s"]

_POINT_PREFIX = "envoy.load_shed_points."
_FIELDS = {field.name for field in dataclasses.fields(Overload)} - {
    "timers",
    "shrink_interval_s",
    "shrink_unfreed_bytes",
    "memory",
}


def refresh_s(manager: Any) -> float:
    """Seconds between two measurements."""
    return max(duration_s(manager.refresh_interval), 0.001) if manager.HasField("refresh_interval") else 1.0


def compile_actions(manager: Any, overload: Overload, scope: Any) -> list[OverloadAction]:
    """The actions; ``overload`` gets those that something here asks for."""
    made = []
    for message in manager.actions:
        action = OverloadAction(_triggers(message), scope.scope(message.name))
        made.append(action)
        kind = kind_of_action(message)
        if kind not in _FIELDS or getattr(overload, kind) is not None:
            continue
        setattr(overload, kind, action)
        config: Any = resolve_any(message.typed_config)[1] if message.HasField("typed_config") else None
        if kind == "reduce_timeouts":
            overload.timers = ScaledTimers(action, _timers(config))
        elif kind == "shrink_heap" and config is not None:
            if config.HasField("timer_interval"):
                overload.shrink_interval_s = duration_s(config.timer_interval)
            if config.HasField("max_unfreed_memory_bytes"):
                overload.shrink_unfreed_bytes = config.max_unfreed_memory_bytes.value
        elif kind == "reset_high_memory_stream":
            count = scope.store.counter("envoy.overload_actions.reset_high_memory_stream.count")
            power = manager.buffer_factory_config.minimum_account_to_track_power_of_two
            overload.memory = StreamMemory(power, count)
            action.followers.append(overload.memory.relieve)
    return made


def compile_points(
    manager: Any, overload: Overload, scope: Any, warn: Callable[[str, str], None]
) -> list[LoadShedPoint]:
    """The load-shed points; one that nobody asks is warned about."""
    made = []
    for index, message in enumerate(manager.loadshed_points):
        point = LoadShedPoint(_triggers(message), scope.scope(message.name))
        made.append(point)
        name = message.name.removeprefix(_POINT_PREFIX)
        if name != message.name and name in _FIELDS:
            setattr(overload, name, point)
        else:
            path = f"overload_manager.loadshed_points[{index}].name"
            warn(path, f"nothing is shed at '{message.name}': there is no such load-shed point")
    return made


def _triggers(owner: Any) -> dict[str, Trigger]:
    return {each.name: _trigger(each) for each in owner.triggers}


def _trigger(message: Any) -> Trigger:
    if message.HasField("scaled"):
        return Trigger(message.scaled.scaling_threshold, message.scaled.saturation_threshold)
    return Trigger(message.threshold.value, message.threshold.value)


def _timers(config: Any) -> dict[str, Callable[[float], float]]:
    found: dict[str, Callable[[float], float]] = {}
    for each in config.timer_scale_factors:
        timer = type(each).DESCRIPTOR.fields_by_name["timer"].enum_type.values_by_number[each.timer].name
        found[timer] = _least(each)
    return found


def _least(message: Any) -> Callable[[float], float]:
    if message.HasField("min_timeout"):
        least_s = duration_s(message.min_timeout)
        return lambda _configured_s: least_s
    share = message.min_scale.value / 100
    return lambda configured_s: configured_s * share
