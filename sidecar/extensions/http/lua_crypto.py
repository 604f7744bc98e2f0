"""importPublicKey(), verifySignature() and base64Decode() of the Lua filter.

Envoy's corner cases, seen on 1.40, are kept where they are no danger: a key is known by its bytes up to the
first zero, and the first of two such keys stays.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key

__all__ = ["base64_decode", "import_key", "key_name", "verify"]

_HASHES: dict[bytes, Any] = {
    b"sha1": hashes.SHA1,
    b"sha224": hashes.SHA224,
    b"sha256": hashes.SHA256,
    b"sha384": hashes.SHA384,
    b"sha512": hashes.SHA512,
}
_SPACE = re.compile(rb"[ \t\n\v\f\r]+")
_BASE64 = re.compile(rb"([A-Za-z0-9+/]*)([=.]{0,2})\Z")


def key_name(key: bytes) -> bytes:
    """What a key is known by."""
    return key.partition(b"\0")[0]


def import_key(der: bytes) -> Any:
    """The key in a SubjectPublicKeyInfo; None for anything else."""
    try:
        return load_der_public_key(der)
    except (ValueError, UnsupportedAlgorithm):
        return None


def verify(hash_name: bytes, key: Any, signature: bytes, data: bytes) -> tuple[bool, bytes | None]:
    """Whether the signature is good, and else why not."""
    digest = _HASHES.get(hash_name.lower())
    if digest is None:
        return False, hash_name + b" is not supported."
    if key is None:
        return False, b"Failed to initialize digest verify."
    try:
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, data, padding.PKCS1v15(), digest())
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, data, ec.ECDSA(digest()))
        else:
            return False, b"Failed to initialize digest verify."
    except (InvalidSignature, ValueError):
        return False, b"Failed to verify digest. Error code: 0"
    return True, None


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
