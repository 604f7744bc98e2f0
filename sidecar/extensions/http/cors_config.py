"""Compiles ``envoy.extensions.filters.http.cors.v3``: a filter that says nothing, and policies of routes."""

from __future__ import annotations

from typing import Any

from sidecar.api.context import FactoryContext
from sidecar.config.compile.chance import ALWAYS, NEVER, compile_chance
from sidecar.config.compile.matchers import compile_string_matcher
from sidecar.extensions.http.cors import CorsFilter, CorsPolicy

__all__ = ["CorsFactory"]


class CorsFactory:
    """``envoy.filters.http.cors``."""

    name = "envoy.filters.http.cors"
    category = "envoy.filters.http"
    config_type = "envoy.extensions.filters.http.cors.v3.Cors"
    #: Full name of the message under ``typed_per_filter_config``.
    route_config_type = "envoy.extensions.filters.http.cors.v3.CorsPolicy"

    def compile(self, message: Any, context: FactoryContext) -> CorsFilter:
        """The filter."""
        return CorsFilter(context.stats.scope("cors"))

    def compile_route(self, message: Any, context: FactoryContext) -> CorsPolicy:
        """One level's policy, also that of ``cors``, which has the same fields.  Raises: ConfigError."""
        path = f"{context.path}.allow_origin_string_match"
        origins = tuple(
            compile_string_matcher(each, f"{path}[{index}]")
            for index, each in enumerate(message.allow_origin_string_match)
        )
        is_enabled, is_shadow_enabled = ALWAYS, NEVER
        if message.HasField("filter_enabled"):
            is_enabled = compile_chance(message.filter_enabled, context.runtime)
        if message.HasField("shadow_enabled"):
            is_shadow_enabled = compile_chance(message.shadow_enabled, context.runtime)
        return CorsPolicy(
            is_enabled,
            is_shadow_enabled,
            origins or None,
            message.allow_methods.encode() or None,
            message.allow_headers.encode() or None,
            message.expose_headers.encode() or None,
            message.max_age.encode() or None,
            _flag(message, "allow_credentials"),
            _flag(message, "allow_private_network_access"),
            _flag(message, "forward_not_matching_preflights"),
        )


def _flag(message: Any, field: str) -> bool | None:
    return getattr(message, field).value if message.HasField(field) else None
