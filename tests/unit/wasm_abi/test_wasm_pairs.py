"""The wire form of header maps."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wasm_abi.pairs import MAX_DECODED_BYTES, MAX_DECODED_PAIRS, byte_size, decode_pairs, encode_pairs

PAIR = encode_pairs([(b"ab", b"c")])


def test_encode_of_one_pair_is_the_specified_layout() -> None:
    assert PAIR == b"\1\0\0\0\2\0\0\0\1\0\0\0ab\0c\0"


@given(st.lists(st.tuples(st.binary(max_size=40), st.binary(max_size=40)), max_size=100))
def test_decode_gives_back_what_was_encoded(pairs: list[tuple[bytes, bytes]]) -> None:
    data = encode_pairs(pairs)
    assert decode_pairs(data) == pairs
    assert byte_size(pairs) == max(len(data) - 4 - 10 * len(pairs), 0)


@given(st.binary(max_size=200))
def test_decode_of_anything_ends_in_pairs_that_encode_to_it_or_in_none(data: bytes) -> None:
    pairs = decode_pairs(data)
    assert not pairs or encode_pairs(pairs) == data


@pytest.mark.parametrize("data", [b"", b"\0", b"\0\0\0\0"])
def test_every_form_of_the_empty_map_decodes_to_nothing(data: bytes) -> None:
    assert decode_pairs(data) == []


@pytest.mark.parametrize(
    "data",
    [
        PAIR[:-1],
        PAIR + b"\0",
        PAIR[:3],
        PAIR[:-1] + b"x",
        PAIR[:14] + b"x" + PAIR[15:],
        struct.pack("<III", 1, 0xFFFFFFFF, 0) + b"\0\0",
        struct.pack("<I", 0xFFFFFFFF),
    ],
)
def test_malformed_maps_decode_to_nothing(data: bytes) -> None:
    assert decode_pairs(data) == []


def test_decode_has_limits_on_pairs_and_bytes() -> None:
    assert len(decode_pairs(encode_pairs([(b"", b"")] * MAX_DECODED_PAIRS))) == MAX_DECODED_PAIRS
    assert decode_pairs(encode_pairs([(b"", b"")] * (MAX_DECODED_PAIRS + 1))) == []
    fits = encode_pairs([(b"", b"v" * (MAX_DECODED_BYTES - 14))])
    assert len(fits) == MAX_DECODED_BYTES
    assert decode_pairs(fits)
    assert decode_pairs(encode_pairs([(b"", b"v" * (MAX_DECODED_BYTES - 13))])) == []
