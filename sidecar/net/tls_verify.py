"""Judging a peer's certificate, inside the handshake, by ``CertificateValidationContext``.

OpenSSL calls :meth:`Verifier.verify` in the middle of ``do_handshake``; what it says decides which alert the
peer is sent.  The steps and their order are those of Envoy's ``DefaultCertValidator``: the chain, then names,
then hashes.  The SPIFFE validator judges the chain by the trust bundle of the identity's own domain.
"""

from __future__ import annotations

import hashlib
import logging
import ssl
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from sidecar.core.dataclass import dataclass
from sidecar.net.certificates_library import ec, serialization, x509
from sidecar.net.tls_certificate import MemoryFile, alternative_names, parse_certificate

if TYPE_CHECKING:
    from sidecar.net.tls_library import Library

__all__ = [
    "CRL_MARK",
    "NOTHING",
    "Expected",
    "PeerRules",
    "SanRule",
    "Verdict",
    "Verifier",
    "matches_dns_name",
]

logger = logging.getLogger("sidecar.connection")

#: Text without it holds no list, and revokes nobody; as in Envoy it is still one that must be there.
CRL_MARK = b"-----BEGIN X509 CRL-----"
_NO_CHECK_TIME = ssl.VerifyFlags(0x200000)
#: A code that OpenSSL has no alert for, so that it sends certificate_unknown, as Envoy does.
_REJECTED = 9999
#: ``X509_V_ERR_INVALID_PURPOSE``: the alert is unsupported_certificate, the nearest to illegal_parameter.
_WRONG_PURPOSE = 26


@dataclass(frozen=True, slots=True)
class SanRule:
    """One ``SubjectAltNameMatcher``."""

    #: ``EMAIL``, ``DNS``, ``URI``, ``IP_ADDRESS``, ``OTHER_NAME``.
    kind: str
    match: Callable[[str], bool]
    #: The name of an exact match of DNS, which a wildcard in the certificate fits too.
    dns_name: str = ""
    #: The type of an OTHER_NAME.
    oid: str = ""

    def fits(self, kind: str, value: str, oid: str) -> bool:
        if kind != self.kind or (self.oid and oid != self.oid):
            return False
        return matches_dns_name(self.dns_name, value) if self.dns_name else self.match(value)


@dataclass(frozen=True, slots=True)
class PeerRules:
    """What a peer's certificate must fulfil."""

    trusted_ca: bytes = b""
    #: Where it was read from, and the name of the secret that it is, for ``/certs`` and the stats.
    ca_path: str = ""
    ca_name: str = ""
    has_system_roots: bool = False
    crl: bytes = b""
    only_leaf_crl: bool = False
    hashes: frozenset[bytes] = frozenset()
    spki_hashes: frozenset[bytes] = frozenset()
    sans: tuple[SanRule, ...] = ()
    max_depth: int | None = None
    allow_expired: bool = False
    accepts_untrusted: bool = False
    #: Trust bundles (PEM) by domain: the SPIFFE validator is asked.
    trust_domains: Mapping[str, bytes] | None = None

    @property
    def has_roots(self) -> bool:
        return bool(self.trusted_ca) or self.has_system_roots

    @property
    def needs_certificate(self) -> bool:
        """Whether a peer without a certificate cannot fulfil them."""
        return bool(self.hashes or self.spki_hashes or self.sans) or self.trust_domains is not None

    @property
    def asks_for_certificate(self) -> bool:
        return self.has_roots or self.needs_certificate


@dataclass(slots=True)
class Verdict:
    """What came out for one connection."""

    chain: list[bytes]
    #: Whether something was checked and found right.
    is_validated: bool = False
    #: What Envoy adds to CERTIFICATE_VERIFY_FAILED; empty where the peer was accepted.
    reason: str = ""
    #: The counter: ``fail_verify_error``, ``fail_verify_san``, ``fail_verify_cert_hash``.
    counter: str = ""
    #: The key is not for what it is used for: whether the peer is told so, None where all is well.
    misuse: bool | None = None


class Expected(NamedTuple):
    """Names of which a connection's peer must have one, beside the rules."""

    names: tuple[str, ...] = ()
    #: They were made a matcher of the rules (``auto_sni_san_validation``); only the words differ.
    is_matcher: bool = False


NOTHING = Expected()


