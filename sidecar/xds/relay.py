"""Resources of control planes and files on their way to workers.

A supervisor subscribes and checks as a process does that serves alone; what its own subscriber took goes to
every worker, in that order.  A worker asks its supervisor for what it needs by the subscription's key and is
told what there is, then what changes.  The same code took the same resource before, so that a worker that
cannot take one is broken: it says so and is replaced.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import trio
from google.protobuf import any_pb2

from sidecar.config.messages import unpack
from sidecar.config.registry import Registry
from sidecar.config.report import Reporter
from sidecar.core.errors import XdsError
from sidecar.xds.grpc_stream import type_url_of
from sidecar.xds.subscription import Resource, Subscriber, Subscription, until_cancelled

__all__ = ["Given", "Relay", "UpdateFailed"]

logger = logging.getLogger("sidecar.config")

#: Resources of more bytes than this are decoded in a thread.
_LARGE_BYTES = 1 << 16

#: Sends a frame: kind, values, blobs.
Send = Callable[[str, dict[str, Any], Sequence[bytes]], None]


class UpdateFailed(XdsError):
    """A worker could not take what its supervisor took."""


class _Known:
    """What is known of one key."""

    __slots__ = ("has_failed", "is_answered", "resources", "version")

    def __init__(self) -> None:
        self.resources: dict[str, Resource] = {}
        self.version = ""
        self.is_answered = False
        self.has_failed = False


class Relay:
    """The supervisor's tap (:class:`sidecar.xds.tap.Tap`)."""

    def __init__(self, broadcast: Send) -> None:
        self._broadcast = broadcast
        self._known: dict[str, _Known] = {}
        #: Who can be asked for more, by key.
        self._asked: dict[str, Callable[[Sequence[str]], None]] = {}

    def subscribe(
        self, key: str, subscriber: Subscriber, make: Callable[[Subscriber], Subscription]
    ) -> Subscription:
        ask = getattr(subscriber, "ask_all", None)
        if ask is not None:
            self._asked[key] = ask
        return make(_Tapped(self, key, subscriber))

    def request(self, key: str, names: Sequence[str]) -> None:
        """A worker wants more of ``key``."""
        ask = self._asked.get(key)
        if ask is not None:
            ask(names)

    def tell(self, key: str, send: Send) -> None:
        """Send one worker what is known of ``key``."""
        known = self._known.get(key)
        if known is None:
            return
        if known.is_answered:
            send(*_frame(key, "update", list(known.resources.values()), (), known.version))
        elif known.has_failed:
            send(*_frame(key, "failure", (), (), ""))

    def took(
        self, key: str, how: str, resources: Sequence[Resource], removed: Sequence[str], version: str
    ) -> None:
        """The supervisor's own subscriber took this."""
        known = self._known.setdefault(key, _Known())
        resources = [each for each in resources if not each.is_heartbeat]
        known.is_answered, known.version = True, version
        if how == "update":
            known.resources.clear()
        for each in resources:
            known.resources[each.name] = each
        for name in removed:
            known.resources.pop(name, None)
        self._broadcast(*_frame(key, how, resources, removed, version))

    def failed(self, key: str) -> None:
        """Nothing usable came."""
        self._known.setdefault(key, _Known()).has_failed = True
        self._broadcast(*_frame(key, "failure", (), (), ""))


def _frame(
    key: str, how: str, resources: Sequence[Resource], removed: Sequence[str], version: str
) -> tuple[str, dict[str, Any], list[bytes]]:
    entries = [[each.name, each.version, each.error, list(each.aliases)] for each in resources]
    values = {"key": key, "how": how, "entries": entries, "removed": list(removed), "version": version}
    blobs = [b"" if each.packed is None and not each.error else _data(each) for each in resources]
    return "resources", values, blobs


def _data(resource: Resource) -> bytes:
    message = resource.message if resource.error else resource.packed
    data: bytes = message.SerializeToString(deterministic=True)
    return data


class _Tapped:
    """A subscriber of the supervisor's, whose workers hear what it takes."""

    def __init__(self, relay: Relay, key: str, inner: Subscriber) -> None:
        self._relay = relay
        self._key = key
        self._inner = inner
        self.kind = inner.kind
        self.has_apart: bool = getattr(inner, "has_apart", False)

    def on_update(self, resources: Sequence[Resource], version: str) -> None:
        try:
            self._inner.on_update(resources, version)
        except XdsError:
            if self.kind.is_partial:  # those that can be used were taken
                self._relay.took(self._key, "update", resources, (), version)
            raise
        self._relay.took(self._key, "update", resources, (), version)

    def on_delta(self, added: Sequence[Resource], removed: Sequence[str], version: str) -> None:
        try:
            self._inner.on_delta(added, removed, version)
        except XdsError:
            if self.kind.is_partial:
                self._relay.took(self._key, "delta", added, removed, version)
            raise
        self._relay.took(self._key, "delta", added, removed, version)

    def on_cached(self, resource: Resource) -> None:
        """See :mod:`sidecar.xds.eds`."""
        inner: Any = self._inner
        inner.on_cached(resource)
        self._relay.took(self._key, "update", [resource], (), resource.version)

    def on_failure(self) -> None:
        self._inner.on_failure()
        self._relay.failed(self._key)


