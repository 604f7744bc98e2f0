"""Resources from a control plane over gRPC, the state of the world (Envoy's ``GrpcMuxImpl``).

One transport is one stream: the aggregated one, or that of a single type.  Answers are taken one after
another: what they hold is decoded (in a thread where it is much), given to who wants it in the task that
serves, and confirmed or refused.  A stream that ends is opened again, later each time; all goes on meanwhile
with what there is.
"""

from __future__ import annotations

import logging
import random
import time
from typing import TYPE_CHECKING, Any

import trio

from sidecar.config.messages import message_class
from sidecar.config.report import Reporter
from sidecar.core.errors import XdsError
from sidecar.xds.mux import Mux, Request, TypeState, Watch
from sidecar.xds.subscription import Resource, ResponseRejected, Subscriber, SubscriptionStats

if TYPE_CHECKING:
    from sidecar.config.registry import Registry
    from sidecar.observability.stats import Scope
    from sidecar.router.grpc_client import GrpcClient, GrpcStream

__all__ = ["ADS_METHOD", "GrpcSubscription", "GrpcTransport", "SilentTransport", "type_url_of"]

log = logging.getLogger("sidecar.config")

ADS_METHOD = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources"
_PREFIX = "type.googleapis.com/"
#: ``google.rpc.Code`` of a NACK.
_INTERNAL = 13
_BACK_OFF_S = 0.5
_MAX_BACK_OFF_S = 30.0
#: Answers of fewer resources than this are decoded at once.
_SMALL = 50


def type_url_of(message: str) -> str:
    """The type URL of a message."""
    return _PREFIX + message


class _ControlPlaneStats:
    """``control_plane.``."""

    def __init__(self, scope: Scope) -> None:
        plane = scope.scope("control_plane")
        self.connected = plane.gauge("connected_state")
        self.pending = plane.gauge("pending_requests")
        self.rate_limit_enforced = plane.counter("rate_limit_enforced")
        self.identifier = plane.text_readout("identifier")


class SilentTransport:
    """What is asked of nobody: ``ads`` without ``ads_config``, which Envoy takes, and waits."""

    def __init__(self) -> None:
        self.mux: Mux[GrpcSubscription] = Mux()

    def subscribe(
        self,
        subscriber: Subscriber,
        stats: SubscriptionStats,
        names: tuple[str, ...] | None,
        fetch_timeout_s: float,
    ) -> GrpcSubscription:
        """Want resources of the subscriber's kind; all of them without ``names``."""
        return GrpcSubscription(self, subscriber, stats, names, fetch_timeout_s)

    def pause(self, message: str, *, is_paused: bool) -> None:
        """Say nothing of a type, or go on: what came up in the meantime is said then."""
        if is_paused:
            self.mux.paused.add(type_url_of(message))
        else:
            self.mux.paused.discard(type_url_of(message))
            self.wake()

    def wake(self) -> None:
        """There may be something to send."""


