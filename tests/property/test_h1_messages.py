"""The same bytes are the same messages, wherever the network cuts them."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sidecar.codec.h1 import find_head_end
from sidecar.codec.h1_choice import LLHTTP, H1Codec
from sidecar.codec.h1_reference import H11
from sidecar.core.errors import RemoteProtocolError
from tests.support.h1_wire import cut, framing, read_requests

_sizes = st.integers(min_value=0, max_value=40)


def _chunked(chunks: list[bytes], extension: bytes, trailers: bytes) -> bytes:
    body = b"".join(b"%x%b\r\n%b\r\n" % (len(chunk), extension, chunk) for chunk in chunks if chunk)
    return (
        b"POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        + body
        + b"0\r\n"
        + trailers
        + b"\r\n"
    )


_valid = st.one_of(
    st.just(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    st.just(b"\r\nGET /blank HTTP/1.1\r\nHost: a\r\nX: y \r\n\r\n"),
    st.binary(max_size=60).map(
        lambda body: b"POST /l HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    ),
    st.builds(
        _chunked,
        st.lists(st.binary(max_size=20), max_size=4),
        st.sampled_from([b"", b";a=b"]),
        st.sampled_from([b"", b"x: y\r\n", b"a:\r\nb: c \r\n"]),
    ),
)
_broken = st.sampled_from(
    [
        b"",
        b"GET / HTTP/1.1\r\nHost: a\r\n",
        b"bad\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nabc",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcdefgh\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nbad trailer\r\n\r\n",
        b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\n\r\n",
    ]
)
_cuts = st.lists(st.integers(min_value=0, max_value=100_000), max_size=12)


_codecs = pytest.mark.parametrize("codec", [LLHTTP, H11], ids=["llhttp", "h11"])


@_codecs
@settings(deadline=None, max_examples=300)
@given(messages=st.lists(_valid, max_size=4), tail=_broken, cuts=_cuts)
def test_requests_read_the_same_wherever_they_are_cut(
    codec: H1Codec, messages: list[bytes], tail: bytes, cuts: list[int]
) -> None:
    data = b"".join(messages) + tail
    expected = read_requests([data], codec)
    assert read_requests(cut(data, cuts), codec) == expected
    # Two entries a request, and one for the end of the connection.
    assert len(expected) >= 2 * len(messages) + 1


@_codecs
@settings(deadline=None, max_examples=30)
@given(messages=st.lists(_valid, min_size=1, max_size=3))
def test_requests_read_the_same_byte_by_byte(codec: H1Codec, messages: list[bytes]) -> None:
    data = b"".join(messages)
    assert read_requests(cut(data, range(len(data))), codec) == read_requests([data], codec)


_lines = st.lists(
    st.one_of(
        st.sampled_from(
            [
                b"Host: a",
                b"Content-Length: 3",
                b"Content-Length: 03",
                b"Transfer-Encoding: chunked",
                b"Transfer-Encoding: x",
                b"Transfer-Encoding:",
                b"Connection: close, x",
                b"Upgrade: y",
                b"Expect: 100-continue",
                b" folded",
                b"X: y ",
                b"X : y",
                b": y",
                b"X",
            ]
        ),
        st.builds(lambda name, value: name + b": " + value, st.binary(max_size=4), st.binary(max_size=6)),
    ),
    max_size=6,
)
_firsts = st.sampled_from(
    [
        b"GET / HTTP/1.1",
        b"POST /a?b HTTP/1.1",
        b"POST http://h:1/p HTTP/1.0",
        b"CONNECT a:80 HTTP/1.1",
        b"OPTIONS * HTTP/1.1",
        b"BREW / HTTP/1.1",
        b"GET  /\tHTTP/1.2",
        b"GET /",
    ]
)


@settings(deadline=None, max_examples=600)
@given(first=_firsts, lines=_lines, end=st.sampled_from([b"\r\n", b"\n"]), custom=st.booleans())
def test_codecs_read_the_same_heads(first: bytes, lines: list[bytes], end: bytes, custom: bool) -> None:
    data = end.join([first, *lines, b"", b"3\r\nabc\r\n0\r\n\r\n"])
    options = {"allow_custom_methods": custom, "allow_chunked_length": custom}
    assert read_requests([data], LLHTTP, **options) == read_requests([data], H11, **options)


_status_lines = st.sampled_from(
    [
        b"HTTP/1.1 200 OK",
        b"HTTP/1.1 200",
        b"HTTP/1.1 200 ",
        b"HTTP/1.0 204 No",
        b"HTTP/1.1  200\tx  y",
        b"HTTP/1.1 101 Switching",
        b"HTTP/1.1 103 Hints",
        b"HTTP/1.1 099 x",
        b"HTTP/1.1 999 x",
        b"HTTP/1.1 2000 x",
        b"HTTP/1.1 20 x",
        b"HTTP/9.9 200 OK",
        b"ICY 200 OK",
        b"http/1.1 200 OK",
        b"HTTP/1.1 200 \x80",
        b"HTTP/1.1 200 a\x00",
        b"\r\nHTTP/1.1 200 OK",
    ]
)


@settings(deadline=None, max_examples=600)
@given(first=_status_lines, lines=_lines, end=st.sampled_from([b"\r\n", b"\n"]), allows=st.booleans())
def test_codecs_read_the_same_responses(first: bytes, lines: list[bytes], end: bytes, allows: bool) -> None:
    head = end.join([first, *lines, b"", b""])
    head = head[: find_head_end(head)]
    outcomes = []
    for codec in (LLHTTP, H11):
        parser = codec.response_parser(allow_chunked_length=allows)
        try:
            parser.parse(head)
        except RemoteProtocolError:
            outcomes.append(None)
        else:
            outcomes.append((parser.status, parser.minor_version, framing(parser), parser.fields))
    assert outcomes[0] == outcomes[1]


def _decode(pieces: list[bytes], codec: H1Codec = LLHTTP) -> tuple[object, ...]:
    decoder = codec.chunked_decoder()
    payload = b""
    rest: list[bytes] = []
    try:
        for piece in pieces:
            if decoder.done:
                rest.append(piece)
            else:
                payload += decoder.feed(piece)
                if decoder.error is not None:
                    raise decoder.error
    except RemoteProtocolError as error:
        return ("refused", error.status)
    if not decoder.done:
        return ("unfinished", payload)
    trailers = None if decoder.trailers is None else decoder.trailers.fields
    return ("done", payload, trailers, decoder.rest + b"".join(rest))


_pieces = st.lists(
    st.one_of(
        st.sampled_from(
            [
                b"0",
                b"1",
                b"5",
                b"a",
                b"\r\n",
                b"\r",
                b"\n",
                b";",
                b";x=y",
                b"abcde",
                b"x",
                b"X: y",
                b": ",
                b" ",
                b"\x00",
            ]
        ),
        st.binary(max_size=3),
    ),
    max_size=20,
).map(b"".join)


@settings(deadline=None, max_examples=500)
@given(data=_pieces, cuts=_cuts)
@example(data=b"1\r\nx\r\n0\r\n\r\n", cuts=[1, 2, 3])
def test_chunked_bytes_decode_the_same_wherever_they_are_cut(data: bytes, cuts: list[int]) -> None:
    expected = _decode([data])
    assert _decode(cut(data, cuts)) == expected
    assert _decode([data], H11) == expected
    assert _decode(cut(data, cuts), H11) == expected
