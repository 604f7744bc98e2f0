"""Certificates: what is shown to peers, and what is read from theirs.

Texts are in Envoy's form: subjects as RFC 2253 writes them, serial numbers in hexadecimal.
"""

from __future__ import annotations

import os
import ssl
from functools import lru_cache
from types import TracebackType

from sidecar.core.dataclass import dataclass
from sidecar.net.certificates_library import ec, pkcs12, rsa, serialization, x509

__all__ = [
    "Identity",
    "IdentityError",
    "MemoryFile",
    "alternative_names",
    "distinguished_name",
    "load_identity",
    "load_pkcs12",
    "parse_certificate",
]

_CURVES = ("secp256r1", "secp384r1", "secp521r1")
_LEAST_RSA_BITS = 2048


class IdentityError(ValueError):
    """A certificate or a key cannot be used; ``field`` is that which says so."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(reason)
        self.field = field
        self.reason = reason


class MemoryFile:
    """Bytes under a path, for calls of OpenSSL that read files; gone when the block ends."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._fd = -1

    def __enter__(self) -> str:
        self._fd = os.memfd_create("tls", os.MFD_CLOEXEC)
        os.write(self._fd, self._data)
        return f"/proc/self/fd/{self._fd}"

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        os.close(self._fd)


@dataclass(frozen=True, slots=True)
class Identity:
    """A certificate with its chain and key, checked to belong together."""

    chain: tuple[x509.Certificate, ...]
    #: Key and chain, without a password.
    pem: bytes
    is_ecdsa: bool
    #: An OCSP response to hand out with it.
    staple: bytes = b""
    #: Where it was read from, for ``/certs``.
    path: str = ""
    #: Of the secret that it is; empty where it stands in the context itself.
    name: str = ""

    @property
    def leaf(self) -> x509.Certificate:
        return self.chain[0]

    def server_names(self) -> list[str]:
        """The names a client may ask for: its DNS SANs, or else the common name."""
        names = [value for kind, value, _ in alternative_names(self.leaf) if kind == "DNS"]
        if not names:
            common = self.leaf.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
            names = [str(common[0].value)] if common else []
        return names

    def load_into(self, context: ssl.SSLContext) -> None:
        """Raises: ssl.SSLError."""
        with MemoryFile(self.pem) as path:
            context.load_cert_chain(path)


def load_identity(
    chain_pem: bytes,
    key_pem: bytes,
    password: bytes = b"",
    *,
    chain_name: str = "<inline>",
    key_name: str = "<inline>",
    staple: bytes = b"",
) -> Identity:
    """Raises: IdentityError, in Envoy's words."""
    try:
        chain = tuple(x509.load_pem_x509_certificates(chain_pem))
    except ValueError:
        chain = ()
    if not chain:
        raise IdentityError("certificate_chain", f"Failed to load certificate chain from {chain_name}")
    try:
        key = serialization.load_pem_private_key(key_pem, password or None)
    except (ValueError, TypeError) as error:
        raise IdentityError("private_key", f"Failed to load private key from {key_name}") from error
    return _identity(chain, key, chain_name, key_name, staple)


def load_pkcs12(data: bytes, password: bytes, *, name: str = "<inline>", staple: bytes = b"") -> Identity:
    """Raises: IdentityError, in Envoy's words."""
    try:
        key, leaf, rest = pkcs12.load_key_and_certificates(data, password or None)
    except ValueError as error:
        raise IdentityError("pkcs12", f"Failed to load pkcs12 from {name}") from error
    if key is None or leaf is None:
        raise IdentityError("pkcs12", f"Failed to load pkcs12 from {name}")
    return _identity((leaf, *rest), key, name, name, staple)


def _identity(
    chain: tuple[x509.Certificate, ...], key: object, chain_name: str, key_name: str, staple: bytes
) -> Identity:
    try:
        public = chain[0].public_key()
    except ValueError as error:
        raise IdentityError(
            "certificate_chain", f"Failed to load certificate chain from {chain_name}"
        ) from error
    if isinstance(public, ec.EllipticCurvePublicKey):
        if public.curve.name not in _CURVES:
            raise IdentityError(
                "certificate_chain",
                f"Failed to load certificate chain from {chain_name}, only P-256, P-384 or P-521 ECDSA"
                " certificates are supported",
            )
    elif isinstance(public, rsa.RSAPublicKey) and public.key_size < _LEAST_RSA_BITS:
        raise IdentityError(
            "certificate_chain",
            f"Failed to load certificate chain from {chain_name}, only RSA certificates with 2048-bit or"
            " larger keys are supported",
        )
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise IdentityError("private_key", f"Failed to load private key from {key_name}")
    if key.public_key() != public:
        raise IdentityError(
            "private_key",
            f"Failed to load private key from {key_name}, Cause: error:0b000074:KEY_VALUES_MISMATCH",
        )
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    pem += b"".join(certificate.public_bytes(serialization.Encoding.PEM) for certificate in chain)
    return Identity(chain, pem, isinstance(public, ec.EllipticCurvePublicKey), staple, chain_name)


@lru_cache(maxsize=256)
def parse_certificate(der: bytes) -> x509.Certificate:
    """Raises: ValueError."""
    return x509.load_der_x509_certificate(der)


def alternative_names(certificate: x509.Certificate) -> list[tuple[str, str, str]]:
    """Subject alternative names as kind, value and, of an OTHER_NAME, its type, as Envoy tells them."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    found: list[tuple[str, str, str]] = []
    for name in names:
        if isinstance(name, x509.DNSName):
            found.append(("DNS", name.value, ""))
        elif isinstance(name, x509.UniformResourceIdentifier):
            found.append(("URI", name.value, ""))
        elif isinstance(name, x509.RFC822Name):
            found.append(("EMAIL", name.value, ""))
        elif isinstance(name, x509.IPAddress):
            found.append(("IP_ADDRESS", str(name.value), ""))
        elif isinstance(name, x509.OtherName):
            found.append(("OTHER_NAME", _other_name(name.value), name.type_id.dotted_string))
    return found


def _other_name(der: bytes) -> str:
    """The text of a DER value: one tag and a length of one or two bytes."""
    if len(der) < 2:
        return ""
    tag, size = der[0], der[1]
    start = 2
    if size & 0x80:
        count = size & 0x7F
        size = int.from_bytes(der[2 : 2 + count], "big")
        start += count
    value = der[start : start + size]
    if tag == 0x02:
        return str(int.from_bytes(value, "big", signed=True))
    if tag == 0x01:
        return "true" if value != b"\0" else "false"
    if tag == 0x1E:
        return value.decode("utf-16-be", "replace")
    return value.decode("utf-8", "replace")


def distinguished_name(name: x509.Name) -> str:
    """RFC 2253: the last part first."""
    return name.rfc4514_string()
