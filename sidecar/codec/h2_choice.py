"""Which HTTP/2 codec speaks: our own, or h2 as the second opinion (``--http2-codec``)."""

from __future__ import annotations

from typing import Any

from sidecar.codec.h2_connection import H2Connection

__all__ = ["h2_codec_class"]


def h2_codec_class(name: str) -> Any:
    """The class of connections (:class:`sidecar.codec.h2_types.H2Codec`) for ``native`` or ``h2``."""
    if name == "native":
        return H2Connection
    from sidecar.codec.h2_reference import H2ReferenceConnection  # h2 is not imported for nothing

    return H2ReferenceConnection
