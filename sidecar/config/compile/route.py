"""``envoy.config.route.v3.RouteConfiguration`` compiled to a :class:`sidecar.router.route_table.RouteTable`.

The message was validated before.  The four levels of header mutations are laid out here in the order
in which they apply, so that the router runs one tuple.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import reduce
from typing import TYPE_CHECKING, Any

from sidecar.api.context import FactoryContext
from sidecar.config.compile.cluster_specifiers import ClusterSpecifiers
from sidecar.config.compile.mirror import compile_mirrors
from sidecar.config.compile.retry_policy import compile_hedging, compile_retry_policy
from sidecar.config.compile.route_action import RouteActions, compile_metadata
from sidecar.config.compile.route_cache import RouteCache
from sidecar.config.compile.route_counters import CountedRoutes
from sidecar.config.compile.route_filters import LevelFilters, PerFilterConfigs
from sidecar.config.compile.route_headers import compile_header_mutations
from sidecar.config.compile.route_match import compile_route_match
from sidecar.config.compile.route_matcher import compile_route_matcher
from sidecar.config.registry import Registry
from sidecar.core.dataclass import dataclass
from sidecar.core.errors import ConfigError
from sidecar.router.header_mutation import AttemptCount, HeaderMutations, Mutations
from sidecar.router.route import Route
from sidecar.router.route_table import RouteTable, VirtualHost

if TYPE_CHECKING:
    from sidecar.api.rate_limit import Policy

__all__ = ["compile_route_table"]


def compile_route_table(
    message: Any,
    context: FactoryContext,
    registry: Registry,
    filter_names: Mapping[str, str],
    last_mutations: tuple[Mutations, ...] = (),
    cache: RouteCache | None = None,
) -> RouteTable:
    """The table.  ``filter_names`` maps configured filter names to their extension's config type.

    ``last_mutations`` are done to every request that is forwarded, after those of the levels; ``cache`` has
    the routes of the table before, for which all other arguments were the same.
    Raises: ConfigError with a path from the bootstrap's root.
    """
    context = replace(context, route_configuration=message.name)
    return _Compiler(message, context, registry, filter_names, last_mutations, cache).table()


_REQUIRE_TLS = ("NONE", "EXTERNAL_ONLY", "ALL")


@dataclass(frozen=True, slots=True)
class _Level:
    """What a route configuration, virtual host or route says of headers and filters."""

    request: HeaderMutations
    response: HeaderMutations
    filters: LevelFilters


def _compile_buffer_limits(made: Route, route: Any, virtual_host: Any) -> None:
    """How much of a request is kept for another try, by the route or by its virtual host."""
    for message in (virtual_host, route):
        if message.HasField("per_request_buffer_limit_bytes"):
            made.per_request_buffer_limit_bytes = message.per_request_buffer_limit_bytes.value
        if message.HasField("request_body_buffer_limit"):
            made.request_body_buffer_limit = message.request_body_buffer_limit.value


class _Compiler:
    def __init__(
        self,
        message: Any,
        context: FactoryContext,
        registry: Registry,
        filter_names: Mapping[str, str],
        last_mutations: tuple[Mutations, ...],
        cache: RouteCache | None,
    ) -> None:
        self._message = message
        self._cache = cache
        self._last_mutations = last_mutations
        self._context = context
        self._filters = PerFilterConfigs(context, registry, filter_names)
        self._actions = RouteActions(context, self._filters, ClusterSpecifiers(message, context, registry))
        self._table = RouteTable(message.name)

    def table(self) -> RouteTable:
        message = self._message
        table = self._table
        table.message = message
        table.ignore_port = message.ignore_port_in_host_matching
        table.vhost_header = message.vhost_header.lower().encode() or None
        table.internal_only_headers = tuple(name.lower().encode() for name in message.internal_only_headers)
        outer = self._level(message, self._context.path)
        cache = self._cache
        keys = None if cache is None else cache.begin(message)
        for index, each in enumerate(message.virtual_hosts):
            path = f"{self._context.path}.virtual_hosts[{index}]"
            virtual_host = None
            key = None if keys is None else keys[index]
            if cache is not None and key is not None:
                virtual_host = cache.host(key)
            if virtual_host is None:
                virtual_host = self._virtual_host(each, path, outer, key)
                if cache is not None and key is not None and not each.HasField("matcher"):
                    cache.keep(key, virtual_host)
            if any(route.durations is not None for route in virtual_host.routes):
                table.has_durations = True
            for number, domain in enumerate(each.domains):
                if not table.add(domain.encode(), virtual_host):
                    reason = (
                        "Only unique values for domains are permitted. "
                        f"Duplicate entry of domain {domain} in route {message.name}"
                    )
                    raise ConfigError(f"{path}.domains[{number}]", reason)
        table.switches_filters = self._filters.switches_off
        if cache is not None:
            cache.end()
        return table

    def _rate_limits(self, messages: Any, path: str) -> tuple[Policy, ...]:
        if not messages:
            return ()
        from sidecar.config.compile.rate_limits import compile_rate_limits

        return compile_rate_limits(messages, path, self._context)

    def _virtual_host(self, message: Any, path: str, outer: _Level, key: bytes | None) -> VirtualHost:
        metadata = compile_metadata(message.metadata)
        own = self._level(message, path)
        limits = self._rate_limits(message.rate_limits, f"{path}.rate_limits")
        count = CountedRoutes(message, self._context.root_stats, path)

        def compile_route(each: Any, route_path: str) -> Route:
            route = self._route(each, route_path, own, outer)
            route.virtual_host_name = message.name
            route.virtual_host_metadata = metadata
            _compile_buffer_limits(route, each, message)
            route.request_mutations += self._last_mutations
            route.mirrors = compile_mirrors(
                [
                    (each.route, f"{route_path}.route"),
                    (message, path),
                    (self._message, self._context.path),
                ],
                self._context.runtime,
            )
            if route.is_forwarding and (limits or each.route.rate_limits):
                from sidecar.config.compile.rate_limits import compile_route_rate_limits

                route.rate_limits = compile_route_rate_limits(
                    each.route, f"{route_path}.route", limits, self._context
                )
            if route.is_forwarding:
                levels = [(each.route, f"{route_path}.route"), (message, path)]
                route.retry_policy = compile_retry_policy(levels)
                route.hedge_on_per_try_timeout = compile_hedging(levels)
            route.tells_of_timeouts = message.include_is_timeout_retry_header
            if message.include_request_attempt_count:
                route.request_mutations = (AttemptCount(), *route.request_mutations)
            if message.include_attempt_count_in_response:
                route.response_mutations = (AttemptCount(), *route.response_mutations)
            count.add_to(route, message.name)
            if route.durations is not None:
                self._table.has_durations = True
            return route

        finder = None
        if message.HasField("matcher"):
            finder = compile_route_matcher(message.matcher, f"{path}.matcher", compile_route)

        def compile_number(number: int) -> Route:
            return compile_route(message.routes[number], f"{path}.routes[{number}]")

        if self._cache is None or key is None:
            routes = [compile_number(number) for number in range(len(message.routes))]
        else:
            routes = self._cache.routes(key, compile_number)
        return VirtualHost(
            message.name,
            routes,
            finder=finder,
            ignore_path_parameters=self._message.ignore_path_parameters_in_path_matching,
            require_tls=_REQUIRE_TLS[message.require_tls],
        )

    def _level(self, message: Any, path: str) -> _Level:
        return _Level(
            compile_header_mutations(message, "request", path),
            compile_header_mutations(message, "response", path),
            self._filters.compile(message, path),
        )

    def _route(self, message: Any, path: str, *outer: _Level) -> Route:
        """A route inside the levels ``outer``, the inner one first."""
        route = compile_route_match(message.match, f"{path}.match", self._context.runtime)
        route.name = message.name
        route.metadata = compile_metadata(message.metadata)
        route.typed_metadata = {
            name: packed.SerializeToString()
            for name, packed in message.metadata.typed_filter_metadata.items()
        }
        route.stat_prefix = message.stat_prefix
        if message.HasField("decorator") or message.HasField("tracing"):
            from sidecar.config.compile.tracing import add_route_tracing

            add_route_tracing(route, message, self._context, path)
        self._actions.compile(route, message, path)
        levels = (self._level(message, path), *outer)
        route.request_mutations = self._ordered(level.request for level in levels)
        route.response_mutations = self._ordered(level.response for level in levels)
        filters = reduce(lambda inner, outer: inner.over(outer), (level.filters for level in levels))
        route.per_filter_config, route.filter_switches = filters.configs, filters.switches
        return route

    def _ordered(self, levels: Iterable[HeaderMutations]) -> tuple[HeaderMutations, ...]:
        order = tuple(level for level in levels if level)
        return order[::-1] if self._message.most_specific_header_mutations_wins else order
