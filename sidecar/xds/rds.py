"""RDS: the routes of connection managers as resources of their own.

Connection managers that name the same resource of the same source share a subscription.  A new
configuration is compiled for each of them first; if one refuses it, all keep the old one.  Requests under way
keep the route that they have (Envoy's ``RdsRouteConfigSubscription``).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import trio

from sidecar.core.errors import ConfigError, XdsError
from sidecar.xds.subscription import Resource, ResourceKind, Subscription

if TYPE_CHECKING:
    from sidecar.xds.sources import Sources

__all__ = ["ROUTE_CONFIGURATION", "RouteSubscription", "RouteSubscriptions"]

log = logging.getLogger("sidecar.config")

ROUTE_CONFIGURATION = "envoy.config.route.v3.RouteConfiguration"
#: Compiles a message that stands at a path; what it returns puts the result in use.  Raises: ConfigError.
Follower = Callable[[Any, str], Callable[[], None]]


class RouteSubscription:
    """One resource (:class:`sidecar.xds.subscription.Subscriber`)."""

    def __init__(self, name: str, scope: Any, known_clusters: Callable[[], Mapping[str, Any]]) -> None:
        self.name = name
        self.kind = ResourceKind(
            ROUTE_CONFIGURATION,
            "name",
            lambda message, path: (message, path),
            known_clusters=known_clusters,
            validates_clusters=False,
        )
        self.answered = trio.Event()
        self.subscription: Subscription | None = None
        self.task: trio.CancelScope = trio.CancelScope()
        self.version = ""
        self.updated_s = 0.0
        self.message: Any = None
        self._path = ""
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
        if self.message is not None and self.message == message:
            self.answered.set()
            return
        try:
            commits = [follower(message, path) for follower in self._followers]
        except ConfigError as error:
            raise XdsError(f"{error.path}: {error.reason}") from error
        for commit in commits:
            commit()
        self.message, self._path, self.version = message, path, version
        self.updated_s = time.time()
        self._reload.value += 1
        self._reload_time.set(int(self.updated_s * 1000))
        self.answered.set()

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

    def follow(
        self, rds: Any, path: str, scope: Any, follower: Follower
    ) -> tuple[RouteSubscription, Callable[[], None]]:
        """Follow the routes of an ``Rds`` at ``path``, counted in ``scope``; the second result ends it.

        Raises: ConfigError.
        """
        key = rds.SerializeToString(deterministic=True)
        found = self._open.get(key)
        if found is None:
            name = rds.route_config_name
            at = scope.scope(f"rds.{name}")
            found = RouteSubscription(name, at, self._known_clusters)
            found.subscription = self._sources.subscribe(
                rds.config_source, f"{path}.config_source", found, at, (name,)
            )
            self._open[key] = found
            found.follow(follower)
            found.subscription.start()
            self._spawn(f"routes {name}", found.run)
        else:
            found.follow(follower)

        def leave() -> None:
            if found.leave(follower):
                self._open.pop(key, None)
                found.task.cancel()

        return found, leave
