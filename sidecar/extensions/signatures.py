"""Signatures of texts by keys that scripts and guests bring along (Envoy's ``Common::Crypto::Utility``).

What is said where something is wrong is what Envoy says, seen on 1.40.  RSA signs with PKCS #1 v1.5, elliptic
curves with ECDSA; other keys cannot be used.
"""

from __future__ import annotations

from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import (
    load_der_private_key,
    load_der_public_key,
    load_pem_private_key,
    load_pem_public_key,
)

__all__ = ["import_private_key", "import_public_key", "sign", "verify"]

_HASHES: dict[bytes, Any] = {
    b"sha1": hashes.SHA1,
    b"sha224": hashes.SHA224,
    b"sha256": hashes.SHA256,
    b"sha384": hashes.SHA384,
    b"sha512": hashes.SHA512,
}


def import_public_key(data: bytes, *, is_pem: bool = False) -> Any:
    """The key in a SubjectPublicKeyInfo; None for anything else."""
    try:
        return load_pem_public_key(data) if is_pem else load_der_public_key(data)
    except (ValueError, UnsupportedAlgorithm):
        return None


def import_private_key(data: bytes, *, is_pem: bool = False) -> Any:
    """The key in a PKCS #8 message; None for anything else."""
    try:
        return load_pem_private_key(data, None) if is_pem else load_der_private_key(data, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
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


def sign(hash_name: bytes, key: Any, data: bytes) -> tuple[bytes | None, bytes]:
    """The signature; else None, and why there is none."""
    digest = _HASHES.get(hash_name.lower())
    if digest is None:
        return None, hash_name + b" is not supported."
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(data, padding.PKCS1v15(), digest()), b""
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return key.sign(data, ec.ECDSA(digest())), b""
    if key is None:
        return None, b"Invalid key type: private key required for signing operation."
    return None, b"Invalid private key: key data is corrupted or malformed."
