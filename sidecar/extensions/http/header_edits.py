"""What Envoy's header maps do with fields that come from scripts and guests.

Shared by the Lua and the Wasm filter.  Names here are lower-case bytes, values as given.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sidecar.core.headers import HeaderMap

__all__ = [
    "BAD_VALUE",
    "SINGLE",
    "add_joined",
    "header_name",
    "invalid_field",
    "invalid_name",
    "invalid_value",
    "replace_last",
]

#: Names of which Envoy's maps hold one entry: adding another value joins it on with a comma.
SINGLE = frozenset(
    b"accept accept-encoding accept-language access-control-request-headers access-control-request-method "
    b"authorization cache-control connection content-encoding content-length content-type date expect "
    b"grpc-accept-encoding grpc-message grpc-status grpc-timeout host keep-alive location origin "
    b"proxy-connection referer server te transfer-encoding upgrade user-agent via x-client-trace-id "
    b"x-envoy-attempt-count x-envoy-original-path x-forwarded-client-cert x-forwarded-for x-forwarded-host "
    b"x-forwarded-proto x-request-id".split()
)
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


def invalid_name(name: bytes) -> str:
    """Envoy's text for a name that cannot be sent."""
    return "invalid header name: " + name.decode("latin-1").encode("unicode_escape").decode()


def invalid_value(name: bytes) -> str:
    """Envoy's text for a value that cannot be sent."""
    return "invalid header value for: " + name.decode("latin-1").encode("unicode_escape").decode()


def replace_last(headers: HeaderMap, name: bytes, value: bytes) -> None:
    """Make ``value`` the only one of ``name``; as in Envoy the field moves to the end."""
    if name[:1] != b":":
        headers.remove(name)
        headers.add(name, value)
    else:
        headers.set(name, value)


def add_joined(headers: HeaderMap, name: bytes, value: bytes) -> None:
    """Add a field as Envoy's map does: one more, or joined to what is there."""
    if name in SINGLE or name[:1] == b":":
        found = headers.get_all(name)
        if found:
            headers.set(name, b",".join((*found, value)))
            return
    headers.add(name, value)
