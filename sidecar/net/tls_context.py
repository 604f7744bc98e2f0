"""The contexts of one TLS configuration: OpenSSL's, made from plain values.

A configuration with several certificates has a context for each pair of an RSA and an ECDSA certificate that
serve the same name; OpenSSL chooses between the two by what the client can verify, and the callback for SNI
chooses the context, as Envoy's ``ServerContextImpl`` chooses the certificate.
"""

from __future__ import annotations

import hashlib
import ssl
import warnings
from collections.abc import Callable
from dataclasses import field
from typing import Any, NamedTuple

from sidecar.core.dataclass import dataclass
from sidecar.net.certificates_library import x509
from sidecar.net.tls_certificate import Identity, MemoryFile, alternative_names
from sidecar.net.tls_client_hello import CipherOrder
from sidecar.net.tls_facts import CertificateFacts
from sidecar.net.tls_library import library
from sidecar.net.tls_names import CIPHERSUITES
from sidecar.net.tls_ocsp import LENIENT, OcspStaple, Stapler
from sidecar.net.tls_verify import PeerRules, Verifier

__all__ = ["ClientContext", "ServerContext", "TlsSettings", "TlsUnavailable"]


#: Kinds of names that tell whose sessions they are.
_SESSION_NAMES = frozenset({"DNS", "URI", "IP_ADDRESS"})


class TlsUnavailable(ValueError):
    """This Python's OpenSSL cannot do what is asked for."""


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """What both ends of a connection are told."""

    identities: tuple[Identity, ...] = ()
    minimum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2
    maximum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
    #: In OpenSSL's syntax, by groups of equal preference.
    ciphers: tuple[tuple[str, ...], ...] = ()
    groups: str = ""
    signature_algorithms: str = ""
    alpn: tuple[str, ...] = ()
    rules: PeerRules = field(default_factory=PeerRules)
    key_log: str = ""
    # Of a server
    requires_client_certificate: bool = False
    full_scan: bool = False
    prefers_client_ciphers: bool = False
    #: 80 bytes each; the first one seals.
    ticket_keys: tuple[bytes, ...] = ()
    has_tickets: bool = True
    has_session_cache: bool = True
    session_timeout_s: int = 0
    #: Of :mod:`sidecar.net.tls_ocsp`.
    staple_policy: int = LENIENT
    # Of a client
    sni: str = ""
    auto_host_sni: bool = False
    auto_sni_san_validation: bool = False
    allows_renegotiation: bool = False
    max_session_keys: int = 1


class Shown(NamedTuple):
    """A certificate for ``/certs`` and the stats."""

    path: str
    #: Of the secret that it is; empty where it stands in the context itself.
    name: str
    facts: CertificateFacts
    #: What is handed out with it.
    staple: OcspStaple | None = None


class _Contexts:
    """What servers and clients share."""

    _PROTOCOL = ssl.PROTOCOL_TLS_SERVER

    def __init__(self, settings: TlsSettings) -> None:
        self.settings = settings
        self.verifier: Verifier | None = None
        if self._needs_verifier():
            openssl = library()
            if openssl is None:
                raise TlsUnavailable("the OpenSSL of this Python cannot be asked to verify certificates")
            self.verifier = Verifier(
                settings.rules, openssl, is_server=self._PROTOCOL == ssl.PROTOCOL_TLS_SERVER
            )

    def _needs_verifier(self) -> bool:
        return self.settings.rules.asks_for_certificate

    def _make(self, identities: tuple[Identity, ...]) -> ssl.SSLContext:
        settings = self.settings
        context = ssl.SSLContext(self._PROTOCOL)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        # BoringSSL has no levels of security: old versions and suites work where they are asked for.
        names = [name for group in settings.ciphers for name in group]
        context.set_ciphers(":".join([*names, "@SECLEVEL=0"]))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of old versions that are asked for
            context.minimum_version = settings.minimum
            context.maximum_version = settings.maximum
        if settings.alpn:
            context.set_alpn_protocols(list(settings.alpn))
        if settings.key_log:
            context.keylog_filename = settings.key_log
        for identity in identities:
            identity.load_into(context)
        self._set_further(context)
        if self.verifier is not None:
            self.verifier.install(context)
        return context

    def _set_further(self, context: ssl.SSLContext) -> None:
        settings = self.settings
        openssl = library()
        if openssl is None:
            return
        if settings.groups and not openssl.set_groups(context, settings.groups):
            raise TlsUnavailable(f"Failed to initialize ECDH curves {settings.groups}")
        if settings.signature_algorithms and not openssl.set_signature_algorithms(
            context, settings.signature_algorithms
        ):
            raise TlsUnavailable(
                f"Failed to initialize TLS signature algorithms {settings.signature_algorithms}"
            )
        openssl.set_ciphersuites(context, CIPHERSUITES)
        openssl.send_as_configured(context)

    def own_certificates(self) -> list[Shown]:
        """What is shown to peers."""
        return [Shown(each.path, each.name, CertificateFacts(each.leaf)) for each in self.settings.identities]

    def authorities(self) -> list[Shown]:
        """The first of those that are trusted; as in Envoy it stands for its file."""
        rules = self.settings.rules
        if not rules.trusted_ca:
            return []
        try:
            first = x509.load_pem_x509_certificate(rules.trusted_ca)
        except ValueError:
            return []
        return [Shown(rules.ca_path, rules.ca_name, CertificateFacts(first))]

    @property
    def local_certificates(self) -> tuple[Identity, ...]:
        return self.settings.identities


