"""Pieces of HTTP/1 messages that are rare enough to be written in one place for both sides."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sidecar.codec.h1_case import proper_case
from sidecar.codec.h1_reasons import reason_phrase
from sidecar.core.errors import LocalProtocolError

if TYPE_CHECKING:
    from sidecar.api.message import ResponseMessage
    from sidecar.core.headers import Field

__all__ = ["LAST_CHUNK", "encode_interim", "encode_trailers"]

LAST_CHUNK: Final = b"0\r\n\r\n"


def encode_trailers(fields: list[Field]) -> bytes:
    """The last chunk and the trailers behind it, in the case that they have (Envoy formats heads alone)."""
    section = b"".join([b"%b: %b\r\n" % field for field in fields])
    if section.count(b"\n") != len(fields):
        raise LocalProtocolError("a trailer contains a line feed")
    return b"0\r\n%b\r\n" % section


def encode_interim(response: ResponseMessage, *, proper: bool, is_old: bool) -> bytes:
    """A 1xx response as it goes to an HTTP/1 client; ``is_old`` writes HTTP/1.0."""
    headers = response.headers
    status = headers.status
    fields = headers.fields
    reason = reason_phrase(status) if response.reason is None else response.reason
    line = b"HTTP/1.%d %d %b\r\n" % (not is_old, status, reason)
    head = b"%b%b\r\n" % (line, b"".join([b"%b: %b\r\n" % field for field in fields]))
    if head.count(b"\n") != len(fields) + 2:
        raise LocalProtocolError("a header of an interim response contains a line feed")
    if headers.key_case is not None:
        written: bytes = headers.key_case.write(head)
        return written
    return proper_case(head) if proper else head
