"""One stream of discovery over gRPC: opened again whenever it ends, later each time.

Which protocol is spoken on it, :mod:`~sidecar.xds.sotw_stream` and :mod:`~sidecar.xds.delta_stream` say.
Answers are taken one after another, in the task that serves; all goes on with what there is while nobody
answers (Envoy's ``GrpcStream``).
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol, cast

import trio
from google.protobuf import any_pb2

from sidecar.config.messages import message_class
from sidecar.config.report import Reporter
from sidecar.core.dataclass import dataclass
from sidecar.xds.mux import Mux, Watch
from sidecar.xds.subscription import Resource, Subscriber, SubscriptionStats, until_cancelled
from sidecar.xds.ttl import Ttls

if TYPE_CHECKING:
    from sidecar.config.registry import Registry
    from sidecar.observability.stats import Scope
    from sidecar.router.grpc_client import GrpcClient, GrpcStream
    from sidecar.xds.delta_mux import DeltaMux

__all__ = [
    "INTERNAL",
    "ApartSubscription",
    "GrpcSubscription",
    "SilentTransport",
    "StreamSettings",
    "StreamTransport",
    "discovery_message",
    "type_url_of",
]

log = logging.getLogger("sidecar.config")

_PREFIX = "type.googleapis.com/"
#: ``google.rpc.Code`` of a NACK.
INTERNAL = 13
#: The longest reason that a NACK gives.
_MAX_REASON = 4096


def type_url_of(message: str) -> str:
    """The type URL of a message."""
    return _PREFIX + message


def discovery_message(name: str) -> Any:
    """An empty message of ``envoy.service.discovery.v3``."""
    cls = message_class(f"envoy.service.discovery.v3.{name}")
    assert cls is not None  # the API package has it, or nothing works
    return cls()


@dataclass(frozen=True, slots=True)
class StreamSettings:
    """What an ``ApiConfigSource`` says of its streams."""

    #: What the proxy says of itself.
    node: Any
    #: Only the first request of a stream names the node (``set_node_on_first_message_only``).
    node_once: bool = False
    #: The first wait before a stream is opened again, and the longest.
    back_off_s: tuple[float, float] = (0.5, 30.0)
    #: ``rate_limit_settings``: requests at once, and a second; None: as many as there are.
    rate_limit: tuple[int, float] | None = None


class _ControlPlaneStats:
    """``control_plane.``."""

    def __init__(self, scope: Scope) -> None:
        plane = scope.scope("control_plane")
        self.connected = plane.gauge("connected_state")
        self.pending = plane.gauge("pending_requests")
        self.rate_limit_enforced = plane.counter("rate_limit_enforced")
        self.identifier = plane.text_readout("identifier")


class _State(Protocol):
    type_url: str
    watches: list[Watch[GrpcSubscription]]


class CachingSubscriber(Subscriber, Protocol):
    """Can go on with what is known already (EDS)."""

    def on_cached(self, resource: Resource) -> None:
        """Nothing came in time, but this was for somebody of the same name."""
        ...


class AnyMux(Protocol):
    """What both protocols have in common."""

    paused: set[str]

    def watch(
        self, type_url: str, names: tuple[str, ...] | None, owner: GrpcSubscription
    ) -> Watch[GrpcSubscription]: ...

    def unwatch(self, watch: Watch[GrpcSubscription]) -> None: ...

    def opened(self) -> None: ...

    def closed(self) -> None: ...

    def types(self) -> Iterator[Any]: ...

    def take_requests(self) -> Sequence[Any]: ...


class SilentTransport:
    """What is asked of nobody: ``ads`` without ``ads_config``, which Envoy takes, and waits."""

    def __init__(self, mux: AnyMux | None = None) -> None:
        self.mux: AnyMux = Mux() if mux is None else mux

    def subscribe(
        self,
        subscriber: Subscriber,
        stats: SubscriptionStats,
        names: tuple[str, ...] | None,
        fetch_timeout_s: float,
    ) -> GrpcSubscription:
        """Want resources of the subscriber's kind; all of them without ``names``."""
        return GrpcSubscription(self, subscriber, stats, names, fetch_timeout_s)

    def subscribe_apart(self, subscriber: Subscriber, stats: SubscriptionStats) -> ApartSubscription:
        """Want resources that are yet to be named, each by a subscription of its own."""
        return ApartSubscription(self, subscriber, stats)

    def pause(self, message: str, *, is_paused: bool) -> None:
        """Say nothing of a type, or go on: what came up in the meantime is said then."""
        if is_paused:
            self.mux.paused.add(type_url_of(message))
        else:
            self.mux.paused.discard(type_url_of(message))
            self.wake()

    def wake(self) -> None:
        """There may be something to send."""

    def cached(self, subscriber: Subscriber, name: str) -> Resource | None:
        """A resource that came before."""
        return None

    def unwatch(self, watch: Watch[GrpcSubscription]) -> None:
        """Somebody wants nothing any more."""
        self.mux.unwatch(watch)


