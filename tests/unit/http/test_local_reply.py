"""Answers of the proxy itself: texts, details, flags, and their gRPC form."""

from __future__ import annotations

import pytest

from sidecar.api.message import FixedBody, LocalReply, RequestMessage
from sidecar.api.stream import Flag, Stream
from sidecar.core.errors import (
    DeadlineExceeded,
    ExtensionError,
    LocalProtocolError,
    RemoteProtocolError,
    SidecarError,
    StreamAborted,
    UpstreamError,
)
from sidecar.core.headers import RequestHeaders
from sidecar.http.local_reply import build_response, is_grpc, reply_for
from sidecar.http.local_reply_config import BodyFormat, LocalReplyConfig, ResponseMapper
from sidecar.router.header_mutation import NO_MUTATIONS, HeaderAddition, HeaderMutations
from sidecar.upstream.pool import (
    connect_failure,
    connect_timeout,
    connection_termination,
    protocol_error,
    remote_reset,
)
from tests.support.h1_lab import ClientConnection


def stream_of(content_type: bytes | None = None, method: bytes = b"GET") -> Stream:
    fields = [] if content_type is None else [(b"content-type", content_type)]
    headers = RequestHeaders(method, b"/", b"a", b"http", fields)
    return Stream(ClientConnection(), None, RequestMessage(headers), "HTTP/1.1")


PREFIX = b"upstream connect error or disconnect/reset before headers. reset reason: "


@pytest.mark.parametrize(
    ("error", "status", "body", "details", "flag"),
    [
        (
            connect_failure("delayed connect error: Connection refused"),
            503,
            PREFIX + b"remote connection failure",
            "remote_connection_failure|delayed_connect_error:_Connection_refused",
            Flag.UPSTREAM_CONNECTION_FAILURE,
        ),
        (
            connect_timeout(),
            503,
            PREFIX + b"connection timeout",
            "connection_timeout",
            Flag.UPSTREAM_CONNECTION_FAILURE,
        ),
        (
            connection_termination(),
            503,
            PREFIX + b"connection termination",
            "connection_termination",
            Flag.UPSTREAM_CONNECTION_TERMINATION,
        ),
        (remote_reset(), 503, PREFIX + b"remote reset", "remote_reset", Flag.UPSTREAM_REMOTE_RESET),
        (
            protocol_error(),
            502,
            PREFIX + b"protocol error",
            "protocol_error",
            Flag.UPSTREAM_PROTOCOL_ERROR,
        ),
        (
            UpstreamError("overflow", flag=Flag.UPSTREAM_OVERFLOW, details="overflow"),
            503,
            PREFIX + b"overflow",
            "overflow",
            Flag.UPSTREAM_OVERFLOW,
        ),
    ],
)
def test_upstream_error_is_answered_as_envoy_does(
    error: UpstreamError, status: int, body: bytes, details: str, flag: int
) -> None:
    reply = reply_for(error, stream_of())
    assert (reply.status, reply.body, reply.flag) == (status, body, flag)
    assert reply.details == f"upstream_reset_before_response_started{{{details}}}"
    overloaded = [(b"x-envoy-overloaded", b"true")] if flag == Flag.UPSTREAM_OVERFLOW else []
    assert reply.headers == overloaded


def test_timeouts_differ_by_kind_and_by_who_was_slow() -> None:
    stream = stream_of()
    total = reply_for(DeadlineExceeded("total"), stream)
    assert (total.status, total.body, total.flag) == (
        504,
        b"upstream request timeout",
        Flag.UPSTREAM_REQUEST_TIMEOUT,
    )
    stream.request.body = body = FixedBody(b"")
    body.ended = False
    idle = reply_for(DeadlineExceeded("idle"), stream)
    assert (idle.status, idle.body, idle.flag) == (408, b"stream timeout", Flag.STREAM_IDLE_TIMEOUT)
    body.ended = True
    idle = reply_for(DeadlineExceeded("idle"), stream)
    assert (idle.status, idle.body, idle.details) == (504, b"stream timeout", "stream_idle_timeout")


@pytest.mark.parametrize(
    ("error", "status", "body", "details"),
    [
        (RemoteProtocolError("x"), 400, b"Bad Request", "http1.codec_error"),
        (
            RemoteProtocolError("x", status=431, details="http1.headers_too_large"),
            431,
            b"Request Header Fields Too Large",
            "http1.headers_too_large",
        ),
        (
            RemoteProtocolError("x", status=501, details="http1.invalid_transfer_encoding"),
            501,
            b"Not Implemented",
            "http1.invalid_transfer_encoding",
        ),
    ],
)
def test_protocol_error_of_the_client_is_answered_and_closes(
    error: RemoteProtocolError, status: int, body: bytes, details: str
) -> None:
    reply = reply_for(error, stream_of())
    assert (reply.status, reply.body, reply.details) == (status, body, details)
    assert (reply.flag, reply.close) == (Flag.DOWNSTREAM_PROTOCOL_ERROR, True)


@pytest.mark.parametrize("error", [ExtensionError("x"), LocalProtocolError("x"), SidecarError("x")])
def test_error_of_our_own_is_a_500(error: SidecarError) -> None:
    assert reply_for(error, stream_of()).status == 500


def test_aborted_stream_is_answered_with_its_reply() -> None:
    reply = LocalReply(418)
    assert reply_for(StreamAborted(reply), stream_of()) is reply


