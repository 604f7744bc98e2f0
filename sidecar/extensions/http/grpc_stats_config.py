"""Compiles ``envoy.extensions.filters.http.grpc_stats.v3.FilterConfig``."""

from __future__ import annotations

from typing import Any

from sidecar.api.context import FactoryContext
from sidecar.extensions.http.grpc_stats import GrpcStatsFilter

__all__ = ["GrpcStatsFactory"]


class GrpcStatsFactory:
    """``envoy.filters.http.grpc_stats``."""

    name = "envoy.filters.http.grpc_stats"
    category = "envoy.filters.http"
    config_type = "envoy.extensions.filters.http.grpc_stats.v3.FilterConfig"

    def compile(self, message: Any, context: FactoryContext) -> GrpcStatsFilter:
        """The filter."""
        methods = frozenset(
            (service.name, method)
            for service in message.individual_method_stats_allowlist.services
            for method in service.method_names
        )
        return GrpcStatsFilter(
            None if message.stats_for_all_methods.value else methods,
            emits_state=message.emit_filter_state,
            measures=message.enable_upstream_stats,
            replaces_dots=message.replace_dots_in_grpc_service_name,
        )
