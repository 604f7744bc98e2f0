"""Certificates for tests: authorities by trustme, leaves of any shape, fresh keys in every run.

Names and times are fixed, so that only what depends on keys differs from run to run.
"""

from __future__ import annotations

import datetime
import ipaddress
from dataclasses import dataclass
from functools import cached_property

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509 import ocsp

__all__ = ["Authority", "Leaf"]

_BEGIN = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
_END = datetime.datetime(2040, 1, 1, tzinfo=datetime.UTC)
_UPN = x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2.3")

_USAGE = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=True,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=False,
    crl_sign=False,
    encipher_only=False,
    decipher_only=False,
)


def _name(common: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, "Tests, Inc."),
            x509.NameAttribute(x509.NameOID.COMMON_NAME, common),
        ]
    )


def _san(text: str) -> x509.GeneralName:
    kind, _, value = text.partition(":")
    if kind == "URI":
        return x509.UniformResourceIdentifier(value)
    if kind == "IP":
        return x509.IPAddress(ipaddress.ip_address(value))
    if kind == "EMAIL":
        return x509.RFC822Name(value)
    if kind == "UPN":
        return x509.OtherName(_UPN, b"\x0c" + bytes([len(value)]) + value.encode())
    return x509.DNSName(value)


@dataclass(frozen=True)
class Leaf:
    """A certificate, its chain and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
    chain: tuple[bytes, ...] = ()

    @cached_property
    def cert_pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM) + b"".join(self.chain)

    @cached_property
    def key_pem(self) -> bytes:
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def encrypted_key_pem(self, password: bytes) -> bytes:
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(password))

    @property
    def pem(self) -> bytes:
        return self.key_pem + self.cert_pem

    @property
    def sha256(self) -> str:
        return self.certificate.fingerprint(hashes.SHA256()).hex()


class Authority:
    """A certificate authority; with a parent an intermediate one."""

    def __init__(self, name: str, parent: Authority | None = None) -> None:
        self.ca = trustme.CA(
            None if parent is None else parent.ca,
            organization_name="Tests, Inc.",
            organization_unit_name=name,
        )
        self.cert_pem = self.ca.cert_pem.bytes()
        self.certificate = x509.load_pem_x509_certificate(self.cert_pem)
        key = load_pem_private_key(self.ca.private_key_pem.bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        self._key = key
        self._chain = () if parent is None else (self.cert_pem,)

    def leaf(
        self,
        common: str,
        *sans: str,
        is_rsa: bool = False,
        is_expired: bool = False,
        bits: int = 2048,
        has_usage: bool = True,
        usage: x509.KeyUsage | None = None,
        must_staple: bool = False,
    ) -> Leaf:
        """``sans``: ``DNS:``, ``URI:``, ``IP:``, ``EMAIL:``, ``UPN:`` and the name."""
        key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
        key = rsa.generate_private_key(65537, bits) if is_rsa else ec.generate_private_key(ec.SECP256R1())
        end = datetime.datetime(2021, 1, 1, tzinfo=datetime.UTC) if is_expired else _END
        builder = (
            x509.CertificateBuilder()
            .subject_name(_name(common))
            .issuer_name(self.certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(_BEGIN)
            .not_valid_after(end)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False
            )
        )
        if has_usage:
            builder = builder.add_extension(usage or _USAGE, critical=True)
        if must_staple:
            feature = x509.TLSFeature([x509.TLSFeatureType.status_request])
            builder = builder.add_extension(feature, critical=False)
        if sans:
            names = x509.SubjectAlternativeName([_san(each) for each in sans])
            builder = builder.add_extension(names, critical=False)
        return Leaf(builder.sign(self._key, hashes.SHA256()), key, self._chain)

    def ocsp_response(
        self,
        leaf: Leaf,
        *,
        is_good: bool = True,
        end: datetime.datetime | None = _END,
        status: ocsp.OCSPResponseStatus = ocsp.OCSPResponseStatus.SUCCESSFUL,
    ) -> bytes:
        """An OCSP response in DER, good until ``end`` (None: it says no end)."""
        if status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
            return ocsp.OCSPResponseBuilder.build_unsuccessful(status).public_bytes(Encoding.DER)
        builder = ocsp.OCSPResponseBuilder().add_response(
            cert=leaf.certificate,
            issuer=self.certificate,
            algorithm=hashes.SHA256(),
            cert_status=ocsp.OCSPCertStatus.GOOD if is_good else ocsp.OCSPCertStatus.REVOKED,
            this_update=_BEGIN,
            next_update=end,
            revocation_time=None if is_good else _BEGIN,
            revocation_reason=None,
        )
        builder = builder.responder_id(ocsp.OCSPResponderEncoding.HASH, self.certificate)
        return builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.DER)

    def revocation_list(self, *revoked: Leaf) -> bytes:
        """A CRL in PEM."""
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.certificate.subject)
            .last_update(_BEGIN)
            .next_update(_END)
        )
        for each in revoked:
            builder = builder.add_revoked_certificate(
                x509.RevokedCertificateBuilder()
                .serial_number(each.certificate.serial_number)
                .revocation_date(_BEGIN)
                .build()
            )
        return builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM)
