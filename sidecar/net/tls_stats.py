"""The counters under ``ssl.`` of a listener or a cluster (Envoy's ``SslStats``)."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

from sidecar.net.tls_library import library
from sidecar.net.tls_names import GROUP_NAMES, signature_name

if TYPE_CHECKING:
    from sidecar.observability.stats import Counter, Scope

__all__ = ["TlsStats"]

#: What stands for a certificate without a name: the start of the SHA-256 of nothing, as in Envoy.
_NO_NAME = "e3b0c442"
_COUNTERS = (
    "connection_error", "handshake", "session_reused", "no_certificate", "fail_verify_no_cert",
    "fail_verify_error", "fail_verify_san", "fail_verify_cert_hash", "ocsp_staple_failed",
    "ocsp_staple_omitted", "ocsp_staple_responses", "ocsp_staple_requests",
)  # fmt: skip


class TlsStats:
    """What happened on the connections of one scope."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope.scope("ssl")
        for name in _COUNTERS:
            self.scope.counter(name)
        self.handshake = self.scope.counter("handshake")
        self.session_reused = self.scope.counter("session_reused")
        self.no_certificate = self.scope.counter("no_certificate")
        #: Of the handshakes of one suite, version and group: their counters.
        self._kinds: dict[tuple[str, str, int], list[Counter]] = {}

    def show_expiry(self, context: Any) -> None:
        """Say when the certificates of a context expire (``ssl.certificate.``)."""
        for kind, shown in (("ca_cert", context.authorities()), ("cert", context.own_certificates())):
            for each in shown:
                name = each.name or f"unnamed_{kind}_{_NO_NAME}"
                gauge = self.scope.gauge(f"certificate.{name}.expiration_unix_time_seconds")
                gauge.set(int(each.facts.expires_at.timestamp()))

    def count(self, name: str) -> None:
        self.scope.counter(name).value += 1

    def shook_hands(self, tls: ssl.SSLObject, *, has_peer: bool, known_signature: str = "") -> str:
        """A handshake is done; what the peer signed with.

        ``known_signature``: of the handshake that a resumed session began with.
        """
        self.handshake.value += 1
        is_resumed = tls.session_reused
        if is_resumed:
            self.session_reused.value += 1
        if not has_peer:
            self.no_certificate.value += 1
        cipher = tls.cipher()
        openssl = library()
        group = 0 if openssl is None else openssl.group(tls)
        kind = (cipher[0] if cipher is not None else "", tls.version() or "", group)
        counters = self._kinds.get(kind)
        if counters is None:
            counters = self._kinds[kind] = self._counters(*kind)
        for counter in counters:
            counter.value += 1
        if not has_peer or openssl is None:
            return ""
        signature = known_signature if is_resumed else signature_name(*openssl.peer_signature(tls))
        if signature:
            self.count(f"sigalgs.{signature}")
        return signature

    def _counters(self, cipher: str, version: str, group: int) -> list[Counter]:
        names = [f"versions.{version}"]
        if cipher:
            names.append(f"ciphers.{cipher}")
        if group in GROUP_NAMES:
            names.append(f"curves.{GROUP_NAMES[group]}")
        return [self.scope.counter(name) for name in names]

    def failed(self, counter: str) -> None:
        """A handshake broke: ``counter`` is one of ``fail_verify_*``, or empty for the general one."""
        self.count(counter or "connection_error")
