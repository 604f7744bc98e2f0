"""The filter ``envoy.filters.http.ext_authz``: another service says whether a request may go on.

Who is asked, and how, is :mod:`sidecar.extensions.http.ext_authz_check`'s; here it is decided whether to
ask, and what becomes of the answer (``source/extensions/filters/http/ext_authz/ext_authz.cc``).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import field, replace
from time import monotonic
from typing import TYPE_CHECKING, Any

from sidecar.api.filters import HttpFilter
from sidecar.api.message import BegunBody, Body, LocalReply
from sidecar.api.stream import Flag
from sidecar.core.dataclass import dataclass
from sidecar.core.errors import StreamAborted
from sidecar.core.runtime import OFF, Switch
from sidecar.extensions.authz.decision import DENIED, ERROR, Decision
from sidecar.extensions.authz.shadow import keep, shadow_decision
from sidecar.extensions.http.ext_authz_check import Attributes, Check, CheckService
from sidecar.extensions.http.ext_authz_mutations import Rejected, RequestMutations, sendable, unsendable

if TYPE_CHECKING:
    from sidecar.api.stream import Stream
    from sidecar.core.headers import Field, HeaderMap

__all__ = ["BodySettings", "ExtAuthzFilter", "RouteCheck", "Settings"]

#: Where the metadata of answers goes, whatever the filter is called.
_NAMESPACE = "envoy.filters.http.ext_authz"
_FAILURE_ALLOWED = b"x-envoy-auth-failure-mode-allowed"
_TOO_LARGE = LocalReply(413, b"Payload Too Large", details="request_payload_too_large")
_NO_STATUS = LocalReply(
    502,
    b"missing required header: :status",
    "filter_removed_required_response_headers{missing_required_header:_:status}",
)
_RESPONSE_GROUPS = (
    *("response_to_add", "response_to_set"),
    *("response_to_add_if_absent", "response_to_overwrite"),
)
_DENIED = "ext_authz_denied"
_ERROR = "ext_authz_error"
_INVALID = "ext_authz_invalid"
#: Of a response, as Envoy has it where the cluster says nothing else.
_MOST_HEADERS = 100
_COUNTERS = (
    *("ok", "denied", "error", "disabled", "failure_mode_allowed", "invalid", "ignored_dynamic_metadata"),
    *("filter_state_name_collision", "omitted_response_headers"),
    *("request_header_limits_reached", "response_header_limits_reached", "shadow_denied", "shadow_error"),
)


@dataclass(frozen=True, slots=True)
class BodySettings:
    """``with_request_body``."""

    max_request_bytes: int
    allow_partial_message: bool = False
    pack_as_bytes: bool = False


@dataclass(frozen=True, slots=True)
class Settings:
    """The filter's message, but for what is asked and of whom."""

    failure_mode_allow: bool = False
    failure_mode_allow_header_add: bool = False
    body: BodySettings | None = None
    clear_route_cache: bool = False
    #: Headers of which one has to change for that; empty for any.
    clear_route_cache_headers: frozenset[bytes] = frozenset()
    status_on_error: int = 403
    #: Drawn for one request; None for always.
    filter_enabled: Callable[[], bool] | None = None
    filter_enabled_metadata: Callable[[Any], bool] | None = None
    deny_at_disable: Switch = OFF
    stat_prefix: str = ""
    charge_cluster_response_stats: bool = True
    enable_dynamic_metadata_ingestion: bool = True
    max_denied_response_body_bytes: int = 0
    enforce_response_header_limits: bool = False
    #: Of calls by HTTP; those of gRPC have one all the same, as in Envoy.
    emit_client_span: bool = True
    #: Whether decisions are only watched: they stand in filter state, and refuse nothing.
    shadow_mode: bool = False
    #: Whether filter state says how long a call took.
    emit_filter_state_stats: bool = False
    mutations: RequestMutations = field(default_factory=RequestMutations)

    def is_enabled(self, stream: Stream) -> bool:
        """Whether this request is looked at."""
        if self.filter_enabled is not None and not self.filter_enabled():
            return False
        return self.filter_enabled_metadata is None or self.filter_enabled_metadata(stream.dynamic_metadata)


@dataclass(frozen=True, slots=True)
class RouteCheck:
    """``ExtAuthzPerRoute``."""

    disabled: bool = False
    context_extensions: Mapping[str, str] = field(default_factory=dict)
    disable_request_body_buffering: bool = False
    body: BodySettings | None = None
    #: Who is asked in place of the filter's service.
    service: CheckService | None = None
    emit_client_span: bool | None = None

    def within(self, outer: RouteCheck) -> RouteCheck:
        """The same with what the levels around it add to the question; the rest is this level's own."""
        extensions = {**outer.context_extensions, **self.context_extensions}
        return replace(self, context_extensions=extensions)


