"""Operators of wire and header bytes.

Envoy says how much of a connection a stream used.  Of a connection without HTTP that is what it carried; of a
request it is counted where a log of its connection manager asks for it (:func:`reads_wire`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sidecar.api.stream import Stream
from sidecar.core.late_pattern import late_pattern

__all__ = ["WIRE_OPERATORS", "reads_wire"]

_CARRIED = {
    "DOWNSTREAM_WIRE_BYTES_SENT": "bytes_sent",
    "DOWNSTREAM_WIRE_BYTES_RECEIVED": "bytes_received",
    "UPSTREAM_WIRE_BYTES_SENT": "bytes_received",
    "UPSTREAM_WIRE_BYTES_RECEIVED": "bytes_sent",
}
_SIDES = {"UPSTREAM": "up", "DOWNSTREAM": "down"}
_KINDS = {"WIRE": "", "HEADER": "header_", "DECOMPRESSED_HEADER": "decompressed_"}
_NAME = late_pattern(f"({'|'.join(_SIDES)})_({'|'.join(_KINDS)})_BYTES_(?:RECEIVED|SENT)")


def reads_wire(text_format: str) -> bool:
    """Whether a format has such an operator in it."""
    return _NAME.search(text_format) is not None


def _reader(side: str, kind: str, direction: str) -> Callable[[Stream], Any]:
    carried = _CARRIED.get(f"{side}_{kind}_BYTES_{direction}")
    of_upstream = side == "UPSTREAM"
    half = _SIDES[side]
    counted = _KINDS[kind] + direction.lower()

    def read(stream: Stream) -> int | None:
        if stream.hcm is not None:
            if stream.wire is None:
                return None
            wire = getattr(stream.wire, half)
            wire.settle()
            return getattr(wire, counted)  # type: ignore[no-any-return]
        if carried is None or (of_upstream and not stream.upstream_connection_id):
            return 0
        return getattr(stream, carried)  # type: ignore[no-any-return]

    return read


#: name → operator.
WIRE_OPERATORS = {
    f"{side}_{kind}_BYTES_{direction}": _reader(side, kind, direction)
    for side in _SIDES
    for kind in _KINDS
    for direction in ("SENT", "RECEIVED")
}
