"""Fuzz target: HTTP/1 bytes, read whole, in pieces, without the line table, and by the other codec.

``python tests/fuzz/fuzz_h1.py`` runs it under atheris where that is installed; the test suite runs it over
a corpus and mutations of it (``test_fuzz_h1.py``).  Four things must hold: the same bytes are the same
messages however they are cut; the table of lines reads what llhttp reads; a head that is read is not refused
by its beginning; and the codec over h11 finds the same messages, or the same reason to refuse them (where two
parsers disagree lies smuggling).
"""

from __future__ import annotations

import random
import sys

from sidecar.codec.h1 import RequestParser, ResponseParser, find_head_end
from sidecar.codec.h1_beginnings import request_beginning
from sidecar.codec.h1_choice import LLHTTP
from sidecar.codec.h1_reference import H11
from sidecar.core.errors import RemoteProtocolError
from tests.smuggling.corpus import VECTORS
from tests.support.h1_wire import cut, framing, read_requests

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


CORPUS += [vector.data for vector in VECTORS if len(vector.data) < 1000]


class _SlowParser(RequestParser):
    """Leaves every head to llhttp."""

    __slots__ = ()

    def _take_block(self, block: bytes) -> bool:
        return False


def test_one_input(data: bytes) -> None:
    """See the module.  Raises AssertionError when something does not hold."""
    whole = read_requests([data])
    choice = random.Random(len(data))
    pieces = cut(data, [choice.randrange(len(data) + 1) for _ in range(4)])
    assert read_requests(pieces) == whole, data
    end = find_head_end(data)
    if end > 0:
        assert _head(RequestParser(), data[:end]) == _head(_SlowParser(), data[:end]), data
        _check_beginning(data[:end].lstrip(b"\r\n"), choice)
    assert read_requests([data], H11) == whole, data
    assert read_requests(pieces, H11) == whole, data
    if end > 0:
        response = b"HTTP/1.1 200 OK\r" + data[data.find(b"\n") : end]
        assert _response(LLHTTP.response_parser(), response) == _response(H11.response_parser(), response), (
            data
        )


def _check_beginning(head: bytes, choice: random.Random) -> None:
    if _head(RequestParser(), head)[0] == "refused":
        return
    look = request_beginning(RequestParser())
    for _ in range(4):
        beginning = head[: choice.randrange(1, len(head) + 1)]
        size = look(beginning)
        assert size in (0, beginning.find(b"\n") + 1), beginning


def _head(parser: RequestParser, head: bytes) -> tuple[object, ...]:
    try:
        parser.parse(head)
    except RemoteProtocolError as error:
        return ("refused", error.status)
    framing = (parser.content_length, parser.is_chunked, parser.close, parser.connection_tokens, parser.host)
    return (parser.method, parser.raw_target, parser.minor_version, parser.fields, *framing)


def _response(parser: ResponseParser, head: bytes) -> tuple[object, ...]:
    try:
        parser.parse(head)
    except RemoteProtocolError:
        return ("refused",)
    return (parser.status, parser.minor_version, *framing(parser), parser.fields)


if __name__ == "__main__":
    import atheris  # type: ignore[import-not-found]

    atheris.Setup(sys.argv, test_one_input)
    atheris.Fuzz()
