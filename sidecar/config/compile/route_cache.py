"""Routes of the last table of a connection manager, by the bytes that they were compiled from.

A control plane sends all routes again where one is new; that one is compiled, and virtual hosts that are as
they were are the same objects with their indices.  What a filter is told for a route is made anew for each
table, as in Envoy: there may be state in it (the tokens of a local rate limit).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sidecar.config.pieces import split

if TYPE_CHECKING:
    from sidecar.router.route import Route
    from sidecar.router.route_table import VirtualHost

__all__ = ["RouteCache"]

#: ``RouteConfiguration.virtual_hosts`` and ``VirtualHost.routes``.
_VIRTUAL_HOSTS, _ROUTES = 2, 3


class RouteCache:
    """See the module."""

    def __init__(self) -> None:
        #: All of a route configuration but its virtual hosts.
        self._outer = b""
        self._hosts: dict[bytes, VirtualHost] = {}
        #: By all of a virtual host but its routes.
        self._routes: dict[bytes, dict[bytes, Route]] = {}
        self._next_hosts: dict[bytes, VirtualHost] = {}
        self._next_routes: dict[bytes, dict[bytes, Route]] = {}

    def begin(self, message: Any) -> list[bytes]:
        """A table is compiled; the keys of its virtual hosts."""
        outer, hosts = split(message.SerializeToString(deterministic=True), _VIRTUAL_HOSTS)
        if outer != self._outer:
            self._outer, self._hosts, self._routes = outer, {}, {}
        self._next_hosts, self._next_routes = {}, {}
        return hosts

    def host(self, key: bytes) -> VirtualHost | None:
        """A virtual host that may be used again."""
        found = self._hosts.get(key)
        if found is not None:
            self._next_hosts[key] = found
            head, _ = split(key, _ROUTES)
            if head in self._routes:
                self._next_routes.setdefault(head, {}).update(self._routes[head])
        return found

    def routes(self, key: bytes, compile_route: Callable[[int], Route]) -> list[Route]:
        """The routes of a virtual host; ``compile_route`` makes the one of a number."""
        head, pieces = split(key, _ROUTES)
        known = self._routes.get(head, {})
        made: list[Route] = []
        kept = self._next_routes.setdefault(head, {})
        for number, piece in enumerate(pieces):
            route = known.get(piece)
            if route is None:
                route = compile_route(number)
            if _is_stateless(route):
                kept[piece] = route
            made.append(route)
        return made

    def keep(self, key: bytes, host: VirtualHost) -> None:
        """This was made of it."""
        if all(map(_is_stateless, host.routes)):
            self._next_hosts[key] = host

    def end(self) -> None:
        """The table is compiled: know what it has."""
        self._hosts, self._routes = self._next_hosts, self._next_routes
        self._next_hosts, self._next_routes = {}, {}


def _is_stateless(route: Route) -> bool:
    if route.per_filter_config or route.filter_switches or route.chosen_by is not None:
        return False
    return not any(entry.per_filter_config or entry.filter_switches for entry in route.weighted)