class GrpcTransport(SilentTransport):
    """One stream to one control plane."""

    def __init__(
        self,
        client: GrpcClient,
        method: str,
        bootstrap: Any,
        registry: Registry,
        scope: Scope,
        *,
        node_once: bool,
    ) -> None:
        """``node_once``: only the first request of a stream names the node."""
        self._client = client
        self._method = method
        self._bootstrap = bootstrap
        self._registry = registry
        self._stats = _ControlPlaneStats(scope)
        self._node_once = node_once
        super().__init__()
        self._changed = trio.Event()
        self._failures = 0

    def wake(self) -> None:
        """There may be something to send."""
        self._changed.set()

    # -- the stream ------------------------------------------------------------------------------------
    async def run(self) -> None:
        """Keep a stream, until cancelled."""
        while True:
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
            for state in self.mux.types():
                for watch in list(state.watches):
                    watch.owner.on_lost()
            await self._back_off()

    async def _back_off(self) -> None:
        limit = min(_BACK_OFF_S * 2**self._failures, _MAX_BACK_OFF_S)
        self._failures = min(self._failures + 1, 10)
        await trio.sleep(random.uniform(0, limit))  # noqa: S311 - so that not all come back at once

    async def _exchange(self, call: GrpcStream) -> None:
        is_first = True
        requests: list[Request] = []
        while True:
            self._changed = trio.Event()
            requests += self.mux.take_requests()
            while requests:
                data = self._encode(requests[0], with_node=is_first or not self._node_once)
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
            await self._changed.wait()

    def _encode(self, request: Request, *, with_node: bool) -> bytes:
        message: Any = _message("DiscoveryRequest")
        message.version_info = request.version
        if with_node:
            message.node.CopyFrom(self._bootstrap.node)
        message.resource_names.extend(request.names)
        message.type_url = request.type_url
        message.response_nonce = request.nonce
        if request.error:
            message.error_detail.code = _INTERNAL
            message.error_detail.message = request.error
        data: bytes = message.SerializeToString()
        return data

    # -- an answer -------------------------------------------------------------------------------------
    async def _take(self, data: bytes) -> None:
        response: Any = _message("DiscoveryResponse")
        try:
            response.MergeFromString(data)
        except ValueError as error:
            log.warning("an answer of %s cannot be read: %s", self._client.service.cluster, error)
            return
        if response.HasField("control_plane"):
            self._stats.identifier.set(response.control_plane.identifier)
        state = self.mux.answered(response.type_url, response.nonce)
        if state is None or not state.watches:
            log.warning(
                "Ignoring the message for type URL %s as it has no current subscribers.", response.type_url
            )
            return
        start = time.monotonic()
        try:
            resources = await self._decode(state, response)
            self._distribute(state, resources, response.version_info, start)
        except XdsError as error:
            reason = str(error)
            log.warning("gRPC config for %s rejected: %s", response.type_url, reason)
            for watch in list(state.watches):
                watch.owner.on_rejected()
            self.mux.refuse(state, reason)
        else:
            self.mux.accept(state, response.version_info)

    async def _decode(self, state: TypeState[GrpcSubscription], response: Any) -> list[Resource]:
        def decode() -> list[Resource]:
            return decode_response(state, response, self._bootstrap, self._registry)

        if len(response.resources) < _SMALL:
            return decode()
        return await trio.to_thread.run_sync(decode, abandon_on_cancel=True)

    def _distribute(
        self, state: TypeState[GrpcSubscription], resources: list[Resource], version: str, start: float
    ) -> None:
        for watch in list(state.watches):
            mine = [each for each in resources if watch.wants(each.name)]
            if mine or watch.names is None:
                watch.owner.on_update(mine, version, start)


def decode_response(
    state: TypeState[Any], response: Any, bootstrap: Any, registry: Registry
) -> list[Resource]:
    """What an answer holds, as those want it who watch it; the rest is passed over.  Thread-safe.

    Raises: ResponseRejected.
    """
    report = Reporter(None)
    resources: list[Resource] = []
    is_refused = False
    for number, packed in enumerate(response.resources):
        path = ("resources", number)
        kind = None
        watches: list[Watch[Any]] = state.watches
        if len(watches) == 1 or watches[0].names is None:
            kind = watches[0].owner.subscriber.kind
        else:
            name = watches[0].owner.subscriber.kind.name_of(packed)
            for watch in watches:
                if name is None or watch.wants(name):
                    kind = watch.owner.subscriber.kind
                    break
            else:
                continue
        resource = kind.decode(
            packed, path, response.version_info, bootstrap=bootstrap, registry=registry, report=report
        )
        if resource is None:
            is_refused = True
        else:
            resources.append(resource)
    if is_refused:
        raise ResponseRejected(report.problems)
    for problem in report.problems:
        log.warning("%s", problem)
    return resources


class GrpcSubscription:
    """A :class:`sidecar.xds.subscription.Subscription` on a stream."""

    def __init__(
        self,
        transport: SilentTransport,
        subscriber: Subscriber,
        stats: SubscriptionStats,
        names: tuple[str, ...] | None,
        fetch_timeout_s: float,
    ) -> None:
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
        try:
            if self._fetch_timeout_s:
                with trio.move_on_after(self._fetch_timeout_s) as timeout:
                    await self._heard.wait()
                if timeout.cancelled_caught:
                    self._stats.init_fetch_timeout.value += 1
                    self._stats.update_attempt.value += 1
                    self.subscriber.on_failure()
            await trio.sleep_forever()
        finally:
            self.close()

    def close(self) -> None:
        """Want nothing any more."""
        watch, self._watch = self._watch, None
        if watch is not None:
            self._transport.mux.unwatch(watch)
            self._transport.wake()

    # -- from the stream ---------------------------------------------------------------------------------
    def on_update(self, resources: list[Resource], version: str, start: float) -> None:
        """Raises: XdsError."""
        self._heard.set()
        self.subscriber.on_update(resources, version)
        stats = self._stats
        stats.update_attempt.value += 1
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


def _message(name: str) -> Any:
    cls = message_class(f"envoy.service.discovery.v3.{name}")
    assert cls is not None  # the API package has it, or nothing works
    return cls()
