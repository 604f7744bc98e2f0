"""Compiles ``envoy.extensions.filters.network.rbac.v3.RBAC``."""

from __future__ import annotations

from typing import Any

from sidecar.api.context import FactoryContext
from sidecar.config.compile.rbac import compile_rbac
from sidecar.config.compile.rbac_matcher import compile_rbac_matcher
from sidecar.config.compile.route_action import duration_s
from sidecar.core.rbac import Engine, MatcherEngine
from sidecar.extensions.network.rbac import ContinuousRbac, Rbac, RbacRules

__all__ = ["NetworkRbacFactory"]

_CONTINUOUS = 1


class NetworkRbacFactory:
    """Access by who a connection is and where it goes."""

    name = "envoy.filters.network.rbac"
    category = "envoy.filters.network"
    config_type = "envoy.extensions.filters.network.rbac.v3.RBAC"

    def compile(self, message: Any, context: FactoryContext) -> Rbac | ContinuousRbac:
        engine = _engine(message, "rules", "matcher")
        shadow = _engine(message, "shadow_rules", "shadow_matcher")
        scope = context.root_stats.scope(f"{message.stat_prefix.rstrip('.')}.rbac")
        prefix = message.shadow_rules_stat_prefix.rstrip(".")
        shadow_scope = scope.scope(prefix) if prefix else scope
        rules = RbacRules(scope, shadow_scope, engine, shadow, duration_s(message.delay_deny))
        kind = ContinuousRbac if message.enforcement_type == _CONTINUOUS else Rbac
        return kind(rules)


def _engine(message: Any, rules: str, matcher: str) -> Engine | MatcherEngine | None:
    """Who judges; a match tree goes before rules."""
    if message.HasField(matcher):
        return compile_rbac_matcher(getattr(message, matcher), matcher, has_requests=False)
    if message.HasField(rules):
        return compile_rbac(getattr(message, rules), rules, has_requests=False)
    return None
