"""``sidecar.jwt``: verification of JSON Web Tokens against the providers of a configuration.

JWS compact serialization (RFC 7515) with RS, PS, ES and HS, each with 256, 384 and 512, and EdDSA; keys are a
JWK set (RFC 7517).  The algorithm has to be one for the key's type: a token cannot choose HMAC for a public
key, nor ``none``.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import time
from collections.abc import Callable
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils

from sidecar.core.dataclass import dataclass

__all__ = ["JwtError", "JwtProvider", "parse_jwks"]

_CURVES: dict[str, tuple[ec.EllipticCurve, int]] = {
    "P-256": (ec.SECP256R1(), 256),
    "P-384": (ec.SECP384R1(), 384),
    "P-521": (ec.SECP521R1(), 512),
}
_HASHES: dict[str, Any] = {"256": hashes.SHA256, "384": hashes.SHA384, "512": hashes.SHA512}


class JwtError(ValueError):
    """A key set that cannot be used."""


@dataclass(frozen=True, slots=True)
class _Key:
    """A key of a set; ``kind`` is its ``kty``."""

    kind: str
    id: str | None
    algorithm: str | None
    #: A public key of cryptography, or the secret of ``oct``.
    value: Any


@dataclass(frozen=True, slots=True)
class JwtProvider:
    """Who signs tokens, for whom."""

    issuer: str
    audiences: frozenset[str]
    keys: tuple[_Key, ...]
    clock_skew_s: float = 60.0
    now: Callable[[], float] = time.time

    def verify(self, token: bytes) -> tuple[dict[str, Any] | None, str]:
        """The claims, or None and why not."""
        parts = token.split(b".")
        if len(parts) != 3 or len(token) > 65536:
            return None, "not a token"
        try:
            head, claims = (json.loads(_decoded(part)) for part in parts[:2])
            signature = _decoded(parts[2])
        except (ValueError, RecursionError):
            return None, "not a token"
        if not isinstance(head, dict) or not isinstance(claims, dict):
            return None, "not a token"
        if head.get("crit"):
            return None, "the token has critical headers"
        algorithm, key_id = head.get("alg"), head.get("kid")
        if not isinstance(algorithm, str):
            return None, "the token names no algorithm"
        signed = parts[0] + b"." + parts[1]
        candidates = [key for key in self.keys if key_id is None or key.id is None or key.id == key_id]
        if not any(_is_signed(key, algorithm, signed, signature) for key in candidates):
            return None, "the signature is not good"
        return self._check(claims)

    def _check(self, claims: dict[str, Any]) -> tuple[dict[str, Any] | None, str]:
        now = self.now()
        for name in ("exp", "nbf"):
            value = claims.get(name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
                return None, f"{name} is no number"
        if "exp" in claims and now > claims["exp"] + self.clock_skew_s:
            return None, "the token is expired"
        if "nbf" in claims and now < claims["nbf"] - self.clock_skew_s:
            return None, "the token is not valid yet"
        if self.issuer and claims.get("iss") != self.issuer:
            return None, "the issuer is another"
        if self.audiences:
            given = claims.get("aud")
            names = given if isinstance(given, list) else [given]
            if self.audiences.isdisjoint(name for name in names if isinstance(name, str)):
                return None, "the audience is another"
        return claims, ""


def _decoded(part: bytes) -> bytes:
    try:
        return base64.b64decode(part + b"=" * (-len(part) % 4), altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise ValueError("not base64url") from error


def _is_signed(key: _Key, algorithm: str, signed: bytes, signature: bytes) -> bool:
    if key.algorithm is not None and key.algorithm != algorithm:
        return False
    family, size = algorithm[:2], algorithm[2:]
    digest = _HASHES.get(size)
    try:
        if key.kind == "oct" and family == "HS" and digest is not None:
            return hmac.compare_digest(hmac.digest(key.value, signed, f"sha{size}"), signature)
        if key.kind == "RSA" and family == "RS" and digest is not None:
            key.value.verify(signature, signed, padding.PKCS1v15(), digest())
            return True
        if key.kind == "RSA" and family == "PS" and digest is not None:
            scheme = padding.PSS(padding.MGF1(digest()), digest.digest_size)
            key.value.verify(signature, signed, scheme, digest())
            return True
        if key.kind == "EC" and family == "ES" and digest is not None:
            length = (key.value.curve.key_size + 7) // 8
            if len(signature) != 2 * length or _CURVES_BY_HASH.get(size) != key.value.curve.name:
                return False
            r, s = (int.from_bytes(half, "big") for half in (signature[:length], signature[length:]))
            key.value.verify(utils.encode_dss_signature(r, s), signed, ec.ECDSA(digest()))
            return True
        if key.kind == "OKP" and algorithm == "EdDSA":
            key.value.verify(signature, signed)
            return True
    except InvalidSignature:
        return False
    return False


_CURVES_BY_HASH = {"256": "secp256r1", "384": "secp384r1", "512": "secp521r1"}


def parse_jwks(text: bytes) -> tuple[_Key, ...]:
    """The keys of a JWK set that can verify.  Raises: JwtError."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise JwtError(f"Jwks is an invalid JSON: {error}") from error
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise JwtError("Jwks doesn't have a list of keys")
    keys = [key for entry in entries if isinstance(entry, dict) and (key := _key(entry)) is not None]
    if not keys:
        raise JwtError("Jwks has no key that can be used")
    return tuple(keys)


def _key(entry: dict[str, Any]) -> _Key | None:
    kind = entry.get("kty")
    if entry.get("use", "sig") != "sig" or not isinstance(kind, str):
        return None

    def number(name: str) -> int:
        return int.from_bytes(_decoded(str(entry[name]).encode()), "big")

    value: Any
    try:
        if kind == "RSA":
            value = rsa.RSAPublicNumbers(number("e"), number("n")).public_key()
        elif kind == "EC":
            curve, _ = _CURVES[entry["crv"]]
            value = ec.EllipticCurvePublicNumbers(number("x"), number("y"), curve).public_key()
        elif kind == "OKP" and entry.get("crv") == "Ed25519":
            value = ed25519.Ed25519PublicKey.from_public_bytes(_decoded(str(entry["x"]).encode()))
        elif kind == "oct":
            value = _decoded(str(entry["k"]).encode())
        else:
            return None
    except (KeyError, ValueError):
        return None
    algorithm, key_id = entry.get("alg"), entry.get("kid")
    return _Key(
        kind,
        key_id if isinstance(key_id, str) else None,
        algorithm if isinstance(algorithm, str) else None,
        value,
    )
