"""SDS: certificates, validation contexts and ticket keys that are resources of their own, by name.

A secret stands in the bootstrap (``static_resources.secrets``), or comes from a file that is watched; and the
files that a secret names are watched, too, or the directory that it says (``watched_directory``: the atomic
change of a link, as Kubernetes does it).  Whoever uses a secret may refuse a new one; then the old one stays,
and new connections go on with it (Envoy's ``SdsApi``).  The same refused secret again is taken for no change,
so that a wrong one keeps others from being taken once only.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import trio

from sidecar.api.context import FactoryContext
from sidecar.api.init_target import InitTarget
from sidecar.core.errors import ConfigError, XdsError
from sidecar.net.file_watcher import Watch
from sidecar.xds.subscription import UNCHANGED, Refused, Resource, ResourceKind, Subscription

if TYPE_CHECKING:
    from sidecar.config.compile.tls_certificates import Secret
    from sidecar.xds.sources import Sources

__all__ = ["SECRET", "DynamicSecret", "Secrets", "StaticSecret"]

log = logging.getLogger("sidecar.config")

SECRET = "envoy.extensions.transport_sockets.tls.v3.Secret"  # noqa: S105 - a type's name


class StaticSecret:
    """One of the bootstrap's: it never changes."""

    def __init__(self, secret: Secret) -> None:
        self.secret: Secret | None = secret

    def listen(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Nothing will be told."""
        return _nothing


class DynamicSecret:
    """A secret that is a resource (:class:`sidecar.xds.subscription.Subscriber`)."""

    def __init__(
        self, name: str, kind: str, source: Any, path: str, sources: Sources, context: FactoryContext
    ) -> None:
        """Raises: ConfigError, when there can be no subscription to ``source``, which stands at ``path``."""
        self.name = name
        self.secret: Secret | None = None
        #: Of the secret that is in use, and since when.
        self.version = "uninitialized"
        self.at_s = time.time()
        self._refused = Refused()
        self.kind = ResourceKind(SECRET, "name", partial(self._compile, kind), refused=self._refused)
        self._context = context
        self._watcher = sources.watcher
        #: Something came, or nothing will.
        self.answered = trio.Event()
        self._listeners: list[Callable[[], None]] = []
        self.task = trio.CancelScope()
        #: How many places of the configuration name it.
        self.uses = 0
        self._watches: list[Watch] = []
        scope = self.scope = context.root_stats.scope(f"sds.{name}")
        self._rotation_failed = scope.counter("key_rotation_failed")
        self.subscription: Subscription = sources.subscribe(source, path, self, scope, (name,))
        self.subscription.start()

    @property
    def message(self) -> Any:
        """The secret that is in use, or None."""
        return None if self.secret is None else self.secret.message

    def _compile(self, kind: str, message: Any, path: str) -> Secret:
        from sidecar.config.compile.tls_certificates import compile_secret

        return compile_secret(message, path, kind, self._context)

    def listen(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Call ``changed`` when there is another secret; it raises ConfigError to refuse it.

        The result ends it.
        """
        self._listeners.append(changed)
        return partial(self._listeners.remove, changed)

    async def run(self) -> None:
        """Follow the resource until nobody uses it any more."""
        with self.task:
            await self.subscription.run()

    def close(self) -> None:
        """Nobody uses it any more."""
        self.subscription.close()
        self.task.cancel()
        for watch in self._watches:
            watch.close()

    # -- Subscriber ---------------------------------------------------------------------------------
    def on_update(self, resources: Sequence[Resource], version: str) -> None:
        if len(resources) != 1:
            raise XdsError(f"Unexpected SDS secrets length: {len(resources)}")
        if resources[0].name != self.name:
            raise XdsError(f"Unexpected SDS secret (expecting {self.name}): {resources[0].name}")
        secret = resources[0].value
        if secret is UNCHANGED:
            self.answered.set()
            return
        try:
            self._take(secret)
        except ConfigError as error:
            self._refused.remember(secret.message)
            raise XdsError(f"{error.path}: {error.reason}") from error
        self._refused.forget()
        self.version, self.at_s = version, time.time()
        self.answered.set()

    def on_delta(self, added: Sequence[Resource], removed: Sequence[str], version: str) -> None:
        if not added and len(removed) == 1:
            return  # it stays until there is another
        if len(added) + len(removed) != 1:
            raise XdsError(f"Unexpected SDS secrets length: {len(added) + len(removed)}")
        self.on_update(added, version)

    def on_failure(self) -> None:
        """The old secret, or none, is what there is."""
        self.answered.set()

    # -- changes --------------------------------------------------------------------------------------
    def _take(self, secret: Secret) -> None:
        """Raises: ConfigError, when somebody refuses it; nothing has changed then."""
        before, self.secret = self.secret, secret
        told = []
        try:
            for changed in self._listeners:
                told.append(changed)
                changed()
        except ConfigError:
            self.secret = before
            for changed in told[:-1]:
                changed()
            raise
        self._watch(secret)

    def _watch(self, secret: Secret) -> None:
        for watch in self._watches:
            watch.close()
        self._watches = []
        watcher = self._watcher
        try:
            if secret.watched_directory:
                self._watches.append(watcher.watch_directory(secret.watched_directory, self._reload))
            else:
                for path in secret.files:
                    self._watches.append(watcher.watch_file(path, self._reload))
        except (OSError, ValueError) as error:
            log.warning("secret %s: its files cannot be watched: %s", self.name, error)

    def _reload(self) -> None:
        """A file that the secret names was replaced."""
        secret = self.secret
        if secret is None:
            return
        try:
            from sidecar.config.compile.tls_certificates import compile_secret

            self._take(compile_secret(secret.message, self.name, secret.kind, self._context))
        except ConfigError as error:
            self._rotation_failed.value += 1
            log.warning("Failed to reload certificates: %s: %s", error.path, error.reason)


class Secrets:
    """All secrets of a configuration."""

    def __init__(
        self,
        bootstrap: Any,
        sources: Sources,
        make_context: Callable[[str], FactoryContext],
        spawn: Callable[[str, Callable[[], Awaitable[None]]], None],
    ) -> None:
        """``spawn`` starts a lasting task."""
        self._sources = sources
        self._spawn = spawn
        self._make_context = make_context
        self._static = {
            each.name: (each, f"static_resources.secrets[{index}]")
            for index, each in enumerate(bootstrap.static_resources.secrets)
        }
        self._dynamic: dict[tuple[str, str, bytes], DynamicSecret] = {}

    def dynamic(self) -> list[DynamicSecret]:
        """Those that are resources of their own."""
        return list(self._dynamic.values())

    def find(
        self, message: Any, kind: str, path: str, context: FactoryContext
    ) -> StaticSecret | DynamicSecret:
        """The secret of an ``SdsSecretConfig`` at ``path``; ``kind`` is the field of Secret that it has.

        What the context belongs to waits for it, and uses it until it ends.  Raises: ConfigError.
        """
        name = message.name
        if not message.HasField("sds_config"):
            found = self._static.get(name)
            if found is None or found[0].WhichOneof("type") != kind:
                what = {"tls_certificate": "secret", "validation_context": "certificate validation context"}
                raise ConfigError(path, f"Unknown static {what.get(kind, 'secret')}: {name}")
            from sidecar.config.compile.tls_certificates import compile_secret

            return StaticSecret(compile_secret(found[0], found[1], kind, self._make_context(found[1])))
        key = (name, kind, message.sds_config.SerializeToString(deterministic=True))
        secret = self._dynamic.get(key)
        if secret is None:
            secret = DynamicSecret(
                name, kind, message.sds_config, f"{path}.sds_config", self._sources, self._make_context(path)
            )
            self._spawn(f"secret {name}", secret.run)
            self._dynamic[key] = secret
        secret.uses += 1
        context.on_close(partial(self._leave, key, secret))
        if context.before_serving is not None and not secret.answered.is_set():
            context.before_serving(InitTarget(f"shared target SdsApi {name}", secret.answered.wait))
        return secret

    def _leave(self, key: tuple[str, str, bytes], secret: DynamicSecret) -> None:
        secret.uses -= 1
        if secret.uses or self._dynamic.get(key) is not secret:
            return
        del self._dynamic[key]
        secret.close()
        if all(each.name != secret.name for each in self._dynamic.values()):
            secret.scope.store.remove(secret.scope.prefix)


def _nothing() -> None:
    """It never changes."""
