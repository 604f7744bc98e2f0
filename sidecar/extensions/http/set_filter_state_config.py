"""Compiles ``envoy.extensions.filters.http.set_filter_state.v3.Config``, the filter's and a route's."""

from __future__ import annotations

from typing import Any

from sidecar.api.context import FactoryContext
from sidecar.extensions.http.set_filter_state import RouteValues, SetHttpFilterState
from sidecar.extensions.network.set_filter_state_config import compile_filter_state_values

__all__ = ["SetHttpFilterStateFactory"]

_FIELD = "on_request_headers"


class SetHttpFilterStateFactory:
    """``envoy.filters.http.set_filter_state``."""

    name = "envoy.filters.http.set_filter_state"
    category = "envoy.filters.http"
    config_type = "envoy.extensions.filters.http.set_filter_state.v3.Config"
    #: Full name of the message under ``typed_per_filter_config``.
    route_config_type = config_type

    def compile(self, message: Any, context: FactoryContext) -> SetHttpFilterState:
        """The filter.  Raises: ConfigError."""
        values = compile_filter_state_values(message.on_request_headers, _FIELD, context)
        return SetHttpFilterState(tuple(values), clears_route_cache=message.clear_route_cache)

    def compile_route(self, message: Any, context: FactoryContext) -> RouteValues:
        """One level's values; whether the route is looked up again is the filter's to say.

        Raises: ConfigError.
        """
        return RouteValues(tuple(compile_filter_state_values(message.on_request_headers, _FIELD, context)))
