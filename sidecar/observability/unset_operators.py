"""Operators that Envoy knows and that are unset here: names, and why."""

from __future__ import annotations

__all__ = ["NOT_RECORDED", "UNSET_ON_PLAINTEXT"]

#: Unset on a stream without TLS, and so here.
UNSET_ON_PLAINTEXT = frozenset(
    [

        "DOWNSTREAM_HANDSHAKE_DURATION",
    ]
)  # fmt: skip

#: Envoy answers these; the stream does not know.
NOT_RECORDED = frozenset(
    [
        "UPSTREAM_CONNECTION_POOL_READY_DURATION",
        "DOWNSTREAM_LOCAL_CLOSE_REASON", "DOWNSTREAM_DETECTED_CLOSE_TYPE",
        "UPSTREAM_LOCAL_CLOSE_REASON", "UPSTREAM_DETECTED_CLOSE_TYPE",
        "UPSTREAM_FILTER_STATE",
        *(
            f"{side}_{kind}_BYTES_{direction}"
            for side in ("UPSTREAM", "DOWNSTREAM")
            for kind in ("WIRE", "HEADER", "DECOMPRESSED_HEADER")
            for direction in ("SENT", "RECEIVED")
        ),
    ]
)  # fmt: skip