# -- messages -------------------------------------------------------------------------------------------
def test_reply_with_a_body_has_length_type_and_its_own_headers() -> None:
    response = build_response(LocalReply(403, b"no", headers=[(b"a", b"1"), (b"a", b"2")]), stream_of())
    assert response.headers.status == 403
    assert sorted(response.headers.fields) == [
        (b"a", b"1"),
        (b"a", b"2"),
        (b"content-length", b"2"),
        (b"content-type", b"text/plain"),
    ]
    assert response.body is not None
    assert response.body.whole == b"no"


def test_reply_that_brings_its_type_keeps_it() -> None:
    response = build_response(
        LocalReply(200, b"{}", headers=[(b"content-type", b"application/json")]), stream_of()
    )
    assert response.headers.get_all(b"content-type") == [b"application/json"]


def test_reply_without_a_body_has_neither_length_nor_type() -> None:
    response = build_response(LocalReply(404), stream_of())
    assert (response.headers.fields, response.body) == ([], None)


def test_reply_to_head_keeps_its_length_and_has_no_body() -> None:
    response = build_response(LocalReply(503, b"down"), stream_of(method=b"HEAD"))
    assert (response.headers.get(b"content-length"), response.body) == (b"4", None)


@pytest.mark.parametrize(
    ("status", "grpc"),
    [
        (400, 13),
        (401, 16),
        (403, 7),
        (404, 12),
        (429, 14),
        (502, 14),
        (503, 14),
        (504, 14),
        (500, 2),
        (200, 2),
    ],
)
def test_reply_to_grpc_is_a_200_with_the_mapped_status(status: int, grpc: int) -> None:
    response = build_response(LocalReply(status, b"why"), stream_of(b"application/grpc"))
    assert (response.headers.status, response.body) == (200, None)
    assert response.headers.fields == [
        (b"content-type", b"application/grpc"),
        (b"grpc-status", b"%d" % grpc),
        (b"grpc-message", b"why"),
    ]


def test_reply_to_grpc_may_set_its_own_status_and_escapes_its_message() -> None:
    reply = LocalReply(
        503, "schön 100%\n".encode(), grpc_status=8, headers=[(b"x", b"y"), (b"content-length", b"1")]
    )
    response = build_response(reply, stream_of(b"application/grpc+proto"))
    assert response.headers.get(b"grpc-status") == b"8"
    assert response.headers.get(b"grpc-message") == b"sch%C3%B6n 100%25%0A"
    assert response.headers.get(b"x") == b"y"
    assert b"content-length" not in response.headers


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        (b"application/grpc", True),
        (b"application/grpc+json", True),
        (b"application/grpc;x=y", False),
        (b"application/grpc-web", False),
        (b"application/json", False),
    ],
)
def test_grpc_is_told_by_its_content_type(content_type: bytes, expected: bool) -> None:
    assert is_grpc(content_type) is expected


def test_reply_without_a_body_drops_a_type_that_it_brought() -> None:
    reply = LocalReply(204, headers=[(b"content-type", b"a/b"), (b"content-length", b"3"), (b"x", b"y")])
    assert build_response(reply, stream_of()).headers.fields == [(b"x", b"y")]


def test_reply_of_a_filter_ahead_of_the_router_looks_the_route_up() -> None:
    found: list[Stream] = []

    class Manager:
        def resolve_route(self, stream: Stream) -> None:
            stream.resolve_route = False
            found.append(stream)

    stream = stream_of()
    stream.hcm = Manager()
    build_response(LocalReply(400), stream)
    assert found == []  # the request was refused before anyone looked at its headers
    stream.remote_address = "127.0.0.1:5"
    build_response(LocalReply(403), stream)
    build_response(LocalReply(403), stream)
    assert found == [stream]


# -- local_reply_config ----------------------------------------------------------------------------
def config_of(body_format: BodyFormat | None = None, **mapper: object) -> LocalReplyConfig:
    given = {"status": None, "body": None, "body_format": None, "additions": NO_MUTATIONS, **mapper}
    return LocalReplyConfig((ResponseMapper(lambda stream: True, **given),), body_format)  # type: ignore[arg-type]


def test_mapper_changes_status_body_and_headers_before_the_format_sees_them():
    additions = HeaderMutations((HeaderAddition(b"x-was", lambda stream: b"%d" % stream.response_code),))
    shown = BodyFormat(
        lambda stream: f"{stream.response_code} {stream.local_reply_body.decode()} {stream.flags}", b"text/x"
    )
    config = config_of(shown, status=410, body=b"gone", additions=additions)
    stream = stream_of()
    response = build_response(LocalReply(404, b"no"), stream, config)
    assert response.headers.status == 410
    assert response.headers.fields == [
        (b"x-was", b"404"),
        (b"content-length", b"10"),
        (b"content-type", b"text/x"),
    ]
    assert stream.local_reply_body == b""


def test_content_type_of_a_reply_stays_with_the_body_it_belongs_to():
    reply = LocalReply(403, b"no", headers=[(b"content-type", b"text/own")])
    kept = build_response(reply, stream_of(), config_of())
    assert kept.headers.get(b"content-type") == b"text/own"
    replaced = build_response(reply, stream_of(), config_of(body=b"other"))
    assert replaced.headers.get(b"content-type") == b"text/plain"


def test_grpc_message_is_a_json_format_without_its_line_feed():
    config = config_of(BodyFormat(lambda stream: '{"a":1}\n', b"application/json"))
    response = build_response(LocalReply(503, b"down"), stream_of(b"application/grpc"), config)
    assert response.headers.get(b"grpc-message") == b'{"a":1}'
    assert response.headers.get(b"grpc-status") == b"14"
