"""The scopes of one connection manager: those of its file, or those that a control plane sends (SRDS).

Each has a route table of its own, compiled for this manager; a request that finds a scope whose routes are
only asked for on demand can have them asked for (:mod:`sidecar.extensions.http.on_demand`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import trio

from sidecar.config.compile.scoped_routes import compile_scope_key
from sidecar.core.errors import ConfigError, XdsError
from sidecar.router.scoped_routes import Scope, ScopedTable

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from sidecar.api.stream import Stream
    from sidecar.router.route_table import RouteTable
    from sidecar.xds.rds import Follower, RouteSubscription
    from sidecar.xds.srds import ScopeSubscription

__all__ = ["DiscoveredScopes"]

#: Follows the route configuration of a name: its subscription, and what ends it.
Follow = Callable[[str, "Follower"], "tuple[RouteSubscription, Callable[[], None]]"]


class DiscoveredScopes:
    """A :class:`sidecar.xds.srds.ScopeFollower`."""

    def __init__(
        self,
        table: ScopedTable,
        compile_table: Callable[[Any, str], RouteTable],
        follow: Follow,
        use: Callable[[], None],
    ) -> None:
        """``use`` is called when what the table says of itself may have changed."""
        self._table = table
        self._compile_table = compile_table
        self._follow = follow
        self._use = use
        self._sources: dict[str, tuple[RouteSubscription, Callable[[], None]]] = {}
        self._waiting: dict[str, trio.Event] = {}
        self.subscription: ScopeSubscription | None = None

    # -- ScopeFollower -----------------------------------------------------------------------------------
    def put_scope(self, message: Any, *, is_active: bool) -> None:
        old = self._sources.pop(message.name, None)
        scope = Scope(message.name, compile_scope_key(message))
        self._table.put(scope)
        try:
            if is_active:
                follower = self._follower(scope)
                self._sources[message.name] = self._follow(message.route_configuration_name, follower)
        except ConfigError as error:
            raise XdsError(f"{error.path}: {error.reason}") from error
        finally:
            if old is not None:
                old[1]()

    def drop_scope(self, name: str) -> None:
        self._table.drop(name)
        old = self._sources.pop(name, None)
        if old is not None:
            old[1]()
        self._waiting.pop(name, trio.Event()).set()

    def scopes_changed(self) -> None:
        self._table.refresh()
        self._use()

    def _follower(self, scope: Scope) -> Follower:
        def follower(message: Any, path: str) -> Callable[[], None]:
            table = self._compile_table(message, path)

            def commit() -> None:
                scope.table = table
                self.scopes_changed()
                self._waiting.pop(scope.name, trio.Event()).set()

            return commit

        return follower

    # -- waiting -------------------------------------------------------------------------------------------
    async def answered(self) -> None:
        """Wait until the scopes are here, and the routes of those that do not wait for a request."""
        assert self.subscription is not None
        await self.subscription.answered.wait()
        for source, _ in list(self._sources.values()):
            await source.answered.wait()

    def request(self, stream: Stream) -> Awaitable[bool] | None:
        """Ask for the routes of the scope of ``stream``, if there is one: whether they are here then."""
        scope = self._table.scope_of(stream.request.headers)
        if scope is None or self.subscription is None:
            return None
        return self._wait(scope.name)

    async def _wait(self, name: str) -> bool:
        assert self.subscription is not None
        scope = self._table.scopes[name]
        if scope.table is None:
            event = self._waiting.setdefault(name, trio.Event())
            self.subscription.activate(name)
            if self._table.scopes[name].table is None:
                await event.wait()
        return True

    def close(self) -> None:
        """Want no routes any more."""
        for _, leave in self._sources.values():
            leave()
        self._sources.clear()
