"""Compiles ``envoy.extensions.filters.http.rbac.v3``, the filter's rules and a route's."""

from __future__ import annotations

from typing import Any

from sidecar.api.context import FactoryContext
from sidecar.config.compile.rbac import compile_rbac
from sidecar.config.compile.rbac_matcher import compile_rbac_matcher
from sidecar.extensions.http.rbac import HttpRbacFilter, RbacSettings, RuleStats

__all__ = ["HttpRbacFactory"]


class HttpRbacFactory:
    """``envoy.filters.http.rbac``."""

    name = "envoy.filters.http.rbac"
    category = "envoy.filters.http"
    config_type = "envoy.extensions.filters.http.rbac.v3.RBAC"
    is_upstream = True
    #: Full name of the message under ``typed_per_filter_config``.
    route_config_type = "envoy.extensions.filters.http.rbac.v3.RBACPerRoute"

    def compile(self, message: Any, context: FactoryContext) -> HttpRbacFilter:
        """The filter.  Raises: ConfigError."""
        scope = context.stats.scope("rbac")
        prefix, shadow_prefix = message.rules_stat_prefix, message.shadow_rules_stat_prefix
        own = scope.scope(prefix.rstrip(".")) if prefix else scope
        shadow = scope.scope(shadow_prefix.rstrip(".")) if shadow_prefix else scope
        return HttpRbacFilter(
            _settings(message, ""),
            RuleStats(own, ("allowed", "denied")),
            RuleStats(shadow, ("shadow_allowed", "shadow_denied")),
        )

    def compile_route(self, message: Any, context: FactoryContext) -> RbacSettings:
        """One level's rules, counted by the filter.  Raises: ConfigError."""
        return _settings(message.rbac, "rbac.")


def _settings(message: Any, path: str) -> RbacSettings:
    return RbacSettings(
        _engine(message, path, "rules", "matcher"),
        _engine(message, path, "shadow_rules", "shadow_matcher"),
        message.track_per_rule_stats,
        _names(f"{message.rules_stat_prefix}enforced_"),
        _names(f"{message.shadow_rules_stat_prefix}shadow_"),
    )


def _names(prefix: str) -> tuple[str, str]:
    return f"{prefix}effective_policy_id", f"{prefix}engine_result"


def _engine(message: Any, path: str, rules: str, matcher: str) -> Any:
    if message.HasField(matcher):
        return compile_rbac_matcher(getattr(message, matcher), f"{path}{matcher}", has_requests=True)
    if message.HasField(rules):
        return compile_rbac(getattr(message, rules), f"{path}{rules}", has_requests=True)
    return None
