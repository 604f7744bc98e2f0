"""Resources from a control plane over gRPC, incrementally (Envoy's ``NewGrpcMuxImpl``).

An answer says what came and what went, each resource in a version of its own.  What came is given to who
wants it; one that cannot even be read refuses the whole answer, before anything changed.
"""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import trio

from sidecar.config.report import Reporter
from sidecar.core.errors import XdsError
from sidecar.xds.delta_mux import VIRTUAL_HOST, DeltaMux, DeltaRequest, DeltaState
from sidecar.xds.grpc_stream import (
    INTERNAL,
    GrpcSubscription,
    StreamSettings,
    StreamTransport,
    discovery_message,
)
from sidecar.xds.mux import Watch
from sidecar.xds.subscription import Resource, ResponseRejected

if TYPE_CHECKING:
    from sidecar.config.registry import Registry
    from sidecar.observability.stats import Scope
    from sidecar.router.grpc_client import GrpcClient

__all__ = ["DeltaTransport"]

log = logging.getLogger("sidecar.config")

#: Answers of fewer resources than this are decoded at once.
_SMALL = 50

State = DeltaState[GrpcSubscription]


class DeltaTransport(StreamTransport):
    """One stream of changes."""

    mux: DeltaMux[GrpcSubscription]

    def __init__(
        self,
        client: GrpcClient,
        method: str,
        bootstrap: Any,
        registry: Registry,
        scope: Scope,
        settings: StreamSettings,
    ) -> None:
        super().__init__(client, method, bootstrap, registry, scope, settings, DeltaMux())

    def _encode(self, request: DeltaRequest, *, with_node: bool) -> bytes:
        message: Any = discovery_message("DeltaDiscoveryRequest")
        if with_node:
            message.node.CopyFrom(self._settings.node)
        message.type_url = request.type_url
        message.resource_names_subscribe.extend(request.subscribe)
        message.resource_names_unsubscribe.extend(request.unsubscribe)
        for name, version in request.initial_versions:
            message.initial_resource_versions[name] = version
        message.response_nonce = request.nonce
        if request.error:
            message.error_detail.code = INTERNAL
            message.error_detail.message = request.error
        data: bytes = message.SerializeToString()
        return data

    async def _take(self, data: bytes) -> None:
        response: Any = discovery_message("DeltaDiscoveryResponse")
        if not self._parse(response, data):
            return
        state = self.mux.state_of(response.type_url)
        if state is None:
            log.warning(
                "Dropping received DeltaDiscoveryResponse (with version %s)"
                " for non-existent subscription %s.",
                response.system_version_info,
                response.type_url,
            )
            return
        self._identify(response)
        start = time.monotonic()
        error = ""
        try:
            _check(state, response)
            found = await self._decode(state, response)
            self._distribute(
                state, found, list(response.removed_resources), response.system_version_info, start
            )
            self._remember(state, response)
            self.keep(state, found)
        except XdsError as failure:
            error = self._reject(state, failure)
        self.mux.confirm(state, response.nonce, error)

    async def _decode(self, state: State, response: Any) -> list[Resource]:
        def decode() -> list[Resource]:
            return _decode(state, response, self._bootstrap, self._registry)

        if len(response.resources) < _SMALL:
            return decode()
        return await trio.to_thread.run_sync(decode, abandon_on_cancel=True)

    @staticmethod
    def _distribute(
        state: State, found: list[Resource], removed: list[str], version: str, start: float
    ) -> None:
        """Give everybody what is theirs.

        Where one refuses, who else takes theirs is chance in Envoy, which goes on in the order of a hash
        table up to that one; here all others do.

        Raises: XdsError, of the first who refuses.
        """
        came: dict[Watch[GrpcSubscription], list[Resource]] = {}
        went: dict[Watch[GrpcSubscription], list[str]] = {}
        for resource in found:
            for watch in state.interested_in(resource.name):
                came.setdefault(watch, []).append(resource)
        for name in removed:
            for watch in state.interested_in(name):
                went.setdefault(watch, []).append(name)
        refusal: XdsError | None = None
        for watch, resources in came.items():
            if not watch.owner.is_open:
                continue  # somebody before it took its place
            try:
                watch.owner.on_delta(resources, went.pop(watch, []), version, start)
            except XdsError as error:
                refusal = refusal or error
        if refusal is not None:
            raise refusal
        for watch, names in went.items():
            watch.owner.on_delta([], names, version, start)
        if not found and not removed:
            for watch in [each for each in state.watches if each.names is None]:
                watch.owner.on_delta([], [], version, start)

    def _remember(self, state: State, response: Any) -> None:
        taken = set(
            state.take(((each.name, each.version) for each in response.resources), response.removed_resources)
        )
        now = time.monotonic()
        for each in response.resources:
            if each.name in taken:
                ttl_s = each.ttl.seconds + each.ttl.nanos / 1e9 if each.HasField("ttl") else None
                self.ttls.set(state.type_url, each.name, ttl_s, now)

    def _expire(self, type_url: str, names: list[str]) -> None:
        state = self.mux.state_of(type_url)
        if state is not None:
            gone = [name for name in names if state.version_of(name) is not None]
            state.forget(gone)
            self._distribute(state, [], gone, "", time.monotonic())


