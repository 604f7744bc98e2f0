"""Messages of the API as plain values, which can be walked by the names of their fields and written again.

For who is shown messages while serving (properties of Wasm guests), where there is no protobuf.  A message of
the configuration is turned into one by :mod:`sidecar.config.compile.message_values`; the few that are made
while serving (``Metadata``, ``Locality``) are written here, by the wire format's own rules; so are those that
are Envoy's own and in no package.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping
from typing import Any

__all__ = ["MessageValue", "StructValue", "locality_value", "metadata_value", "read_fields", "write_bytes"]

_VARINT, _FIXED64, _BYTES = 0, 1, 2
#: Of numbers that have one; groups are in none of these messages.
_SIZES = {_FIXED64: 8, 5: 4}


class MessageValue:
    """A message: its fields by name, and what it is on the wire."""

    __slots__ = ("encode", "fields")

    def __init__(self, fields: Mapping[str, Any], encode: Callable[[], bytes]) -> None:
        self.fields = fields
        self.encode = encode


class StructValue:
    """A ``google.protobuf.Value`` that is no text: JSON's data, where every number is a double."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _field(number: int, data: bytes) -> bytes:
    return _varint(number << 3 | _BYTES) + _varint(len(data)) + data


def write_bytes(number: int, data: bytes) -> bytes:
    """A field of bytes or text, which is left out where it is empty."""
    return _field(number, data) if data else b""


def read_fields(data: bytes, kinds: Mapping[int, type]) -> dict[int, Any] | None:
    """The fields of a message: ``kinds`` says which are text (as bytes), bytes or numbers; others not.

    None for what protobuf would not read as such a message.
    """
    found: dict[int, Any] = {}
    at = 0
    try:
        while at < len(data):
            tag, at = _read_varint(data, at)
            number, wire = tag >> 3, tag & 7
            if not number:
                return None
            value: Any
            if wire == _VARINT:
                value, at = _read_varint(data, at)
            else:
                size, at = _read_varint(data, at) if wire == _BYTES else (_SIZES[wire], at)
                value, at = data[at : at + size], at + size
                if at > len(data):
                    return None
            kind = kinds.get(number)
            if kind is None or (kind is int) is not (wire == _VARINT) or wire not in (_VARINT, _BYTES):
                continue
            if kind is str:
                value.decode()
            found[number] = value
    except (IndexError, KeyError, UnicodeDecodeError):
        return None
    return found


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, at
        shift += 7
        if shift > 63:
            raise IndexError("a number of more than ten bytes")


def _text(number: int, text: str) -> bytes:
    return _field(number, text.encode()) if text else b""


def _map(number: int, items: Iterable[tuple[str, bytes]]) -> bytes:
    return b"".join(_field(number, _field(1, name.encode()) + _field(2, data)) for name, data in items)


def _struct(value: Mapping[str, Any]) -> bytes:
    """``google.protobuf.Struct``."""
    return _map(1, ((name, _value(each)) for name, each in value.items()))


def _value(value: Any) -> bytes:
    """``google.protobuf.Value``."""
    if value is None:
        return b"\x08\0"
    if isinstance(value, bool):
        return b"\x20" + bytes([value])
    if isinstance(value, int | float):
        return bytes([2 << 3 | _FIXED64]) + struct.pack("<d", value)
    if isinstance(value, Mapping):
        return _field(5, _struct(value))
    if isinstance(value, list | tuple):
        return _field(6, b"".join(_field(1, _value(each)) for each in value))
    return _field(3, str(value).encode())


def metadata_value(
    filter_metadata: Mapping[str, Mapping[str, Any]], typed: Mapping[str, bytes] | None = None
) -> MessageValue:
    """``envoy.config.core.v3.Metadata``; ``typed`` are serialized ``Any`` messages."""

    def encode() -> bytes:
        plain = _map(1, ((name, _struct(value)) for name, value in filter_metadata.items()))
        return plain + _map(2, (typed or {}).items())

    fields = {
        "filter_metadata": {name: StructValue(value) for name, value in filter_metadata.items()},
        "typed_filter_metadata": {
            name: MessageValue({}, lambda data=data: data)  # type: ignore[misc]  # its type is that of data
            for name, data in (typed or {}).items()
        },
    }
    return MessageValue(fields, encode)


def locality_value(region: str, zone: str, sub_zone: str) -> MessageValue:
    """``envoy.config.core.v3.Locality``."""
    return MessageValue(
        {"region": region, "zone": zone, "sub_zone": sub_zone},
        lambda: _text(1, region) + _text(2, zone) + _text(3, sub_zone),
    )
