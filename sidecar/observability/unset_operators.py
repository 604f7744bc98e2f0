"""Operators that Envoy knows and that are unset here."""

from __future__ import annotations

__all__ = ["NOT_RECORDED"]

#: Envoy answers these; the stream does not know.
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