class Verifier:
    """The rules of one context, and what it found about the connection that shakes hands just now."""

    def __init__(self, rules: PeerRules, library: Library, *, is_server: bool) -> None:
        self.rules = rules
        self._is_server = is_server
        self._library = library
        #: Of the connection that shakes hands.
        self.expected = NOTHING
        self.verdict: Verdict | None = None
        self._callbacks: list[object] = []
        self._stores = {domain: _store(bundle) for domain, bundle in (rules.trust_domains or {}).items()}

    def install(self, context: ssl.SSLContext) -> None:
        """Let ``context`` ask this verifier.  Raises: ssl.SSLError, ValueError for what cannot be read."""
        rules = self.rules
        flags = ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN | ssl.VerifyFlags.VERIFY_X509_TRUSTED_FIRST
        if rules.has_system_roots:
            context.set_default_verify_paths()
        if rules.trusted_ca:
            with MemoryFile(rules.trusted_ca) as path:
                context.load_verify_locations(cafile=path)
        if CRL_MARK in rules.crl:
            with MemoryFile(rules.crl) as path:
                context.load_verify_locations(cafile=path)
        if rules.crl or CRL_MARK in rules.trusted_ca:
            flags |= ssl.VerifyFlags.VERIFY_CRL_CHECK_LEAF
            if not rules.only_leaf_crl:
                flags |= ssl.VerifyFlags.VERIFY_CRL_CHECK_CHAIN
        if rules.allow_expired:
            flags |= _NO_CHECK_TIME
        context.verify_flags = flags
        if rules.max_depth is not None:
            self._library.set_verify_depth(context, rules.max_depth)
        self._callbacks.append(self._library.set_verifier(context, self.verify))

    def verify(self, store: int) -> bool:
        """Called by OpenSSL, through which nothing can be raised: what breaks here refuses the peer.

        A certificate may be made so that reading it fails in many ways, so the log is told at debug alone.
        """
        try:
            verdict = self.verdict = Verdict(self._library.chain(store))
            is_tls_1_3, is_transport = self._library.exchange(store)
            is_misused = is_misused_key(
                verdict.chain, is_tls_1_3=is_tls_1_3, is_transport=is_transport, is_client=self._is_server
            )
            # BoringSSL looks at it before the chain in TLS 1.3; in older ones behind it, without an alert.
            if is_misused and is_tls_1_3:
                verdict.misuse = True
                self._library.set_error(store, _WRONG_PURPOSE)
            elif self._judge(store, verdict):
                if not is_misused:
                    self._library.set_error(store, 0)
                    return True
                verdict.misuse = False
                self._library.set_error(store, _REJECTED)
        except Exception:
            logger.debug("a peer's certificate could not be judged", exc_info=True)
            self.verdict = Verdict(
                [], reason="verify cert failed: unreadable certificate", counter="fail_verify_error"
            )
            self._library.set_error(store, _REJECTED)
        return False

    def _judge(self, store: int, verdict: Verdict) -> bool:
        rules = self.rules
        if not verdict.chain:
            return False
        if rules.trust_domains is not None:
            return self._judge_spiffe(store, verdict)
        is_trusted = True
        if rules.has_roots:
            is_trusted = self._library.verify_chain(store)
            if not is_trusted:
                self._tell_chain(store, verdict)
        if is_trusted:
            leaf = parse_certificate(verdict.chain[0])
            verdict.is_validated = rules.has_roots
            counter, reason = self._judge_leaf(leaf, verdict.chain[0])
            if reason:
                verdict.counter, verdict.reason, verdict.is_validated = counter, reason, False
                self._library.set_error(store, _REJECTED)
            else:
                verdict.is_validated = rules.has_roots or rules.needs_certificate or bool(self.expected.names)
        return not verdict.reason or rules.accepts_untrusted

    def _tell_chain(self, store: int, verdict: Verdict) -> None:
        _, text, depth = self._library.error(store)
        verdict.counter = "fail_verify_error"
        verdict.reason = (
            f"verify cert failed: X509_verify_cert: certificate verification error at depth {depth}: {text}"
        )

    def _judge_leaf(self, leaf: x509.Certificate, der: bytes) -> tuple[str, str]:
        """The counter and the reason of what is wrong with it; empty where nothing is."""
        rules = self.rules
        wanted = self.expected.names
        if rules.sans or wanted:
            names = alternative_names(leaf)
            shown = ", ".join(value for _, value, _ in names)
            if wanted and not any(
                matches_dns_name(name, value) if kind == "DNS" else name == value
                for kind, value, _ in names
                for name in wanted
            ):
                reason = f"SAN matcher, certificate SANs are [{shown}]"
                if not self.expected.is_matcher:
                    listed = ", ".join(wanted)
                    reason = f"verify SAN list, expected SANs: [{listed}], certificate SANs: [{shown}]"
                return "fail_verify_san", f"verify cert failed: {reason}"
            if rules.sans and not any(rule.fits(*name) for rule in rules.sans for name in names):
                return "fail_verify_san", f"verify cert failed: SAN matcher, certificate SANs are [{shown}]"
        if (rules.hashes or rules.spki_hashes) and not (
            hashlib.sha256(der).digest() in rules.hashes or _spki_hash(leaf) in rules.spki_hashes
        ):
            return "fail_verify_cert_hash", "verify cert failed: cert hash and spki"
        return "", ""

    def _judge_spiffe(self, store: int, verdict: Verdict) -> bool:
        leaf = parse_certificate(verdict.chain[0])
        names = alternative_names(leaf)
        uris = [value for kind, value, _ in names if kind == "URI"]
        if not _is_svid(leaf):
            verdict.reason = "verify cert failed: SPIFFE validator: cert precheck"
        else:
            domain = _trust_domain(uris)
            trusted = self._stores.get(domain)
            if not domain or trusted is None:
                verdict.reason = "verify cert failed: SPIFFE validator: no trust bundle store"
            elif not self._library.verify_with(store, trusted):
                verdict.reason = "verify cert failed: SPIFFE validator: X509_verify_cert"
            elif self.rules.sans and not any(rule.fits(*name) for rule in self.rules.sans for name in names):
                verdict.counter = "fail_verify_san"
                verdict.reason = "verify cert failed: SPIFFE validator: SAN matcher"
        if verdict.reason:
            verdict.counter = verdict.counter or "fail_verify_error"
            self._library.set_error(store, _REJECTED)
            return self.rules.accepts_untrusted
        verdict.is_validated = True
        return True