class ServerContext(_Contexts):
    """Accepts handshakes.  Raises: ssl.SSLError, ValueError for settings that cannot be used."""

    def __init__(self, settings: TlsSettings) -> None:
        super().__init__(settings)
        identities = settings.identities
        self._pairs: dict[tuple[int, ...], ssl.SSLContext] = {}
        self._by_name: dict[str, ssl.SSLContext] = {}
        names: dict[str, dict[bool, int]] = {}
        first: dict[bool, int] = {}
        for index, identity in enumerate(identities):
            first.setdefault(identity.is_ecdsa, index)
            for name in identity.server_names():
                names.setdefault(name, {}).setdefault(identity.is_ecdsa, index)
        self._session_id = self._session_identity()
        #: Raises: ValueError.
        self.stapler = Stapler(identities, settings.staple_policy)
        self._callbacks: list[object] = []
        openssl = library()
        self._order = None
        if openssl is not None and not settings.prefers_client_ciphers:
            self._order = CipherOrder(settings.ciphers, openssl, settings.maximum)
        #: For clients that name nobody: the first of each kind.
        self.default = self._pair(tuple(sorted(first.values())))
        #: For clients that name somebody else.
        self._fallback = self.default if settings.full_scan else self._pair((0,))
        # For clients that cannot verify ECDSA, where a name has nothing else.
        spare = first.get(False) if settings.full_scan or not identities[0].is_ecdsa else None
        for name, pair in names.items():
            if spare is not None:
                pair.setdefault(False, spare)
            self._by_name[name] = self._pair(tuple(sorted(pair.values())))
        if len(self._pairs) > 1:
            self.default.sni_callback = self._choose

    def own_certificates(self) -> list[Shown]:
        return [
            each._replace(staple=self.stapler.staple_of(each.facts.certificate))
            for each in super().own_certificates()
        ]

    def _pair(self, indexes: tuple[int, ...]) -> ssl.SSLContext:
        context = self._pairs.get(indexes)
        if context is None:
            context = self._pairs[indexes] = self._make(
                tuple(self.settings.identities[index] for index in indexes)
            )
        return context

    def _choose(self, tls: Any, name: str | None, _: Any) -> int | None:
        if name is None:
            return None
        found = self._by_name.get(name) or self._by_name.get(f"*.{name.partition('.')[2]}") or self._fallback
        if found is not self.default:
            tls.context = found
        return None

    def _make(self, identities: tuple[Identity, ...]) -> ssl.SSLContext:
        context = super()._make(identities)
        settings = self.settings
        rules = settings.rules
        if settings.prefers_client_ciphers:
            context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
        else:
            context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
        if self._order is not None:
            self._order.install(context)
        self._listen(context)
        if self.verifier is not None:
            is_needed = settings.requires_client_certificate or (
                rules.needs_certificate and not rules.accepts_untrusted
            )
            context.verify_mode = ssl.CERT_REQUIRED if is_needed else ssl.CERT_OPTIONAL
        openssl = library()
        if not settings.has_tickets:
            context.options |= ssl.OP_NO_TICKET
            context.num_tickets = 0  # OpenSSL's sessions of TLS 1.3 would be kept here otherwise
        if openssl is not None:
            openssl.set_session_context(context, self._session_id)
            openssl.set_session_cache(context, is_on=settings.has_session_cache)
            if settings.session_timeout_s:
                openssl.set_timeout(context, settings.session_timeout_s)
            if settings.ticket_keys:
                openssl.set_ticket_key(context, settings.ticket_keys[0])
            if self.verifier is not None:
                openssl.set_client_certificate_types(context)
            if rules.trusted_ca:
                with MemoryFile(rules.trusted_ca) as path:
                    openssl.set_client_ca_list(context, path)
        return context

    def _listen(self, context: ssl.SSLContext) -> None:
        """Let clients' hellos be looked at, and OCSP responses be handed out."""
        openssl = library()
        if openssl is None:
            if self.stapler.staples:
                raise TlsUnavailable("the OpenSSL of this Python cannot be handed OCSP responses")
            return
        stapler = self.stapler
        order = self._order

        def look(connection: int) -> bool:
            if order is not None:
                order.choose(connection)
            return not stapler.refuses(connection, openssl)

        self._callbacks.append(openssl.set_client_hello(context, look))
        if stapler.staples:
            self._callbacks.append(openssl.set_status(context, stapler.choose))

    def _session_identity(self) -> bytes:
        """Sessions are resumed between contexts that verify the same and are for the same names.

        So those sealed by ``session_ticket_keys`` outlive the certificate that they began with, as in Envoy.
        """
        digest = hashlib.sha256()
        for identity in self.settings.identities:
            leaf = identity.leaf
            names = [value for kind, value, _ in alternative_names(leaf) if kind in _SESSION_NAMES]
            common = leaf.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
            digest.update(repr(([each.value for each in common[:1]], names)).encode())
            digest.update(leaf.issuer.public_bytes())
        digest.update(repr(self.settings.rules).encode())
        digest.update(bytes([self.settings.requires_client_certificate]))
        return digest.digest()

    def wrap(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO) -> ssl.SSLObject:
        return self.default.wrap_bio(incoming, outgoing, server_side=True)


