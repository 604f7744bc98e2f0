"""The hashes by which Envoy spreads requests: xxHash64 and MurmurHash2.

``HashUtil::xxHash64`` of hash policies, rings and tables; ``MurmurHash::murmurHash2``, that of libstdc++, for
rings that ask for it.
"""

from __future__ import annotations

from collections.abc import Iterable

from xxhash import xxh64_intdigest

__all__ = ["murmur_hash_2", "xx_hash", "xx_hash_all"]

_MASK = 2**64 - 1
_MULTIPLIER = 0xC6A4A7935BD1E995
#: ``MurmurHash::STD_HASH_SEED``.
_SEED = 0xC70F6907


def xx_hash(data: bytes, seed: int = 0) -> int:
    """xxHash64."""
    value: int = xxh64_intdigest(data, seed)
    return value


def xx_hash_all(parts: Iterable[bytes]) -> int:
    """xxHash64 of one part after the other, each seeded with the hash before it."""
    value = 0
    for part in parts:
        value = xxh64_intdigest(part, value)
    return value


def murmur_hash_2(data: bytes) -> int:
    """MurmurHash2, 64 bits, with the seed of ``std::hash``."""
    size = len(data)
    value = _SEED ^ (size * _MULTIPLIER & _MASK)
    whole = size & ~7
    for at in range(0, whole, 8):
        word = int.from_bytes(data[at : at + 8], "little") * _MULTIPLIER & _MASK
        word = (word ^ word >> 47) * _MULTIPLIER & _MASK
        value = (value ^ word) * _MULTIPLIER & _MASK
    if size & 7:
        value = (value ^ int.from_bytes(data[whole:], "little")) * _MULTIPLIER & _MASK
    value = (value ^ value >> 47) * _MULTIPLIER & _MASK
    return value ^ value >> 47