def _store(bundle: bytes) -> ssl.SSLContext:
    """A context whose store holds a trust bundle."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with MemoryFile(bundle) as path:
        context.load_verify_locations(cafile=path)
    context.verify_flags = ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    return context


def _trust_domain(uris: list[str]) -> str:
    """The domain of the first SPIFFE identity."""
    for uri in uris:
        if uri.startswith("spiffe://"):
            return uri[len("spiffe://") :].partition("/")[0]
    return ""


def is_misused_key(chain: list[bytes], *, is_tls_1_3: bool, is_transport: bool, is_client: bool) -> bool:
    """Whether the ``keyUsage`` of a peer's certificate forbids what its key does (RFC 5280 §4.2.1.3).

    Where BoringSSL looks: TLS 1.3 signs always; before that keys of servers for RSA, which sign or decipher,
    and keys of clients for ECDSA.  ``is_client``: the peer is a client.
    """
    if not chain:
        return False
    leaf = parse_certificate(chain[0])
    usage = _extension(leaf, x509.KeyUsage)
    if usage is None:
        return False
    if is_tls_1_3 or is_client == isinstance(leaf.public_key(), ec.EllipticCurvePublicKey):
        return not (usage.key_encipherment if is_transport else usage.digital_signature)
    return False


def _is_svid(leaf: x509.Certificate) -> bool:
    """Whether it is a leaf that says so: its key signs no certificates (SPIFFE X.509-SVID §4)."""
    constraints = _extension(leaf, x509.BasicConstraints)
    usage = _extension(leaf, x509.KeyUsage)
    if constraints is not None and constraints.ca:
        return False
    return usage is not None and not usage.key_cert_sign and not usage.crl_sign


def _extension(certificate: x509.Certificate, kind: Any) -> Any:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _spki_hash(leaf: x509.Certificate) -> bytes:
    spki = leaf.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return hashlib.sha256(spki).digest()


def matches_dns_name(name: str, pattern: str) -> bool:
    """Whether a DNS SAN, maybe ``*.example.com``, is that of ``name``."""
    name, pattern = name.lower(), pattern.lower()
    if name == pattern:
        return True
    label, _, rest = name.partition(".")
    if not pattern.startswith("*.") or not rest or not label:
        return False
    return rest == pattern[2:]
