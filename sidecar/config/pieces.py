"""A serialized message cut at one of its repeated fields, without making objects of it.

Of a resource that was looked at before mostly little is new; which pieces are is seen by their bytes
(:mod:`sidecar.xds.assignment_pieces`, :mod:`sidecar.xds.route_pieces`,
:mod:`sidecar.config.compile.route_cache`).
Wire format: https://protobuf.dev/programming-guides/encoding/.
"""

from __future__ import annotations

__all__ = ["split"]

_VARINT, _I64, _LEN, _I32 = 0, 1, 2, 5


def split(data: bytes, field: int) -> tuple[bytes, list[bytes]]:
    """The other fields, and what stands in each ``field``, whose number is below 16.

    Raises: ValueError for what is no message.
    """
    wanted = field << 3 | _LEN
    rest: list[bytes] = []
    pieces: list[bytes] = []
    add = pieces.append
    at, end = 0, len(data)
    try:
        while at < end:
            start = at
            tag = data[at]
            at += 1
            if tag != wanted:
                at = _skip(data, start)
                rest.append(data[start:at])
                continue
            size = data[at]
            at += 1
            if size >= 0x80:
                size, at = _varint(data, at - 1)
            start, at = at, at + size
            add(data[start:at])
    except IndexError:
        at = end + 1
    if at != end:
        raise ValueError("a message that is cut off")
    return b"".join(rest), pieces


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def _skip(data: bytes, at: int) -> int:
    """The end of the field that begins there."""
    tag, at = _varint(data, at)
    kind = tag & 7
    if kind == _VARINT:
        return _varint(data, at)[1]
    if kind == _LEN:
        size, at = _varint(data, at)
        return at + size
    if kind not in (_I64, _I32):
        raise ValueError("a group, or no message at all")
    return at + (8 if kind == _I64 else 4)
