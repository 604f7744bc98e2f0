"""``TlsCertificate`` and ``CertificateValidationContext`` compiled to plain values."""

from __future__ import annotations

import base64
import binascii
import ssl
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sidecar.config.compile.matchers import compile_string_matcher
from sidecar.config.compile.tls_spiffe import compile_trust_domains
from sidecar.core.dataclass import dataclass
from sidecar.core.errors import ConfigError
from sidecar.net.tls_certificate import Identity, IdentityError, MemoryFile, load_identity, load_pkcs12
from sidecar.net.tls_verify import CRL_MARK, PeerRules, SanRule

if TYPE_CHECKING:
    from sidecar.api.context import FactoryContext

__all__ = [
    "Secret",
    "compile_certificate",
    "compile_rules",
    "compile_secret",
    "compile_ticket_keys",
    "data_name",
]

_SAN_KINDS = ("", "EMAIL", "DNS", "URI", "IP_ADDRESS", "OTHER_NAME")
_SHA256_BYTES = 32
_TICKET_KEY_BYTES = 80
_FINGERPRINT_WITH_COLONS = 95


@dataclass(frozen=True, slots=True)
class Secret:
    """One ``envoy.extensions.transport_sockets.tls.v3.Secret``."""

    #: ``tls_certificate``, ``validation_context`` or ``session_ticket_keys``.
    kind: str
    #: An :class:`Identity`, PeerRules, or keys.
    value: Any
    #: The message, for what is read again or merged.
    message: Any
    #: The files that it names, and the directory to be watched in their place.
    files: tuple[str, ...] = ()
    watched_directory: str = ""


def compile_secret(message: Any, path: str, kind: str, context: FactoryContext) -> Secret:
    """``message``, which must be of ``kind``.  Raises: ConfigError."""
    if message.WhichOneof("type") != kind:
        raise ConfigError(path, f"Unexpected secret type: expected {kind}, got {message.WhichOneof('type')}")
    inner = getattr(message, kind)
    here = f"{path}.{kind}"
    value: Any
    if kind == "tls_certificate":
        value = replace(compile_certificate(inner, here, context), name=message.name)
    elif kind == "validation_context":
        value = replace(compile_rules(inner, here, context), ca_name=message.name)
    else:
        value = compile_ticket_keys(inner, here, context)
    files = tuple(
        field.filename
        for _, field in inner.ListFields()
        if getattr(field, "filename", "") and hasattr(field, "WhichOneof")
    )
    directory = inner.watched_directory.path if kind != "session_ticket_keys" else ""
    return Secret(kind, value, message, files, directory)


def compile_ticket_keys(message: Any, path: str, context: FactoryContext) -> tuple[bytes, ...]:
    """``envoy.extensions.transport_sockets.tls.v3.TlsSessionTicketKeys``.  Raises: ConfigError."""
    keys = []
    for index, each in enumerate(message.keys):
        key = context.read_data_source(each, f"{path}.keys[{index}]")
        if len(key) != _TICKET_KEY_BYTES:
            reason = f"Incorrect TLS session ticket key length. Length {len(key)}, expected length 80."
            raise ConfigError(f"{path}.keys[{index}]", reason)
        keys.append(key)
    return tuple(keys)


def data_name(source: Any) -> str:
    """How Envoy calls where bytes came from."""
    return source.filename if source.WhichOneof("specifier") == "filename" else "<inline>"


def compile_certificate(message: Any, path: str, context: FactoryContext) -> Identity:
    """``envoy.extensions.transport_sockets.tls.v3.TlsCertificate``.  Raises: ConfigError."""

    def read(field: str) -> bytes:
        if not message.HasField(field):
            return b""
        return context.read_data_source(getattr(message, field), f"{path}.{field}")

    password = read("password")
    staple = read("ocsp_staple")
    if message.ocsp_staple.WhichOneof("specifier") == "inline_string":
        raise ConfigError(f"{path}.ocsp_staple", "OCSP staple cannot be provided via inline_string")
    try:
        if message.HasField("pkcs12"):
            if message.HasField("certificate_chain") or message.HasField("private_key"):
                reason = "Certificate configuration can't have both pkcs12 and certificate_chain"
                raise ConfigError(f"{path}.pkcs12", reason)
            return load_pkcs12(read("pkcs12"), password, name=data_name(message.pkcs12), staple=staple)
        chain, key = read("certificate_chain"), read("private_key")
        if not chain and not key:
            raise ConfigError(path, "No TLS certificates found for server context")
        if not chain or not key:
            reason = "Failed to load incomplete certificate from "
            raise ConfigError(
                path,
                f"{reason}certificate chain={data_name(message.certificate_chain)}"
                f" private key={data_name(message.private_key)}",
                line_in_text=None,
            )
        return load_identity(
            chain,
            key,
            password,
            chain_name=data_name(message.certificate_chain),
            key_name=data_name(message.private_key),
            staple=staple,
        )
    except IdentityError as error:
        raise ConfigError(f"{path}.{error.field}", error.reason) from error


