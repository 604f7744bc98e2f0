"""One question of the filter ``ext_authz``, and the services that answer it: by gRPC or by HTTP.

``source/extensions/filters/common/ext_authz``.  A service never raises for what the other side does: that is
a decision, too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field
from random import getrandbits
from typing import TYPE_CHECKING, Any, Protocol

from sidecar.api.message import FixedBody
from sidecar.codec.h1_reasons import reason_phrase
from sidecar.core.dataclass import dataclass
from sidecar.core.headers import Field, RequestHeaders
from sidecar.extensions.authz.check_messages import CHECK, CheckRequest, decision_of, sanitized
from sidecar.extensions.authz.decision import DENIED, ERROR, OK, Decision

if TYPE_CHECKING:
    from sidecar.api.stream import Stream
    from sidecar.observability.span import Span
    from sidecar.router.grpc_client import GrpcClient, GrpcUnaryCall
    from sidecar.router.header_mutation import HeaderMutations
    from sidecar.router.http_client import ClientResponse, HttpCall, HttpClient
    from sidecar.router.retry_policy import RetryPolicy

__all__ = ["Attributes", "Check", "CheckService", "GrpcCheckService", "HttpCheckService"]

_HEADERS_TO_REMOVE = b"x-envoy-auth-headers-to-remove"
_PARTIAL_BODY = b"x-envoy-auth-partial-body"
_SERVICE_CLUSTER = b"x-envoy-downstream-service-cluster"
#: The longest answer by HTTP, as Envoy has it.
_MOST_BYTES = 32 * 1024 * 1024
#: In the span of a call.
_VERDICTS = {OK: "ext_authz_ok", DENIED: "ext_authz_unauthorized", ERROR: "ext_authz_error"}

Passes = Callable[[bytes], bool]


@dataclass(frozen=True, slots=True)
class Attributes:
    """Which attributes a question has, for all requests of a filter."""

    #: Whether the service may see a header; None for all.
    passes: Passes | None = None
    encode_raw_headers: bool = False
    pack_as_bytes: bool = False
    include_peer_certificate: bool = False
    include_tls_session: bool = False
    #: Of the destination.
    labels: Mapping[str, str] = field(default_factory=dict)
    metadata_context_namespaces: tuple[str, ...] = ()
    typed_metadata_context_namespaces: tuple[str, ...] = ()
    route_metadata_context_namespaces: tuple[str, ...] = ()
    route_typed_metadata_context_namespaces: tuple[str, ...] = ()


@dataclass(slots=True)
class Check:
    """What is asked about one request."""

    stream: Stream
    attributes: Attributes
    context_extensions: Mapping[str, str]
    #: The body as far as it goes along; None where it does not.
    body: bytes | None = None
    is_partial: bool = False
    #: How much of it had come.
    received: int = 0
    #: Whether the span of a call by HTTP is told to the collector.
    emits_span: bool = True

    def message(self) -> bytes:
        """The question as a CheckRequest."""
        stream, attributes = self.stream, self.attributes
        headers = stream.request.headers
        made = CheckRequest()
        made.set_peers(
            stream.connection,
            service=sanitized(headers.get(_SERVICE_CLUSTER) or b""),
            include_certificate=attributes.include_peer_certificate,
            labels=attributes.labels,
        )
        made.set_request(stream, getrandbits(64), self.received)
        as_bytes = attributes.encode_raw_headers
        made.set_headers(headers, attributes.passes, as_bytes=as_bytes)
        if self.body is not None:
            made.set_body(
                self.body,
                is_partial=self.is_partial,
                as_bytes=attributes.pack_as_bytes,
                as_header_bytes=as_bytes,
            )
        if attributes.include_tls_session:
            made.set_tls_session(stream.connection)
        route = stream.route
        made.set_context(
            self.context_extensions,
            self._metadata(attributes.metadata_context_namespaces),
            {},
            _chosen(route.metadata, attributes.route_metadata_context_namespaces),
            _chosen(route.typed_metadata, attributes.route_typed_metadata_context_namespaces),
        )
        return made.serialized()

    def fields(self) -> list[Field]:
        """The headers that the service may see, pseudo headers among them."""
        passes = self.attributes.passes
        found = [
            each
            for each in self.stream.request.headers
            if each[0] != _PARTIAL_BODY and (passes is None or passes(each[0]))
        ]
        if self.body is not None:
            found.append((_PARTIAL_BODY, b"true" if self.is_partial else b"false"))
        return found

    def _metadata(self, namespaces: tuple[str, ...]) -> dict[str, Any]:
        """Dynamic metadata of the request, and of its connection where the request has none."""
        of_connection = _chosen(self.stream.connection.dynamic_metadata, namespaces)
        return {**of_connection, **_chosen(self.stream.dynamic_metadata, namespaces)}


def _chosen(found: Mapping[str, Any] | None, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: found[name] for name in names if name in found} if found and names else {}


class CheckService(Protocol):
    """Who is asked."""

    async def check(self, check: Check) -> Decision:
        """The answer.  If cancelled: the question is taken back."""
        ...


def _describe_grpc(span: Span, call: GrpcUnaryCall) -> None:
    span.set_tag("ext_authz_status", _VERDICTS[decision_of(call.message or b"").verdict])


def _describe_http(span: Span, call: HttpCall) -> None:
    status = call.answer_status
    if status:
        span.set_tag("ext_authz_http_status", reason_phrase(status).decode())
        span.set_tag("ext_authz_status", _VERDICTS[OK if status == 200 else DENIED])


class GrpcCheckService:
    """``grpc_service``."""

    def __init__(self, client: GrpcClient) -> None:
        self._client = client

    async def check(self, check: Check) -> Decision:
        call = self._client.call(CHECK, check.message(), parent=check.stream, describe=_describe_grpc)
        try:
            status = await call.outcome()
        finally:
            call.cancel()  # where it is not over
        if not status.is_ok or call.message is None:
            return Decision()
        return decision_of(call.message)


@dataclass(frozen=True, slots=True)
class HttpCheckService:
    """``http_service``."""

    client: HttpClient
    cluster: str
    timeout_s: float
    path_prefix: bytes = b""
    path_override: bytes = b""
    headers_to_add: HeaderMutations | None = None
    retry_policy: RetryPolicy | None = None
    #: Of an answer that allows: headers that the request gets in place of its own, or besides.
    allowed_upstream_headers: Passes | None = None
    allowed_upstream_headers_to_append: Passes | None = None
    allowed_client_headers_on_success: Passes | None = None
    dynamic_metadata_from_headers: Passes | None = None
    #: Of one that refuses: headers that the client gets; all by default.
    allowed_client_headers: Passes | None = None

    async def check(self, check: Check) -> Decision:
        if self.client.router.find_cluster(self.cluster) is None:
            return Decision()
        body = check.body or b""
        span = check.stream.span
        if span is not None:
            span = span.spawn(f"async {self.cluster} egress")
            span.is_sampled &= check.emits_span
        call = self.client.call(
            self.cluster,
            self._head(check, len(body)),
            FixedBody(body) if body else None,
            timeout_s=self.timeout_s,
            keep_bytes=_MOST_BYTES + 1,
            retry_policy=self.retry_policy,
            send_xff=False,
            span=span,
        )
        call.describe = _describe_http
        call.start()
        try:
            await call.ended()
        finally:
            call.cancel()  # where it is not over
        response = call.response
        if response is None or response.headers.status >= 500 or len(response.body) > _MOST_BYTES:
            return Decision()
        return self._decision(response)

    def _head(self, check: Check, length: int) -> RequestHeaders:
        made = RequestHeaders(scheme=b"http")
        made.append(b"content-length", b"%d" % length)
        joined: dict[bytes, bytes] = {}
        for name, value in check.fields():
            if name != b"content-length":
                text = sanitized(value).encode()
                joined[name] = joined[name] + b"," + text if name in joined else text
        for name, value in joined.items():
            if name == b":path":
                value = self.path_override or self.path_prefix + value
            made.append(name, value)
        if self.headers_to_add is not None:
            self.headers_to_add.apply(made, check.stream)
        return made

    def _decision(self, response: ClientResponse) -> Decision:
        headers = response.headers
        status = headers.status
        is_ok = status == 200
        found = Decision(OK if is_ok else DENIED, status, b"" if is_ok else response.body)
        if is_ok:
            for value in headers.get_all(_HEADERS_TO_REMOVE):
                names = [name.strip() for name in value.split(b",")]
                found.to_remove += [name.lower() for name in names if name]
        headers.remove(_HEADERS_TO_REMOVE)
        groups = (
            (
                self.allowed_upstream_headers if is_ok else self.allowed_client_headers,
                found.to_set if is_ok else found.local_headers,
            ),
            (self.allowed_upstream_headers_to_append, found.to_add),
            (self.allowed_client_headers_on_success, found.response_to_add),
        )
        for name, value in headers:
            for passes, target in groups:
                if passes is not None and passes(name):
                    target.append((name, value))
            passes = self.dynamic_metadata_from_headers
            if passes is not None and passes(name):
                found.metadata[name.decode("latin-1")] = sanitized(value)
        return found
