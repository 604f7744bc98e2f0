"""``envoy.config.route.v3.RouteAction.upgrade_configs`` compiled: which types, and where CONNECT ends."""

from __future__ import annotations

from typing import Any

from sidecar.router.route import ConnectConfig, Route

__all__ = ["compile_upgrades", "is_enabled"]

_PROXY = "proxy_protocol_config"


def is_enabled(config: Any) -> bool:
    """Whether an upgrade config allows its type: it does unless it says otherwise."""
    return bool(config.enabled.value) if config.HasField("enabled") else True


def compile_upgrades(route: Route, action: Any) -> None:
    """Give ``route`` the upgrade types of the RouteAction ``action``."""
    route.upgrades = {each.upgrade_type.lower().encode(): is_enabled(each) for each in action.upgrade_configs}
    for each in action.upgrade_configs:
        if each.HasField("connect_config") and is_enabled(each):
            config = each.connect_config
            # V1 is 0 and V2 is 1.
            version = config.proxy_protocol_config.version + 1 if config.HasField(_PROXY) else 0
            route.connect_config = ConnectConfig(config.allow_post, version)
