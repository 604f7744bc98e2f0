"""Fuzz target: HTTP/1 request bytes, read whole, in pieces, without the line table, and by h11.

``python tests/fuzz/fuzz_h1.py`` runs it under atheris where that is installed; the test suite runs it over
a corpus and mutations of it (``test_fuzz_h1.py``).  Three things must hold: the same bytes are the same
messages however they are cut; the table of lines reads what llhttp reads; and where h11 takes a first
request too, it is the same request with the same body (where two parsers disagree lies smuggling).
"""

from __future__ import annotations

import random
import re
import sys

import h11

from sidecar.codec.h1 import RequestParser
from sidecar.core.errors import RemoteProtocolError
from tests.support.h1_wire import cut, read_requests

__all__ = ["CORPUS", "test_one_input"]

_HEAD = b" / HTTP/1.1\r\nHost: a\r\n"
CORPUS = [
    b"GET" + _HEAD + b"\r\n",
    b"GET" + _HEAD + b"X-A: b \r\nCookie: c=d\r\n\r\n",
    b"POST" + _HEAD + b"Content-Length: 5\r\n\r\nhello",
    b"POST" + _HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"POST" + _HEAD + b"Transfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\nX: y\r\n\r\n",
    b"POST" + _HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\nabc",
    b"POST" + _HEAD + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    b"POST" + _HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    b"POST" + _HEAD + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    b"GET" + _HEAD + b"Connection: close, X-A\r\nUpgrade: h2c\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n",
    b"GET / HTTP/1.1\nHost: a\nContent-Length: 3\n\nabc",
    b"\r\nGET http://h/p HTTP/1.1\r\nHost: a\r\n\tb\r\n\r\n",
]

_BARE_LF = re.compile(rb"(?<!\r)\n").search


class _SlowParser(RequestParser):
    """Leaves every head to llhttp."""

    __slots__ = ()

    def _take_block(self, block: bytes) -> bool:
        return False


def test_one_input(data: bytes) -> None:
    """See the module.  Raises AssertionError when something does not hold."""
    whole = read_requests([data])
    if _BARE_LF(data) is None:
        # A head that ends with bare line feeds in front of another one in the same read is refused.
        choice = random.Random(len(data))
        assert read_requests(cut(data, [choice.randrange(len(data) + 1) for _ in range(4)])) == whole, data
    end = data.find(b"\r\n\r\n") + 4
    if end > 3:
        assert _head(RequestParser(), data[:end]) == _head(_SlowParser(), data[:end]), data
    if len(whole) > 2:
        _compare_with_h11(data, whole[0], whole[1])


def _head(parser: RequestParser, head: bytes) -> tuple[object, ...]:
    try:
        parser.parse(head)
    except RemoteProtocolError as error:
        return ("refused", error.status)
    framing = (parser.content_length, parser.is_chunked, parser.close, parser.connection_tokens, parser.host)
    return (parser.method, parser.raw_target, parser.minor_version, parser.fields, *framing)


def _compare_with_h11(data: bytes, head: tuple[object, ...], message: tuple[object, ...]) -> None:
    other = h11.Connection(h11.SERVER)
    body = b""
    try:
        # h11 knows no empty line in front of a request.
        other.receive_data(data.lstrip(b"\r\n"))
        request = other.next_event()
        if not isinstance(request, h11.Request):
            return
        while isinstance(event := other.next_event(), h11.Data):
            body += event.data
    except h11.RemoteProtocolError:
        return
    if isinstance(event, h11.EndOfMessage):
        assert (request.method, request.target, body) == (head[0], head[1], message[0]), data


if __name__ == "__main__":
    import atheris  # type: ignore[import-not-found]

    atheris.Setup(sys.argv, test_one_input)
    atheris.Fuzz()
