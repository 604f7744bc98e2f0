"""importPublicKey(), verifySignature() and base64Decode() of the Lua filter.

Envoy's corner cases, seen on 1.40, are kept where they are no danger: a key is known by its bytes up to the
first zero, and the first of two such keys stays.
"""

from __future__ import annotations

import base64
import binascii
import re

from sidecar.extensions.signatures import import_public_key as import_key
from sidecar.extensions.signatures import verify

__all__ = ["base64_decode", "import_key", "key_name", "verify"]

_SPACE = re.compile(rb"[ \t\n\v\f\r]+")
_BASE64 = re.compile(rb"([A-Za-z0-9+/]*)([=.]{0,2})\Z")


def key_name(key: bytes) -> bytes:
    """What a key is known by."""
    return key.partition(b"\0")[0]


def base64_decode(text: bytes) -> bytes | None:
    """The bytes; blanks are passed over and padding may be left out.  None for what is no base64."""
    match = _BASE64.fullmatch(_SPACE.sub(b"", text))
    if match is None:
        return None
    digits, pad = match.groups()
    missing = -len(digits) % 4
    if missing == 3 or (pad and len(pad) != missing):
        return None
    try:
        return base64.b64decode(digits + b"=" * missing)
    except binascii.Error:
        return None
