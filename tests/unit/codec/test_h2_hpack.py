"""The gate before the fast HPACK: what it refuses, and that both directions keep their tables."""

from __future__ import annotations

import hpack
import pytest
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH

from sidecar.codec.h2_hpack import CompressionError, HeaderDecoder, HeaderEncoder

FIELDS = [(b":method", b"GET"), (b"x-a", b"b" * 40), (b"authorization", b"secret"), (b"x-a", b"\x00\xff")]


def test_block_of_another_encoder_is_decoded() -> None:
    encoder = hpack.Encoder()
    decoder = HeaderDecoder(1 << 20, 4096)
    for _ in range(3):
        assert decoder.decode(encoder.encode(FIELDS)) == FIELDS


@pytest.mark.parametrize("octet", range(256))
def test_huffman_code_of_every_octet_is_read_and_written(octet: int) -> None:
    fields = [(b"x", b"aaaaaaaaaaaa" + bytes((octet,)))]
    assert HeaderDecoder(1 << 20, 4096).decode(b"\x00\x01x" + huffman(fields[0][1])) == fields
    assert [
        tuple(field) for field in hpack.Decoder().decode(HeaderEncoder(4096).encode(fields), raw=True)
    ] == fields


def huffman(text: bytes) -> bytes:
    code = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH).encode(text)
    return bytes((0x80 | len(code),)) + code


def test_block_encoded_is_what_another_decoder_reads() -> None:
    encoder = HeaderEncoder(4096)
    decoder = hpack.Decoder()
    for size in (4096, 0, 100, 4096, 70000):
        encoder.on_table_size(size)
        for _ in range(2):
            assert [tuple(field) for field in decoder.decode(encoder.encode(FIELDS), raw=True)] == FIELDS


def test_sensitive_field_never_enters_the_table() -> None:
    block = HeaderEncoder(4096).encode([(b"authorization", b"secret")])
    assert block[0] & 0xF0 == 0x10


@pytest.mark.parametrize(
    "block",
    [
        b"\x40",
        b"\x40\x01",
        b"\x40\x01a",
        b"\x40\x01a\x05b",
        b"\x80",
        b"\xbe",
        b"\xff",
        b"\xff\xff\xff\xff\xff\x0f",
        b"\x7f\x80\x80\x80\x80\x80\x01",
        b"\x82\x20",
        b"\x3f\xe2\x1f",
        b"\x00\x03x-a\x81a",
        b"\x00\x01a\x84\xff\xff\xff\xff",
        b"\x00\x01a\x82\x1f\xff",
    ],
    ids=bytes.hex,
)
def test_broken_block_is_refused_by_us_as_by_the_other(block: bytes) -> None:
    with pytest.raises(CompressionError):
        HeaderDecoder(1 << 20, 4096).decode(block)
    with pytest.raises((hpack.HPACKError, UnicodeError)):
        hpack.Decoder().decode(block, raw=True)


def test_list_beyond_all_limits_is_refused() -> None:
    block = hpack.Encoder().encode([(b"x-a", b"b" * 100)] * 20)
    with pytest.raises(CompressionError):
        HeaderDecoder(1000, 4096).decode(block)


def test_table_that_had_to_shrink_and_did_not_is_refused() -> None:
    decoder = HeaderDecoder(1 << 20, 0)
    assert decoder.decode(hpack.Encoder().encode([(b"x-a", b"b")])) == [(b"x-a", b"b")]
    decoder.on_settings_acknowledged(0)
    with pytest.raises(CompressionError):
        decoder.decode(b"\x82")


def test_generation_stands_still_while_the_table_does() -> None:
    decoder = HeaderDecoder(1 << 20, 4096)
    decoder.decode(b"\x82\x84")
    decoder.decode(b"\x00\x01a\x01b\x10\x01a\x01b")
    assert decoder.generation == 0
    decoder.decode(b"\x20\x82")
    assert decoder.generation == 1
    decoder = HeaderDecoder(1 << 20, 4096)
    decoder.decode(b"\x40\x01a\x01b")
    assert decoder.generation == 1


def test_list_that_was_kept_is_encoded_anew_once_the_table_changed() -> None:
    encoder = HeaderEncoder(4096)
    decoder = HeaderDecoder(1 << 20, 4096)
    first = [(b"x-a", b"1"), (b"x-b", b"2")]
    for fields in (first, first, first, [(b"x-c", b"3")], first, first):
        assert decoder.decode(encoder.encode(fields)) == fields
    encoder.on_table_size(0)
    for _ in range(3):
        assert decoder.decode(encoder.encode(first)) == first


def test_fields_that_are_kept_are_few() -> None:
    encoder = HeaderEncoder(4096)
    decoder = HeaderDecoder(1 << 20, 4096)
    for number in [*range(400), *range(400)]:
        fields = [(b":status", b"200"), (b"x-a", b"%d" % number)]
        assert decoder.decode(encoder.encode(fields)) == fields
    assert len(encoder._kept) <= 128


def test_fields_that_are_kept_follow_the_table() -> None:
    encoder = HeaderEncoder(4096)
    decoder = HeaderDecoder(1 << 20, 4096)
    for number in range(300):
        fields = [
            (b":status", b"200"),
            (b"x-a", b"%d" % (number // 3 % 7)),
            (b"content-length", b"%d" % (number % 2)),
            (b"x-b", b"%d" % (number // 5) * 40),
            (b"x-a", b"%d" % (number // 3 % 7)),
            (b"x-request-id", b"%d" % number),
            (b"server", b"sidecar"),
        ]
        assert decoder.decode(encoder.encode(fields)) == fields
        if number % 50 == 49:
            encoder.on_table_size(number)
    assert (b"x-request-id", b"299") not in encoder._kept


def test_many_literals_do_not_fill_what_is_kept() -> None:
    encoder = HeaderEncoder(4096)
    for number in range(1000):
        encoder.encode([(b":path", b"/%d" % number)])
    assert len(encoder._kept) <= 128


def test_time_of_the_upstream_leaves_the_table_alone() -> None:
    # It differs from response to response: each new value would have all other fields looked up anew.
    encoder = HeaderEncoder(4096)
    encoder.encode([(b":status", b"200"), (b"server", b"sidecar")])
    encoder.encode([(b":status", b"200"), (b"server", b"sidecar")])
    kept = dict(encoder._kept)
    for number in range(20):
        encoder.encode([(b":status", b"200"), (b"x-envoy-upstream-service-time", b"%d" % number)])
    assert kept.items() <= encoder._kept.items()
