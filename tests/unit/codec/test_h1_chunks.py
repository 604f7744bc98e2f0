"""The contract of HTTP/1 codecs, chunked bodies, cut anywhere; both codecs run through it."""

from __future__ import annotations

import pytest

from sidecar.codec.h1 import ChunkedDecoder
from sidecar.codec.h1_choice import h1_codec
from sidecar.core.errors import RemoteProtocolError


@pytest.fixture(autouse=True, params=["llhttp", "h11"])
def codec(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test runs with the decoder of either codec."""
    monkeypatch.setitem(globals(), "ChunkedDecoder", h1_codec(request.param).chunked_decoder)


def decode(*pieces: bytes) -> tuple[bytes, ChunkedDecoder]:
    decoder = ChunkedDecoder()
    payload = b""
    for piece in pieces:
        assert not decoder.done
        payload += decoder.feed(piece)
    return payload, decoder


def two_pieces(data: bytes) -> list[tuple[bytes, ...]]:
    return [(data,), *((data[:cut], data[cut:]) for cut in range(1, len(data)))]


def single_bytes(data: bytes) -> tuple[bytes, ...]:
    return tuple(data[at : at + 1] for at in range(len(data)))


BODIES: list[tuple[bytes, bytes, list[tuple[bytes, bytes]] | None]] = [
    (b"0\r\n\r\n", b"", None),
    (b"5\r\nhello\r\n0\r\n\r\n", b"hello", None),
    (b"00000000000000000001\r\nx\r\n0\r\n\r\n", b"x", None),
    (b"1;a\x00b\r\nx\r\n0\r\n\r\n", b"x", None),
    (b"1 \t;a\r\nx\r\n0\r\n\r\n", b"x", None),
    (b"5;a=b;c\r\nhello\r\n00\r\n\r\n", b"hello", None),
    (b'5 ;a\r\nhello\r\n0;x="y"\r\n\r\n', b"hello", None),
    (b"a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n", b"01234567890123456789", None),
    (b"2\r\n\r\n\r\n0\r\n\r\n", b"\r\n", None),
    (b"1\r\nx\r\n0\r\nX-A: 1\r\nx-b:\t2 \r\n\r\n", b"x", [(b"x-a", b"1"), (b"x-b", b"2")]),
    (b"0000000000000001\r\nx\r\n0\r\n\r\n", b"x", None),
]


@pytest.mark.parametrize(("wire", "payload", "trailers"), BODIES)
def test_chunked_body_gives_the_same_wherever_it_is_cut(
    wire: bytes, payload: bytes, trailers: list[tuple[bytes, bytes]] | None
) -> None:
    for pieces in [*two_pieces(wire), single_bytes(wire)]:
        got, decoder = decode(*pieces)
        assert got == payload
        assert decoder.done
        assert (None if decoder.trailers is None else decoder.trailers.fields) == trailers
        assert decoder.rest == b""


def test_bytes_behind_a_chunked_body_are_its_rest() -> None:
    got, decoder = decode(b"1\r\nx\r\n0\r\n\r\nGET / HTTP/1.1\r\n")
    assert (got, decoder.done, decoder.rest) == (b"x", True, b"GET / HTTP/1.1\r\n")


def test_payload_is_given_as_it_comes() -> None:
    decoder = ChunkedDecoder()
    assert decoder.feed(b"5\r\nhe") == b"he"
    assert decoder.feed(b"llo\r") == b"llo"
    assert not decoder.done
    assert decoder.feed(b"\n0\r\n\r\n") == b""
    assert decoder.done


@pytest.mark.parametrize("size", [b"3 ", b"3\t", b"3 ;a", b"03"])
def test_size_with_blanks_behind_it_is_read(size: bytes) -> None:
    decoder = ChunkedDecoder()
    assert decoder.feed(size + b"\r\nabc\r\n0\r\n\r\n") == b"abc"
    assert decoder.done


REFUSED = [
    b"\r\n",
    b"x\r\n",
    b"-1\r\nx\r\n",
    b"+1\r\nx\r\n",
    b"0x1\r\nx\r\n",
    b" 1\r\nx\r\n",
    b"1 1\r\nx\r\n",
    b"\xb2\r\nx\r\n",
    b"1_0\r\n0123456789abcdef\r\n",
    b";a\r\n",
    b"1\nx\r\n0\r\n\r\n",
    b"1\r\nxy\r\n",
    b"1\r\nx\n0\r\n\r\n",
    b"1\r\nx\r0\r\n\r\n",
    b"1;a\rb\r\nx\r\n0\r\n\r\n",
    b"000000000000000000001\r\nx\r\n0\r\n\r\n",
    b"fffffffffffffffff\r\n",
    b"0\r\nbad\r\n\r\n",
    b"0\r\nX A: 1\r\n\r\n",
    b"0\r\n: 1\r\n\r\n",
    b"0\r\nX: a\x00\r\n\r\n",
    b"0\r\n folded: 1\r\n\r\n",
    b"0\r\nX: a\r\n b\r\n\r\n",
]


@pytest.mark.parametrize("wire", REFUSED)
def test_malformed_chunked_body_is_refused_wherever_it_is_cut(wire: bytes) -> None:
    for pieces in [*two_pieces(wire), single_bytes(wire)]:
        with pytest.raises(RemoteProtocolError):
            decode(*pieces)


@pytest.mark.parametrize("pieces", [1, 10])
def test_chunk_header_beyond_its_limit_is_refused_in_any_number_of_pieces(pieces: int) -> None:
    wire = b"1;" + b"e" * 5000 + b"\r\nx\r\n0\r\n\r\n"
    size = len(wire) // pieces + 1
    with pytest.raises(RemoteProtocolError, match="chunk header too long"):
        decode(*(wire[at : at + size] for at in range(0, len(wire), size)))


@pytest.mark.parametrize("pieces", [1, 10])
def test_trailers_beyond_their_limit_are_answered_431_in_any_number_of_pieces(pieces: int) -> None:
    wire = b"0\r\n" + b"X: %b\r\n" % (b"t" * 1000) * 70 + b"\r\n"
    size = len(wire) // pieces + 1
    with pytest.raises(RemoteProtocolError) as caught:
        decode(*(wire[at : at + size] for at in range(0, len(wire), size)))
    assert (caught.value.status, caught.value.details) == (431, "http1.headers_too_large")


def test_large_chunk_is_not_buffered() -> None:
    decoder = ChunkedDecoder()
    assert decoder.feed(b"100000\r\n") == b""
    piece = bytes(65536)
    assert sum(len(decoder.feed(piece)) for _ in range(16)) == 1 << 20
    assert decoder.feed(b"\r\n0\r\n\r\n") == b""
    assert decoder.done


def test_trailers_may_end_in_bare_line_feeds_as_envoy_takes_them() -> None:
    decoder = ChunkedDecoder()
    assert decoder.feed(b"1\r\na\r\n0\r\nX: a\nY: b\n\r\nrest") == b"a"
    assert decoder.trailers is not None
    assert decoder.trailers.fields == [(b"x", b"a"), (b"y", b"b")]
    assert decoder.rest == b"rest"


def test_payload_in_front_of_broken_trailers_is_given_first() -> None:
    decoder = ChunkedDecoder()
    assert decoder.feed(b"1\r\na\r\n0\r\nnocolon\r\n\r\n") == b"a"
    assert decoder.error is not None
    assert decoder.error.status == 400


def test_trailers_over_a_limit_are_refused() -> None:
    section = b"0\r\n" + b"a: b\r\n" * 4 + b"\r\n"
    assert ChunkedDecoder(max_trailers=4).feed(section) == b""
    for decoder in (ChunkedDecoder(max_trailers=3), ChunkedDecoder(max_trailers_bytes=16)):
        with pytest.raises(RemoteProtocolError) as caught:
            decoder.feed(section)
        assert caught.value.status == 431
