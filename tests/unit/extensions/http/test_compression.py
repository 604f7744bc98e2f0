"""Codings both ways, the choice among them, and how far a body may swell."""

from __future__ import annotations

import zlib
from collections.abc import Callable

import brotli
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from sidecar.extensions.http.accept_encoding import choose_encoding
from sidecar.extensions.http.compression import (
    BrotliCompressor,
    BrotliDecompressor,
    Compressor,
    DecodingFailed,
    Decompressor,
    GzipCompressor,
    GzipDecompressor,
    SwellLimit,
    ZstdCompressor,
    ZstdDecompressor,
)

WIDE = SwellLimit(10_000, 1 << 20, ())
NARROW = SwellLimit(10, 4096, ())
PAIRS: dict[str, tuple[Callable[[], Compressor], Callable[[SwellLimit], Decompressor]]] = {
    "gzip": (lambda: GzipCompressor(-1, 0, 5, 12), lambda limit: GzipDecompressor(15, limit)),
    "brotli": (lambda: BrotliCompressor(brotli.MODE_GENERIC, 3, 18, 0), BrotliDecompressor),
    "zstd": (
        lambda: ZstdCompressor(zstandard.ZstdCompressionParameters.from_level(3), None),
        ZstdDecompressor,
    ),
}


@pytest.mark.parametrize("name", PAIRS)
@given(pieces=st.lists(st.binary(max_size=300), max_size=6))
def test_each_piece_can_be_read_as_soon_as_it_is_written(name: str, pieces: list[bytes]) -> None:
    compress, decompress = PAIRS[name][0](), PAIRS[name][1](WIDE)
    for piece in pieces:
        data = compress.compress(piece)
        assert (decompress.decompress(data) if data else b"") == piece
    assert decompress.decompress(compress.finish()) == b""


@pytest.mark.parametrize("name", PAIRS)
def test_a_body_that_swells_is_cut_at_the_first_chunk_beyond_the_ratio(name: str) -> None:
    compress, decompress = PAIRS[name][0](), PAIRS[name][1](NARROW)
    data = compress.compress(b"0" * 1_000_000) + compress.finish()
    with pytest.raises(DecodingFailed) as failure:
        decompress.decompress(data)
    assert len(failure.value.found) == NARROW.of(data)
    assert set(failure.value.found) == {ord("0")}


@pytest.mark.parametrize("name", PAIRS)
def test_nonsense_is_told(name: str) -> None:
    with pytest.raises(DecodingFailed):
        PAIRS[name][1](WIDE).decompress(b"nothing of the kind" * 10)


@pytest.mark.parametrize(
    ("name", "spoil"),
    [("gzip", lambda data: data[:-1] + bytes((data[-1] ^ 1,))), ("brotli", lambda data: data + b"more")],
)
def test_of_a_chunk_with_a_broken_end_nothing_is_given_out(
    name: str, spoil: Callable[[bytes], bytes]
) -> None:
    compress, decompress = PAIRS[name][0](), PAIRS[name][1](WIDE)
    before = compress.compress(b"before")
    last = spoil(compress.compress(b"last") + compress.finish())
    assert decompress.decompress(before) == b"before"
    with pytest.raises(DecodingFailed) as failure:
        decompress.decompress(last)
    assert failure.value.found == b""


def test_gzip_is_what_others_read() -> None:
    compress = GzipCompressor(9, 0, 8, 15)
    assert zlib.decompress(compress.compress(b"text") + compress.finish(), 31) == b"text"


@pytest.mark.parametrize(
    ("accepts", "allowed", "encoding", "by"),
    [
        (b"gzip", (b"gzip",), b"gzip", "used"),
        (b"gzip;q=0, *", (b"gzip", b"br"), b"br", "wildcard"),
        (b"br, gzip", (b"gzip", b"br"), b"br", "used"),
        (b"br;q=0.1, gzip;q=0.2", (b"gzip", b"br"), b"gzip", "used"),
        (b"identity, gzip", (b"gzip",), b"identity", "identity"),
        (b"gzip;q=0", (b"gzip",), b"identity", "not_valid"),
        (b"", (b"gzip",), b"identity", "not_valid"),
        (b"gzip", (), b"identity", "not_valid"),
    ],
)
def test_choice_of_a_coding(accepts: bytes, allowed: tuple[bytes, ...], encoding: bytes, by: str) -> None:
    decision = choose_encoding(accepts, dict.fromkeys(allowed, False))
    assert (decision.encoding, decision.by) == (encoding, by)


def test_of_equal_weights_the_one_that_is_to_come_first_wins() -> None:
    assert choose_encoding(b"gzip, br", {b"gzip": False, b"br": True}).encoding == b"br"
    assert choose_encoding(b"gzip, br;q=0.9", {b"gzip": False, b"br": True}).encoding == b"gzip"


@given(st.binary(max_size=60))
def test_any_header_gets_a_decision(accepts: bytes) -> None:
    allowed = {b"gzip": False, b"br": True}
    assert choose_encoding(accepts, allowed).encoding in (*allowed, b"identity")
