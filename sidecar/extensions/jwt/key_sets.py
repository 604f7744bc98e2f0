"""Reads JSON Web Key Sets: which keys of a set are taken is as in Envoy (``source/common/jwt/jwks.cc``).

The algorithms are PyJWT's (RFC 7518, RFC 8037).  It and ``cryptography`` take time to load, so this module is
imported where there are keys to read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.x509 import load_pem_x509_certificate
from jwt.algorithms import get_default_algorithms

from sidecar.extensions.jwt.claims import parse_object, unescape
from sidecar.extensions.jwt.keys import Jwk, Jwks, Verify
from sidecar.extensions.jwt.status import Status

__all__ = ["parse_jwks"]

_ALGORITHMS: dict[str, Any] = get_default_algorithms()
_BEGIN, _END = "-----BEGIN CERTIFICATE-----\n", "\n-----END CERTIFICATE-----\n"
_CURVES: dict[str, tuple[type[ec.EllipticCurve], str]] = {
    "P-256": (ec.SECP256R1, "ES256"),
    "P-384": (ec.SECP384R1, "ES384"),
    "P-521": (ec.SECP521R1, "ES512"),
}
_CURVE_OF = {alg: name for name, (_, alg) in _CURVES.items()}
_RSA_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_HMAC_ALGORITHMS = ("HS256", "HS384", "HS512")
#: Of a modulus, where Envoy's library ends.
_RSA_BITS = range(512, 16384 + 1)


def _pkcs1(algorithm: hashes.HashAlgorithm) -> Verify:
    """RSASSA-PKCS1-v1_5 (RFC 7518 §3.3) as PyJWT checks it, without what it makes anew for each token."""
    scheme = padding.PKCS1v15()

    def verify(signed: bytes, key: Any, signature: bytes) -> bool:
        try:
            key.verify(signature, signed, scheme, algorithm)
        except InvalidSignature:
            return False
        return True

    return verify


#: What most tokens are signed with.
_PKCS1 = {
    "RS256": _pkcs1(hashes.SHA256()),
    "RS384": _pkcs1(hashes.SHA384()),
    "RS512": _pkcs1(hashes.SHA512()),
}


def _verifiers(*algorithms: str) -> dict[str, Verify]:
    return {name: _PKCS1.get(name) or _ALGORITHMS[name].verify for name in algorithms}


def parse_jwks(data: bytes) -> Jwks:
    """The set of keys that ``data`` is; keys that cannot be used are left out."""
    fields = parse_object(data)
    if fields is None:
        return Jwks((), Status.JwksParseError)
    if "keys" not in fields:
        return _from_certificates(fields)
    listed = fields["keys"]
    if type(listed) is not list:
        return Jwks((), Status.JwksBadKeys)
    found = [_jwk(each) for each in listed if type(each) is dict]
    keys = tuple(each for each in found if isinstance(each, Jwk))
    left_out = tuple(each for each in found if isinstance(each, Status))
    if keys:
        return Jwks(keys, Status.Ok, left_out)
    return Jwks((), left_out[0] if left_out else Status.JwksNoValidKeys)


def _from_certificates(fields: dict[str, Any]) -> Jwks:
    """Certificates by key id, as some issuers publish theirs."""
    for kid, text in fields.items():
        if not kid or type(text) is not str or not (text.startswith(_BEGIN) and text.endswith(_END)):
            return Jwks((), Status.JwksNoKeys)
    if not fields:
        return Jwks((), Status.JwksNoKeys)
    keys = []
    for kid, text in sorted(fields.items()):
        try:
            key = load_pem_x509_certificate(text.encode()).public_key()
        except (ValueError, UnsupportedAlgorithm):
            return Jwks((), Status.JwksX509ParseError)
        if not isinstance(key, rsa.RSAPublicKey):
            return Jwks((), Status.JwksX509GetPubkeyError)
        keys.append(Jwk(kid, "", key, _verifiers(*_RSA_ALGORITHMS), key.key_size))
    return Jwks(tuple(keys), Status.Ok)


class _Unusable(Exception):
    """A key that is left out, and why."""

    def __init__(self, status: Status) -> None:
        super().__init__(status.text)
        self.status = status


def _jwk(fields: dict[str, Any]) -> Jwk | Status:
    kind = fields.get("kty")
    if type(kind) is not str:
        return Status.JwksMissingKty if "kty" not in fields else Status.JwksBadKty
    make = _TYPES.get(kind)
    if make is None:
        return Status.JwksNotImplementedKty
    try:
        return make(fields, _text(fields, "kid"), _text(fields, "alg"))
    except _Unusable as error:
        return error.status


def _text(fields: dict[str, Any], name: str) -> str:
    """Empty where it is no text, too."""
    value = fields.get(name)
    return value if type(value) is str else ""


def _need(fields: dict[str, Any], name: str, missing: Status, bad: Status, not_base64: Status) -> bytes:
    """The bytes of a field.  Raises: _Unusable."""
    if name not in fields:
        raise _Unusable(missing)
    value = fields[name]
    if type(value) is not str:
        raise _Unusable(bad)
    data = unescape(value.encode())
    if data is None:
        raise _Unusable(not_base64)
    return data


def _rsa(fields: dict[str, Any], kid: str, alg: str) -> Jwk:
    if alg and alg[:2] not in ("RS", "PS"):
        raise _Unusable(Status.JwksRSAKeyBadAlg)
    error = Status.JwksRsaParseError
    modulus = _need(fields, "n", Status.JwksRSAKeyMissingN, Status.JwksRSAKeyBadN, error)
    exponent = _need(fields, "e", Status.JwksRSAKeyMissingE, Status.JwksRSAKeyBadE, error)
    n, e = int.from_bytes(modulus), int.from_bytes(exponent)
    if e not in (3, 65537) or n.bit_length() not in _RSA_BITS or not n & 1:
        raise _Unusable(error)
    try:
        key = rsa.RSAPublicNumbers(e, n).public_key()
    except (ValueError, UnsupportedAlgorithm) as problem:
        raise _Unusable(error) from problem
    return Jwk(kid, alg, key, _verifiers(*_RSA_ALGORITHMS), n.bit_length())


def _ec(fields: dict[str, Any], kid: str, alg: str) -> Jwk:
    if alg and alg[:2] != "ES":
        raise _Unusable(Status.JwksECKeyBadAlg)
    curve = fields.get("crv", "")
    if type(curve) is not str:
        raise _Unusable(Status.JwksECKeyBadCrv)
    if alg and curve and _CURVE_OF.get(alg) != curve:
        raise _Unusable(Status.JwksECKeyAlgNotCompatibleWithCrv)
    name = curve or _CURVE_OF.get(alg, "" if alg else "P-256")
    if name not in _CURVES:
        raise _Unusable(Status.JwksECKeyAlgOrCrvUnsupported)
    error = Status.JwksEcXorYBadBase64
    x = _need(fields, "x", Status.JwksECKeyMissingX, Status.JwksECKeyBadX, error)
    y = _need(fields, "y", Status.JwksECKeyMissingY, Status.JwksECKeyBadY, error)
    kind, algorithm = _CURVES[name]
    try:
        key = ec.EllipticCurvePublicNumbers(int.from_bytes(x), int.from_bytes(y), kind()).public_key()
    except (ValueError, UnsupportedAlgorithm) as problem:
        raise _Unusable(Status.JwksEcParseError) from problem
    return Jwk(kid, alg, key, _verifiers(algorithm), key.key_size)


def _oct(fields: dict[str, Any], kid: str, alg: str) -> Jwk:
    if alg and alg not in _HMAC_ALGORITHMS:
        raise _Unusable(Status.JwksHMACKeyBadAlg)
    error = Status.JwksOctBadBase64
    key = _need(fields, "k", Status.JwksHMACKeyMissingK, Status.JwksHMACKeyBadK, error)
    if not key:
        raise _Unusable(error)
    return Jwk(kid, alg, key, _verifiers(*_HMAC_ALGORITHMS), len(key) * 8)


def _okp(fields: dict[str, Any], kid: str, alg: str) -> Jwk:
    if alg and alg != "EdDSA":
        raise _Unusable(Status.JwksOKPKeyBadAlg)
    if "crv" not in fields:
        raise _Unusable(Status.JwksOKPKeyMissingCrv)
    if type(fields["crv"]) is not str:
        raise _Unusable(Status.JwksOKPKeyBadCrv)
    if fields["crv"] != "Ed25519":
        raise _Unusable(Status.JwksOKPKeyCrvUnsupported)
    missing, bad = Status.JwksOKPKeyMissingX, Status.JwksOKPKeyBadX
    x = _need(fields, "x", missing, bad, Status.JwksOKPXBadBase64)
    try:
        key = Ed25519PublicKey.from_public_bytes(x)
    except (ValueError, UnsupportedAlgorithm) as problem:
        raise _Unusable(Status.JwksOKPXWrongLength) from problem
    return Jwk(kid, alg, key, _verifiers("EdDSA"), 256)


_TYPES: dict[Any, Callable[[dict[str, Any], str, str], Jwk]] = {
    "RSA": _rsa,
    "EC": _ec,
    "oct": _oct,
    "OKP": _okp,
}
