"""Operators that are unset where no access log asks for them."""

from __future__ import annotations

__all__ = ["NOT_RECORDED"]

#: A stream counts these only where a log of its connection manager reads them.
NOT_RECORDED = frozenset(
    [
        *(
            f"{side}_{kind}_BYTES_{direction}"
            for side in ("UPSTREAM", "DOWNSTREAM")
            for kind in ("WIRE", "HEADER", "DECOMPRESSED_HEADER")
            for direction in ("SENT", "RECEIVED")
        ),
    ]
)  # fmt: skip
