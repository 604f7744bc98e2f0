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
from sidecar.xds.subscription import Resource, ResponseRejected

if TYPE_CHECKING:
    from sidecar.config.registry import Registry
    from sidecar.observability.stats import Scope
    from sidecar.router.grpc_client import GrpcClient

__all__ = ["GrpcTransport", "decode_response"]

log = logging.getLogger("sidecar.config")

#: Answers of fewer resources than this are decoded at once.
_SMALL = 50


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

        if len(response.resources) < _SMALL:
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
        for watch in reversed(state.watches):
            mine = [each for each in resources if watch.wants(each.name)]
            if watch.names is not None:
                for each in mine:
                    if each.error:
                        raise XdsError(each.error)
            if mine or watch.names is None:
                watch.owner.on_update(mine, version, start)
        self.keep(state, resources)

    def _expire(self, type_url: str, names: list[str]) -> None:
        state = self.mux.state_of(type_url)
        for watch in [] if state is None else list(state.watches):
            # Everybody is told of all of them.
            watch.owner.on_delta([], names, "", time.monotonic())


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
