"""Compiles ``envoy.extensions.filters.http.on_demand.v3.OnDemand``."""

from __future__ import annotations

from typing import Any

from sidecar.api.context import FactoryContext
from sidecar.extensions.http.on_demand import OnDemandFilter

__all__ = ["OnDemandFactory"]


class OnDemandFactory:
    """``envoy.filters.http.on_demand``."""

    name = "envoy.filters.http.on_demand"
    category = "envoy.filters.http"
    config_type = "envoy.extensions.filters.http.on_demand.v3.OnDemand"
    #: What a route may say: nothing but of clusters that are asked for, which is not implemented.
    route_config_type = "envoy.extensions.filters.http.on_demand.v3.PerRouteConfig"

    def compile(self, message: Any, context: FactoryContext) -> OnDemandFilter:
        """The filter."""
        return OnDemandFilter()

    def compile_route(self, message: Any, context: FactoryContext) -> None:
        """What a route says of it: nothing."""
        return
