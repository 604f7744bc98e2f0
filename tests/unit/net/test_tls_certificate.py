"""Certificates and keys: what is taken, and what is refused in Envoy's words."""

from __future__ import annotations

import pytest

from sidecar.net.tls_certificate import (
    IdentityError,
    MemoryFile,
    alternative_names,
    distinguished_name,
    load_identity,
    load_pkcs12,
)
from sidecar.net.tls_facts import CertificateFacts
from sidecar.net.tls_verify import matches_dns_name
from tests.support.pki import Authority

ROOT = Authority("root")
MIDDLE = Authority("middle", ROOT)
LEAF = MIDDLE.leaf(
    'a "b", c',
    "DNS:a.example",
    "URI:spiffe://example.com/a",
    "EMAIL:a@example.com",
    "IP:2001:db8::1",
    "UPN:me@x",
)


def test_chain_and_key_make_an_identity() -> None:
    identity = load_identity(LEAF.cert_pem, LEAF.key_pem)
    assert identity.is_ecdsa
    assert len(identity.chain) == 2
    assert identity.server_names() == ["a.example"]


def test_common_name_is_used_where_there_is_no_dns_name() -> None:
    leaf = ROOT.leaf("plain.example", "URI:spiffe://example.com/a")
    assert load_identity(leaf.cert_pem, leaf.key_pem).server_names() == ["plain.example"]


def test_locked_key_needs_its_password() -> None:
    locked = LEAF.encrypted_key_pem(b"secret")
    assert load_identity(LEAF.cert_pem, locked, b"secret").is_ecdsa
    for password in (b"", b"wrong"):
        with pytest.raises(IdentityError, match="Failed to load private key from k"):
            load_identity(LEAF.cert_pem, locked, password, key_name="k.pem")


def test_key_of_another_certificate_is_refused() -> None:
    other = ROOT.leaf("other")
    with pytest.raises(IdentityError, match="KEY_VALUES_MISMATCH") as caught:
        load_identity(LEAF.cert_pem, other.key_pem)
    assert caught.value.field == "private_key"


def test_short_rsa_key_is_refused() -> None:
    leaf = ROOT.leaf("short", is_rsa=True, bits=1024)
    with pytest.raises(IdentityError, match="2048-bit or larger"):
        load_identity(leaf.cert_pem, leaf.key_pem)


def test_garbage_is_refused() -> None:
    with pytest.raises(IdentityError, match="Failed to load certificate chain from <inline>"):
        load_identity(b"x", LEAF.key_pem)
    with pytest.raises(IdentityError, match="Failed to load pkcs12"):
        load_pkcs12(b"x", b"")


def test_names_are_told_as_envoy_tells_them() -> None:
    assert alternative_names(LEAF.certificate) == [
        ("DNS", "a.example", ""),
        ("URI", "spiffe://example.com/a", ""),
        ("EMAIL", "a@example.com", ""),
        ("IP_ADDRESS", "2001:db8::1", ""),
        ("OTHER_NAME", "me@x", "1.3.6.1.4.1.311.20.2.3"),
    ]
    assert distinguished_name(LEAF.certificate.subject) == 'CN=a \\"b\\"\\, c,O=Tests\\, Inc.'


def test_serial_number_has_whole_bytes() -> None:
    facts = CertificateFacts(LEAF.certificate)
    assert len(facts.serial) % 2 == 0
    assert int(facts.serial, 16) == LEAF.certificate.serial_number


@pytest.mark.parametrize(
    ("name", "pattern", "fits"),
    [
        ("a.example.com", "a.example.com", True),
        ("A.example.com", "a.Example.com", True),
        ("a.example.com", "*.example.com", True),
        ("a.b.example.com", "*.example.com", False),
        ("example.com", "*.example.com", False),
        (".example.com", "*.example.com", False),
        ("a.com", "*.com", True),
        ("a", "*", False),
    ],
)
def test_wildcard_stands_for_one_label(name: str, pattern: str, fits: bool) -> None:
    assert matches_dns_name(name, pattern) is fits


def test_memory_file_is_gone_after_its_block() -> None:
    with MemoryFile(b"abc") as path, open(path, "rb") as file:
        assert file.read() == b"abc"
    with pytest.raises(OSError, match=r"."):
        open(path, "rb").close()
