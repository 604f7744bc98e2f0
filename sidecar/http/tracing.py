"""Tracing of a connection manager: who is traced, and what its span says.

``Tracing`` of envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager and of
envoy.config.route.v3.  A request is decided upon when its route is known and no filter has seen it; its id
tells the proxies behind (``ConnectionManagerUtility::mutateTracingRequestHeader``).  The tags are those of
Envoy's ``HttpTracerUtility``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import field
from typing import TYPE_CHECKING, Any

from sidecar.core.dataclass import dataclass
from sidecar.core.runtime import Fraction
from sidecar.http.local_reply import is_grpc
from sidecar.http.request_headers import UUID_LENGTH
from sidecar.observability.span import CLIENT, SERVER, UnsampledSpan
from sidecar.observability.span_tags import set_common_tags, set_grpc_request_tags, set_grpc_status

if TYPE_CHECKING:
    from sidecar.api.stream import Stream
    from sidecar.net.reactor import Strand
    from sidecar.observability.span import Span, Tracer
    from sidecar.observability.span_tags import Tag

__all__ = ["Decorator", "RouteTracing", "Tracing", "trace_reason"]


#: Where an id (a UUID) says why there is a trace, and the digits that say so.
_REASON_AT = 14
_SAMPLED, _FORCED, _CLIENT, _NONE = "9", "a", "b", "4"
_REASONS = {b"9": _SAMPLED, b"a": _FORCED, b"b": _CLIENT}
_DECORATOR = b"x-envoy-decorator-operation"
_COUNTER_NAMES = {
    _SAMPLED: "random_sampling",
    _FORCED: "service_forced",
    _CLIENT: "client_enabled",
    _NONE: "not_traceable",
}


def trace_reason(request_id: bytes | None) -> str:
    """Why a request is traced, by its id: the digit, ``4`` where it is not."""
    if request_id is None or len(request_id) != UUID_LENGTH:
        return _NONE
    return _REASONS.get(request_id[_REASON_AT : _REASON_AT + 1], _NONE)


@dataclass(frozen=True, slots=True)
class RouteTracing:
    """What a route says in the place of its connection manager; None leaves that."""

    client: Fraction | None = None
    random: Fraction | None = None
    overall: Fraction | None = None
    #: Custom tags by name, in the place of those of the same name.
    named_tags: dict[str, Tag] = field(default_factory=dict)
    operation: Callable[[Stream], str] | None = None
    upstream_operation: Callable[[Stream], str] | None = None


_ROUTE = RouteTracing()


@dataclass(frozen=True, slots=True)
class Decorator:
    """What a route calls the operation, and whether others are told."""

    operation: str
    propagate: bool = True


class Tracing:
    """See the module."""

    def __init__(self, scope: Any, tracer: Tracer | None) -> None:
        self.tracer = tracer
        self.client = Fraction("", (100, 100))
        self.random = Fraction("", (10000, 10000))
        self.overall = Fraction("", (10000, 10000))
        self.is_outbound = False
        self.is_verbose = False
        self.spawns_upstream_span = False
        self.propagates_context = True
        self.max_path_length = 256
        #: Custom tags, by name.
        self.tags: dict[str, Tag] = {}
        self.operation: Callable[[Stream], str] | None = None
        self.upstream_operation: Callable[[Stream], str] | None = None
        #: ``pack_trace_reason`` and ``use_request_id_for_trace_sampling`` of the request id's extension.
        self.packs_reason = True
        self.samples_by_id = True
        self.node_id = self.zone = ""
        self._counters = {digit: scope.counter(name) for digit, name in _COUNTER_NAMES.items()}
        self._not_traceable = self._counters[_NONE]

    # -- at the beginning ------------------------------------------------------------------------------
    def begin(self, stream: Stream, strand: Strand) -> None:
        """The route can be found, and no filter has seen the request."""
        route = stream.find_route()
        own = _ROUTE if route is None else route.tracing or _ROUTE
        # A request that an internal redirect made is not decided upon again.
        reason = _NONE if stream.redirects is not None else self._decide(stream, own)
        tracer = self.tracer
        headers = stream.request.headers
        index = headers.index()
        span: Span | None = None
        if reason is _NONE:
            self._not_traceable.value += 1
            if tracer is None:
                pass
            elif b"traceparent" not in index:
                span = stream.span = UnsampledSpan(tracer, "", b"")
            else:
                span = stream.span = tracer.start("", SERVER, 0, headers, is_traced=False, stream=stream)
        else:
            stream.trace_reason = reason
            self._counters[reason].value += 1
            if tracer is not None:
                span = stream.span = tracer.start(
                    self._name(stream, own),
                    CLIENT if self.is_outbound and not self.spawns_upstream_span else SERVER,
                    int(stream.start_time * 1e9),
                    headers,
                    is_traced=True,
                    stream=stream,
                )
        decorator = None if route is None else route.decorator
        if decorator is not None and span is not None:
            span.name = decorator.operation
        if self.is_outbound:
            if decorator is not None and decorator.propagate:
                headers.set(_DECORATOR, decorator.operation.encode())
        elif _DECORATOR in index:
            given = headers.get(_DECORATOR)
            if given:
                if span is not None:
                    span.name = given.decode("utf-8", "replace")
                stream.is_decorated = False
            headers.remove(_DECORATOR)

    def _decide(self, stream: Stream, own: RouteTracing) -> str:
        if not self.samples_by_id:
            return _SAMPLED
        headers = stream.request.headers
        index = headers.index()
        # Where every name stands once the index has the values.
        is_single = len(index) == len(headers.fields)
        request_id = index.get(b"x-request-id") if is_single else headers.get(b"x-request-id")
        if request_id is None or len(request_id) < 8:
            return _NONE
        try:
            # The number that every proxy samples by alike: the first eight hexadecimal digits of an id.
            number = int(request_id[:8], 16) % 10000
        except ValueError:
            return _NONE
        was = reason = (
            _REASONS.get(request_id[_REASON_AT : _REASON_AT + 1], _NONE)
            if len(request_id) == UUID_LENGTH
            else _NONE
        )
        if reason is _NONE:
            if b"x-client-trace-id" in index and (own.client or self.client)():
                reason = _CLIENT
            elif b"x-envoy-force-trace" in index:
                reason = _FORCED
            else:
                random = own.random or self.random
                if number % random.denominator >= random.numerator:
                    return _NONE  # the commonest
                reason = _SAMPLED
        if not (own.overall or self.overall).covers(number):
            reason = _NONE
        if reason != was and self.packs_reason and len(request_id) == UUID_LENGTH:
            request_id = b"".join((request_id[:_REASON_AT], reason.encode(), request_id[_REASON_AT + 1 :]))
            headers.set(b"x-request-id", request_id)
            stream.request_id = request_id
        return reason

    def _name(self, stream: Stream, own: RouteTracing) -> str:
        operation = own.operation or self.operation
        if operation is not None:
            return operation(stream)
        if not self.is_outbound:
            return "ingress"
        return f"egress {(stream.request.headers.authority or b'').decode('latin-1')}"

    # -- the response's head -----------------------------------------------------------------------------
    def finish_headers(self, stream: Stream) -> None:
        """What the two sides call the operation goes between them in headers."""
        assert stream.response is not None
        headers = stream.response.headers
        if not self.is_outbound:
            route = stream.route
            decorator = None if route is None else route.decorator
            if decorator is not None and decorator.propagate and stream.is_decorated:
                headers.set(_DECORATOR, decorator.operation.encode())
            return
        given = headers.get(_DECORATOR)
        if given is not None:
            if given and stream.span is not None:
                stream.span.name = given.decode("utf-8", "replace")
            headers.remove(_DECORATOR)

    # -- at the end --------------------------------------------------------------------------------------
    def complete(self, stream: Stream) -> None:
        """The last of the hooks at the end of a request, behind those of filters: finish its span."""
        span = stream.span
        if span is None or not span.is_sampled:
            return
        if not stream.request_last_rx_ns:
            stream.note_whole_request()
        self._set_request_tags(span, stream)
        set_common_tags(span, stream, status=stream.response_code, annotates=self.is_verbose)
        for tag in self.tags_of(stream):
            tag(span, stream)
        if stream.response_code >= 500 or not stream.response_code:
            span.set_tag("error", "true")
        set_grpc_status(span, stream.response_headers, stream.response_trailers)
        span.finish()

    def tags_of(self, stream: Stream) -> Iterable[Tag]:
        """The custom tags of a request: its route's, and the manager's that the route has none of."""
        own = None if stream.route is None else stream.route.tracing
        if own is None or not own.named_tags:
            return self.tags.values()
        return {**self.tags, **own.named_tags}.values()

    def upstream_name(self, stream: Stream) -> str:
        """What the span of a try is called."""
        own = None if stream.route is None else stream.route.tracing
        operation = (own.upstream_operation if own is not None else None) or self.upstream_operation
        if operation is not None:
            return operation(stream)
        cluster = stream.cluster
        return f"router {cluster.config.alt_stat_name or cluster.name} egress"

    def _set_request_tags(self, span: Span, stream: Stream) -> None:
        headers = stream.request.headers
        tags = span.tags
        tags.append(("node_id", self.node_id))
        tags.append(("zone", self.zone))
        request_id = headers.get(b"x-request-id")
        if request_id is not None:
            tags.append(("guid:x-request-id", _text(request_id)))
        path = (headers.get(b"x-envoy-original-path") or headers.path or b"")[: self.max_path_length]
        scheme = headers.get(b"x-forwarded-proto") or b""
        tags.append(("http.url", f"{_text(scheme)}://{_text(headers.authority or b'')}{_text(path)}"))
        tags.append(("http.method", _text(headers.method or b"")))
        tags.append(("downstream_cluster", _text(headers.get(b"x-envoy-downstream-service-cluster") or b"-")))
        tags.append(("user_agent", _text(headers.get(b"user-agent") or b"-")))
        tags.append(("http.protocol", stream.protocol))
        tags.append(("peer.address", _without_port(stream.connection.direct_remote_address)))
        client_id = headers.get(b"x-client-trace-id")
        if client_id is not None:
            tags.append(("guid:x-client-trace-id", _text(client_id)))
        content_type = headers.get(b"content-type")
        if content_type is not None and is_grpc(content_type):
            set_grpc_request_tags(span, headers)
        tags.append(("request_size", str(stream.bytes_received)))
        tags.append(("response_size", str(stream.bytes_sent)))


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")


def _without_port(address: str) -> str:
    host, colon, port = address.rpartition(":")
    return host.strip("[]") if colon and port.isdigit() else address
