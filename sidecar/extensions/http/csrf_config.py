"""Compiles ``envoy.extensions.filters.http.csrf.v3.CsrfPolicy``, the filter's and a route's."""

from __future__ import annotations

from typing import Any

from sidecar.api.context import FactoryContext
from sidecar.config.compile.chance import NEVER, compile_chance
from sidecar.config.compile.matchers import compile_string_matcher
from sidecar.extensions.http.csrf import CsrfFilter, CsrfPolicy

__all__ = ["CsrfFactory"]


class CsrfFactory:
    """``envoy.filters.http.csrf``."""

    name = "envoy.filters.http.csrf"
    category = "envoy.filters.http"
    config_type = "envoy.extensions.filters.http.csrf.v3.CsrfPolicy"
    #: Full name of the message under ``typed_per_filter_config``.
    route_config_type = "envoy.extensions.filters.http.csrf.v3.CsrfPolicy"

    def compile(self, message: Any, context: FactoryContext) -> CsrfFilter:
        """The filter.  Raises: ConfigError."""
        return CsrfFilter(self.compile_route(message, context), context.stats.scope("csrf"))

    def compile_route(self, message: Any, context: FactoryContext) -> CsrfPolicy:
        """One level's policy.  Raises: ConfigError."""
        path = f"{context.path}.additional_origins"
        is_shadow_enabled = NEVER
        if message.HasField("shadow_enabled"):
            is_shadow_enabled = compile_chance(message.shadow_enabled, context.runtime)
        return CsrfPolicy(
            compile_chance(message.filter_enabled, context.runtime),
            is_shadow_enabled,
            tuple(
                compile_string_matcher(each, f"{path}[{index}]")
                for index, each in enumerate(message.additional_origins)
            ),
        )
