"""``virtual_clusters`` of a virtual host and ``stat_prefix`` of its routes, compiled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sidecar.config.compile.matchers import compile_header_matcher
from sidecar.router.route_counters import ChargeResponse, Counted, RouteCounters, VirtualCluster

if TYPE_CHECKING:
    from sidecar.router.route import Route

__all__ = ["CountedRoutes"]


class CountedRoutes:
    """What the routes of one virtual host (a message) count in."""

    def __init__(self, message: Any, root_stats: Any, path: str) -> None:
        """Raises: ConfigError."""
        self._stats = root_stats
        found = []
        for index, each in enumerate(message.virtual_clusters):
            matchers = tuple(
                compile_header_matcher(matcher, f"{path}.virtual_clusters[{index}].headers[{number}]")
                for number, matcher in enumerate(each.headers)
            )
            scope = root_stats.scope(f"vhost.{message.name}.vcluster.{each.name}")
            found.append(VirtualCluster(each.name, matchers, scope))
        if found:
            found.append(VirtualCluster("", (), root_stats.scope(f"vhost.{message.name}.vcluster.other")))
        self._virtual_clusters = tuple(found)

    def add_to(self, route: Route, virtual_host: str) -> None:
        """Let ``route`` count, where it leads to an upstream and there is something to count in."""
        of_route = None
        if route.stat_prefix:
            of_route = RouteCounters(self._stats.scope(f"vhost.{virtual_host}.route.{route.stat_prefix}"))
        if route.is_forwarding and (of_route or self._virtual_clusters):
            counted = Counted(self._virtual_clusters, of_route)
            route.request_mutations = (counted, *route.request_mutations)
            route.response_mutations = (ChargeResponse(), *route.response_mutations)
