"""Proxy-Status: which error a response flag stands for, and what the header leaves out."""

from __future__ import annotations

import pytest

from sidecar.api.message import RequestMessage
from sidecar.api.stream import Flag, Stream
from sidecar.core.headers import RequestHeaders, ResponseHeaders
from sidecar.http.proxy_status import ProxyStatus
from tests.support.h1_lab import ClientConnection


def stream_with(flags: int, details: str = "why") -> Stream:
    stream = Stream(ClientConnection(), None, RequestMessage(RequestHeaders()), "HTTP/1.1")
    stream.flags, stream.details = flags, details
    return stream


def test_first_flag_says_the_error_and_all_are_shown() -> None:
    headers = ResponseHeaders(503)
    flags = Flag.UPSTREAM_CONNECTION_FAILURE | Flag.UPSTREAM_RETRY_LIMIT_EXCEEDED
    ProxyStatus(b"me").apply(headers, stream_with(flags))
    assert headers.get(b"proxy-status") == b'me; error=connection_refused; details="why; URX,UF"'
    assert headers.status == 503


@pytest.mark.parametrize("flags", [0, Flag.DELAY_INJECTED])
def test_response_without_an_error_has_no_header(flags: int) -> None:
    headers = ResponseHeaders(200)
    ProxyStatus(b"me", set_recommended_response_code=True).apply(headers, stream_with(flags))
    assert headers.fields == []
    assert headers.status == 200


def test_header_follows_that_of_the_proxy_before() -> None:
    headers = ResponseHeaders(404, [(b"proxy-status", b"first")])
    status = ProxyStatus(b"me", remove_details=True, set_recommended_response_code=True)
    status.apply(headers, stream_with(Flag.NO_ROUTE_FOUND))
    assert headers.get(b"proxy-status") == b"first, me; error=destination_not_found"
    assert headers.status == 500
