"""envoy.filters.http.jwt_authn: keys of all kinds, which a token is checked with, forged signatures."""

from __future__ import annotations

import base64
import datetime
import json
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa, utils
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.support import jose

from ..configuration import bootstrap, cluster, listener
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import answers, ok
from .jwt_authn import LOG, ONE, THREE, TWO, jwt, rule

SUBJECT = "filters"

CLAIMS = {"iss": "keys", "sub": "me"}
RSA, OTHER_RSA, WEAK = jose.rsa_key(), jose.rsa_key("other"), jose.rsa_key("weak", 1024)
CUBE = rsa.generate_private_key(3, 2048)
P256, P384, P521 = (jose.ec_key(name) for name in ("secp256r1", "secp384r1", "secp521r1"))
ED = jose.ed_key()
SHORT = b"k"


def certificate() -> str:
    """A certificate of its own, as some issuers publish keys."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "keys")])
    begin = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).serial_number(1)
    builder = (
        builder.not_valid_before(begin).not_valid_after(begin.replace(year=2021)).public_key(RSA.public_key())
    )
    return builder.sign(RSA, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


SETS: dict[str, list[dict[str, Any]]] = {
    "rsa": [jose.jwk(RSA)],
    "rsa-alg": [jose.jwk(RSA, alg="RS256", kid="r")],
    "rsa-e3": [jose.jwk(CUBE)],
    "rsa-weak": [jose.jwk(WEAK)],
    "p256": [jose.jwk(P256)],
    "p256-no-crv": [jose.jwk(P256, crv=None)],
    "p384": [jose.jwk(P384, alg="ES384")],
    "p384-alg-only": [jose.jwk(P384, alg="ES384", crv=None)],
    "p521": [jose.jwk(P521)],
    "ed": [jose.jwk(ED)],
    "oct": [jose.jwk(ONE)],
    "oct-alg": [jose.jwk(ONE, alg="HS384")],
    "oct-short": [jose.jwk(SHORT)],
    "kids": [jose.jwk(ONE, kid="a"), jose.jwk(TWO, kid="b"), jose.jwk(THREE)],
    "same-kid": [jose.jwk(ONE, kid="a"), jose.jwk(TWO, kid="a")],
    "kid-number": [jose.jwk(ONE, kid=1)],
    "mixed": [jose.jwk(RSA), jose.jwk(P256), jose.jwk(ONE)],
    "ed-first": [jose.jwk(ED), jose.jwk(RSA), jose.jwk(ONE)],
    "other-use": [jose.jwk(ONE, use="enc", key_ops=["encrypt"])],
    "broken-first": [
        {"kty": "RSA", "n": "AQAB"},
        {"kty": "x"},
        {"kty": "EC", "x": "AA", "y": "AA"},
        jose.jwk(ONE),
    ],
    "private": [jose.jwk(ONE, d="AQAB", x5c=["not base64"], x5t="x")],
}
OCT = json.dumps({"keys": SETS["oct"]})
SOURCES: dict[str, dict[str, str]] = {
    **{name: {"inline_string": json.dumps({"keys": keys})} for name, keys in SETS.items()},
    "file": {"filename": "FILE(jwks.json)"},
    "bytes": {"inline_bytes": base64.b64encode(OCT.encode()).decode()},
    "empty": {"inline_string": ""},
    "certificates": {"inline_string": json.dumps({"r": certificate()})},
}
SETUP = Setup(
    "jwt_keys",
    bootstrap(
        [
            listener(
                "main",
                routes="- {match: {prefix: /}, route: {cluster: app}}",
                filters=jwt(
                    {
                        "providers": {
                            name: {"issuer": "keys", "local_jwks": source, "from_headers": [{"name": "x-t"}]}
                            for name, source in SOURCES.items()
                        },
                        "rules": [rule(f"/{name}/", {"provider_name": name}) for name in SOURCES],
                    }
                ),
                log=LOG,
            ),
        ],
        [cluster("app", "app")],
    ),
    {"app": "h1"},
    {"jwks.json": OCT.encode()},
)


async def ask(s: Session, name: str, text: str, label: str) -> None:
    await s.get(f"/{name}/", f"x-t: {text}", label=f"{name}: {label}")


@scenario(SETUP)
async def jwt_algorithms(s: Session) -> None:
    """Every algorithm with its keys."""
    s.upstream().script = answers(ok(b"ok"))
    for alg in ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"):
        await ask(s, "rsa", jose.token(RSA, alg, CLAIMS), alg)
        await ask(s, "rsa", jose.token(OTHER_RSA, alg, CLAIMS), f"{alg} of another key")
        await ask(s, "rsa-alg", jose.token(RSA, alg, CLAIMS), alg)
    for alg in ("HS256", "HS384", "HS512"):
        await ask(s, "oct", jose.token(ONE, alg, CLAIMS), alg)
        await ask(s, "oct", jose.token(TWO, alg, CLAIMS), f"{alg} of another key")
        await ask(s, "oct-alg", jose.token(ONE, alg, CLAIMS), alg)
    for name, key, alg in (
        ("p256", P256, "ES256"),
        ("p256-no-crv", P256, "ES256"),
        ("p384", P384, "ES384"),
        ("p384-alg-only", P384, "ES384"),
        ("p521", P521, "ES512"),
        ("ed", ED, "EdDSA"),
        ("rsa-e3", CUBE, "RS256"),
        ("rsa-weak", WEAK, "RS256"),
        ("oct-short", SHORT, "HS256"),
        ("file", ONE, "HS256"),
        ("bytes", ONE, "HS256"),
        ("empty", ONE, "HS256"),
        ("certificates", RSA, "RS256"),
        ("other-use", ONE, "HS256"),
        ("broken-first", ONE, "HS256"),
        ("private", ONE, "HS256"),
    ):
        await ask(s, name, jose.token(key, alg, CLAIMS), alg)


@scenario(SETUP)
async def jwt_key_ids(s: Session) -> None:
    """The kid of a token, of keys, and none."""
    s.upstream().script = answers(ok(b"ok"))
    for name in ("kids", "same-kid", "kid-number", "certificates"):
        for kid in ("a", "b", "c", "", None):
            for label, key in (("one", ONE), ("two", TWO), ("three", THREE)):
                more = {} if kid is None else {"kid": kid}
                await ask(s, name, jose.token(key, "HS256", CLAIMS, **more), f"{kid} {label}")
    for kid in ("r", "x"):
        await ask(s, "certificates", jose.token(RSA, "RS256", CLAIMS, kid=kid), kid)
        await ask(s, "rsa-alg", jose.token(RSA, "RS256", CLAIMS, kid=kid), kid)
        await ask(s, "rsa-alg", jose.token(RSA, "RS512", CLAIMS, kid=kid), f"{kid} RS512")


@scenario(SETUP)
async def jwt_several_kinds(s: Session) -> None:
    """Sets with keys of several kinds: each is tried, but a signature too short for Ed25519 ends it."""
    s.upstream().script = answers(ok(b"ok"))
    for name in ("mixed", "ed-first"):
        for key, alg in ((RSA, "RS256"), (P256, "ES256"), (ONE, "HS256"), (ONE, "HS512"), (ED, "EdDSA")):
            await ask(s, name, jose.token(key, alg, CLAIMS), alg)


@scenario(SETUP)
async def jwt_forgeries(s: Session) -> None:
    """Signatures that are none: the public key as a secret, zeros, other encodings, cut and padded."""
    s.upstream().script = answers(ok(b"ok"))
    pem = RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    modulus = base64.urlsafe_b64decode(jose.jwk(RSA)["n"] + "==")
    for label, secret in (("PEM", pem), ("PEM without its end", pem.rstrip()), ("modulus", modulus)):
        for name in ("rsa", "rsa-alg", "mixed"):
            await ask(s, name, jose.token(secret, "HS256", CLAIMS), f"HMAC of the {label}")
    for name, alg, size in (
        ("p256", "ES256", 64),
        ("p384", "ES384", 96),
        ("ed", "EdDSA", 64),
        ("rsa", "RS256", 256),
    ):
        data = jose.unsigned({"alg": alg}, CLAIMS)
        for label, signature in (
            ("zeros", b"\0" * size),
            ("ones", b"\xff" * size),
            ("nothing", b""),
            ("one byte", b"\1"),
            ("r of the order", _order(alg) + b"\0" * (size - len(_order(alg)))),
            ("s of the order", b"\0" * (size - len(_order(alg))) + _order(alg)),
        ):
            await ask(s, name, f"{data}.{jose.encode(signature)}", label)
    data = jose.unsigned({"alg": "ES256"}, CLAIMS)
    raw = jose.sign(P256, "ES256", data.encode())
    r, t = int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big")
    order = int.from_bytes(_order("ES256"), "big")
    for label, signature in (
        ("DER", utils.encode_dss_signature(r, t)),
        ("the other s", raw[:32] + (order - t).to_bytes(32, "big")),
        ("s beyond the order", r.to_bytes(33, "big") + (t + order).to_bytes(33, "big")),
        ("zeros behind", raw + b"\0\0"),
        ("of another curve", jose.sign(P384, "ES256", data.encode())),
    ):
        await ask(s, "p256", f"{data}.{jose.encode(signature)}", label)
    data = jose.unsigned({"alg": "RS256"}, CLAIMS)
    raw = jose.sign(RSA, "RS256", data.encode())
    n = int.from_bytes(modulus, "big")
    value = int.from_bytes(raw, "big")
    for label, signature in (
        ("a zero in front", b"\0" + raw),
        ("a byte behind", raw + b"\0"),
        ("cut short", raw[:-1]),
        ("beyond the modulus", (value + n).to_bytes(257, "big")),
        ("of SHA-512", jose.sign(RSA, "RS512", data.encode())),
        ("of PSS", jose.sign(RSA, "PS256", data.encode())),
    ):
        await ask(s, "rsa", f"{data}.{jose.encode(signature)}", label)
    data = jose.unsigned({"alg": "HS256"}, CLAIMS)
    raw = jose.sign(ONE, "HS256", data.encode())
    for label, signature in (
        ("cut short", raw[:16]),
        ("a byte behind", raw + b"\0"),
        ("nothing", b""),
        ("of SHA-512", jose.sign(ONE, "HS512", data.encode())),
        ("one bit", bytes([raw[0] ^ 1]) + raw[1:]),
    ):
        await ask(s, "oct", f"{data}.{jose.encode(signature)}", label)
    await ask(s, "oct", jose.token(b"", "HS256", CLAIMS), "of no secret")


def _order(alg: str) -> bytes:
    orders = {
        "ES256": 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
        "ES384": int("F" * 48 + "C7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973", 16),
    }
    return orders.get(alg, 1).to_bytes({"ES384": 48}.get(alg, 32), "big")


CONFUSED: tuple[tuple[str, Any, str, str], ...] = (
    ("p256", P256, "RS256", "ES256"),
    ("p256", P256, "HS256", "ES256"),
    ("oct", ONE, "RS256", "HS256"),
    ("oct", ONE, "EdDSA", "HS256"),
    ("ed", ED, "RS256", "EdDSA"),
    ("p256", P256, "ES384", "ES384"),
)


@scenario(
    SETUP,
    differs=dict.fromkeys(
        ("p256: odd length", "p256: zeros in front", "upstream app"), "length-of-a-signature"
    ),
)
async def jwt_signature_lengths(s: Session) -> None:
    """A signature by an elliptic curve has one length."""
    s.upstream().script = answers(ok(b"ok"))
    data = jose.unsigned({"alg": "ES256"}, CLAIMS)
    raw = jose.sign(P256, "ES256", data.encode())
    for label, signature in (
        ("odd length", raw + b"\0"),
        ("zeros in front", b"\0" + raw[:32] + b"\0" + raw[32:]),
    ):
        await ask(s, "p256", f"{data}.{jose.encode(signature)}", label)


@scenario(
    SETUP,
    differs=dict.fromkeys(
        (*(f"{name}: {alg} by {way}" for name, _, alg, way in CONFUSED), "log main", "upstream app"),
        "algorithm-of-a-key",
    ),
)
async def jwt_algorithm_confusion(s: Session) -> None:
    """A token names an algorithm of another kind of key than that which it is checked with."""
    s.upstream().script = answers(ok(b"ok"))
    async with s.logging(len(CONFUSED)):
        for name, key, alg, way in CONFUSED:
            await ask(s, name, jose.token(key, alg, CLAIMS, signed_as=way), f"{alg} by {way}")
