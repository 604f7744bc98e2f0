"""What the beginning of a head tells before its end is here, as Envoy's parser looks at it.

A peer that speaks something else (TLS, SSH, SMTP) says so with its first bytes, and then waits.
Asked for heads that come in pieces only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from sidecar.codec.h1 import ResponseParser, plain_request_line
from sidecar.codec.h1_urls import is_url
from sidecar.core.errors import RemoteProtocolError

if TYPE_CHECKING:
    from sidecar.codec.h1 import RequestParser

__all__ = ["request_beginning", "response_beginning"]


def request_beginning(parser: RequestParser) -> Callable[[bytes], int]:
    """What looks at the beginning of a request for the connection of ``parser``.

    It gives the size of a request that is whole (HTTP/0.9 has no more than its line), 0 for any other.
    Raises: RemoteProtocolError where no request can come of it.
    """

    def look(data: bytes) -> int:
        if data[0] <= 0x20:
            raise RemoteProtocolError("no request begins like this")
        line, end, _ = data.partition(b"\n")
        if not end:
            return 0
        # Before the end of the line of HTTP/0.9 any number of CR is nothing.
        words = plain_request_line(line.rstrip(b"\r")).split(b" ")
        if parser.check_method(line) is None or len(words) not in (2, 3):
            raise RemoteProtocolError("invalid request line")
        if len(words) == 2:
            parser.take_simple(words[0], line)
            return len(line) + 1
        if min(words[1]) > 0x20 and not is_url(words[1], is_connect=words[0] == b"CONNECT"):
            # Control characters are judged with the whole head.
            raise RemoteProtocolError("invalid url")
        version = words[2]
        if line.endswith(b"\r\r") or version[:5] != b"HTTP/" or len(version) != 8 or version[6:7] != b".":
            raise RemoteProtocolError("invalid version")
        return 0

    return look


def response_beginning(data: bytes) -> int:
    """The same for a response, which is never whole with its first line."""
    if data[:1] != b"H":
        raise RemoteProtocolError("no response begins like this")
    line, end, _ = data.partition(b"\n")
    if end:
        ResponseParser().parse(line.removesuffix(b"\r") + b"\r\n\r\n")
    return 0
