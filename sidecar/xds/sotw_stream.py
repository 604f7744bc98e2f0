"""Resources from a control plane over gRPC, the state of the world (Envoy's ``GrpcMuxImpl``).

What an answer holds is decoded (in a thread where it is much), given to who wants it in the task that serves,
and confirmed or refused.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

import trio

from sidecar.config.report import Reporter
from sidecar.core.errors import XdsError
from sidecar.xds.grpc_stream import (
    INTERNAL,
    GrpcSubscription,
    StreamSettings,
    StreamTransport,
    discovery_message,
)
from sidecar.xds.mux import Mux, Request, TypeState, Watch
from sidecar.xds.subscription import InUse, Resource, ResponseRejected

if TYPE_CHECKING:
    from sidecar.config.registry import Registry
    from sidecar.observability.stats import Scope
    from sidecar.router.grpc_client import GrpcClient

__all__ = ["GrpcTransport", "decode_response"]

log = logging.getLogger("sidecar.config")

#: Answers of fewer resources that are new than this, and of fewer bytes in all others, are decoded at once.
_SMALL = 50
_SMALL_BYTES = 1 << 17


class GrpcTransport(StreamTransport):
    """One stream of the state of the world."""

    mux: Mux[GrpcSubscription]

    def __init__(
        self,
        client: GrpcClient,
        method: str,
        bootstrap: Any,
        registry: Registry,
        scope: Scope,
        settings: StreamSettings,
    ) -> None:
        super().__init__(client, method, bootstrap, registry, scope, settings, Mux())

    def _encode(self, request: Request, *, with_node: bool) -> bytes:
        message: Any = discovery_message("DiscoveryRequest")
        message.version_info = request.version
        if with_node:
            message.node.CopyFrom(self._settings.node)
        message.resource_names.extend(request.names)
        message.type_url = request.type_url
        message.response_nonce = request.nonce
        if request.error:
            message.error_detail.code = INTERNAL
            message.error_detail.message = request.error
        data: bytes = message.SerializeToString()
        return data

    # -- an answer -------------------------------------------------------------------------------------
    async def _take(self, data: bytes) -> None:
        response: Any = discovery_message("DiscoveryResponse")
        if not self._parse(response, data):
            return
        self._identify(response)
        state = self.mux.answered(response.type_url, response.nonce)
        if state is not None and not state.watches:
            self.mux.pass_over(state, response.version_info, is_empty=not response.resources)
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
            self.mux.refuse(state, self._reject(state, error))
        else:
            self.mux.accept(state, response.version_info)

    async def _decode(self, state: TypeState[GrpcSubscription], response: Any) -> list[Resource]:
        def decode() -> list[Resource]:
            return decode_response(state, response, self._bootstrap, self._registry)

        if _is_small(state, response):
            return decode()
        return await trio.to_thread.run_sync(decode, abandon_on_cancel=True)

    def _distribute(
        self, state: TypeState[GrpcSubscription], resources: list[Resource], version: str, start: float
    ) -> None:
        """Give everybody what is theirs, the latest first (as Envoy): what cannot be used ends it."""
        now = time.monotonic()
        for each in resources:
            if not each.is_heartbeat:
                self.ttls.set(state.type_url, each.name, each.ttl_s, now)
        resources = [each for each in resources if not each.is_heartbeat]
        named: dict[str, list[Resource]] = {}
        for each in resources:
            named.setdefault(each.name, []).append(each)
        for watch in state.watches[::-1]:
            if not watch.owner.is_open:
                continue  # somebody before it took its place
            mine = resources if watch.names is None else [r for n in watch.names for r in named.get(n, ())]
            if watch.names is not None:
                for each in mine:
                    watch.owner.subscriber.kind.refuse(each)
            if mine or watch.names is None:
                watch.owner.on_update(mine, version, start)
        self.keep(state, resources)

    def _expire(self, type_url: str, names: list[str]) -> None:
        state = self.mux.state_of(type_url)
        for watch in [] if state is None else list(state.watches):
            # Everybody is told of all of them.
            watch.owner.on_delta([], names, "", time.monotonic())


def _first_watches(watches: list[Watch[Any]]) -> dict[str | None, Watch[Any]]:
    """By name, and by None for all names."""
    found: dict[str | None, Watch[Any]] = {}
    for watch in watches:
        for name in (None,) if watch.names is None else watch.names:
            found.setdefault(name, watch)
    return found


def _is_small(state: TypeState[GrpcSubscription], response: Any) -> bool:
    """Whether serving need not wait long for an answer to be decoded."""
    known = state.watches[0].owner.subscriber.kind.incremental
    if isinstance(known, InUse):
        return sum(known.find(packed) is None for packed in response.resources) < _SMALL
    return len(response.resources) < _SMALL and response.ByteSize() < _SMALL_BYTES


def decode_response(
    state: TypeState[Any], response: Any, bootstrap: Any, registry: Registry
) -> list[Resource]:
    """What an answer holds, as those want it who watch it; the rest is passed over.  Thread-safe.

    Raises: ResponseRejected.
    """
    report = Reporter(None)
    resources: list[Resource] = []
    is_refused = False
    watches: list[Watch[Any]] = state.watches
    first = watches[0].owner.subscriber.kind
    is_for_all = len(watches) == 1 or watches[0].names is None
    #: Who asked first for a name, or for all.
    wanted = {} if is_for_all else _first_watches(watches)
    in_use = first.incremental if isinstance(first.incremental, InUse) else None
    for number, packed in enumerate(response.resources):
        if in_use is not None and (found := in_use.find(packed)) is not None:
            resources.append(found)
            continue
        path = ("resources", number)
        kind = first
        if not is_for_all and (name := first.name_of(packed)) is not None:
            watch = wanted.get(name) or wanted.get(None)
            if watch is None:
                continue
            kind = watch.owner.subscriber.kind
        resource = kind.decode(
            packed,
            path,
            response.version_info,
            bootstrap=bootstrap,
            registry=registry,
            report=report,
            is_partial=True,
        )
        if resource is not None and resource.is_heartbeat and resource.version != response.version_info:
            report.error(path, f"Unable to unpack as {kind.message}: it is empty")
            resource = None
        if resource is None:
            is_refused = True
        else:
            resources.append(resource)
    if is_refused:
        raise ResponseRejected(report.problems)
    for problem in report.problems:
        log.warning("%s", problem)
    return resources
