"""A head read from the table of lines is the head that llhttp reads."""

from __future__ import annotations

from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from sidecar.codec.h1 import RequestParser, ResponseParser
from sidecar.core.errors import RemoteProtocolError


class _SlowRequestParser(RequestParser):
    """Leaves every head to llhttp."""

    __slots__ = ()

    def _take_block(self, block: bytes) -> bool:
        return False


class _SlowResponseParser(ResponseParser):
    __slots__ = ()

    def _take_block(self, block: bytes) -> bool:
        return False


def _outcome(parser: RequestParser | ResponseParser, head: bytes) -> tuple[Any, ...]:
    parser.reset()
    try:
        parser.parse(head)
    except RemoteProtocolError as error:
        return ("refused", error.status)
    assert parser.index is None or parser.index == dict(parser.fields)
    is_request = isinstance(parser, RequestParser)
    return (
        (parser.method, parser.raw_target) if is_request else parser.status,
        parser.minor_version,
        parser.fields,
        parser.host,
        parser.content_length,
        parser.is_chunked,
        parser.close,
        parser.keep_alive_token,
        parser.connection_tokens,
        parser.upgrade,
        parser.expect_continue,
    )


_names = st.one_of(
    st.sampled_from(
        [
            b"Host", b"Content-Length", b"Transfer-Encoding", b"Connection", b"Upgrade", b"Expect", b"TE",
            b"Keep-Alive", b"Proxy-Connection", b"HTTP2-Settings", b"X-A", b"x-a", b"Accept", b"X-A ", b" X",
            b"",
        ]
    ),
    st.binary(max_size=4),
)  # fmt: skip
_values = st.one_of(
    st.sampled_from(
        [
            b"a", b"", b"5", b"05", b"+5", b"5, 5", b"chunked", b"Chunked", b"gzip, chunked", b"close",
            b"Close", b"keep-alive", b"close, X-A", b"upgrade", b"websocket", b"100-continue", b"trailers",
            b"a\tb", b"\x80", b"1" * 18, b"9" * 19, b"9" * 25, b"a\x00b", b"a\x7f", b"a\r b", b"a\n b",
        ]
    ),
    st.binary(max_size=6),
)  # fmt: skip
_blanks = st.sampled_from([b" ", b"", b"\t", b"  ", b"\r\n "])
_ends = st.sampled_from([b"\r\n"] * 12 + [b"\n", b"\r", b" \r\n", b"\t\r\n"])
_fields = st.lists(
    st.tuples(_names, _blanks, _values, _ends).map(lambda f: f[0] + b":" + f[1] + f[2] + f[3]), max_size=5
)
_request_lines = st.one_of(
    st.sampled_from(
        [
            b"GET / HTTP/1.1", b"POST /a?b#c HTTP/1.1", b"GET /\x7f HTTP/1.1", b"HEAD / HTTP/1.0",
            b"GET / HTTP/1.2", b"OPTIONS * HTTP/1.1", b"CONNECT a:1 HTTP/1.1", b"GET http://a/ HTTP/1.1",
            b"GET /\"<>\\^`{|} HTTP/1.1", b"get / HTTP/1.1", b"GET  / HTTP/1.1", b"GET / HTTP/1.1 ",
            b"DELETE /\x80 HTTP/1.1", b"GET /",
        ]
    ),
    st.binary(max_size=4).map(lambda tail: b"GET /" + tail + b" HTTP/1.1"),
)  # fmt: skip
_status_lines = st.one_of(
    st.sampled_from(
        [
            b"HTTP/1.1 200 OK",
            b"HTTP/1.1 200",
            b"HTTP/1.1 200 ",
            b"HTTP/1.0 404 x",
            b"HTTP/1.1 099 x",
            b"HTTP/1.1 600 x",
        ]
    ),
    st.binary(max_size=4).map(lambda tail: b"HTTP/1.1 204 " + tail),
)
_last = st.sampled_from([b"\r\n"] * 4 + [b"\n"])


def _head(first: bytes, end: bytes, fields: list[bytes], last: bytes) -> bytes:
    return first + end + b"".join(fields) + last


def _is_one_head(head: bytes) -> bool:
    return head.find(b"\r\n\r\n") in (-1, len(head) - 4)


@settings(deadline=None, max_examples=400)
@given(first=_request_lines, end=_ends, fields=_fields, last=_last)
@example(first=b"GET / HTTP/1.1", end=b"\r\n", fields=[b"Content-Length: 5\n"], last=b"\r\n")
@example(first=b"GET / HTTP/1.1", end=b"\r\n", fields=[b"A: b\r\n", b"Content-Length: 5\n"], last=b"\n")
def test_request_head_from_the_table_is_what_llhttp_reads(
    first: bytes, end: bytes, fields: list[bytes], last: bytes
) -> None:
    head = _head(first, end, fields, last)
    if _is_one_head(head):
        expected = _outcome(_SlowRequestParser(), head)
        # Twice: the first reading fills the table that the second one uses.
        parser = RequestParser()
        assert _outcome(parser, head) == expected
        assert _outcome(parser, head) == expected


@settings(deadline=None, max_examples=400)
@given(first=_status_lines, end=_ends, fields=_fields, last=_last)
def test_response_head_from_the_table_is_what_llhttp_reads(
    first: bytes, end: bytes, fields: list[bytes], last: bytes
) -> None:
    head = _head(first, end, fields, last)
    if _is_one_head(head):
        expected = _outcome(_SlowResponseParser(), head)
        parser = ResponseParser()
        assert _outcome(parser, head) == expected
        assert _outcome(parser, head) == expected


@settings(deadline=None, max_examples=300)
@given(
    first=_request_lines,
    fields=_fields,
    at=st.integers(0, 4),
    values=st.lists(_values, min_size=2, max_size=6),
    name=_names,
)
@example(
    first=b"POST / HTTP/1.1",
    fields=[b"Host: a\r\n"],
    at=1,
    values=[b"11", b"22", b"33", b"33", b"44"],
    name=b"Content-Length",
)
@example(
    first=b"GET / HTTP/1.1",
    fields=[b"X-A: 1\r\n", b"x-a: 2\r\n"],
    at=1,
    values=[b"a1", b"a2", b"a3"],
    name=b"X-A",
)
def test_heads_of_one_connection_that_differ_in_a_line_are_what_llhttp_reads(
    first: bytes, fields: list[bytes], at: int, values: list[bytes], name: bytes
) -> None:
    parser = RequestParser()
    for value in values:
        line = name + b": " + value + b"\r\n"
        head = _head(first, b"\r\n", [*fields[:at], line, *fields[at:]], b"\r\n")
        if _is_one_head(head):
            assert _outcome(parser, head) == _outcome(_SlowRequestParser(), head)
