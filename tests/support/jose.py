"""Keys and tokens for tests, made with ``cryptography`` alone: not by the library that reads them.

What is signed by Ed25519 and HMAC is the same in every run; RSA keys are fresh ones.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from functools import cache
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

__all__ = [
    "decode",
    "ec_key",
    "ed_key",
    "encode",
    "jwk",
    "jwks",
    "rsa_key",
    "secret",
    "sign",
    "token",
    "unsigned",
]

_HASHES: dict[str, Any] = {"256": hashes.SHA256, "384": hashes.SHA384, "512": hashes.SHA512}
_CURVES: dict[str, tuple[Any, int, str]] = {
    "secp256r1": (ec.SECP256R1, 32, "P-256"),
    "secp384r1": (ec.SECP384R1, 48, "P-384"),
    "secp521r1": (ec.SECP521R1, 66, "P-521"),
}


def encode(data: bytes) -> str:
    """base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode(text: str) -> bytes:
    """What base64url without padding stands for."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


@cache
def rsa_key(name: str = "one", bits: int = 2048) -> rsa.RSAPrivateKey:
    """A key of this run by the name ``name``."""
    return rsa.generate_private_key(65537, bits)


def ec_key(curve: str = "secp256r1", secret_number: int = 0xC0FFEE) -> ec.EllipticCurvePrivateKey:
    """The key of a number."""
    return ec.derive_private_key(secret_number, _CURVES[curve][0]())


def ed_key(seed: bytes = b"s" * 32) -> Ed25519PrivateKey:
    """The key of a seed."""
    return Ed25519PrivateKey.from_private_bytes(seed)


def secret(text: str = "one") -> bytes:
    """64 bytes for HMAC."""
    return hashlib.sha512(text.encode()).digest()


def jwk(key: Any, **fields: Any) -> dict[str, Any]:
    """The public half as a JWK, with ``fields`` over it; None takes one away."""
    if isinstance(key, bytes):
        made: dict[str, Any] = {"kty": "oct", "k": encode(key)}
    elif isinstance(key, rsa.RSAPrivateKey):
        numbers = key.public_key().public_numbers()
        size = (numbers.n.bit_length() + 7) // 8
        made = {
            "kty": "RSA",
            "n": encode(numbers.n.to_bytes(size, "big")),
            "e": encode(numbers.e.to_bytes(3, "big")),
        }
    elif isinstance(key, ec.EllipticCurvePrivateKey):
        _, size, name = _CURVES[key.curve.name]
        point = key.public_key().public_numbers()
        made = {
            "kty": "EC",
            "crv": name,
            "x": encode(point.x.to_bytes(size, "big")),
            "y": encode(point.y.to_bytes(size, "big")),
        }
    else:
        made = {
            "kty": "OKP",
            "crv": "Ed25519",
            "x": encode(key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)),
        }
    made.update(fields)
    return {name: value for name, value in made.items() if value is not None}


def jwks(*keys: dict[str, Any]) -> str:
    """A set of JWKs."""
    return json.dumps({"keys": list(keys)})


def sign(key: Any, alg: str, data: bytes) -> bytes:
    """The signature of ``data`` by ``alg`` (RFC 7518)."""
    kind, made = alg[:2], _HASHES.get(alg[2:])
    if kind == "HS":
        return hmac.digest(key, data, f"sha{alg[2:]}")
    if kind == "RS":
        signature: bytes = key.sign(data, padding.PKCS1v15(), made())
        return signature
    if kind == "PS":
        pss = padding.PSS(padding.MGF1(made()), made.digest_size)
        signature = key.sign(data, pss, made())
        return signature
    if kind == "ES":
        size = _CURVES[key.curve.name][1]
        r, s = utils.decode_dss_signature(key.sign(data, ec.ECDSA(made())))
        return bytes(r.to_bytes(size, "big") + s.to_bytes(size, "big"))
    signature = key.sign(data)
    return signature


def unsigned(header: Any, payload: Any) -> str:
    """The part that is signed; what is text or bytes already is taken as it is."""
    return ".".join(encode(_text(each)) for each in (header, payload))


def _text(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    return (value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))).encode()


def token(
    key: Any, alg: str, payload: Any, *, signed_as: str | None = None, header: Any = None, **more: Any
) -> str:
    """A token; ``more`` goes into its head, ``signed_as`` is the algorithm that it is really signed by."""
    data = unsigned({"alg": alg, **more} if header is None else header, payload)
    return f"{data}.{encode(sign(key, signed_as or alg, data.encode()))}"
