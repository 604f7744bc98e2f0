"""Values of properties: how a path goes on in them, and what guests are given of them.

Text and bytes are as they are, numbers 8 bytes little endian, bools one byte, times nanoseconds, messages
serialized, maps in header-map form, and lists as maps without values (Envoy's ``serializeValue``).  A table
of attributes as a whole has no such form, nor has null: ``SERIALIZATION_FAILURE``.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sidecar.core.headers import RequestHeaders
from sidecar.core.message_values import MessageValue, StructValue
from sidecar.extensions.http.wasm_state import KeptBytes
from wasm_abi import Status
from wasm_abi.pairs import encode_pairs

if TYPE_CHECKING:
    from sidecar.core.headers import HeaderMap

__all__ = ["WHOLE", "HeaderView", "Table", "serialize", "step"]

_NOTHING = b"\0\0\0\0"


class Table:
    """What can be looked into, and not be had as a whole: the filter state."""

    __slots__ = ("tables",)

    def __init__(self, *tables: Mapping[str, Any] | None) -> None:
        #: The first that has a name counts.
        self.tables = tables

    def get(self, name: bytes) -> Any:
        """Numbers are shown as text."""
        key = name.decode("utf-8", "replace")
        value = next((table[key] for table in self.tables if table and key in table), None)
        return str(value) if isinstance(value, int | float) else value


#: Those that are looked into by name of their leaves.
WHOLE = Table()


class HeaderView:
    """A header map as a property; one that is not there is empty."""

    __slots__ = ("headers",)

    def __init__(self, headers: HeaderMap | None) -> None:
        self.headers = headers

    def get(self, name: bytes) -> bytes | None:
        """All values of that name; ``host`` of a request is its authority."""
        headers, name = self.headers, name.lower()
        if name == b"host" and isinstance(headers, RequestHeaders):
            name = b":authority"
        return None if headers is None else headers.get_joined(name)

    def items(self) -> list[tuple[bytes, bytes]]:
        """Each name once."""
        headers = self.headers
        if headers is None:
            return []
        return [
            (name, headers.get_joined(name) or b"") for name in dict.fromkeys(name for name, _ in headers)
        ]


def step(value: Any, segment: bytes) -> Any:
    """One segment further into a value; None where that leads to nothing."""
    if isinstance(value, HeaderView | Table):
        return value.get(segment)
    if isinstance(value, KeptBytes) and value.type_url:
        value = value.message()
    is_struct = isinstance(value, StructValue)
    if is_struct:
        value = value.value
    elif isinstance(value, MessageValue):
        value = value.fields
    if isinstance(value, Mapping):
        name = segment.decode("utf-8", "replace")
        if name not in value:
            return None
        found = value[name]
    elif isinstance(value, list | tuple):
        if not segment.isdigit() or int(segment) >= len(value):
            return None
        found = value[int(segment)]
    else:
        return None
    return StructValue(found) if is_struct else found


def serialize(value: Any) -> bytes | Status | None:
    """The wire form of a property; None is none."""
    if value is None or isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, bool):
        return b"\1" if value else b"\0"
    if isinstance(value, int):
        return value.to_bytes(8, "little", signed=value < 0)
    if isinstance(value, float):
        return struct.pack("<d", value)
    if isinstance(value, MessageValue):
        return value.encode()
    if isinstance(value, HeaderView):
        return encode_pairs(value.items()) or _NOTHING
    if isinstance(value, StructValue):
        return _serialize_plain(value.value)
    if isinstance(value, Mapping):
        return _pairs([(name, serialize(item)) for name, item in value.items()])
    if isinstance(value, list | tuple):
        return _pairs([(serialize(item), b"") for item in value])
    return Status.SERIALIZATION_FAILURE


def _serialize_plain(value: Any) -> bytes | Status | None:
    if isinstance(value, bool):
        return serialize(value)
    if isinstance(value, int | float):
        return struct.pack("<d", value)
    if isinstance(value, Mapping):
        return _pairs([(name, _serialize_plain(item)) for name, item in value.items()])
    if isinstance(value, list | tuple):
        return _pairs([(_serialize_plain(item), b"") for item in value])
    return Status.SERIALIZATION_FAILURE if value is None else serialize(value)


def _pairs(items: list[tuple[Any, Any]]) -> bytes | Status:
    """A map; none where one of its values has no form."""
    flat = []
    for name, value in items:
        key = name.encode() if isinstance(name, str) else name
        if not isinstance(key, bytes) or not isinstance(value, bytes):
            return Status.SERIALIZATION_FAILURE
        flat.append((key, value))
    return encode_pairs(flat) or _NOTHING
