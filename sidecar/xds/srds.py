"""SRDS: the scopes of connection managers as resources, each with the name of its routes (RDS).

Connection managers that name the same source share a subscription.  An answer is refused as a whole where two
scopes have one name or one key; a scope without routes refuses what comes behind it (Envoy's
``ScopedRdsConfigSubscription``).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import trio

from sidecar.core.errors import XdsError
from sidecar.xds.subscription import Resource, ResourceKind, Subscription

if TYPE_CHECKING:
    from sidecar.xds.sources import Sources

__all__ = ["SCOPED_ROUTE_CONFIGURATION", "ScopeFollower", "ScopeSubscription", "ScopeSubscriptions"]

SCOPED_ROUTE_CONFIGURATION = "envoy.config.route.v3.ScopedRouteConfiguration"


class ScopeFollower(Protocol):
    """A connection manager that has these scopes."""

    def put_scope(self, message: Any, *, is_active: bool) -> None:
        """Have a scope, and its routes where it is active.  Raises: ConfigError."""
        ...

    def drop_scope(self, name: str) -> None:
        """Have it no more."""
        ...

    def scopes_changed(self) -> None:
        """That was all for now."""
        ...


class ScopeSubscription:
    """All scopes of one source (:class:`sidecar.xds.subscription.Subscriber`)."""

    def __init__(self, name: str, scope: Any) -> None:
        self.kind = ResourceKind(
            SCOPED_ROUTE_CONFIGURATION, "name", lambda message, path: message, validates_clusters=False
        )
        self.name = name
        self.answered = trio.Event()
        self.subscription: Subscription | None = None
        self.task = trio.CancelScope()
        self.version = ""
        self.updated_s = 0.0
        self.scopes: dict[str, Any] = {}
        #: Those whose routes are asked for.
        self._active: set[str] = set()
        self._followers: list[ScopeFollower] = []
        self._reload = scope.counter("config_reload")
        self._reload_time = scope.gauge("config_reload_time_ms")
        scope.counter("update_empty")
        self._all = scope.gauge("all_scopes")
        self._on_demand_scopes = scope.gauge("on_demand_scopes")
        self._active_scopes = scope.gauge("active_scopes")

    async def run(self) -> None:
        """Follow the scopes until nobody wants them any more."""
        assert self.subscription is not None
        with self.task:
            await self.subscription.run()

    def follow(self, follower: ScopeFollower) -> None:
        """Tell ``follower`` what comes, and at once what there is.  Raises: ConfigError."""
        self._followers.append(follower)
        for name, message in self.scopes.items():
            follower.put_scope(message, is_active=name in self._active)
        follower.scopes_changed()

    def leave(self, follower: ScopeFollower) -> bool:
        """Tell it no more; whether nobody is left."""
        self._followers.remove(follower)
        return not self._followers

    def activate(self, name: str) -> None:
        """Somebody asks for the routes of a scope that waits for that."""
        if name in self._active or name not in self.scopes:
            return
        self._active.add(name)
        self._count()
        for follower in self._followers:
            follower.put_scope(self.scopes[name], is_active=True)

    # -- Subscriber ------------------------------------------------------------------------------------
    def on_update(self, resources: Sequence[Resource], version: str) -> None:
        self.on_delta(resources, list(self.scopes), version)

    def on_delta(self, added: Sequence[Resource], removed: Sequence[str], version: str) -> None:
        self._check(added, removed)
        new = {each.value.name for each in added}
        gone = [name for name in removed if name not in new and name in self.scopes]
        for name in gone:
            self._drop(name)
        try:
            changed = [each for each in added if self._put(each.value)]
        finally:
            for follower in self._followers:
                follower.scopes_changed()
            self._count()
        self.updated_s = time.time()
        if changed or gone:
            self.version = version
        self._all.set(len(self.scopes))
        self._reload.value += 1
        self._reload_time.set(int(self.updated_s * 1000))
        self.answered.set()

    def on_failure(self) -> None:
        self.answered.set()

    def _check(self, added: Sequence[Resource], removed: Sequence[str]) -> None:
        """Raises: XdsError."""
        names = {each.value.name for each in added if not each.error}.union(removed)
        keys = {_key(each): name for name, each in self.scopes.items() if name not in names}
        seen: set[str] = set()
        for resource in added:
            if resource.error:
                raise XdsError(resource.error)
            name = resource.value.name
            if name in seen:
                raise XdsError(
                    "Error adding/updating scoped route(s):"
                    f" duplicate scoped route configuration '{name}' found"
                )
            seen.add(name)
            first = keys.setdefault(_key(resource.value), name)
            if first != name:
                raise XdsError(
                    "Error adding/updating scoped route(s): scope key conflict found,"
                    f" first scope is '{first}', second scope is '{name}'"
                )

    def _put(self, message: Any) -> bool:
        """Whether it changes anything.  Raises: XdsError."""
        if not message.route_configuration_name:
            raise XdsError("route_configuration_name is empty.")
        if self.scopes.get(message.name) == message:
            return False
        self.scopes[message.name] = message
        self._active.discard(message.name)
        if not message.on_demand:
            self._active.add(message.name)
        for follower in self._followers:
            follower.put_scope(message, is_active=not message.on_demand)
        return True

    def _drop(self, name: str) -> None:
        del self.scopes[name]
        self._active.discard(name)
        for follower in self._followers:
            follower.drop_scope(name)

    def _count(self) -> None:
        self._active_scopes.set(len(self._active))
        self._on_demand_scopes.set(sum(each.on_demand for each in self.scopes.values()))


def _key(message: Any) -> tuple[str, ...]:
    return tuple(each.string_key for each in message.key.fragments)


class ScopeSubscriptions:
    """Those of one server."""

    def __init__(self, sources: Sources, spawn: Callable[[str, Callable[[], Any]], None]) -> None:
        self._sources = sources
        self._spawn = spawn
        self._open: dict[bytes, ScopeSubscription] = {}

    def __iter__(self) -> Any:
        return iter(self._open.values())

    def follow(
        self, scoped: Any, path: str, scope: Any, follower: ScopeFollower
    ) -> tuple[ScopeSubscription, Callable[[], None]]:
        """Follow the ``scoped_rds`` of a ``ScopedRoutes``, counted in ``scope``; the second result ends it.

        Raises: ConfigError.
        """
        key = scoped.scoped_rds.SerializeToString(deterministic=True)
        found = self._open.get(key)
        if found is None:
            at = scope.scope(f"scoped_rds.{scoped.name}")
            found = ScopeSubscription(scoped.name, at)
            found.subscription = self._sources.subscribe(
                scoped.scoped_rds.scoped_rds_config_source,
                f"{path}.scoped_rds.scoped_rds_config_source",
                found,
                at,
                None,
            )
            self._open[key] = found
            found.follow(follower)
            found.subscription.start()
            self._spawn(f"scopes {scoped.name}", found.run)
        else:
            found.follow(follower)

        def leave() -> None:
            if found.leave(follower):
                self._open.pop(key, None)
                assert found.subscription is not None
                found.subscription.close()
                found.task.cancel()

        return found, leave
