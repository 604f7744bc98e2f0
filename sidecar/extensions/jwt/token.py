"""A JSON Web Token taken apart (RFC 7519, RFC 7515 §3.1); its signature is :mod:`.keys`'s to judge."""

from __future__ import annotations

from typing import Any

from sidecar.extensions.jwt.claims import parse_object, unescape
from sidecar.extensions.jwt.status import Status

__all__ = ["ALGORITHMS", "Jwt", "parse_jwt"]

ALGORITHMS = frozenset(
    ("ES256", "ES384", "ES512", "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384",
     "PS512", "EdDSA")
)  # fmt: skip
_MOST = float(2**64)
#: Heads of tokens that were parsed: few differ (their key, mostly), so they are not parsed again.
_KEPT_HEADS = 256
_MOST_HEAD_BYTES = 1024
_heads: dict[bytes, tuple[dict[str, Any], str, str]] = {}


class Jwt:
    """One token; nothing is known yet of whether it is good."""

    __slots__ = (
        *("alg", "audiences", "exp", "header", "iss", "kid", "nbf", "payload", "payload_text", "signature"),
        *("signed", "sub"),
    )

    header: dict[str, Any]
    payload: dict[str, Any]
    #: The payload as the token has it.
    payload_text: bytes
    alg: str
    kid: str
    iss: str
    sub: str
    audiences: list[str]
    #: Seconds since the epoch; 0 for none.
    nbf: int
    exp: int
    signed: bytes
    signature: bytes


def parse_jwt(token: bytes) -> Jwt | Status:
    """The token, or what is wrong with it.  As in Envoy, dots too many are passed over."""
    sections = token.split(b".")
    if len(sections) != 3 or b"" in sections:
        sections = [each for each in sections if each]
        if len(sections) != 3:
            return Status.JwtBadFormat
    head, payload_text, signature_text = sections
    parsed = _heads.get(head)
    if parsed is None:
        found = _parse_head(head)
        if found.__class__ is Status:
            return found
        parsed = found  # type: ignore[assignment]  # no Status
        if len(head) <= _MOST_HEAD_BYTES:
            if len(_heads) >= _KEPT_HEADS:
                _heads.clear()
            _heads[head] = parsed  # type: ignore[assignment]
    jwt = Jwt()
    jwt.header, jwt.alg, jwt.kid = parsed  # type: ignore[misc]
    data = unescape(payload_text)
    if data is None:
        return Status.JwtPayloadParseErrorBadBase64
    payload = parse_object(data)
    if payload is None:
        return Status.JwtPayloadParseErrorBadJson
    jwt.payload = payload
    jwt.payload_text = payload_text
    status = _read_claims(jwt, payload)
    if status is not None:
        return status
    signature = unescape(signature_text)
    if signature is None:
        return Status.JwtSignatureParseErrorBadBase64
    jwt.signature = signature
    jwt.signed = head + b"." + payload_text
    return jwt


def _parse_head(text: bytes) -> tuple[dict[str, Any], str, str] | Status:
    data = unescape(text)
    if data is None:
        return Status.JwtHeaderParseErrorBadBase64
    header = parse_object(data)
    if header is None:
        return Status.JwtHeaderParseErrorBadJson
    alg = header.get("alg")
    if type(alg) is not str:
        return Status.JwtHeaderBadAlg
    if alg not in ALGORITHMS:
        return Status.JwtHeaderNotImplementedAlg
    kid = header.get("kid", "")
    if type(kid) is not str:
        return Status.JwtHeaderBadKid
    return header, alg, kid


def _read_claims(jwt: Jwt, payload: dict[str, Any]) -> Status | None:
    iss = payload.get("iss", "")
    if type(iss) is not str:
        return Status.JwtPayloadParseErrorIssNotString
    sub = payload.get("sub", "")
    if type(sub) is not str:
        return Status.JwtPayloadParseErrorSubNotString
    iat, nbf, exp = payload.get("iat", 0.0), payload.get("nbf", 0.0), payload.get("exp", 0.0)
    if type(iat) is not float:
        return Status.JwtPayloadParseErrorIatNotInteger
    if not 0 <= iat < _MOST:
        return Status.JwtPayloadParseErrorIatOutOfRange
    if type(nbf) is not float:
        return Status.JwtPayloadParseErrorNbfNotInteger
    if not 0 <= nbf < _MOST:
        return Status.JwtPayloadParseErrorNbfOutOfRange
    if type(exp) is not float:
        return Status.JwtPayloadParseErrorExpNotInteger
    if not 0 <= exp < _MOST:
        return Status.JwtPayloadParseErrorExpOutOfRange
    if type(payload.get("jti", "")) is not str:
        return Status.JwtPayloadParseErrorJtiNotString
    audiences = payload.get("aud", ())
    if type(audiences) is str:
        audiences = [audiences]
    elif type(audiences) is list:
        if not all(type(each) is str for each in audiences):
            return Status.JwtPayloadParseErrorAudNotString
    elif audiences != ():
        return Status.JwtPayloadParseErrorAudNotString
    jwt.iss, jwt.sub, jwt.audiences = iss, sub, audiences
    jwt.nbf, jwt.exp = int(nbf), int(exp)
    return None
