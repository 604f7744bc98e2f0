"""The wire form of header maps that crosses guest memory.

u32 count; count times (u32 key length, u32 value length); then each key and value followed by a NUL; all
little endian. Pure functions. Limits on decoding are those of Envoy's host: what is larger than 1 MiB, has
more than 1024 pairs or is malformed reads as an empty map.
"""

from collections.abc import Iterable
from itertools import chain
from struct import Struct, pack, unpack_from

MAX_DECODED_BYTES = 1024 * 1024
MAX_DECODED_PAIRS = 1024

Pairs = Iterable[tuple[bytes, bytes]]

_SIZES = tuple(Struct(f"<{2 * count + 1}I").pack for count in range(64))


def encode_pairs(pairs: Pairs) -> bytes:
    """The serialized map; an empty map is no bytes at all."""
    flat = list(chain.from_iterable(pairs))
    count = len(flat) // 2
    if not count:
        return b""
    if count < 64:
        head = _SIZES[count](count, *map(len, flat))
    else:
        head = pack(f"<{2 * count + 1}I", count, *map(len, flat))
    flat.append(b"")
    return head + b"\0".join(flat)


def byte_size(pairs: Pairs) -> int:
    """What ``proxy_get_header_map_size`` says: the bytes of names and values alone, as Envoy counts them."""
    return sum(len(key) + len(value) for key, value in pairs)


def decode_pairs(data: bytes) -> list[tuple[bytes, bytes]]:
    """The pairs of a serialized map; malformed or oversized input gives an empty list."""
    total = len(data)
    if total < 4 or total > MAX_DECODED_BYTES:
        return []
    count = int.from_bytes(data[:4], "little")
    position = 4 + 8 * count
    if count > MAX_DECODED_PAIRS or position > total:
        return []
    strings: list[bytes] = []
    for size in unpack_from(f"<{2 * count}I", data, 4):
        end = position + size
        if end >= total or data[end]:
            return []
        strings.append(data[position:end])
        position = end + 1
    if position != total:
        return []
    return list(zip(strings[::2], strings[1::2], strict=True))
