"""Which header lists make a well-formed HTTP/2 message (RFC 9113 §8.2 and §8.3).

Pure functions over decoded fields; both HTTP/2 codecs use them.  The rules are the RFC's where Envoy
is silent and Envoy's where it is more lenient: white space around values passes, bytes above 0x7f
pass, ``te`` may only be ``trailers``, and an authority may not carry user information.
"""

from __future__ import annotations

import re

from sidecar.core.headers import Field

__all__ = [
    "MESSAGING",
    "MalformedMessage",
    "check_no_body",
    "check_request",
    "check_response",
    "check_trailers",
    "exceeds_limits",
    "join_cookies",
    "refuse_obs_text",
]

INVALID_FIELD = "http2.invalid.header.field"
MESSAGING = "http2.violation.of.messaging.rule"

_is_name = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+").fullmatch
_is_method = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-zA-Z]+").fullmatch
_is_scheme = re.compile(rb"[A-Za-z][A-Za-z0-9+\-.]*").fullmatch
_is_authority = re.compile(rb"[A-Za-z0-9\-._~!$&'()*+,;=:%\[\]]+").fullmatch
_is_path = re.compile(rb"[\x21-\x7e\x80-\xff]+").fullmatch
_find_bad_value = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]").search

#: Fields that speak of an HTTP/1 connection (RFC 9113 §8.2.2).
_CONNECTION_FIELDS = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade")
)
#: Names with a rule of their own: never remembered as plain.
_RULED = _CONNECTION_FIELDS | {b"te", b"content-length", b"host", b"cookie"}

#: Names already found to be valid, so that the common ones cost one look-up.  Bounded.
_plain_names: set[bytes] = set()
_PLAIN_NAMES_LIMIT = 1024
_PLAIN_NAME_LENGTH = 64


class MalformedMessage(Exception):
    """The list breaks a rule; ``details`` are Envoy's response code details."""

    def __init__(self, reason: str, details: str = INVALID_FIELD) -> None:
        super().__init__(reason)
        self.details = details


def _check_fields(fields: list[Field], start: int, *, trailers: bool = False) -> tuple[int, bool, int]:
    """Check the regular fields behind ``start``: (content length or -1, has host, number of cookies)."""
    length = -1
    has_host = False
    cookies = 0
    plain = _plain_names
    for name, value in fields[start:] if start else fields:
        if name in plain:
            continue
        if name in _RULED:
            if name == b"cookie":
                cookies += 1
            elif name == b"host":
                if not _is_authority(value) or has_host:
                    raise MalformedMessage("invalid host")
                has_host = True
            elif name == b"content-length":
                if length >= 0 or not value.isdigit() or len(value) > 18:
                    raise MalformedMessage("invalid content-length")
                if not trailers:
                    length = int(value)
            elif name == b"te":
                if value.lower() != b"trailers":
                    raise MalformedMessage("te other than trailers")
            else:
                raise MalformedMessage("connection-specific field")
            continue
        if not _is_name(name):
            raise MalformedMessage("invalid field name, or a pseudo header out of place")
        if len(plain) < _PLAIN_NAMES_LIMIT and len(name) <= _PLAIN_NAME_LENGTH:
            plain.add(name)
    if _find_bad_value(b"".join([value for _, value in fields])) is not None:
        raise MalformedMessage("invalid byte in a field value")
    return length, has_host, cookies


def refuse_obs_text(fields: list[Field]) -> None:
    """``Http2ProtocolOptions.disallow_obs_text``.  Raises: MalformedMessage."""
    if not b"".join([value for _, value in fields]).isascii():
        raise MalformedMessage("octets beyond ASCII in a field value")


def check_request(fields: list[Field], *, allow_connect_protocol: bool = False) -> tuple[int, int]:
    """The content length that a request declares (-1 where none) and its number of cookie fields.

    Raises: MalformedMessage.
    """
    method = path = scheme = authority = protocol = None
    count = 0
    for name, value in fields:
        if name[:1] != b":":
            break
        count += 1
        if name == b":path" and path is None:
            path = value
        elif name == b":method" and method is None:
            method = value
        elif name == b":scheme" and scheme is None:
            scheme = value
        elif name == b":authority" and authority is None:
            authority = value
        elif name == b":protocol" and protocol is None and allow_connect_protocol:
            protocol = value
        else:
            raise MalformedMessage("unknown or repeated pseudo header")
    length, has_host, cookies = _check_fields(fields, count)
    if method is None or not _is_method(method):
        raise MalformedMessage("no valid :method")
    if authority is not None and not _is_authority(authority):
        raise MalformedMessage("invalid :authority")
    if protocol is not None and method != b"CONNECT":
        raise MalformedMessage(":protocol without CONNECT", MESSAGING)
    if method == b"CONNECT" and protocol is None:
        if path is not None or scheme is not None or authority is None:
            raise MalformedMessage("CONNECT takes :authority alone", MESSAGING)
        return length, cookies
    if path is None or scheme is None or (authority is None and not has_host):
        raise MalformedMessage("missing pseudo header", MESSAGING)
    if not _is_scheme(scheme):
        raise MalformedMessage("invalid :scheme")
    if not _is_path(path):
        raise MalformedMessage("invalid :path")
    if path[:1] != b"/" and scheme in (b"http", b"https") and (path != b"*" or method != b"OPTIONS"):
        raise MalformedMessage(":path is not absolute", MESSAGING)
    return length, cookies


def check_response(fields: list[Field]) -> tuple[int, int]:
    """The status of a response and the content length that it declares (-1 where none).

    Raises: MalformedMessage.
    """
    if not fields or fields[0][0] != b":status":
        raise MalformedMessage("no :status", MESSAGING)
    text = fields[0][1]
    if len(text) != 3 or not text.isdigit() or text[:1] == b"0":
        raise MalformedMessage("invalid :status")
    length, _, _ = _check_fields(fields, 1)
    status = int(text)
    if status == 101:
        raise MalformedMessage("status 101 on HTTP/2", MESSAGING)
    return status, length


def check_trailers(fields: list[Field]) -> None:
    """Trailers hold no pseudo headers and nothing about the connection.

    Raises: MalformedMessage.
    """
    _check_fields(fields, 0, trailers=True)


def join_cookies(fields: list[Field]) -> list[Field]:
    """One ``cookie`` field, last in the list, in place of the crumbs (RFC 9113 §8.2.3)."""
    crumbs = [value for name, value in fields if name == b"cookie"]
    rest = [field for field in fields if field[0] != b"cookie"]
    rest.append((b"cookie", b"; ".join(crumbs)))
    return rest


def exceeds_limits(fields: list[Field], limit_bytes: int, limit_count: int) -> str:
    """Envoy's details for a list that is too large or too long; empty where it is neither."""
    if len(fields) > limit_count:
        return "http2.too_many_headers"
    size = 0
    for name, value in fields:
        size += len(name) + len(value)
    return "http2.header_list_size_too_large" if size > limit_bytes else ""


def check_no_body(length: int, status: int = 0) -> None:
    """A head that ends its stream declares no body and is not an interim response.

    Raises: MalformedMessage.
    """
    if 0 < status < 200:
        raise MalformedMessage("1xx ends the stream", MESSAGING)
    if length > 0 and status not in (204, 304):
        raise MalformedMessage("content-length without a body", MESSAGING)
