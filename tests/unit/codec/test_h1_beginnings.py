"""What the beginning of a head tells."""

from __future__ import annotations

import pytest

from sidecar.codec.h1 import RequestParser
from sidecar.codec.h1_beginnings import request_beginning, response_beginning
from sidecar.core.errors import RemoteProtocolError

look = request_beginning(RequestParser())


@pytest.mark.parametrize(
    "data", [b"G", b"\xff", b"{}", b"GET / HTTP/1.1\r", b"GET / HTTP/1.1\r\nno field\r\n"]
)
def test_beginning_of_what_may_be_a_request_is_waited_for(data: bytes) -> None:
    assert look(data) == 0


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01",
        b" GET",
        b"SSH-2.0-OpenSSH\r\n",
        b"PING\r\n",
        b"GET / HTTP/3.7.1\r\n",
        b"{} / x\n",
        b"GET / HTTP/1.1\r\r\n",
    ],
)
def test_beginning_of_something_else_is_refused(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        look(data)


def test_request_of_http_0_9_is_its_line() -> None:
    assert look(b"GET /x\r\nrest") == 8
    assert look(b"GET /x \r\r\n\n") == 10


def test_response_begins_with_its_version() -> None:
    assert response_beginning(b"HTTP/1.1 200 OK\r\n") == 0
    assert response_beginning(b"H") == 0
    for data in (b"\x15\x03", b"HTTP\r\n", b"HTTP/1.1 abc\r\n"):
        with pytest.raises(RemoteProtocolError):
            response_beginning(data)
