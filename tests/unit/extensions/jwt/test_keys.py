"""Sets of keys, and signatures by them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sidecar.extensions.jwt.key_sets import parse_jwks
from sidecar.extensions.jwt.status import Status
from sidecar.extensions.jwt.token import Jwt, parse_jwt
from tests.support import jose

RSA, SECRET, ED = jose.rsa_key(), jose.secret(), jose.ed_key()
P256, P384, P521 = (jose.ec_key(name) for name in ("secp256r1", "secp384r1", "secp521r1"))


def verified(token: str, *keys: dict[str, Any]) -> Status:
    jwt = parse_jwt(token.encode())
    assert isinstance(jwt, Jwt), jwt
    return parse_jwks(jose.jwks(*keys).encode()).verify(jwt)


def status_of(*keys: object) -> Status:
    return parse_jwks(json.dumps({"keys": keys}).encode()).status


@pytest.mark.parametrize(
    ("key", "alg"),
    [
        *((RSA, alg) for alg in ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")),
        *((SECRET, alg) for alg in ("HS256", "HS384", "HS512")),
        *((P256, "ES256"), (P384, "ES384"), (P521, "ES512"), (ED, "EdDSA")),
    ],
)
def test_signature_by_the_key_holds_and_by_none_other(key: Any, alg: str) -> None:
    token = jose.token(key, alg, {"sub": "me"})
    assert verified(token, jose.jwk(key)) is Status.Ok
    assert verified(token, jose.jwk(key, alg=alg)) is Status.Ok
    head, payload, signature = token.split(".")
    forged = f"{head}.{jose.encode(b'{}')}.{signature}"
    assert verified(forged, jose.jwk(key)) is Status.JwtVerificationFail
    flipped = bytearray(jose.decode(signature))
    flipped[-1] ^= 1
    assert verified(f"{head}.{payload}.{jose.encode(flipped)}", jose.jwk(key)) is Status.JwtVerificationFail


def test_rfc_8037_example_holds() -> None:
    """RFC 8037, appendix A.4: not a JWT by its payload, but a JWS."""
    key = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
    jwk = parse_jwks(jose.jwks(key).encode()).keys[0]
    signed = b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc"
    signature = jose.decode(
        "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
    )
    assert jwk.verifiers["EdDSA"](signed, jwk.key, signature)


def test_rfc_7515_example_holds() -> None:
    """RFC 7515, appendix A.1."""
    key = {
        "kty": "oct",
        "k": "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow",
    }
    token = (
        "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9."
        "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ."
        "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
    )
    assert verified(token, key) is Status.Ok


def test_key_is_for_the_algorithms_of_its_kind() -> None:
    keys = {"RS256": RSA, "ES256": P256, "HS256": SECRET, "EdDSA": ED}
    for named in keys:
        for way, key in keys.items():
            expected = Status.Ok if named == way else Status.JwtVerificationFail
            token = jose.token(key, named, {}, signed_as=way)
            assert verified(token, jose.jwk(key)) is expected, (named, way)


def test_kid_chooses_where_both_have_one() -> None:
    other = jose.secret("other")
    token = jose.token(SECRET, "HS256", {}, kid="a")
    assert verified(token, jose.jwk(SECRET, kid="b")) is Status.JwksKidAlgMismatch
    assert verified(token, jose.jwk(other, kid="a"), jose.jwk(SECRET)) is Status.Ok
    assert verified(token, jose.jwk(other, kid="a"), jose.jwk(SECRET, kid="b")) is Status.JwtVerificationFail


@pytest.mark.parametrize(
    ("key", "status"),
    [
        ({}, Status.JwksMissingKty),
        ({"kty": 1}, Status.JwksBadKty),
        ({"kty": "x"}, Status.JwksNotImplementedKty),
        (jose.jwk(RSA, n=None), Status.JwksRSAKeyMissingN),
        (jose.jwk(RSA, n=1), Status.JwksRSAKeyBadN),
        (jose.jwk(RSA, n="!"), Status.JwksRsaParseError),
        (jose.jwk(RSA, e="Ag"), Status.JwksRsaParseError),
        (jose.jwk(RSA, n="AQ"), Status.JwksRsaParseError),
        (jose.jwk(RSA, n=jose.encode(b"\x80" + b"\0" * 255)), Status.JwksRsaParseError),
        (jose.jwk(RSA, n=jose.encode(b"\xff" * 4096)), Status.JwksRsaParseError),
        (jose.jwk(RSA, alg="HS256"), Status.JwksRSAKeyBadAlg),
        (jose.jwk(P256, alg="ES384"), Status.JwksECKeyAlgNotCompatibleWithCrv),
        (jose.jwk(P256, crv="P-192"), Status.JwksECKeyAlgOrCrvUnsupported),
        (jose.jwk(P256, crv=1), Status.JwksECKeyBadCrv),
        (jose.jwk(P256, alg="RS256"), Status.JwksECKeyBadAlg),
        (jose.jwk(P256, x=jose.encode(b"\1" * 32)), Status.JwksEcParseError),
        (jose.jwk(P256, x="AA", y="AA"), Status.JwksEcParseError),
        (jose.jwk(P256, y=None), Status.JwksECKeyMissingY),
        (jose.jwk(SECRET, k=""), Status.JwksOctBadBase64),
        (jose.jwk(SECRET, alg="none"), Status.JwksHMACKeyBadAlg),
        (jose.jwk(ED, crv="X25519"), Status.JwksOKPKeyCrvUnsupported),
        (jose.jwk(ED, x="AA"), Status.JwksOKPXWrongLength),
        (jose.jwk(ED, alg="ES256"), Status.JwksOKPKeyBadAlg),
    ],
)
def test_key_that_cannot_be_used_says_why(key: dict[str, Any], status: Status) -> None:
    assert status_of(key) is status
    both = parse_jwks(jose.jwks(key, jose.jwk(SECRET)).encode())
    assert (both.status, len(both.keys), both.left_out) == (Status.Ok, 1, (status,))


def test_set_that_is_none_says_why() -> None:
    assert parse_jwks(b"x").status is Status.JwksParseError
    assert parse_jwks(b"{}").status is Status.JwksNoKeys
    assert parse_jwks(b'{"a": "b"}').status is Status.JwksNoKeys
    assert parse_jwks(b'{"keys": 1}').status is Status.JwksBadKeys
    assert status_of() is Status.JwksNoValidKeys
    assert status_of(1) is Status.JwksNoValidKeys
    begin, end = "-----BEGIN CERTIFICATE-----\n", "\n-----END CERTIFICATE-----\n"
    assert parse_jwks(json.dumps({"a": f"{begin}AA{end}"}).encode()).status is Status.JwksX509ParseError
