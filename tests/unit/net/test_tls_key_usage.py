"""Which keys may do what they do."""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from sidecar.net.tls_verify import is_misused_key
from tests.support.pki import Authority

ROOT = Authority("root")
_NAMES = (
    "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
    "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
)  # fmt: skip


def chain(use: str, *, is_rsa: bool) -> list[bytes]:
    usage = x509.KeyUsage(**{name: name == use for name in _NAMES})
    leaf = ROOT.leaf("a", is_rsa=is_rsa, has_usage=bool(use), usage=usage if use else None)
    return [leaf.certificate.public_bytes(Encoding.DER)]


RSA = {use: chain(use, is_rsa=True) for use in ("digital_signature", "key_encipherment", "")}
EC = {use: chain(use, is_rsa=False) for use in ("digital_signature", "key_agreement", "")}


@pytest.mark.parametrize("is_client", [False, True])
def test_keys_sign_in_tls_1_3(is_client: bool) -> None:
    def is_misused(found: list[bytes]) -> bool:
        return is_misused_key(found, is_tls_1_3=True, is_transport=False, is_client=is_client)

    assert not any(map(is_misused, (RSA["digital_signature"], RSA[""], EC["digital_signature"], EC[""])))
    assert is_misused(RSA["key_encipherment"])
    assert is_misused(EC["key_agreement"])


def test_key_of_a_server_signs_or_deciphers_before() -> None:
    def is_misused(found: list[bytes], *, is_transport: bool) -> bool:
        return is_misused_key(found, is_tls_1_3=False, is_transport=is_transport, is_client=False)

    assert is_misused(RSA["key_encipherment"], is_transport=False)
    assert not is_misused(RSA["key_encipherment"], is_transport=True)
    assert is_misused(RSA["digital_signature"], is_transport=True)
    assert not is_misused(EC["key_agreement"], is_transport=False)


def test_key_of_a_client_is_looked_at_for_ecdsa_before() -> None:
    def is_misused(found: list[bytes]) -> bool:
        return is_misused_key(found, is_tls_1_3=False, is_transport=False, is_client=True)

    assert is_misused(EC["key_agreement"])
    assert not is_misused(RSA["key_encipherment"])
    assert not is_misused([])
