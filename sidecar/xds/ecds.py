"""ECDS: the configuration of single extensions as resources of their own.

Filters that name the same resource of the same source share a subscription.  A new configuration is compiled
for each of them first; if one refuses it, all keep the old one (Envoy's ``FilterConfigSubscription``).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import trio

from sidecar.config.compile.discovered import WrongType
from sidecar.core.errors import ConfigError, XdsError
from sidecar.xds.subscription import UNCHANGED, Refused, Resource, ResourceKind, Subscription

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sidecar.xds.sources import Sources

__all__ = ["TYPED_EXTENSION_CONFIG", "ExtensionConfigs", "ExtensionSubscription", "Follower"]

log = logging.getLogger("sidecar.config")

TYPED_EXTENSION_CONFIG = "envoy.config.core.v3.TypedExtensionConfig"
#: Compiles a message that stands at a path, None where there is none any more; what it returns puts the
#: result in use.  Raises: ConfigError.
Follower = Callable[[Any, str], Callable[[], None]]


#: Where Envoy takes a configuration for the last before it is known whether it can be used: one that cannot
#: counts as a reload, and the same again as no change.
_HASTY = "tcp_listener_filter"


class _Hasty(Refused):
    """Counts what it remembers."""

    def __init__(self, reload: Any) -> None:
        super().__init__()
        self._reload = reload

    def remember(self, message: Any) -> None:
        super().remember(message)
        self._reload.value += 1


class ExtensionSubscription:
    """One resource (:class:`sidecar.xds.subscription.Subscriber`)."""

    def __init__(
        self, name: str, category: str, scope: Any, known_clusters: Callable[[], Mapping[str, Any]]
    ) -> None:
        self.name = name
        self._reload = scope.counter("config_reload")
        self._refused = _Hasty(self._reload) if category == _HASTY else None
        self.kind = ResourceKind(
            TYPED_EXTENSION_CONFIG,
            "name",
            lambda message, path: (message, path),
            known_clusters=known_clusters,
            refused=self._refused,
        )
        self.answered = trio.Event()
        self.subscription: Subscription | None = None
        self.task = trio.CancelScope()
        self.message: Any = None
        #: Of the configuration that is in use, and since when.
        self.version = ""
        self.at_s = 0.0
        self._path = ""
        self._followers: list[Follower] = []
        self._fail = scope.counter("config_fail")
        self._conflict = scope.counter("config_conflict")

    async def run(self) -> None:
        """Follow the resource until nobody wants it any more."""
        assert self.subscription is not None
        with self.task:
            await self.subscription.run()

    def follow(self, follower: Follower) -> None:
        """Tell ``follower`` what comes, and at once what there is."""
        self._followers.append(follower)
        if self.message is None:
            return
        try:
            follower(self.message, self._path)()
        except ConfigError as error:
            log.warning("extension %s does not fit: %s: %s", self.name, error.path, error.reason)
            self._conflict.value += 1

    def leave(self, follower: Follower) -> bool:
        """Tell it no more; whether nobody is left."""
        self._followers.remove(follower)
        return not self._followers

    # -- Subscriber ------------------------------------------------------------------------------------
    def on_update(self, resources: Sequence[Resource], version: str) -> None:
        if len(resources) != 1:
            raise XdsError(f"Unexpected number of resources in ExtensionConfigDS response: {len(resources)}")
        if resources[0].value is UNCHANGED:
            self.answered.set()
            return
        message, path = resources[0].value
        if message.name != self.name:
            raise XdsError(f"Unexpected resource name in ExtensionConfigDS response: {message.name}")
        is_last = self._refused is None or not self._refused.is_anything
        if is_last and self.message is not None and self.message.typed_config == message.typed_config:
            self.answered.set()
            return
        self._use(message, path)
        self.version, self.at_s = version, time.time()
        self.answered.set()

    def on_delta(self, added: Sequence[Resource], removed: Sequence[str], version: str) -> None:
        if removed:
            self._use(None, "")
        elif added:
            self.on_update(added, added[0].version)

    def on_failure(self) -> None:
        self._fail.value += 1
        self.answered.set()

    def _use(self, message: Any, path: str) -> None:
        """Raises: XdsError."""
        try:
            commits = [follower(message, path) for follower in self._followers]
        except ConfigError as error:
            if self._refused is not None and not isinstance(error, WrongType):
                self._refused.remember(message)
            raise XdsError(f"{error.path}: {error.reason}") from error
        if self._refused is not None:
            self._refused.forget()
        for commit in commits:
            commit()
        self.message, self._path = message, path
        self._reload.value += 1


class ExtensionConfigs:
    """Those of one server."""

    def __init__(
        self,
        sources: Sources,
        root: Any,
        spawn: Callable[[str, Callable[[], Any]], None],
        known_clusters: Callable[[], Mapping[str, Any]],
    ) -> None:
        self._sources = sources
        self._root = root
        self._spawn = spawn
        self._known_clusters = known_clusters
        self._open: dict[tuple[str, str, bytes], ExtensionSubscription] = {}
        #: Which categories there ever were.
        self._categories: dict[str, None] = {}

    def by_category(self) -> dict[str, list[ExtensionSubscription]]:
        """What came, by the categories that there ever were."""
        return {
            category: [
                each for (of, _, _), each in self._open.items() if of == category and each.message is not None
            ]
            for category in self._categories
        }

    def follow(
        self, source: Any, path: str, category: str, name: str, follower: Follower
    ) -> tuple[ExtensionSubscription, Callable[[], None]]:
        """Follow an extension of a ``ConfigSource`` at ``path``; the second result ends it.

        ``category`` is a part of the names of its stats, ``http_filter``.  Raises: ConfigError.
        """
        key = category, name, source.SerializeToString(deterministic=True)
        self._categories[category] = None
        found = self._open.get(key)
        if found is None:
            scope = self._root.scope(f"extension_config_discovery.{category}.{name}")
            found = ExtensionSubscription(name, category, scope, self._known_clusters)
            found.subscription = self._sources.subscribe(source, path, found, scope, (name,))
            self._open[key] = found
            found.follow(follower)
            found.subscription.start()
            self._spawn(f"extension {name}", found.run)
        else:
            found.follow(follower)

        def leave() -> None:
            if found.leave(follower):
                self._open.pop(key, None)
                found.task.cancel()

        return found, leave
