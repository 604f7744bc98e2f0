"""Which HTTP/1 codec speaks: llhttp, or h11 as the second opinion (``--http1-codec``)."""

from __future__ import annotations

from sidecar.codec.h1 import RequestParser, ResponseParser
from sidecar.codec.h1_chunks import ChunkedDecoder
from sidecar.core.dataclass import dataclass

__all__ = ["LLHTTP", "H1Codec", "h1_codec"]


@dataclass(frozen=True, slots=True)
class H1Codec:
    """The three parts of a codec; whatever its name, they have the interface of :mod:`sidecar.codec.h1`."""

    request_parser: type[RequestParser]
    response_parser: type[ResponseParser]
    chunked_decoder: type[ChunkedDecoder]


LLHTTP = H1Codec(RequestParser, ResponseParser, ChunkedDecoder)


def h1_codec(name: str) -> H1Codec:
    """The codec called ``llhttp`` or ``h11``."""
    if name == "llhttp":
        return LLHTTP
    from sidecar.codec.h1_reference import H11  # h11 is not imported for nothing

    return H11
