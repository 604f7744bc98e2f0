"""What frames a message of HTTP/1 agrees with its body, whatever filters did to either (RFC 9112 §6).

A filter, a route or a service may set ``content-length`` and ``transfer-encoding``, or change a body behind
a head that gave its length.  The next hop would then take a part of the body for another message, or the
other way round.  So the codecs ask here: of a body that is at hand, or of none, the length is set right;
one that comes piece by piece is counted, and cut off where it is not as long as its head said.
"""

from __future__ import annotations

from sidecar.api.message import LocalReply
from sidecar.core.errors import StreamAborted
from sidecar.core.headers import HeaderMap

__all__ = ["ANY_LENGTH", "announced_length", "is_wrong_length", "wrong_length"]

#: Of a body whose end the coding tells.
ANY_LENGTH = -1
_LENGTH = b"content-length"
_REPLY = LocalReply(502, details="content_length_mismatch")


def is_wrong_length(headers: HeaderMap, said: bytes, size: int) -> bool:
    """Set the length of a body that is at hand right; whether it was another one than ``said``."""
    if said.isdigit() and int(said) == size and not _is_repeated(headers):
        return False  # with zeros in front, or beside other names that stand twice
    headers.set(_LENGTH, b"%d" % size)
    return True


def announced_length(headers: HeaderMap, said: bytes) -> int:
    """The length of a body that is still to come, ANY_LENGTH where the head has to do without.

    What is no length is taken away; of several that are the same one stays.
    """
    if _is_repeated(headers):
        if len(set(headers.get_all(_LENGTH))) == 1:
            headers.set(_LENGTH, said)
        else:
            said = b""
    if said.isdigit():
        return int(said)
    headers.remove(_LENGTH)
    return ANY_LENGTH


def _is_repeated(headers: HeaderMap) -> bool:
    return len(headers.index()) != len(headers.fields) and len(headers.get_all(_LENGTH)) > 1


def wrong_length() -> StreamAborted:
    """The body ends before its length, or goes on behind it."""
    return StreamAborted(_REPLY)
