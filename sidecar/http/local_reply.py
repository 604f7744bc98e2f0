"""Answers that the proxy makes itself, and the one table from errors to them.

Texts, codes, flags and details are Envoy's (``source/common/router/router.cc``,
``source/common/http/conn_manager_impl.cc``), seen on the oracle; tests/conformance pins them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import quote

from sidecar.api.message import FixedBody, LocalReply, ResponseMessage
from sidecar.api.stream import Flag, Stream
from sidecar.codec.h1 import reason_phrase
from sidecar.core.errors import (
    DeadlineExceeded,
    ExtensionError,
    LocalProtocolError,
    RemoteProtocolError,
    SidecarError,
    StreamAborted,
    UpstreamError,
)
from sidecar.core.headers import ResponseHeaders
from sidecar.router.response_headers import finish_response_headers

if TYPE_CHECKING:
    from sidecar.http.local_reply_config import LocalReplyConfig

__all__ = ["NO_CLUSTER", "NO_HEALTHY_UPSTREAM", "NO_ROUTE", "build_response", "reply_for"]

NO_ROUTE = LocalReply(404, details="route_not_found", flag=Flag.NO_ROUTE_FOUND)
NO_HEALTHY_UPSTREAM = LocalReply(
    503,
    b"no healthy upstream",
    details="no_healthy_upstream",
    flag=Flag.NO_HEALTHY_UPSTREAM,
    has_route_headers=True,
)
NO_CLUSTER = LocalReply(503, details="cluster_not_found", flag=Flag.NO_CLUSTER_FOUND, has_route_headers=True)

_UPSTREAM_TIMEOUT = LocalReply(
    504,
    b"upstream request timeout",
    details="response_timeout",
    flag=Flag.UPSTREAM_REQUEST_TIMEOUT,
    has_route_headers=True,
)
_UPSTREAM_TIMEOUT_204 = replace(_UPSTREAM_TIMEOUT, status=204, body=b"")
_STREAM_IDLE_REQUEST = LocalReply(
    408, b"stream timeout", details="stream_idle_timeout", flag=Flag.STREAM_IDLE_TIMEOUT, close=True
)
_STREAM_IDLE_UPSTREAM = LocalReply(
    504, b"stream timeout", details="stream_idle_timeout", flag=Flag.STREAM_IDLE_TIMEOUT
)
_INTERNAL = LocalReply(500, b"internal error", details="internal_error")


def reply_for(error: SidecarError, stream: Stream) -> LocalReply:
    """What a failed stream is answered with while its response has not begun."""
    if isinstance(error, StreamAborted):
        return error.reply
    if isinstance(error, UpstreamError):
        return _upstream_reply(error, "after" if stream.had_interim else "before")
    if isinstance(error, DeadlineExceeded):
        if error.kind == "total":
            return _UPSTREAM_TIMEOUT_204 if stream.is_timeout_204 else _UPSTREAM_TIMEOUT
        body = stream.request.body
        return _STREAM_IDLE_UPSTREAM if body is None or body.ended else _STREAM_IDLE_REQUEST
    if isinstance(error, RemoteProtocolError):
        status = error.status
        text = reason_phrase(status)
        flag = Flag.DOWNSTREAM_PROTOCOL_ERROR
        return LocalReply(status, text, details=error.details, flag=flag, close=True)
    if isinstance(error, LocalProtocolError | ExtensionError):
        return _INTERNAL
    return _INTERNAL


def _upstream_reply(error: UpstreamError, moment: str) -> LocalReply:
    if error.flag & Flag.UPSTREAM_OVERFLOW:
        return LocalReply(
            503,
            b"upstream connect error or disconnect/reset before headers. " + _reset_reason(error),
            details="upstream_reset_before_response_started{overflow}",
            flag=error.flag,
            headers=[(b"x-envoy-overloaded", b"true")],
            has_route_headers=True,
        )
    status = 502 if error.flag & Flag.UPSTREAM_PROTOCOL_ERROR else 503
    details = error.details.replace(" ", "_")
    return LocalReply(
        status,
        b"upstream connect error or disconnect/reset before headers. " + _reset_reason(error),
        details=f"upstream_reset_{moment}_response_started{{{details}}}",
        flag=error.flag,
        has_route_headers=True,
    )


def _reset_reason(error: UpstreamError) -> bytes:
    said = b"retried and the latest reset reason: " if error.was_retried else b"reset reason: "
    return said + str(error).encode()


def build_response(
    reply: LocalReply, stream: Stream, config: LocalReplyConfig | None = None
) -> ResponseMessage:
    """The response message of a local reply; a gRPC request gets a gRPC answer (Envoy ``sendLocalReply``).

    The reply's own headers come first, behind those of a route to a cluster; without a body there is no type
    and no length.  ``config`` may change all of it, and is what the stream's flags and details have to be set
    for.
    """
    request = stream.request.headers
    if stream.resolve_route and stream.remote_address:
        # A filter answered before the router: Envoy, which looks up the route first, shows it all the same.
        stream.find_route()
    headers = ResponseHeaders(reply.status)
    route = stream.route
    if reply.is_answer:
        config = None
        route = None
    is_routed = route is not None and (route.is_forwarding or reply.has_route_headers)
    if is_routed:
        stream.response = ResponseMessage(headers)  # for %RESP()%
    if is_routed and route.is_forwarding:
        # Whoever the reply is from (``prepareLocalReplyViaFilterChain``).
        finish_response_headers(stream, headers)
    if reply.overrides:
        for name, _ in reply.headers:
            headers.remove(name)
    for name, value in reply.headers:
        headers.append(name, value)
    if is_routed and not route.is_forwarding:
        finish_response_headers(stream, headers)
    body = reply.body
    body_type: bytes | None = None
    if config is not None:
        given_type = headers.get(b"content-type")
        body, body_type = config.rewrite(stream, headers, body)
        if body == reply.body or headers.get(b"content-type") != given_type:
            body_type = None  # the type that stands there is the body's own
    content_type = request.get(b"content-type")
    if content_type is not None and is_grpc(content_type) and stream.is_grpc is not False:
        if body_type == b"application/json":
            body = body.removesuffix(b"\n")  # which ends a JSON format
        return _grpc_response(headers, body, reply.grpc_status, is_head=request.method == b"HEAD")
    if body:
        headers.set(b"content-length", b"%d" % len(body))
        if body_type is not None or b"content-type" not in headers:
            headers.set(b"content-type", body_type or b"text/plain")
    elif headers.fields:
        headers.remove(b"content-length")
        headers.remove(b"content-type")
    return ResponseMessage(headers, FixedBody(body) if body and request.method != b"HEAD" else None)


_GRPC = b"application/grpc"


def is_grpc(content_type: bytes) -> bool:
    """Whether a content type is gRPC's (``Grpc::Common::hasGrpcContentType``: parameters are none of it)."""
    return content_type == _GRPC or content_type.startswith(_GRPC + b"+")


_GRPC_STATUS = {400: 13, 401: 16, 403: 7, 404: 12, 429: 14, 502: 14, 503: 14, 504: 14}


def grpc_status_of(status: int) -> int:
    """The status of gRPC that stands for one of HTTP."""
    return _GRPC_STATUS.get(status, 2)


def _grpc_response(
    headers: ResponseHeaders, body: bytes, grpc_status: int | None, *, is_head: bool
) -> ResponseMessage:
    if grpc_status is None:
        grpc_status = grpc_status_of(headers.status)
    headers.status = 200
    headers.remove(b"content-length")
    headers.set(b"content-type", b"application/grpc")
    if not headers.get(b"grpc-status"):
        headers.set(b"grpc-status", b"%d" % grpc_status)
    if body and not is_head:
        headers.set(b"grpc-message", quote(body, safe=" !\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~").encode())
    return ResponseMessage(headers)
