"""What Envoy's header maps do with fields that come from scripts and guests.

Shared by the Lua and the Wasm filter.  Names here are lower-case bytes, values as given.
"""

from __future__ import annotations

import re

from sidecar.core.headers import RequestHeaders, ResponseHeaders
from sidecar.router.unsendable import BAD_VALUE, invalid_value, unsendable_reply

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


def invalid_name(name: bytes) -> str:
    """Envoy's text for a name that cannot be sent."""
    return "invalid header name: " + name.decode("latin-1").encode("unicode_escape").decode()
