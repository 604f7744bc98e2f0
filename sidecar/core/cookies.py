"""The cookies of a request (RFC 6265 §5.4, read as ``Http::Utility::parseCookies`` reads them)."""

from __future__ import annotations

from sidecar.core.headers import HeaderMap

__all__ = ["cookie_values"]


def cookie_values(headers: HeaderMap) -> dict[bytes, bytes]:
    """Each cookie's value; of two with one name the first counts.

    Quotes around a value are taken off; what has no ``=`` is no cookie.
    """
    found: dict[bytes, bytes] = {}
    for line in headers.get_all(b"cookie"):
        for part in line.split(b";"):
            name, equals, value = part.lstrip(b" \t").partition(b"=")
            if equals and name not in found:
                if len(value) > 1 and value[:1] == value[-1:] == b'"':
                    value = value[1:-1]
                found[name] = value
    return found
