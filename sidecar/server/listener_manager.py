"""Listeners that come and go while serving (LDS), beside those of the bootstrap.

Envoy's ``ListenerManagerImpl`` and ``LdsApiImpl``.  A listener that changes is made anew; it takes over the
sockets where its addresses are the same, so that nobody who connects is lost, and serves once what it waits
for (its routes, code that is fetched) is there.  The old one accepts no more; its connections are asked to
end and have the drain time for it.  Where only filter chains differ, connections of those that stay go on.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import trio

from sidecar.admin.state import OtherListener
from sidecar.api.init_target import target_name
from sidecar.core.errors import ConfigError, XdsError
from sidecar.server.bind import BindError
from sidecar.server.heap import Endings
from sidecar.xds.subscription import UNCHANGED, InUse, Resource, ResourceKind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sidecar.server.assembly import Assembly
    from sidecar.server.draining import DrainManager

__all__ = ["LISTENER", "LdsApi", "ListenerManager"]

logger = logging.getLogger("sidecar.config")
lds_logger = logging.getLogger("sidecar.upstream")

LISTENER = "envoy.config.listener.v3.Listener"


#: The admin endpoint's connection manager counts by a prefix that another one may have.
_ADMIN = "http.admin."


class _Entry:
    """One listener that was added while running."""

    def __init__(self, data: bytes, message: Any, listener: Any, version: str) -> None:
        self.data = data
        self.listener = listener
        self.version = version
        self.at_s = time.time()
        self.message = message
        #: What it waits for.
        self.jobs = list(listener.jobs)
        self.scope = trio.CancelScope()
        self.active = trio.Event()
        #: Its chains with their messages, and all of it but those.
        self.chains, self.rest = _parts(message, listener)
        #: Listeners that this one replaced in place: some of their connections go on.
        self.older: list[_Entry] = []
        #: Whether it accepts no more, and all that it accepted has ended.
        self.has_ended = False
        #: Whether what it holds was released.
        self.is_released = False

    @property
    def is_used(self) -> bool:
        """Whether a connection goes on, be it one that another listener accepted for it."""
        return not self.has_ended or self.listener.active > 0

    def replaces_chains_of(self, before: _Entry) -> bool:
        """Whether nothing but filter chains differ."""
        return bool(self.rest == before.rest and self.chains)

    async def prepare(self, job: Callable[[], Any]) -> None:
        """Wait for one thing."""
        await job()
        self.jobs.remove(job)

    def other(self) -> OtherListener:
        """What the admin endpoint tells of it where it does not serve."""
        waits_for = tuple(map(target_name, self.jobs))
        return OtherListener(self.listener.name, self.version, self.message, self.at_s, waits_for)

    def end(self) -> None:
        """Serve no more, at once."""
        self.scope.cancel()
        self.active.set()


class ListenerManager:
    """See the module."""

    def __init__(self, assembly: Assembly, store: Any, draining: DrainManager, drain_time_s: float) -> None:
        self._assembly = assembly
        self._store = store
        self._draining = draining
        self._drain_time_s = drain_time_s
        self._active: dict[str, _Entry] = {}
        self._warming: dict[str, _Entry] = {}
        self._nursery: trio.Nursery | None = None
        scope = store.scope("listener_manager")
        self._added = scope.counter("listener_added")
        self._modified = scope.counter("listener_modified")
        self._in_place = scope.counter("listener_in_place_updated")
        self._removed = scope.counter("listener_removed")
        self._created = scope.counter("listener_create_success")
        self._failed = scope.counter("listener_create_failure")
        self._total_active = scope.gauge("total_listeners_active")
        self._total_draining = scope.gauge("total_listeners_draining")
        self._total_warming = scope.gauge("total_listeners_warming")
        self._chains_draining = scope.gauge("total_filter_chains_draining")
        #: Those that accept no more, while they have connections.
        self._leaving: set[_Entry] = set()
        self._draining_count = 0
        #: Those that keep what they hold until the drain time is over, though they may have ended.
        self._drained: set[_Entry] = set()
        self._endings = Endings()

    def start(self, nursery: trio.Nursery) -> None:
        """Listeners run in ``nursery``; those of the bootstrap are served already."""
        self._nursery = nursery

    async def warm(self) -> None:
        """Wait until all that was added serves."""
        while self._warming:
            for entry in list(self._warming.values()):
                await entry.active.wait()

    def draining(self) -> list[Any]:
        """The listeners that accept no more, some of whose connections go on."""
        older = {each for entry in self._active.values() for each in entry.older}
        return [each.listener for each in self._leaving | older]

    def warming(self) -> list[Any]:
        """The listeners that do not serve yet."""
        return [each.listener for each in self._warming.values()]

    def others(self) -> tuple[list[OtherListener], list[OtherListener]]:
        """The same two for the admin endpoint: first those that do not serve yet, then those that end."""
        return [each.other() for each in self._warming.values()], [each.other() for each in self._leaving]

    def names(self) -> set[str]:
        """Of all that were added and not removed."""
        return {*self._active, *self._warming}

    def added(self, listener: Any) -> tuple[str, float] | None:
        """The version of a listener that was added while running, and when that was."""
        entry = self._active.get(listener.name)
        return None if entry is None or entry.listener is not listener else (entry.version, entry.at_s)

    def update(self, message: Any, path: str, version: str) -> bool:
        """Take a listener; whether that changes anything.  Raises: ConfigError."""
        name = message.name
        data = message.SerializeToString(deterministic=True)
        before = self._warming.get(name) or self._active.get(name)
        if before is not None and before.data == data:
            return False
        if before is None and any(each.name == name for each in self._assembly.listeners):
            return False  # one of the bootstrap's is not replaced
        listener = self._assembly.make_listener(message, path)
        if listener is None:
            raise ConfigError(path, "this kind of listener cannot be served")
        current = self._active.get(name)
        try:
            if current is not None and _same_addresses(listener, current.listener):
                listener.adopt(current.listener)
            else:
                listener.open()
        except BindError as error:
            self._failed.value += 1
            self._assembly.end_listener(listener)
            raise ConfigError(path, str(error)) from error
        (self._added if before is None else self._modified).value += 1
        entry = _Entry(data, message, listener, version)
        if current is not None and entry.replaces_chains_of(current):
            entry.version = current.version  # as Envoy has it, which takes chains alone from the new one
        waiting = self._warming.pop(name, None)
        self._warming[name] = entry
        if waiting is not None:
            self._drop(waiting)
        self._total_warming.set(len(self._warming))
        assert self._nursery is not None
        if not listener.jobs:
            self._activate(name, entry)
        self._nursery.start_soon(self._serve, name, entry, name=f"listener {name}")
        return True

    def remove(self, name: str) -> bool:
        """Let a listener go; whether there was one."""
        waiting = self._warming.pop(name, None)
        if waiting is not None:
            self._drop(waiting)
            self._total_warming.set(len(self._warming))
        active = self._active.pop(name, None)
        if active is not None:
            self._retire(active)
        if active is None and waiting is None:
            return False
        self._removed.value += 1
        self._count()
        return True

    # -- the life of one ---------------------------------------------------------------------------------
    async def _serve(self, name: str, entry: _Entry) -> None:
        listener = entry.listener
        try:
            with entry.scope:
                if listener.jobs:
                    async with trio.open_nursery() as together:
                        for job in listener.jobs:
                            together.start_soon(entry.prepare, job)
                    if self._warming.get(name) is entry:
                        self._activate(name, entry)
                await listener.run()
        finally:
            entry.active.set()
            entry.has_ended = True
            listener.close()
            current = self._active.get(name)
            if current is not None:
                current.older = [each for each in current.older if each.is_used]
            if entry not in self._drained:
                self._release(entry)
                if current is not entry:
                    self._forget_stats(listener)

    def _release(self, entry: _Entry) -> None:
        if not entry.is_released:
            entry.is_released = True
            self._assembly.end_listener(entry.listener)

    def _forget_stats(self, listener: Any) -> None:
        """A listener is gone; another one may stand at its address, or count by the same prefix."""
        others = [*self._assembly.listeners, *self.warming(), *self.draining()]
        left = {prefix for each in others if each is not listener for prefix in _prefixes(each)}
        left.add(_ADMIN)
        gone = _prefixes(listener) - left
        # Whose prefix begins with that of another one counts among its stats.
        self._store.remove(*(each for each in gone if not any(other.startswith(each) for other in left)))

    def _activate(self, name: str, entry: _Entry) -> None:
        del self._warming[name]
        self._total_warming.set(len(self._warming))
        before = self._active.get(name)
        self._active[name] = entry
        entry.listener.begin()
        self._assembly.listeners.append(entry.listener)
        if before is not None and entry.replaces_chains_of(before):
            self._in_place.value += 1
            self._replace(before, entry)
        elif before is not None:
            self._retire(before)
        self._created.value += self._assembly.role.sockets.workers or 1
        self._count()
        entry.active.set()

    def _drop(self, entry: _Entry) -> None:
        """Let go of a listener that never served, and of what it asked for, before another one asks."""
        entry.end()
        entry.listener.close()
        self._release(entry)
        self._forget_stats(entry.listener)

    def _replace(self, before: _Entry, entry: _Entry) -> None:
        """Only chains differ: connections of those that stay go on."""
        self._assembly.listeners.remove(before.listener)
        before.listener.stop_accepting()
        kept = {data for _, data in entry.chains}
        entry.older = [each for each in (*before.older, before) if each.is_used]
        for each in entry.older:
            gone = [chain for chain, data in each.chains if data not in kept]
            each.chains = [(chain, data) for chain, data in each.chains if data in kept]
            if gone:
                self._end_chains(each, gone)

    def _end_chains(self, entry: _Entry, chains: list[Any]) -> None:
        self._tell([chain.manager for chain in chains if chain.manager is not None])
        self._chains_draining.inc()
        assert self._nursery is not None
        self._nursery.start_soon(self._end_chains_later, entry, chains, name="drain of filter chains")

    async def _end_chains_later(self, entry: _Entry, chains: list[Any]) -> None:
        await trio.sleep(self._drain_time_s)
        self._chains_draining.dec()
        for chain in chains:
            entry.listener.end_chain(chain)
        self._endings.one_more()

    def _tell(self, managers: list[Any]) -> None:
        should_close = self._draining.of_some()
        for manager in managers:
            manager.is_draining = should_close
        self._draining.tell(managers)

    def _retire(self, entry: _Entry) -> None:
        """Let its connections end, within the drain time."""
        listener = entry.listener
        self._assembly.listeners.remove(listener)
        listener.stop_accepting()
        for each in (entry, *entry.older):
            self._tell([chain.manager for chain, _ in each.chains if chain.manager is not None])
        self._leaving.update((entry, *entry.older))
        self._drained.update((entry, *entry.older))
        self._draining_count += 1
        self._total_draining.set(self._draining_count)
        assert self._nursery is not None
        self._nursery.start_soon(self._end_later, entry, name=f"drain of {listener.name}")

    async def _end_later(self, entry: _Entry) -> None:
        try:
            await trio.sleep(self._drain_time_s)
        finally:
            for each in (entry, *entry.older):
                each.end()
                self._leaving.discard(each)
                self._drained.discard(each)
                if each.has_ended:
                    self._release(each)
                    self._forget_stats(each.listener)
        self._draining_count -= 1
        self._total_draining.set(self._draining_count)
        self._endings.one_more()

    def _count(self) -> None:
        self._total_active.set(len(self._assembly.listeners))


class LdsApi:
    """The subscriber (:class:`sidecar.xds.subscription.Subscriber`)."""

    def __init__(self, manager: ListenerManager, known_clusters: Callable[[], Mapping[str, Any]]) -> None:
        self._in_use = InUse()
        self.kind = ResourceKind(
            LISTENER,
            "name",
            lambda message, path: (message, path),
            is_partial=True,
            known_clusters=known_clusters,
            incremental=self._in_use,
        )
        self.answered = trio.Event()
        #: Of the last answer that was taken.
        self.version = ""
        #: What was refused of the last answer: name, message, reason, when.
        self.refused: list[tuple[str, Any, str, float]] = []
        self._manager = manager

    def on_update(self, resources: Sequence[Resource], version: str) -> None:
        gone = self._manager.names()
        gone.difference_update(resource.name for resource in resources)
        self.on_delta(resources, tuple(gone), version)

    def on_delta(self, added: Sequence[Resource], removed: Sequence[str], version: str) -> None:
        manager = self._manager
        errors: list[str] = []
        seen: set[str] = set()
        self.refused = []
        for name in removed:
            if name in manager.names() and manager.remove(name):
                lds_logger.info("lds: remove listener '%s'", name)
            self._in_use.drop(name)

        def refuse(name: str, reason: str) -> None:
            lds_logger.warning("lds: listener '%s' config rejected: %s", name, reason)
            errors.append(f"{name}: {reason}")

        for resource in added:
            # Its own, whatever the Resource around it says.
            is_unchanged = resource.value is UNCHANGED
            name = (
                resource.name
                if is_unchanged
                else (resource.message if resource.error else resource.value[0]).name
            )
            if name in seen:
                refuse(name, f"duplicate listener {name} found")
                continue
            seen.add(name)
            if is_unchanged:
                continue
            if resource.error:
                refuse(name, resource.error)
                self.refused.append((name, resource.message, resource.error, time.time()))
                continue
            message, path = resource.value
            try:
                if manager.update(message, path, resource.version):
                    lds_logger.info("lds: add/update listener '%s'", name)
                    self._in_use.use(name, resource)
            except ConfigError as error:
                self.refused.append((name, message, error.reason, time.time()))
                refuse(name, f"{error.path}: {error.reason}" if error.path else error.reason)
        self.answered.set()
        if errors:
            raise XdsError(f"Error adding/updating listener(s) {', '.join(errors)}")
        self.version = version

    def on_failure(self) -> None:
        self.answered.set()


def _parts(message: Any, listener: Any) -> tuple[list[tuple[Any, bytes]], bytes]:
    """The chains of a listener, each with its message, and the rest of it."""
    if not hasattr(listener, "chains"):
        return [], b""
    messages = list(message.filter_chains)
    if message.HasField("default_filter_chain"):
        messages.append(message.default_filter_chain)
    chains = [
        (chain, each.SerializeToString(deterministic=True))
        for chain, each in zip(listener.chains.all, messages, strict=True)
    ]
    rest = type(message)()
    rest.CopyFrom(message)
    for field in ("filter_chains", "default_filter_chain", "filter_chain_matcher"):
        rest.ClearField(field)
    return chains, rest.SerializeToString(deterministic=True)


def _prefixes(listener: Any) -> set[str]:
    """What the names of its stats begin with, and those of what ends its chains."""
    terminals = listener.chains.terminals if hasattr(listener, "chains") else ()
    scopes = (getattr(getattr(each, "stats", None), "scope", None) for each in terminals)
    return {listener.stats_prefix, *(each.prefix for each in scopes if each is not None)} - {""}


def _same_addresses(new: Any, old: Any) -> bool:
    if type(new) is not type(old) or not hasattr(new, "adopt"):
        return False
    # What was asked for, not what was bound: port 0 is the same again.
    return bool(new.wanted == old.wanted and new.bind_to_port == old.bind_to_port)
