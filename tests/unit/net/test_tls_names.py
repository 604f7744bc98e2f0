"""BoringSSL's names in OpenSSL's terms."""

from __future__ import annotations

import ssl
from typing import Any

import pytest

from sidecar.net.tls_client_hello import CipherOrder
from sidecar.net.tls_names import CIPHER_IDS, CIPHERS, failure_reason, openssl_ciphers, signature_name

A128, A256 = "ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384"
CHACHA = "ECDHE-ECDSA-CHACHA20-POLY1305"


def test_every_cipher_has_a_number_and_is_known_to_openssl() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("ALL:@SECLEVEL=0")
    known = {each["name"]: each["id"] & 0xFFFF for each in context.get_ciphers()}
    found = {name: int.from_bytes(number, "big") for name, number in CIPHER_IDS.items() if name in known}
    assert found == {name: known[name] for name in CIPHERS if name in known}
    assert len(found) > 12


def test_groups_of_equal_preference_stay_together() -> None:
    groups, refused = openssl_ciphers((f"[{A128}|{CHACHA}]", A256))
    assert groups == [(A128, CHACHA), (A256,)]
    assert refused == []


def test_names_for_many_suites_bring_those_that_boringssl_has() -> None:
    groups, refused = openssl_ciphers(("ALL", "!RSA"))
    names = [name for group in groups for name in group]
    assert refused == []
    assert A128 in names
    assert "AES128-SHA" not in names
    assert set(names) <= set(CIPHERS)


def test_standard_names_are_taken_and_unknown_ones_are_told() -> None:
    groups, refused = openssl_ciphers(("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "FOO", "RC4-MD5"))
    assert groups[0] == (A128,)
    assert refused == ["FOO", "RC4-MD5"]


def test_client_decides_among_equals() -> None:
    library: Any = None
    order = CipherOrder(((A128, CHACHA), (A256,)), library)
    ciphers = order.order(bytes.fromhex("1303") + CIPHER_IDS[A256] + CIPHER_IDS[CHACHA] + b"\x13\x01")
    assert ciphers.split(":")[:3] == [CHACHA, A128, A256]


@pytest.mark.parametrize(
    ("reason", "extra", "text"),
    [
        (
            "CERTIFICATE_VERIFY_FAILED",
            "SAN matcher",
            "268435581:SSL routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED:SAN matcher",
        ),
        ("HTTP_REQUEST", "", "268435612:SSL routines:OPENSSL_internal:HTTP_REQUEST"),
        ("TLSV1_ALERT_UNKNOWN_CA", "", "268436504:SSL routines:OPENSSL_internal:TLSV1_ALERT_UNKNOWN_CA"),
        (
            "TLSV13_ALERT_CERTIFICATE_REQUIRED",
            "",
            "268436572:SSL routines:OPENSSL_internal:TLSV1_ALERT_CERTIFICATE_REQUIRED",
        ),
    ],
)
def test_reasons_have_the_numbers_and_names_of_boringssl(reason: str, extra: str, text: str) -> None:
    error = ssl.SSLError(1, reason)
    error.reason = reason
    assert failure_reason(error, extra) == f"TLS_error:|{text}:TLS_error_end"


def test_signatures_have_their_standard_names() -> None:
    assert signature_name(408, 672) == "ecdsa_secp256r1_sha256"
    assert signature_name(912, 673) == "rsa_pss_rsae_sha384"
    assert signature_name(0, 0) == ""
