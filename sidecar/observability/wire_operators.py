"""Operators of wire and header bytes.

Envoy says how much of a connection a stream used.  Of a connection without HTTP that is what it carried; of a
request it is not counted here (docs/envoy-differences.md, bytes-on-the-wire).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sidecar.api.stream import Stream

__all__ = ["WIRE_OPERATORS"]

_CARRIED = {
    "DOWNSTREAM_WIRE_BYTES_SENT": "bytes_sent",
    "DOWNSTREAM_WIRE_BYTES_RECEIVED": "bytes_received",
    "UPSTREAM_WIRE_BYTES_SENT": "bytes_received",
    "UPSTREAM_WIRE_BYTES_RECEIVED": "bytes_sent",
}


def _reader(name: str) -> Callable[[Stream], Any]:
    attribute = _CARRIED.get(name)
    of_upstream = name.startswith("UPSTREAM")

    def read(stream: Stream) -> int | None:
        if stream.hcm is not None:
            return None
        if attribute is None or (of_upstream and not stream.upstream_connection_id):
            return 0
        carried: int = getattr(stream, attribute)
        return carried

    return read


#: name → operator.
WIRE_OPERATORS = {
    name: _reader(name)
    for side in ("UPSTREAM", "DOWNSTREAM")
    for kind in ("WIRE", "HEADER", "DECOMPRESSED_HEADER")
    for direction in ("SENT", "RECEIVED")
    for name in (f"{side}_{kind}_BYTES_{direction}",)
}