def compile_rules(message: Any, path: str, context: FactoryContext) -> PeerRules:
    """``envoy.extensions.transport_sockets.tls.v3.CertificateValidationContext``.  Raises: ConfigError."""
    trusted_ca = b""
    if message.HasField("trusted_ca"):
        trusted_ca = context.read_data_source(message.trusted_ca, f"{path}.trusted_ca")
        if trusted_ca:
            _check_authorities(trusted_ca, data_name(message.trusted_ca), f"{path}.trusted_ca")
    crl = b""
    if message.HasField("crl"):
        crl = context.read_data_source(message.crl, f"{path}.crl")
        if crl:
            if CRL_MARK in crl:
                _check_crl(crl, data_name(message.crl), f"{path}.crl")
            if not trusted_ca:
                reason = f"Failed to load CRL from {data_name(message.crl)} without trusted CA"
                raise ConfigError(f"{path}.crl", reason)
    sans = [
        _san_rule(each, f"{path}.match_typed_subject_alt_names[{index}]")
        for index, each in enumerate(message.match_typed_subject_alt_names)
    ]
    if not sans:
        sans = [
            rule
            for index, each in enumerate(message.match_subject_alt_names)
            for rule in _any_kind(each, f"{path}.match_subject_alt_names[{index}]")
        ]
    trust_domains = None
    if message.HasField("custom_validator_config"):
        trust_domains = compile_trust_domains(message, path, context)
    elif not trusted_ca and not message.HasField("system_root_certs"):
        if sans:
            reason = (
                "SAN-based verification of peer certificates without trusted CA is insecure and not allowed"
            )
            raise ConfigError(f"{path}.match_typed_subject_alt_names", reason)
        if message.allow_expired_certificate:
            reason = "Certificate validity period is always ignored without trusted CA"
            raise ConfigError(f"{path}.allow_expired_certificate", reason)
    return PeerRules(
        trusted_ca=trusted_ca,
        ca_path=data_name(message.trusted_ca),
        has_system_roots=message.HasField("system_root_certs"),
        crl=crl,
        only_leaf_crl=message.only_verify_leaf_cert_crl,
        hashes=frozenset(
            _hash(each, f"{path}.verify_certificate_hash[{index}]")
            for index, each in enumerate(message.verify_certificate_hash)
        ),
        spki_hashes=frozenset(
            _spki(each, f"{path}.verify_certificate_spki[{index}]")
            for index, each in enumerate(message.verify_certificate_spki)
        ),
        sans=tuple(sans),
        max_depth=message.max_verify_depth.value if message.HasField("max_verify_depth") else None,
        allow_expired=message.allow_expired_certificate,
        accepts_untrusted=message.trust_chain_verification == 1,
        trust_domains=trust_domains,
    )


def _check_authorities(pem: bytes, name: str, path: str) -> None:
    probe = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        with MemoryFile(pem) as file:
            probe.load_verify_locations(cafile=file)
    except ssl.SSLError as error:
        raise ConfigError(path, f"Failed to load trusted CA certificates from {name}") from error
    if not probe.cert_store_stats()["x509"]:
        raise ConfigError(path, f"Failed to load trusted CA certificates from {name}")


def _check_crl(pem: bytes, name: str, path: str) -> None:
    probe = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        with MemoryFile(pem) as file:
            probe.load_verify_locations(cafile=file)
    except ssl.SSLError as error:
        raise ConfigError(path, f"Failed to load CRL from {name}") from error
    if not probe.cert_store_stats()["crl"]:
        raise ConfigError(path, f"Failed to load CRL from {name}")


def _matcher(message: Any, path: str) -> Callable[[str], bool]:
    matches = compile_string_matcher(message, path)
    return lambda value: matches(value.encode())


def _san_rule(message: Any, path: str) -> SanRule:
    kind = _SAN_KINDS[message.san_type]
    if not kind:
        raise ConfigError(f"{path}.san_type", "unsupported SAN type")
    if kind == "OTHER_NAME" and not message.oid:
        raise ConfigError(f"{path}.oid", "The OID of an OTHER_NAME must be given")
    matcher = message.matcher
    is_exact = matcher.WhichOneof("match_pattern") == "exact"
    return SanRule(
        kind,
        _matcher(matcher, f"{path}.matcher"),
        dns_name=matcher.exact if kind == "DNS" and is_exact else "",
        oid=message.oid,
    )


def _any_kind(matcher: Any, path: str) -> list[SanRule]:
    """The deprecated ``match_subject_alt_names``: whatever the kind."""
    matches = _matcher(matcher, path)
    is_exact = matcher.WhichOneof("match_pattern") == "exact"
    return [
        SanRule(kind, matches, dns_name=matcher.exact if kind == "DNS" and is_exact else "")
        for kind in ("DNS", "URI", "EMAIL", "IP_ADDRESS")
    ]


def _hash(text: str, path: str) -> bytes:
    plain = text.replace(":", "") if len(text) == _FINGERPRINT_WITH_COLONS else text
    try:
        value = bytes.fromhex(plain)
    except ValueError:
        value = b""
    if len(value) != _SHA256_BYTES:
        raise ConfigError(path, f"Invalid hex-encoded SHA-256 {text}")
    return value


def _spki(text: str, path: str) -> bytes:
    try:
        value = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        value = b""
    if len(value) != _SHA256_BYTES:
        raise ConfigError(path, f"Invalid base64-encoded SHA-256 {text}")
    return value
