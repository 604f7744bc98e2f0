"""Mistakes in the upgrade configs of connection managers and routes (reasons in Envoy's words)."""

from __future__ import annotations

from typing import Any

from sidecar.config.context import Context
from sidecar.config.errors import Path

__all__ = ["check_route_upgrades", "check_upgrades"]


def check_upgrades(context: Context, path: Path, manager: Any) -> None:
    """The connection manager's: each type once."""
    seen: dict[str, int] = {}
    for index, config in enumerate(manager.upgrade_configs):
        first = seen.setdefault(config.upgrade_type.lower(), index)
        if first != index:
            place = context.report_place((*path, "upgrade_configs", first))
            context.report.error(
                (*path, "upgrade_configs", index, "upgrade_type"),
                f"Error: multiple upgrade configs with the same name: '{config.upgrade_type}'",
                f"the first stands at {place}",
            )


def check_route_upgrades(context: Context, path: Path, action: Any) -> None:
    """A route's: each type once, and only CONNECT ends here."""
    seen: dict[str, int] = {}
    for index, config in enumerate(action.upgrade_configs):
        here = (*path, "upgrade_configs", index)
        first = seen.setdefault(config.upgrade_type.lower(), index)
        if first != index:
            place = context.report_place((*path, "upgrade_configs", first))
            reason = f"Duplicate upgrade {config.upgrade_type}"
            context.report.error((*here, "upgrade_type"), reason, f"the first stands at {place}")
        if config.HasField("connect_config") and config.upgrade_type.lower() not in (
            "connect",
            "connect-udp",
        ):
            reason = f"Non-CONNECT upgrade type {config.upgrade_type} has ConnectConfig"
            context.report.error((*here, "connect_config"), reason, "remove it")
