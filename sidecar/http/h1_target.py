"""Request targets and hosts of HTTP/1 (RFC 9112 §3.2), read as Envoy's codec reads them."""

from __future__ import annotations

import re

from sidecar.core.errors import RemoteProtocolError

__all__ = ["ASSUMED_SCHEME", "KNOWN_AUTHORITIES", "check_authority", "read_target"]

#: Authorities that were checked before, and "none"; bounded, since they come from the peer.
KNOWN_AUTHORITIES: set[bytes | None] = {None}
_KNOWN_LIMIT = 4096

#: The scheme of a request that does not say one: this very object, so that x-forwarded-proto may replace it.
ASSUMED_SCHEME = bytes(bytearray(b"http"))

_AUTHORITY = re.compile(rb"[A-Za-z0-9\-._~!$&'()*+,;=:@\[\]%]*").fullmatch
#: Authority without the user in front of it, its port, and the path or query.
_URL = re.compile(
    rb"(?:[^@/?#]*@)?((?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.\-]+)(?::([0-9]{1,5}))?)([/?#].*)?", re.DOTALL
).fullmatch
_HOST_AND_PORT = re.compile(rb"[^/]+:[0-9]+").fullmatch


def check_authority(authority: bytes | None) -> None:
    """Raise RemoteProtocolError unless ``authority`` has the characters of one (RFC 3986 §3.2)."""
    if authority is None:
        return
    if not _AUTHORITY(authority):
        raise RemoteProtocolError("invalid authority", details="http.invalid_authority")
    if len(KNOWN_AUTHORITIES) >= _KNOWN_LIMIT:
        KNOWN_AUTHORITIES.clear()
        KNOWN_AUTHORITIES.add(None)
    if len(authority) < 256:
        KNOWN_AUTHORITIES.add(authority)


def read_target(
    method: bytes, target: bytes, host: bytes | None, *, is_absolute_allowed: bool = True
) -> tuple[bytes, bytes | None, bytes | None]:
    """Scheme, authority and path of a target that is CONNECT's or does not begin with a slash.

    ``host`` is the Host field; the absolute form and CONNECT bring an authority of their own.
    ``is_absolute_allowed`` is ``allow_absolute_url``.
    Raises: RemoteProtocolError.
    """
    if method == b"CONNECT":
        if not _HOST_AND_PORT(target):
            raise RemoteProtocolError("invalid url", details="http1.invalid_url")
        return ASSUMED_SCHEME, target, None
    if not is_absolute_allowed:
        # Then the whole target is the path, which no route of the connection manager takes.
        return ASSUMED_SCHEME, host, target
    if target[:1] == b"*":
        if method != b"OPTIONS":
            raise RemoteProtocolError("invalid url", details="http1.invalid_url")
        return ASSUMED_SCHEME, host, target
    scheme, separator, rest = target.partition(b"://")
    scheme = scheme.lower()
    if not separator:
        raise RemoteProtocolError("invalid url")
    if scheme not in (b"http", b"https"):
        raise RemoteProtocolError("invalid scheme", details="http1.invalid_scheme")
    match = _URL(rest)
    if match is None or int(match[2] or b"0") > 65535:
        raise RemoteProtocolError("invalid url", details="http1.invalid_url")
    return scheme, match[1], match[3] or b"/"