class Given:
    """A worker's tap: everything comes from the supervisor."""

    def __init__(
        self, send: Callable[[str, dict[str, Any]], None], bootstrap: Any, registry: Registry
    ) -> None:
        self._send = send
        self._bootstrap = bootstrap
        self._registry = registry
        self._subscribers: dict[str, list[Subscriber]] = {}

    def subscribe(
        self, key: str, subscriber: Subscriber, make: Callable[[Subscriber], Subscription]
    ) -> Subscription:
        return _GivenSubscription(self, key, subscriber)

    def add(self, key: str, subscriber: Subscriber) -> None:
        """Ask for ``key``."""
        self._subscribers.setdefault(key, []).append(subscriber)
        self._send("subscribe", {"key": key})

    def request(self, key: str, names: Sequence[str]) -> None:
        """Ask for more of ``key``."""
        self._send("request", {"key": key, "names": list(names)})

    def remove(self, key: str, subscriber: Subscriber) -> None:
        """Hear no more."""
        left = [each for each in self._subscribers.get(key, ()) if each is not subscriber]
        if left:
            self._subscribers[key] = left
        else:
            self._subscribers.pop(key, None)

    async def take(self, values: dict[str, Any], blobs: Sequence[bytes]) -> None:
        """Give resources to who asked for them.  Raises: UpdateFailed."""
        key, how = values["key"], values["how"]
        for subscriber in self._subscribers.get(key, ()):
            if how == "failure":
                subscriber.on_failure()
                continue
            if sum(map(len, blobs)) > _LARGE_BYTES:
                resources = await trio.to_thread.run_sync(self._decode, values, blobs, subscriber)
            else:
                resources = self._decode(values, blobs, subscriber)
            self._give(values, subscriber, resources)

    def _give(self, values: dict[str, Any], subscriber: Subscriber, resources: list[Resource]) -> None:
        version = values["version"]
        try:
            if values["how"] == "update":
                subscriber.on_update(resources, version)
            else:
                subscriber.on_delta(resources, values["removed"], version)
        except XdsError as error:
            if not resources:
                subscriber.on_failure()  # all that there was has gone: who comes later knows none
            elif not subscriber.kind.is_partial:
                raise UpdateFailed(str(error)) from error

    def _decode(
        self, values: dict[str, Any], blobs: Sequence[bytes], subscriber: Subscriber
    ) -> list[Resource]:
        """Plain and thread-safe.  Raises: UpdateFailed."""
        kind = subscriber.kind
        resources: list[Resource] = []
        entries = zip(values["entries"], blobs, strict=True)
        for number, ((name, version, error, aliases), data) in enumerate(entries):
            if error:
                message = unpack(any_pb2.Any(type_url=type_url_of(kind.message), value=data))
                resources.append(Resource(name, version, None, error, message))
                continue
            if not data:  # there is none of this name
                resources.append(Resource(name, version, None, aliases=tuple(aliases)))
                continue
            report = Reporter(None)
            resource = kind.decode_plain(
                any_pb2.Any.FromString(data),
                ("resources", number),
                name,
                version,
                bootstrap=self._bootstrap,
                registry=self._registry,
                report=report,
                is_partial=kind.is_partial,
            )
            if resource is None:
                raise UpdateFailed("; ".join(map(str, report.problems)))
            resources.append(replace(resource, aliases=tuple(aliases)) if aliases else resource)
        return resources


class _GivenSubscription:
    """A :class:`sidecar.xds.subscription.Subscription` to the supervisor."""

    def __init__(self, given: Given, key: str, subscriber: Subscriber) -> None:
        self._given = given
        self._key = key
        self._subscriber = subscriber

    def start(self) -> None:
        self._given.add(self._key, self._subscriber)

    def request(self, names: Sequence[str]) -> None:
        """Ask for resources besides."""
        self._given.request(self._key, names)

    request_first = request

    async def run(self) -> None:
        await until_cancelled(self.close)

    def close(self) -> None:
        """Want nothing any more."""
        self._given.remove(self._key, self._subscriber)
