"""Mistakes in the overload manager (reasons in Envoy's words)."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

from sidecar.config import known_extensions
from sidecar.config.context import Context
from sidecar.config.errors import Path
from sidecar.config.registry import resolve_any

__all__ = ["check_overload_manager", "kind_of_action"]

_CATEGORY = "envoy.resource_monitors"
#: The one monitor that is asked before something is taken, and found by its name.
_PROACTIVE = "envoy.resource_monitors.global_downstream_max_connections"
_PROACTIVE_TYPE = "envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig"
_FIXED_HEAP = "envoy.extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig"
ACTION_PREFIX = "envoy.overload_actions."
#: Those that Envoy 1.40 knows.
ACTIONS = frozenset(
    (
        "stop_accepting_requests", "disable_http_keepalive", "stop_accepting_connections",
        "reject_incoming_connections", "shrink_heap", "reduce_timeouts", "reset_high_memory_stream",
        "close_idle_http_connections",
    )
)  # fmt: skip
SCALE_TIMERS = "envoy.config.overload.v3.ScaleTimersOverloadActionConfig"
SHRINK_HEAP = "envoy.config.overload.v3.ShrinkHeapConfig"
#: The kinds that a message makes, whatever the action is called.
_BY_TYPE = {SCALE_TIMERS: "reduce_timeouts", SHRINK_HEAP: "shrink_heap"}


def kind_of_action(action: Any) -> str | None:
    """What an ``OverloadAction`` does, by its message or its name; None for nothing that is known."""
    if action.HasField("typed_config"):
        return _BY_TYPE.get(resolve_any(action.typed_config)[0])
    name: str = action.name.removeprefix(ACTION_PREFIX)
    return name if name in ACTIONS and name != action.name else None


def check_overload_manager(context: Context, path: Path, manager: Any) -> None:
    """Monitors are known, each name stands once, and actions are triggered by one of them."""
    error = context.report.error
    names: set[str] = set()
    for index, monitor in enumerate(manager.resource_monitors):
        here = (*path, "resource_monitors", index)
        url = monitor.typed_config.type_url
        kind, message = resolve_any(monitor.typed_config) if url else ("", None)
        known = known_extensions.types(_CATEGORY)
        if (monitor.name == _PROACTIVE) != (kind == _PROACTIVE_TYPE) or (
            kind != _PROACTIVE_TYPE and kind not in known
        ):
            reason = f"Didn't find a registered implementation for '{monitor.name}' with type URL: '{kind}'"
            error(here, reason)
        if kind == _FIXED_HEAP and message is not None:
            _check_fixed_heap(context, (*here, "typed_config"), message)
        if monitor.name in names:
            error((*here, "name"), f"Duplicate resource monitor {monitor.name}")
        names.add(monitor.name)
    seen: set[str] = set()
    for number, action in enumerate(manager.actions):
        here = (*path, "actions", number)
        _check_action(context, here, action, manager)
        if action.name in seen:
            error((*here, "name"), f"Duplicate overload action {action.name}")
        seen.add(action.name)
        _check_triggers(context, here, action, names, "overload action", "overload action")
    points: set[str] = set()
    for number, point in enumerate(manager.loadshed_points):
        here = (*path, "loadshed_points", number)
        if point.name in seen:
            reason = f'Load shed point "{point.name}" conflicts with an overload action of the same name'
            error((*here, "name"), reason)
        if point.name in points:
            error((*here, "name"), f"Duplicate loadshed point {point.name}")
        points.add(point.name)
        _check_triggers(context, here, point, names - {_PROACTIVE}, "loadshed point", "LoadShedPoint")


def _check_fixed_heap(context: Context, path: Path, message: Any) -> None:
    has_runtime = message.HasField("max_heap_size_bytes_runtime")
    if has_runtime and message.max_heap_size_bytes:
        reason = "exactly one of max_heap_size_bytes or max_heap_size_bytes_runtime must be set"
        context.report.error(path, f"fixed_heap: {reason}")
    elif not has_runtime and not message.max_heap_size_bytes:
        context.report.error(path, "fixed_heap: max heap size must be greater than 0")


def _check_action(context: Context, path: Path, action: Any, manager: Any) -> None:
    error = context.report.error
    name = action.name
    short = name.removeprefix(ACTION_PREFIX)
    is_reserved = short != name
    if not action.HasField("typed_config"):
        if not is_reserved or short not in ACTIONS:
            error((*path, "name"), f"Unknown Overload Manager Action {name}")
        elif short == "reduce_timeouts":
            error(path, f'Overload action "{name}" requires typed_config')
        elif short == "reset_high_memory_stream" and not manager.HasField("buffer_factory_config"):
            error(path, f'Overload action "{name}" requires buffer_factory_config.')
        return
    kind, message = resolve_any(action.typed_config)
    means = _BY_TYPE.get(kind)
    if means is None:
        error((*path, "typed_config"), f'Overload action "{name}" has an invalid typed_config: {kind}')
    elif is_reserved and short != means:
        reason = (
            f'Overload action name "{name}" conflicts with its typed config'
            if short in ACTIONS
            else f'Overload action name "{name}" uses reserved prefix "{ACTION_PREFIX}"'
        )
        error((*path, "name"), reason)
    if kind == SCALE_TIMERS and message is not None:
        timers: Any = message
        seen: set[int] = set()
        for index, each in enumerate(timers.timer_scale_factors):
            if each.timer in seen:
                timer = type(each).DESCRIPTOR.fields_by_name["timer"].enum_type.values_by_number[each.timer]
                reason = f"Found duplicate entry for timer type {timer.name}"
                error((*path, "typed_config", "timer_scale_factors", index), reason)
            seen.add(each.timer)


def _check_triggers(
    context: Context, path: Path, owner: Any, names: Container[str], what: str, named: str
) -> None:
    error = context.report.error
    seen: set[str] = set()
    for index, trigger in enumerate(owner.triggers):
        here = (*path, "triggers", index)
        if trigger.name not in names:
            error((*here, "name"), f"Unknown trigger resource {trigger.name} for {what} {owner.name}")
        if trigger.name in seen:
            error((*here, "name"), f"Duplicate trigger resource for {named} {owner.name}")
        seen.add(trigger.name)
        scaled = trigger.scaled
        if trigger.HasField("scaled") and scaled.scaling_threshold >= scaled.saturation_threshold:
            error((*here, "scaled"), "scaling_threshold must be less than saturation_threshold")
