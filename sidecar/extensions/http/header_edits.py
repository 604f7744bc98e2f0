"""What Envoy's header maps do with fields that come from scripts and guests.

Shared by the Lua and the Wasm filter.  Names here are lower-case bytes, values as given.
"""

from __future__ import annotations

import re

from sidecar.api.message import LocalReply
from sidecar.api.stream import Flag
from sidecar.core.headers import RequestHeaders, ResponseHeaders

__all__ = [
    "BAD_VALUE",
    "SINGLE",
    "header_name",
    "invalid_field",
    "invalid_name",
    "invalid_value",
    "unsendable_reply",
]

#: Names of which a request's or a response's head holds one entry.
SINGLE = RequestHeaders.single | ResponseHeaders.single
#: What no field value may hold (RFC 9110 §5.5): controls, line breaks among them.
BAD_VALUE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_TOKEN = re.compile(rb":?[!#$%&'*+\-.^_`|~0-9a-z]+")


def header_name(key: bytes) -> bytes:
    """The lower-case name, or ``b"\\0"`` for one that cannot be sent (RFC 9110 §5.1)."""
    name = key.lower()
    return name if _TOKEN.fullmatch(name) else b"\0"


def invalid_field(name: bytes, value: bytes) -> str:
    """Why Envoy's router would not send this field, or nothing."""
    if not _TOKEN.fullmatch(name):
        return invalid_name(name)
    if BAD_VALUE.search(value):
        return invalid_value(name)
    return ""


def unsendable_reply(problem: str) -> LocalReply:
    """The answer of Envoy's router to a request with such a field."""
    details = f"filter_removed_required_request_headers{{{problem}}}".replace(" ", "_")
    return LocalReply(503, problem.encode(), details, Flag.DOWNSTREAM_PROTOCOL_ERROR)


def invalid_name(name: bytes) -> str:
    """Envoy's text for a name that cannot be sent."""
    return "invalid header name: " + name.decode("latin-1").encode("unicode_escape").decode()


def invalid_value(name: bytes) -> str:
    """Envoy's text for a value that cannot be sent."""
    return "invalid header value for: " + name.decode("latin-1").encode("unicode_escape").decode()