class _Tokens:
    """A bucket of requests that may be sent."""

    def __init__(self, most: int, a_second: float) -> None:
        self._most = most
        self._a_second = a_second
        self._left = float(most)
        self._at = time.monotonic()

    def take(self) -> float:
        """Take one; otherwise the seconds until there is one."""
        now = time.monotonic()
        self._left = min(self._most, self._left + (now - self._at) * self._a_second)
        self._at = now
        if self._left >= 1:
            self._left -= 1
            return 0.0
        return (1 - self._left) / self._a_second


class StreamTransport(SilentTransport):
    """One stream to one control plane."""

    def __init__(
        self,
        client: GrpcClient,
        method: str,
        bootstrap: Any,
        registry: Registry,
        scope: Scope,
        settings: StreamSettings,
        mux: AnyMux,
    ) -> None:
        super().__init__(mux)
        self._client = client
        self._method = method
        self._bootstrap = bootstrap
        self._registry = registry
        self._stats = _ControlPlaneStats(scope)
        self._settings = settings
        self._tokens = None if settings.rate_limit is None else _Tokens(*settings.rate_limit)
        self._changed = trio.Event()
        self._failures = 0
        self.ttls = Ttls()
        #: Of the types that are kept, by name: what came last, and its version.
        self._cache: dict[str, tuple[bytes, str]] = {}
        self._kept_types: tuple[str, ...] = ()

    def subscribe_alone(
        self,
        subscriber: Subscriber,
        stats: SubscriptionStats,
        names: tuple[str, ...] | None,
        fetch_timeout_s: float,
    ) -> GrpcSubscription:
        """The only subscription on this stream, which ends with it."""
        return GrpcSubscription(self, subscriber, stats, names, fetch_timeout_s, stream=self.run)

    def keep_types(self, *messages: str) -> None:
        """Remember resources of these types for who asks for them a second time."""
        self._kept_types = tuple(map(type_url_of, messages))

    def keep(self, state: _State, resources: Sequence[Resource]) -> None:
        """Remember what was taken."""
        if state.type_url in self._kept_types:
            for each in resources:
                self._cache[each.name] = each.packed.value, each.version

    def unwatch(self, watch: Watch[GrpcSubscription]) -> None:
        super().unwatch(watch)
        if watch.of.type_url in self._kept_types:
            for name in watch.names or ():
                if not watch.of.is_wanted(name):
                    self._cache.pop(name, None)

    def cached(self, subscriber: Subscriber, name: str) -> Resource | None:
        found = self._cache.get(name)
        if found is None or type_url_of(subscriber.kind.message) not in self._kept_types:
            return None
        packed = any_pb2.Any(type_url=type_url_of(subscriber.kind.message), value=found[0])
        return subscriber.kind.decode_plain(
            packed,
            (),
            name,
            found[1],
            bootstrap=self._bootstrap,
            registry=self._registry,
            report=Reporter(None),
        )

    def wake(self) -> None:
        """There may be something to send."""
        self._changed.set()

    # -- what a protocol does ----------------------------------------------------------------------------
    def _encode(self, request: Any, *, with_node: bool) -> bytes:
        raise NotImplementedError

    async def _take(self, data: bytes) -> None:
        """Take an answer."""
        raise NotImplementedError

    def _expire(self, type_url: str, names: list[str]) -> None:
        """The time of these resources is over."""
        raise NotImplementedError

    # -- the stream ------------------------------------------------------------------------------------
    async def run(self) -> None:
        """Keep a stream, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.ttls.run, self._expire, name="times of resources")
            while True:
                await self._run_once()
                await self._back_off()

    async def _run_once(self) -> None:
        self._changed = trio.Event()
        call = self._client.stream(self._method.encode())
        call.on_event = lambda _call: self._changed.set()
        self.mux.opened()
        self._stats.connected.set(1)
        try:
            await self._exchange(call)
        finally:
            self._stats.connected.set(0)
            self.mux.closed()
            if not call.is_done:
                call.cancel()
        status = call.status
        log.warning(
            "%s gRPC config stream to %s closed: %s",
            self._method.rpartition("/")[2],
            self._client.service.cluster,
            "" if status is None else f"{status.code}, {status.message.decode('utf-8', 'replace')}",
        )
        for state in list(self.mux.types()):
            for watch in list(state.watches):
                watch.owner.on_lost()

    async def _back_off(self) -> None:
        base, most = self._settings.back_off_s
        limit = min(base * 2**self._failures, most)
        self._failures = min(self._failures + 1, 30)
        await trio.sleep(random.uniform(0, limit))  # noqa: S311 - so that not all come back at once

    async def _exchange(self, call: GrpcStream) -> None:
        is_first = True
        requests: list[Any] = []
        while True:
            self._changed = trio.Event()
            requests += self.mux.take_requests()
            wait_s = 0.0
            while requests:
                wait_s = 0.0 if self._tokens is None else self._tokens.take()
                if wait_s:
                    self._stats.rate_limit_enforced.value += 1
                    break
                data = self._encode(requests[0], with_node=is_first or not self._settings.node_once)
                if not call.try_send(data):
                    break
                is_first = False
                del requests[0]
            self._stats.pending.set(len(requests))
            message = call.take_message()
            if message is not None:
                self._failures = 0
                await self._take(message)
                continue
            if call.is_done:
                return
            with trio.move_on_after(wait_s or float("inf")):
                await self._changed.wait()

    def _identify(self, response: Any) -> None:
        if response.HasField("control_plane"):
            self._stats.identifier.set(response.control_plane.identifier)

    def _parse(self, response: Any, data: bytes) -> bool:
        try:
            response.MergeFromString(data)
        except ValueError as error:
            log.warning("an answer of %s cannot be read: %s", self._client.service.cluster, error)
            return False
        return True

    def _reject(self, state: _State, error: Exception) -> str:
        """Tell who watches; the reason for the control plane."""
        reason = str(error)
        log.warning("gRPC config for %s rejected: %s", state.type_url, reason)
        for watch in list(state.watches):
            watch.owner.on_rejected()
        return reason if len(reason) <= _MAX_REASON else reason[:_MAX_REASON] + "...(truncated)"


class GrpcSubscription:
    """A :class:`sidecar.xds.subscription.Subscription` on a stream."""

    def __init__(
        self,
        transport: SilentTransport,
        subscriber: Subscriber,
        stats: SubscriptionStats,
        names: tuple[str, ...] | None,
        fetch_timeout_s: float,
        stream: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """``stream`` keeps the stream, where it is for this subscription alone."""
        self._stream = stream
        self.subscriber = subscriber
        self._transport = transport
        self._stats = stats
        self._names = names
        self._fetch_timeout_s = fetch_timeout_s
        self._watch: Watch[GrpcSubscription] | None = None
        self._heard = trio.Event()

    def start(self) -> None:
        self._stats.update_attempt.value += 1
        transport = self._transport
        type_url = type_url_of(self.subscriber.kind.message)
        self._watch = transport.mux.watch(type_url, self._names, self)
        transport.wake()

    async def run(self) -> None:
        if self._stream is None:
            await self._wait()
            return
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._stream, name=f"discovery of {self.subscriber.kind.message}")
            await self._wait()

    async def _wait(self) -> None:
        try:
            if self._fetch_timeout_s:
                with trio.move_on_after(self._fetch_timeout_s) as timeout:
                    await self._heard.wait()
                if timeout.cancelled_caught:
                    self._stats.init_fetch_timeout.value += 1
                    self._stats.update_attempt.value += 1
                    self._do_without()
            await trio.sleep_forever()
        finally:
            self.close()

    def _do_without(self) -> None:
        names = self._names
        cached = None if not names else self._transport.cached(self.subscriber, names[0])
        if cached is None:
            self.subscriber.on_failure()
        else:
            cast("CachingSubscriber", self.subscriber).on_cached(cached)

    def request(self, names: Sequence[str]) -> None:
        """Ask for resources besides, of a stream of changes."""
        self._stats.update_attempt.value += 1
        self.request_first(names)

    def request_first(self, names: Sequence[str]) -> None:
        """The same for one that has just started, which is one attempt."""
        state = cast("DeltaMux[Any]", self._transport.mux).state_of(type_url_of(self.subscriber.kind.message))
        if state is not None and self._watch is not None:
            state.request_more(self._watch, names)
            self._transport.wake()

    @property
    def is_open(self) -> bool:
        """Whether anything is wanted."""
        return self._watch is not None

    def close(self) -> None:
        """Want nothing any more."""
        watch, self._watch = self._watch, None
        if watch is not None:
            self._transport.unwatch(watch)
            self._transport.wake()

    # -- from the stream ---------------------------------------------------------------------------------
    def on_update(self, resources: list[Resource], version: str, start: float) -> None:
        """Raises: XdsError."""
        self._heard.set()
        self.subscriber.on_update(resources, version)
        self._stats.update_attempt.value += 1
        self._count(version, start)

    def on_delta(self, added: list[Resource], removed: list[str], version: str, start: float) -> None:
        """Raises: XdsError."""
        self._heard.set()
        self._stats.update_attempt.value += 1
        if not self.subscriber.kind.is_partial:
            for each in added:
                self.subscriber.kind.refuse(each)
        self.subscriber.on_delta(added, removed, version)
        self._count(version, start)

    def _count(self, version: str, start: float) -> None:
        stats = self._stats
        stats.update_duration.record(int((time.monotonic() - start) * 1000))
        stats.count_success(version, time.time())

    def on_rejected(self) -> None:
        """An answer was refused."""
        self._heard.set()
        self._stats.update_attempt.value += 1
        self._stats.update_rejected.value += 1
        self.subscriber.on_failure()

    def on_lost(self) -> None:
        """The stream ended."""
        self._stats.update_attempt.value += 1
        self._stats.update_failure.value += 1


class ApartSubscription:
    """A :class:`sidecar.xds.subscription.Subscription` that is one for each name, and waits for none."""

    def __init__(self, transport: SilentTransport, subscriber: Subscriber, stats: SubscriptionStats) -> None:
        self._transport = transport
        self._subscriber = subscriber
        self._stats = stats
        self._open: dict[str, GrpcSubscription] = {}

    def start(self) -> None:
        """Nothing is asked for before it has a name."""

    def request(self, names: Sequence[str]) -> None:
        """Ask for resources that nobody asked for yet."""
        for name in names:
            if name not in self._open:
                made = GrpcSubscription(self._transport, self._subscriber, self._stats, (name,), 0.0)
                self._open[name] = made
                made.start()

    async def run(self) -> None:
        await until_cancelled(self.close)

    def close(self) -> None:
        """Want nothing any more."""
        for each in self._open.values():
            each.close()
        self._open.clear()
