"""RDS: the routes of connection managers as resources of their own.

Connection managers that name the same resource of the same source share a subscription.  A new
configuration is compiled for each of them first; if one refuses it, all keep the old one.  Requests under way
keep the route that they have (Envoy's ``RdsRouteConfigSubscription``).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import trio

from sidecar.core.errors import ConfigError, XdsError
from sidecar.xds.route_pieces import RoutePieces
from sidecar.xds.subscription import Resource, ResourceKind, Subscription
from sidecar.xds.vhds import VirtualHosts, check_source

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from sidecar.api.stream import Stream
    from sidecar.xds.grpc_stream import GrpcSubscription
    from sidecar.xds.sources import Sources

__all__ = ["ROUTE_CONFIGURATION", "RouteSubscription", "RouteSubscriptions"]

log = logging.getLogger("sidecar.config")

ROUTE_CONFIGURATION = "envoy.config.route.v3.RouteConfiguration"
#: Compiles a message that stands at a path; what it returns puts the result in use.  Raises: ConfigError.
Follower = Callable[[Any, str], Callable[[], None]]


class RouteSubscription:
    """One resource (:class:`sidecar.xds.subscription.Subscriber`)."""

    def __init__(
        self, name: str, outer: Any, scope: Any, known_clusters: Callable[[], Mapping[str, Any]]
    ) -> None:
        """``scope`` is that of its stats, ``outer`` that of the connection manager that came first."""
        self.name = name
        self.scope = scope
        self.kind = ResourceKind(
            ROUTE_CONFIGURATION,
            "name",
            lambda message, path: (message, path),
            known_clusters=known_clusters,
            validates_clusters=False,
            incremental=RoutePieces(),
        )
        self.answered = trio.Event()
        self.subscription: Subscription | None = None
        self.task: trio.CancelScope = trio.CancelScope()
        self.version = ""
        self.updated_s = 0.0
        self.message: Any = None
        #: Without the virtual hosts that come by themselves.
        self._own: Any = None
        self._path = ""
        #: Makes the subscription of virtual hosts that a configuration asks for.
        self.discover_hosts: Callable[[VirtualHosts, str], None] = lambda hosts, path: None
        self.hosts: VirtualHosts | None = None
        self._outer = outer
        self._known_clusters = known_clusters
        self._followers: list[Follower] = []
        self._reload = scope.counter("config_reload")
        self._reload_time = scope.gauge("config_reload_time_ms")
        self._empty = scope.counter("update_empty")

    async def run(self) -> None:
        """Follow the resource until nobody wants it any more."""
        assert self.subscription is not None
        with self.task:
            await self.subscription.run()

    def follow(self, follower: Follower) -> None:
        """Tell ``follower`` what comes, and at once what there is.  Raises: ConfigError."""
        self._followers.append(follower)
        if self.message is not None:
            follower(self.message, self._path)()

    def leave(self, follower: Follower) -> bool:
        """Tell it no more; whether nobody is left."""
        self._followers.remove(follower)
        return not self._followers

    # -- Subscriber ------------------------------------------------------------------------------------
    def on_update(self, resources: Sequence[Resource], version: str) -> None:
        if not resources:
            self._empty.value += 1
            self.answered.set()
            return
        if len(resources) != 1:
            raise XdsError(f"Unexpected RDS resource length: {len(resources)}")
        message, path = resources[0].value
        if message.name != self.name:
            raise XdsError(f"Unexpected RDS configuration (expecting {self.name}): {message.name}")
        if self._own is not None and self._own == message:
            self.answered.set()
            return
        hosts = self._hosts_of(message)
        if hosts is not None and hosts is not self.hosts:
            # Nothing of it is in use before the first of its virtual hosts are here.
            self._compile(message, path)
            self._own, self._path = message, path
            self._follow_hosts(hosts, path)
            return
        self._use(message if hosts is None else merged(message, hosts.hosts), path, version)
        self._own = message
        self._follow_hosts(hosts, path)

    def _compile(self, message: Any, path: str) -> list[Callable[[], None]]:
        """Raises: XdsError."""
        try:
            return [follower(message, path) for follower in self._followers]
        except ConfigError as error:
            raise XdsError(f"{error.path}: {error.reason}") from error

    def _use(self, message: Any, path: str, version: str) -> None:
        """Raises: XdsError."""
        for commit in self._compile(message, path):
            commit()
        self.message, self._path, self.version = message, path, version
        self.updated_s = time.time()
        self._reload.value += 1
        self._reload_time.set(int(self.updated_s * 1000))

    # -- virtual hosts that come by themselves (VHDS) ------------------------------------------------------
    def _hosts_of(self, message: Any) -> VirtualHosts | None:
        """Those that a configuration asks for, which may be those that there are.  Raises: XdsError."""
        if not message.HasField("vhds"):
            return None
        if self.hosts is not None and self.hosts.source == message.vhds:
            return self.hosts
        return VirtualHosts(
            self.name,
            message.vhds,
            self._outer.scope(f"rds.vhds.{self.name}"),
            self._known_clusters,
            lambda hosts, version: self._use(merged(self._own, hosts), self._path, version),
        )

    def _follow_hosts(self, hosts: VirtualHosts | None, path: str) -> None:
        old, self.hosts = self.hosts, hosts
        if old is not hosts and old is not None:
            old.close()
        if hosts is None:
            self.answered.set()
        elif old is not hosts:
            hosts.answered = self.answered
            try:
                self.discover_hosts(hosts, path)
            except ConfigError as error:
                self.hosts = None
                raise XdsError(error.reason) from error

    def request(self, stream: Stream) -> Awaitable[bool] | None:
        """Ask for the virtual host of a request, where hosts come by themselves; True when it is answered."""
        host = stream.request.headers.authority
        return None if self.hosts is None or host is None else self.hosts.request(host.lower())

    def close(self) -> None:
        """Nobody wants it any more."""
        assert self.subscription is not None
        self.subscription.close()
        self.task.cancel()
        if self.hosts is not None:
            self.hosts.close()

    def on_delta(self, added: Sequence[Resource], removed: Sequence[str], version: str) -> None:
        if removed:
            log.error(
                "Server sent a delta RDS update attempting to remove a resource (name: %s). Ignoring.",
                removed[0],
            )
        if added:
            self.on_update(added, added[0].version)

    def on_failure(self) -> None:
        self.answered.set()


def merged(message: Any, hosts: Mapping[str, Any]) -> Any:
    """A configuration with further virtual hosts, by name."""
    made = type(message)()
    made.CopyFrom(message)
    del made.virtual_hosts[:]
    own = {each.name: each for each in message.virtual_hosts}
    made.virtual_hosts.extend(own[name] for name in sorted(own))
    made.virtual_hosts.extend(hosts[name] for name in sorted(hosts))
    return made


class RouteSubscriptions:
    """Those of one server."""

    def __init__(
        self,
        sources: Sources,
        spawn: Callable[[str, Callable[[], Any]], None],
        known_clusters: Callable[[], Mapping[str, Any]],
    ) -> None:
        self._sources = sources
        self._spawn = spawn
        self._known_clusters = known_clusters
        self._open: dict[bytes, RouteSubscription] = {}

    def __iter__(self) -> Any:
        return iter(self._open.values())

    def _discover_hosts(self, hosts: VirtualHosts, path: str) -> None:
        """Raises: ConfigError."""
        check_source(hosts.source.config_source, self._sources.bootstrap)
        hosts.subscription = cast(
            "GrpcSubscription",
            self._sources.subscribe(
                hosts.source.config_source, f"{path}.vhds.config_source", hosts, hosts.scope, (hosts.name,)
            ),
        )
        hosts.subscription.start()
        self._spawn(f"virtual hosts of {hosts.name}", hosts.run)

    def follow(
        self, rds: Any, path: str, scope: Any, follower: Follower
    ) -> tuple[RouteSubscription, Callable[[], None]]:
        """Follow the routes of an ``Rds`` at ``path``, counted in ``scope``; the second result ends it.

        Its stats go with it.

        Raises: ConfigError.
        """
        key = rds.SerializeToString(deterministic=True)
        found = self._open.get(key)
        if found is None:
            name = rds.route_config_name
            at = scope.scope(f"rds.{name}")
            found = RouteSubscription(name, scope, at, self._known_clusters)
            found.subscription = self._sources.subscribe(
                rds.config_source, f"{path}.config_source", found, at, (name,)
            )
            found.discover_hosts = self._discover_hosts
            self._open[key] = found
            found.follow(follower)
            found.subscription.start()
            self._spawn(f"routes {name}", found.run)
        else:
            found.follow(follower)

        def leave() -> None:
            if found.leave(follower):
                self._open.pop(key, None)
                found.close()
                if all(each.scope.prefix != found.scope.prefix for each in self._open.values()):
                    found.scope.store.remove(found.scope.prefix)

        return found, leave
