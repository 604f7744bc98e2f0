"""What is known of one TLS connection, read when somebody asks.

One object serves access logs, headers, Lua, Wasm, routes and stats.  Texts are as Envoy's ``ConnectionInfo``
gives them; what is not there is an empty string or list.
"""

from __future__ import annotations

import hashlib
import ssl
from datetime import datetime
from functools import cached_property
from time import monotonic_ns
from urllib.parse import quote

from sidecar.net.certificates_library import serialization, x509
from sidecar.net.tls_certificate import Identity, alternative_names, distinguished_name, parse_certificate
from sidecar.net.tls_library import library
from sidecar.net.tls_names import CIPHER_IDS, CIPHERSUITE_IDS

__all__ = ["CertificateFacts", "TlsFacts"]


class CertificateFacts:
    """One certificate."""

    def __init__(self, certificate: x509.Certificate, der: bytes | None = None) -> None:
        self.certificate = certificate
        self._der = der

    @property
    def der(self) -> bytes:
        if self._der is None:
            self._der = self.certificate.public_bytes(serialization.Encoding.DER)
        return self._der

    @cached_property
    def subject(self) -> str:
        return distinguished_name(self.certificate.subject)

    @cached_property
    def issuer(self) -> str:
        return distinguished_name(self.certificate.issuer)

    @cached_property
    def serial(self) -> str:
        number = self.certificate.serial_number
        return number.to_bytes((number.bit_length() + 7) // 8 or 1, "big").hex()

    @cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.der).hexdigest()

    @cached_property
    def sha1(self) -> str:
        return hashlib.sha1(self.der, usedforsecurity=False).hexdigest()

    @cached_property
    def _names(self) -> list[tuple[str, str, str]]:
        return alternative_names(self.certificate)

    def sans(self, kind: str) -> list[str]:
        """The SANs of a kind: ``DNS``, ``URI``, ``EMAIL``, ``IP_ADDRESS``, ``OTHER_NAME``."""
        return [value for each, value, _ in self._names if each == kind]

    @cached_property
    def pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode("ascii")

    @cached_property
    def url_encoded_pem(self) -> str:
        return quote(self.pem, safe="")

    @property
    def extension_oids(self) -> list[str]:
        """The types of its extensions."""
        return [each.oid.dotted_string for each in self.certificate.extensions]

    @property
    def common_name(self) -> str:
        found = self.certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
        return str(found[0].value) if found else ""

    @property
    def organization_names(self) -> list[str]:
        found = self.certificate.subject.get_attributes_for_oid(x509.NameOID.ORGANIZATION_NAME)
        return [str(each.value) for each in found]

    @property
    def valid_from(self) -> datetime:
        return self.certificate.not_valid_before_utc

    @property
    def expires_at(self) -> datetime:
        return self.certificate.not_valid_after_utc


class TlsFacts:
    """One connection.  ``chain`` is what the peer sent, in DER."""

    def __init__(
        self,
        tls: ssl.SSLObject,
        chain: list[bytes],
        identities: tuple[Identity, ...],
        *,
        is_validated: bool,
        is_server: bool,
    ) -> None:
        self._tls = tls
        self._chain = chain
        self._identities = identities
        self.is_validated = is_validated
        self._is_server = is_server
        #: When hands were shaken.
        self.made_ns = monotonic_ns()

    @property
    def version(self) -> str:
        return self._tls.version() or ""

    @property
    def cipher(self) -> str:
        """The suite by OpenSSL's name."""
        found = self._tls.cipher()
        return found[0] if found else ""

    @property
    def cipher_id(self) -> str:
        """The suite's number as Envoy writes it."""
        name = self.cipher
        number = CIPHERSUITE_IDS.get(name) or CIPHER_IDS.get(name)
        return f"0x{number.hex()}" if number else "0xffff"

    @property
    def alpn(self) -> str:
        return self._tls.selected_alpn_protocol() or ""

    @property
    def session_id(self) -> str:
        """In hexadecimal; of sessions that the server keeps, which TLS 1.3 does not have."""
        openssl = library() if self.version != "TLSv1.3" else None
        return openssl.session_id(self._tls).hex() if openssl is not None else ""

    @cached_property
    def peer_chain(self) -> list[CertificateFacts]:
        chain = self._chain
        if not chain:
            # A resumed session remembers the peer.
            leaf = self._tls.getpeercert(binary_form=True)
            chain = [leaf] if leaf else []
        try:
            return [CertificateFacts(parse_certificate(der), der) for der in chain]
        except ValueError:
            return []

    @property
    def peer(self) -> CertificateFacts | None:
        chain = self.peer_chain
        return chain[0] if chain else None

    @cached_property
    def has_peer(self) -> bool:
        """Whether the peer showed a certificate."""
        return bool(self._chain) or bool(self._tls.getpeercert(binary_form=True))

    @cached_property
    def local(self) -> CertificateFacts | None:
        """The certificate that was shown to the peer."""
        identities = self._identities
        if not identities:
            return None
        if len(identities) == 1:
            return CertificateFacts(identities[0].leaf)
        openssl = library()
        der = openssl.local_certificate(self._tls) if openssl is not None else b""
        return CertificateFacts(parse_certificate(der), der) if der else None