_NO_ROUTE = RouteCheck()


class ExtAuthzFilter(HttpFilter):
    """Asks about each request, and does what the answer says."""

    uses_trio = False

    def __init__(
        self,
        settings: Settings,
        attributes: Attributes,
        service: CheckService | None,
        stats: Any,
        find_cluster: Callable[[str], Any],
    ) -> None:
        """``stats``: the scope ``http.<prefix>.ext_authz.[<stat_prefix>.]``; no service refuses all."""
        self._settings = settings
        self._attributes = attributes
        self._service = service
        self._counters = {name: stats.counter(name) for name in _COUNTERS}
        self._find_cluster = find_cluster

    # -- the request --------------------------------------------------------------------------
    def decode_headers(self, stream: Stream) -> LocalReply | Awaitable[LocalReply | None] | None:
        route = stream.find_route()
        if route is None:
            return None
        of_route: RouteCheck = route.per_filter_config.get(self.config_name, _NO_ROUTE)
        if of_route.disabled:
            return None
        settings = self._settings
        if not settings.is_enabled(stream):
            self._counters["disabled"].value += 1
            return self._deny_at_disable(stream) if settings.deny_at_disable.value else None
        return self._check(stream, of_route)

    def _deny_at_disable(self, stream: Stream) -> LocalReply | None:
        status = self._settings.status_on_error
        if not self._settings.shadow_mode:
            return self._refusal(status, _ERROR)
        stream.flags |= Flag.UNAUTHORIZED_EXTERNAL_SERVICE
        self._counters["shadow_denied"].value += 1
        self._watch(stream, "DENIED", status)
        return None

    def _watch(self, stream: Stream, result: str, status: int, headers: Sequence[Field] = ()) -> None:
        keep(stream, f"{self.config_name}.shadow", shadow_decision(result, status, headers))

    async def _check(self, stream: Stream, of_route: RouteCheck) -> LocalReply | None:
        body = stream.request.body
        data: bytes | None = None
        is_partial = False
        received = 0
        settings = of_route.body or self._settings.body
        if (
            settings is not None
            and body is not None
            and not of_route.disable_request_body_buffering
            and not _is_upgrade(stream)
        ):
            data = await self._buffer(stream, body, settings)
            received = len(data)
            is_partial = received > settings.max_request_bytes
            data = data[: settings.max_request_bytes]
        check = Check(stream, self._attributes, of_route.context_extensions, data, is_partial, received)
        of_span = of_route.emit_client_span
        check.emits_span = self._settings.emit_client_span if of_span is None else of_span
        route: Any = stream.route
        cluster = self._find_cluster(route.cluster_name) if route.is_forwarding else None
        service = of_route.service or self._service
        began = monotonic()
        decision = Decision() if service is None else await service.check(check)
        return self._decide(stream, decision, cluster, monotonic() - began)

    async def _buffer(self, stream: Stream, body: Body, settings: BodySettings) -> bytes:
        """The body as far as it is wanted, which stays in its place."""
        request = stream.request
        limit = settings.max_request_bytes
        if not settings.allow_partial_message:
            try:
                return await request.buffer_body(limit, _TOO_LARGE)
            except StreamAborted as error:
                stream.bytes_received += error.received
                stream.hcm.stats.downstream_rq_too_large.value += 1
                raise
        chunks: list[bytes] = []
        size = 0
        while size < limit:
            chunk = await body.receive()
            if not chunk:
                break
            chunks.append(chunk)
            size += len(chunk)
            if body.ended:
                break
        data = b"".join(chunks)
        request.body = BegunBody(data, body)
        return data

    # -- the answer ---------------------------------------------------------------------------
    def _decide(self, stream: Stream, decision: Decision, cluster: Any, took_s: float) -> LocalReply | None:
        settings = self._settings
        if settings.emit_filter_state_stats:
            keep(stream, self.config_name, {"latency_us": int(took_s * 1e6)})
        if decision.saw_invalid_action and settings.mutations.validates:
            return self._reject(cluster)
        if decision.metadata:
            self._keep_metadata(stream, decision, took_s)
        if decision.verdict == ERROR:
            return self._fail(stream, decision, cluster)
        if decision.verdict == DENIED:
            return self._deny(stream, decision, cluster)
        try:
            if settings.clear_route_cache and settings.mutations.changes_request(
                decision, settings.clear_route_cache_headers
            ):
                stream.clear_route_cache()
            settings.mutations.apply(stream, decision)
        except Rejected as error:
            if error.is_too_much:
                self._counters["request_header_limits_reached"].value += 1
            return self._reject(cluster)
        if any(getattr(decision, name) for name in _RESPONSE_GROUPS):
            stream.set_slot(self.slot, decision)
        self._count("ok", cluster)
        if settings.shadow_mode:
            self._watch(stream, "OK", 200)
        return None if settings.mutations.validates else unsendable(decision)

    def _keep_metadata(self, stream: Stream, decision: Decision, took_s: float) -> None:
        if not self._settings.enable_dynamic_metadata_ingestion:
            self._counters["ignored_dynamic_metadata"].value += 1
            return
        if decision.verdict not in (DENIED, ERROR):
            decision.metadata["ext_authz_duration"] = float(int(took_s * 1000))
        stream.metadata_namespace(_NAMESPACE).update(decision.metadata)

    def _fail(self, stream: Stream, decision: Decision, cluster: Any) -> LocalReply | None:
        settings = self._settings
        self._count("error", cluster)
        status = decision.status or settings.status_on_error
        if settings.shadow_mode:
            self._counters["shadow_error"].value += 1
            self._watch(stream, "ERROR", status)
            return None
        if settings.failure_mode_allow:
            self._count("failure_mode_allowed", cluster)
            if settings.failure_mode_allow_header_add:
                stream.request.headers.append(_FAILURE_ALLOWED, b"true")
            return None
        try:
            settings.mutations.check(decision.local_headers)
        except Rejected:
            return self._reject(cluster)
        return self._refusal(status, _ERROR, decision)

    def _deny(self, stream: Stream, decision: Decision, cluster: Any) -> LocalReply | None:
        settings = self._settings
        self._count("denied", cluster)
        if cluster is not None and settings.charge_cluster_response_stats:
            cluster.stats.charge_response(decision.status, True)
        if settings.shadow_mode:
            self._counters["shadow_denied"].value += 1
            self._watch(stream, "DENIED", decision.status, decision.local_headers)
            return None
        try:
            settings.mutations.check(decision.local_headers)
        except Rejected:
            return self._reject(cluster)
        return self._refusal(decision.status, _DENIED, decision)

    def _refusal(self, status: int, details: str, decision: Decision | None = None) -> LocalReply:
        reply = LocalReply(status, details=details, flag=Flag.UNAUTHORIZED_EXTERNAL_SERVICE)
        if decision is None:
            return reply
        body = decision.body
        most = self._settings.max_denied_response_body_bytes
        if most and len(body) > most:
            body = body[:most]
        headers = sendable(decision.local_headers)
        flag = Flag.UNAUTHORIZED_EXTERNAL_SERVICE
        return LocalReply(status, body, details, flag, headers, overrides=True)

    def _reject(self, cluster: Any) -> LocalReply:
        """The answer cannot be done."""
        self._count("invalid", cluster)
        return self._refusal(500, _INVALID)

    def _count(self, name: str, cluster: Any) -> None:
        self._counters[name].value += 1
        if cluster is not None:
            prefix = self._settings.stat_prefix
            cluster.stats.scope.counter(
                f"ext_authz.{prefix}.{name}" if prefix else f"ext_authz.{name}"
            ).value += 1

    # -- the response -------------------------------------------------------------------------
    def encode_headers(self, stream: Stream) -> LocalReply | Awaitable[LocalReply | None] | None:
        decision: Decision | None = stream.get_slot(self.slot)
        response = stream.response
        if decision is None or response is None:
            return None
        headers: HeaderMap = response.headers
        for name, value in sendable(decision.response_to_add):
            if name == b":status":
                return _NO_STATUS  # there are two now, which is none
            headers.append(name, value)
        for name, value in sendable(decision.response_to_set):
            if name == b":status" and not (value.isdigit() and len(value) == 3):
                return _NO_STATUS
            headers.replace(name, value)
        for name, value in sendable(decision.response_to_add_if_absent):
            if name not in headers:
                headers.append(name, value)
        for name, value in sendable(decision.response_to_overwrite):
            if name in headers:
                headers.replace(name, value)
        if self._settings.enforce_response_header_limits and len(headers) > _MOST_HEADERS:
            self._counters["response_header_limits_reached"].value += 1
            return self._refusal(500, _INVALID)
        return None


def _is_upgrade(stream: Stream) -> bool:
    """A WebSocket, or an extended CONNECT of HTTP/2: its body is a tunnel."""
    upgrade = stream.upgrade
    if upgrade is None:
        return False
    return upgrade.lower() == b"websocket" or (stream.protocol == "HTTP/2" and upgrade != b"CONNECT")
