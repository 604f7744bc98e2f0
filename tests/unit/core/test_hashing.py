"""xxHash64 and MurmurHash2 against values of their reference implementations."""

from __future__ import annotations

import pytest

from sidecar.core.hashing import murmur_hash_2, xx_hash, xx_hash_all


def test_xx_hash_of_known_texts() -> None:
    assert xx_hash(b"") == 0xEF46DB3751D8E999
    assert xx_hash(b"foo") == 3728699739546630719
    assert xx_hash(b"foo", 1) != xx_hash(b"foo")


def test_parts_are_hashed_one_after_the_other() -> None:
    assert xx_hash_all([b"foo"]) == xx_hash(b"foo")
    assert xx_hash_all([b"foo", b"bar"]) == xx_hash(b"bar", xx_hash(b"foo"))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b"", 6142509188972423790),
        (b"hello", 2762169579135187400),
        (b"world", 8751027807033337960),
        (b"0123456789", 15068358565474034197),
    ],
)
def test_murmur_hash_2_is_the_hash_of_libstdcxx(text: bytes, value: int) -> None:
    assert murmur_hash_2(text) == value
