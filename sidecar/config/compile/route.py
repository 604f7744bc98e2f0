"""``envoy.config.route.v3.RouteConfiguration`` compiled to a :class:`sidecar.router.route_table.RouteTable`.

The message was validated before.  The four levels of header mutations are laid out here in the order
in which they apply, so that the router runs one tuple.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sidecar.api.context import FactoryContext
from sidecar.config.compile.route_action import RouteActions, compile_metadata
from sidecar.config.compile.route_filters import PerFilterConfigs
from sidecar.config.compile.route_headers import compile_header_mutations
from sidecar.config.compile.route_match import compile_route_match
from sidecar.config.registry import Registry
from sidecar.core.errors import ConfigError
from sidecar.router.header_mutation import AttemptCount, HeaderMutations
from sidecar.router.route import Route
from sidecar.router.route_table import RouteTable, VirtualHost

__all__ = ["compile_route_table"]


def compile_route_table(
    message: Any, context: FactoryContext, registry: Registry, filter_names: Mapping[str, str]
) -> RouteTable:
    """The table.  ``filter_names`` maps configured filter names to their extension's config type.

    Raises: ConfigError with a path from the bootstrap's root.
    """
    return _Compiler(message, context, registry, filter_names).table()


class _Compiler:
    def __init__(
        self, message: Any, context: FactoryContext, registry: Registry, filter_names: Mapping[str, str]
    ) -> None:
        self._message = message
        self._context = context
        self._filters = PerFilterConfigs(context, registry, filter_names)
        self._actions = RouteActions(context, self._filters)
        self._table = RouteTable(message.name)

    def table(self) -> RouteTable:
        message = self._message
        table = self._table
        table.message = message
        table.ignore_port = message.ignore_port_in_host_matching
        table.vhost_header = message.vhost_header.lower().encode() or None
        outer_request = compile_header_mutations(message, "request", self._context.path)
        outer_response = compile_header_mutations(message, "response", self._context.path)
        outer_filters = self._filters.compile(message, self._context.path)
        for index, each in enumerate(message.virtual_hosts):
            path = f"{self._context.path}.virtual_hosts[{index}]"
            virtual_host = self._virtual_host(each, path, outer_request, outer_response, outer_filters)
            for number, domain in enumerate(each.domains):
                if not table.add(domain.encode(), virtual_host):
                    reason = (
                        "Only unique values for domains are permitted. "
                        f"Duplicate entry of domain {domain} in route {message.name}"
                    )
                    raise ConfigError(f"{path}.domains[{number}]", reason)
        return table

    def _virtual_host(
        self,
        message: Any,
        path: str,
        outer_request: HeaderMutations,
        outer_response: HeaderMutations,
        outer_filters: dict[str, Any],
    ) -> VirtualHost:
        request = compile_header_mutations(message, "request", path)
        response = compile_header_mutations(message, "response", path)
        filters = {**outer_filters, **self._filters.compile(message, path)}
        metadata = compile_metadata(message.metadata)
        routes = []
        for index, each in enumerate(message.routes):
            route_path = f"{path}.routes[{index}]"
            route = self._route(each, route_path)
            route.virtual_host_name = message.name
            route.virtual_host_metadata = metadata
            route.request_mutations = self._levels(
                compile_header_mutations(each, "request", route_path), request, outer_request
            )
            route.response_mutations = self._levels(
                compile_header_mutations(each, "response", route_path), response, outer_response
            )
            route.per_filter_config = {**filters, **self._filters.compile(each, route_path)}
            if message.include_request_attempt_count:
                route.request_mutations = (AttemptCount(), *route.request_mutations)
            if message.include_attempt_count_in_response:
                route.response_mutations = (AttemptCount(), *route.response_mutations)
            if route.durations is not None:
                self._table.has_durations = True
            routes.append(route)
        return VirtualHost(
            message.name,
            routes,
            ignore_path_parameters=self._message.ignore_path_parameters_in_path_matching,
        )

    def _levels(self, *levels: HeaderMutations) -> tuple[HeaderMutations, ...]:
        order = reversed(levels) if self._message.most_specific_header_mutations_wins else levels
        return tuple(level for level in order if level)

    def _route(self, message: Any, path: str) -> Route:
        route = compile_route_match(message.match, f"{path}.match")
        route.name = message.name
        route.metadata = compile_metadata(message.metadata)
        route.stat_prefix = message.stat_prefix
        self._actions.compile(route, message, path)
        return route
