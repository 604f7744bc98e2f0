"""What is known of the route configuration that was looked at last, by the bytes of its routes.

Of ten thousand routes mostly one is new: only that one is checked, with the virtual hosts around it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sidecar.config.errors import Path, format_path
from sidecar.config.messages import message_class, unpack
from sidecar.config.pieces import split

__all__ = ["RoutePieces"]

_ROUTE_CONFIGURATION = "envoy.config.route.v3.RouteConfiguration"
#: ``RouteConfiguration.virtual_hosts`` and ``VirtualHost.routes``.
_VIRTUAL_HOSTS, _ROUTES = 2, 3
#: All of a virtual host but its routes, and these.
_Host = tuple[bytes, frozenset[bytes]]


class RoutePieces:
    """See the module (:class:`sidecar.xds.subscription.Incremental`)."""

    def __init__(self) -> None:
        #: All of the last one but its virtual hosts; None where nothing may be taken from it.
        self._rest: bytes | None = None
        #: Its virtual hosts, by their bytes.
        self._hosts: dict[bytes, _Host] = {}

    def again(
        self, packed: Any, path: Path, judge: Callable[[Any], Any]
    ) -> tuple[str, tuple[Any, str]] | None:
        """The configuration in an Any that is much like the last."""
        if self._rest is None:
            return None
        try:
            rest, virtual_hosts = split(packed.value, _VIRTUAL_HOSTS)
            if rest != self._rest:
                return None
            known: dict[bytes, frozenset[bytes]] = {}
            for head, routes in self._hosts.values():
                known[head] = known.get(head, frozenset()) | routes
            hosts: dict[bytes, _Host] = {}
            new: list[tuple[bytes, list[bytes]]] = []
            for each in virtual_hosts:
                found = self._hosts.get(each)
                if found is None:
                    head, routes_of = split(each, _ROUTES)
                    before = known.get(head, frozenset())
                    new.append((head, [route for route in routes_of if route not in before]))
                    found = head, frozenset(routes_of)
                hosts[each] = found
        except ValueError:
            return None
        heads = [head for head, _ in hosts.values()]
        if heads != [head for head, _ in self._hosts.values()] or len(hosts) != len(virtual_hosts):
            # Domains have to be told apart: all virtual hosts are looked at.
            fresh = dict(new)
            new = [(head, fresh.get(head, [])) for head in heads]
            if len(hosts) != len(virtual_hosts):
                return None
        if new and not self._is_right(new, judge):
            return None
        message: Any = unpack(packed)
        if message is None:
            return None
        self._hosts = hosts
        return message.name, (message, format_path(path))

    def remember(self, packed: Any, message: Any, value: Any) -> None:
        """This was checked."""
        self._rest = None
        if message.validate_clusters.value:
            return  # it depends on what clusters there are
        try:
            rest, virtual_hosts = split(packed.value, _VIRTUAL_HOSTS)
            hosts = {}
            for each in virtual_hosts:
                head, routes = split(each, _ROUTES)
                hosts[each] = head, frozenset(routes)
        except ValueError:
            return
        self._rest, self._hosts = rest, hosts

    def _is_right(self, new: list[tuple[bytes, list[bytes]]], judge: Callable[[Any], Any]) -> bool:
        cls = message_class(_ROUTE_CONFIGURATION)
        assert cls is not None  # one was decoded before
        message: Any = cls()
        message.MergeFromString(self._rest)
        for head, routes in new:
            host = message.virtual_hosts.add()
            host.MergeFromString(head)
            for route in routes:
                host.routes.add().MergeFromString(route)
        return judge(message) is not None
