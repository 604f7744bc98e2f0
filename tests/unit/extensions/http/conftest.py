"""Streams without sockets for the HTTP filters."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from stream_fakes import FakeConnection, FakeHcm, FakeRoute

from sidecar.api.message import Body, RequestMessage, ResponseMessage
from sidecar.api.stream import Stream
from sidecar.core.headers import RequestHeaders, ResponseHeaders


@pytest.fixture
def make_stream() -> Callable[..., Stream]:
    def make(
        *fields: tuple[bytes, bytes],
        body: Body | None = None,
        route: FakeRoute | None = None,
        path: bytes = b"/",
    ) -> Stream:
        headers = RequestHeaders(b"GET", path, b"example.com", b"http", list(fields))
        request = RequestMessage(headers, body)
        return Stream(FakeConnection(), FakeHcm(route or FakeRoute()), request, "HTTP/1.1")

    return make


@pytest.fixture
def respond() -> Callable[..., ResponseMessage]:
    """Gives a stream its response."""

    def respond_to(
        stream: Stream, *fields: tuple[bytes, bytes], status: int = 200, body: Body | None = None
    ) -> ResponseMessage:
        stream.response = ResponseMessage(ResponseHeaders(status, list(fields)), body)
        stream.upstream_protocol = "HTTP/1.1"
        return stream.response

    return respond_to