def _means_nothing(state: State) -> bool:
    """Whether a resource without contents says that there is none."""
    return state.type_url == VIRTUAL_HOST


def _is_heartbeat(state: State, resource: Any) -> bool:
    """Whether it says only that what is here still holds."""
    if _means_nothing(state) or resource.HasField("resource"):
        return False
    return bool(state.version_of(resource.name) == resource.version)


def _check(state: State, response: Any) -> None:
    """Raises: XdsError."""
    names: set[str] = set()
    for resource in response.resources:
        if resource.name in names:
            raise XdsError(f"duplicate name {resource.name} found among added/updated resources")
        names.add(resource.name)
        if _is_heartbeat(state, resource) or (not resource.HasField("resource") and resource.aliases):
            continue
        if resource.resource.type_url != response.type_url:
            raise XdsError(
                f"type URL {resource.resource.type_url} embedded in an individual Any does not match the"
                f" message-wide type URL {response.type_url} in DeltaDiscoveryResponse"
            )
    for name in response.removed_resources:
        if name in names:
            raise XdsError(f"duplicate name {name} found in the union of added+removed resources")
        names.add(name)


def _decode(state: State, response: Any, bootstrap: Any, registry: Registry) -> list[Resource]:
    """What came, as those want it who watch it; the rest is passed over.  Thread-safe.

    Raises: ResponseRejected.
    """
    report = Reporter(None)
    found: list[Resource] = []
    is_refused = False
    for number, wrapped in enumerate(response.resources):
        watches = state.interested_in(wrapped.name)
        if not watches or _is_heartbeat(state, wrapped):
            continue
        kind = watches[0].owner.subscriber.kind
        if not wrapped.HasField("resource") and _means_nothing(state):
            found.append(Resource(wrapped.name, wrapped.version, None, aliases=tuple(wrapped.aliases)))
            continue
        if not wrapped.HasField("resource"):
            # An alias that leads nowhere: Envoy takes a message without fields, if the API allows that.
            wrapped.resource.type_url = response.type_url
        resource = kind.decode_wrapped(
            wrapped,
            ("resources", number),
            bootstrap=bootstrap,
            registry=registry,
            report=report,
            is_partial=True,
        )
        if resource is None:
            is_refused = True
        else:
            found.append(replace(resource, aliases=tuple(wrapped.aliases)) if wrapped.aliases else resource)
    if is_refused:
        raise ResponseRejected(report.problems)
    for problem in report.problems:
        log.warning("%s", problem)
    return found