@dataclass(frozen=True, slots=True, eq=False)
class _Session:
    """A session that may be resumed, by connections of the context that ask for the same name."""

    context: ssl.SSLContext
    sni: str
    session: ssl.SSLSession
    is_for_once: bool


class ClientContext(_Contexts):
    """Begins handshakes.  Raises: ssl.SSLError, ValueError for settings that cannot be used."""

    _PROTOCOL = ssl.PROTOCOL_TLS_CLIENT

    def __init__(self, settings: TlsSettings) -> None:
        super().__init__(settings)
        self.context = self._make(settings.identities)
        self._with_alpn: dict[tuple[str, ...], ssl.SSLContext] = {settings.alpn: self.context}
        #: Sessions to resume, the latest last.
        self._sessions: list[_Session] = []
        #: What servers signed with when a handshake was whole the last time.
        self.signature = ""

    def _needs_verifier(self) -> bool:
        # Names may be asked for by a request.
        return super()._needs_verifier() or library() is not None

    def _make(self, identities: tuple[Identity, ...]) -> ssl.SSLContext:
        context = super()._make(identities)
        if self.verifier is not None:
            context.verify_mode = ssl.CERT_REQUIRED
        if self.settings.allows_renegotiation:
            context.options &= ~ssl.OP_NO_RENEGOTIATION
        else:
            context.options |= ssl.OP_NO_RENEGOTIATION
        return context

    def wrap_for(
        self, sni: str, alpn: tuple[str, ...] = ()
    ) -> Callable[[ssl.MemoryBIO, ssl.MemoryBIO], ssl.SSLObject]:
        """What makes a connection that asks for ``sni``; ``alpn`` is used where none is configured."""
        context = self.context
        if alpn and not self.settings.alpn:
            found = self._with_alpn.get(alpn)
            if found is None:
                found = self._with_alpn[alpn] = self._make(self.settings.identities)
                found.set_alpn_protocols(list(alpn))
            context = found

        def wrap(incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO) -> ssl.SSLObject:
            return context.wrap_bio(
                incoming, outgoing, server_hostname=sni or None, session=self._session_of(context, sni)
            )

        return wrap

    # -- sessions ---------------------------------------------------------------------------------
    def _session_of(self, context: ssl.SSLContext, sni: str) -> ssl.SSLSession | None:
        """One to resume; those of TLS 1.3 are used once, as RFC 8446 (appendix C.4) wants it."""
        for kept in reversed(self._sessions):
            if kept.context is context and kept.sni == sni:
                if kept.is_for_once:
                    self._sessions.remove(kept)
                return kept.session
        return None

    def keep_session(self, sni: str, tls: ssl.SSLObject) -> None:
        """Keep the session of a connection for the next ones (``max_session_keys``)."""
        limit = self.settings.max_session_keys
        session = tls.session if limit else None
        if session is None or not (session.has_ticket or session.id):
            return
        kept = self._sessions
        kept[:] = [each for each in kept if each.session != session]
        kept.append(_Session(tls.context, sni, session, is_for_once=tls.version() == "TLSv1.3"))
        if len(kept) > limit:
            del kept[0]
