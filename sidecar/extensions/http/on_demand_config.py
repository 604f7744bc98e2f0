"""Compiles ``envoy.extensions.filters.http.on_demand.v3.OnDemand``."""

from __future__ import annotations

from functools import partial
from typing import Any

from sidecar.api.context import FactoryContext
from sidecar.config.compile.route_action import duration_s
from sidecar.extensions.http.on_demand import NOBODY, OnDemandFilter, UnknownClusters

__all__ = ["OnDemandFactory"]

_DEFAULT_TIMEOUT_S = 5.0


class OnDemandFactory:
    """``envoy.filters.http.on_demand``."""

    name = "envoy.filters.http.on_demand"
    category = "envoy.filters.http"
    config_type = "envoy.extensions.filters.http.on_demand.v3.OnDemand"
    route_config_type = "envoy.extensions.filters.http.on_demand.v3.PerRouteConfig"

    def compile(self, message: Any, context: FactoryContext) -> OnDemandFilter:
        """The filter.  Raises: ConfigError."""
        return OnDemandFilter(_clusters(message, context))

    def compile_route(self, message: Any, context: FactoryContext) -> UnknownClusters:
        """Where a route asks for its clusters.  Raises: ConfigError."""
        return _clusters(message, context) or NOBODY


def _clusters(message: Any, context: FactoryContext) -> UnknownClusters | None:
    if not message.HasField("odcds"):
        return None
    odcds = message.odcds
    source = context.on_demand_clusters.source(odcds.source, f"{context.path}.odcds.source")
    timeout_s = duration_s(odcds.timeout) if odcds.HasField("timeout") else _DEFAULT_TIMEOUT_S
    discover = context.on_demand_clusters.discover

    return UnknownClusters(context.find_cluster, partial(_discover, discover, source, timeout_s))


def _discover(discover: Any, source: Any, timeout_s: float, name: str) -> Any:
    return discover(source, name, timeout_s)
