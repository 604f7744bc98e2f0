"""Mistakes in the overload manager (reasons in Envoy's words)."""

from __future__ import annotations

from typing import Any

from sidecar.config import known_extensions
from sidecar.config.context import Context
from sidecar.config.errors import Path
from sidecar.config.registry import resolve_any

__all__ = ["check_overload_manager"]

_CATEGORY = "envoy.resource_monitors"
#: The one monitor that is asked before something is taken, and found by its name.
_PROACTIVE = "envoy.resource_monitors.global_downstream_max_connections"
_PROACTIVE_TYPE = "envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig"


def check_overload_manager(context: Context, path: Path, manager: Any) -> None:
    """Monitors are known, each name stands once, and actions are triggered by one of them."""
    names: set[str] = set()
    for index, monitor in enumerate(manager.resource_monitors):
        here = (*path, "resource_monitors", index)
        url = monitor.typed_config.type_url
        kind = resolve_any(monitor.typed_config)[0] if url else ""
        known = known_extensions.types(_CATEGORY)
        if (monitor.name == _PROACTIVE) != (kind == _PROACTIVE_TYPE) or (
            kind != _PROACTIVE_TYPE and kind not in known
        ):
            reason = f"Didn't find a registered implementation for '{monitor.name}' with type URL: '{kind}'"
            context.report.error(here, reason)
        if monitor.name in names:
            context.report.error((*here, "name"), f"Duplicate resource monitor {monitor.name}")
        names.add(monitor.name)
    for number, action in enumerate(manager.actions):
        for index, trigger in enumerate(action.triggers):
            if trigger.name not in names:
                reason = f"Unknown trigger resource {trigger.name} for overload action {action.name}"
                context.report.error((*path, "actions", number, "triggers", index, "name"), reason)
