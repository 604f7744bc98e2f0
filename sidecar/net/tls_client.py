"""Upstream TLS: from a connected socket to a transport that speaks what the cluster speaks."""

from __future__ import annotations

import ssl
from functools import partial
from typing import TYPE_CHECKING

from sidecar.core.errors import Disconnected
from sidecar.net.peer_options import PeerOptions, TlsRefused
from sidecar.net.tls_facts import TlsFacts
from sidecar.net.tls_server import explain
from sidecar.net.tls_stats import TlsStats
from sidecar.net.tls_transport import TlsTransport
from sidecar.net.tls_verify import Expected

if TYPE_CHECKING:
    from sidecar.net.reactor import Transport
    from sidecar.net.tls_context import ClientContext
    from sidecar.observability.stats import Scope

__all__ = ["TlsClient"]

#: What BoringSSL adds where the server answers the hello itself with an alert.
_ON_CLIENT_HELLO = "|268435610:SSL routines:OPENSSL_internal:HANDSHAKE_FAILURE_ON_CLIENT_HELLO:TLS_error_end"


class TlsClient:
    """``UpstreamTlsContext`` of a cluster."""

    def __init__(self, context: ClientContext | None) -> None:
        #: New connections take it; None while its secrets are not there.
        self.context = context
        self.stats: TlsStats | None = None

    def replace_context(self, context: ClientContext | None) -> None:
        """Let new connections take another context."""
        self.context = context
        if self.stats is not None and context is not None:
            self.stats.show_expiry(context)

    def set_scope(self, scope: Scope) -> None:
        """Count in ``cluster.<name>.``."""
        self.stats = TlsStats(scope)
        if self.context is not None:
            self.stats.show_expiry(self.context)

    async def shake_hands(self, plain: Transport, hostname: str, options: PeerOptions) -> TlsTransport:
        """The transport over ``plain``, which it takes over.  ``hostname`` is the endpoint's.

        Raises: TlsRefused.  If cancelled: nothing is left open.
        """
        context = self.context
        if context is None:
            plain.close()
            raise TlsRefused("TLS_error: Secret is not supplied by SDS")
        settings = context.settings
        sni = options.sni or (settings.auto_host_sni and hostname) or settings.sni
        expected = Expected(options.names)
        if settings.auto_sni_san_validation and not options.names and sni:
            expected = Expected((sni,), is_matcher=True)
        transport = TlsTransport(plain, context.wrap_for(sni, options.alpn))
        stats = self.stats
        try:
            await transport.handshake(context.verifier, expected)
        except ssl.SSLError as error:
            transport.close()
            reason, counter = explain(error, transport.verdict)
            if error.reason == "SSLV3_ALERT_HANDSHAKE_FAILURE" and transport.tls.cipher() is None:
                reason = reason.replace(":TLS_error_end", _ON_CLIENT_HELLO)
            if stats is not None:
                stats.failed(counter)
            raise TlsRefused(reason) from error
        except (OSError, Disconnected) as error:
            transport.close()
            raise TlsRefused("") from error
        except BaseException:
            transport.close()
            raise
        verdict = transport.verdict
        transport.facts = TlsFacts(
            transport.tls,
            verdict.chain if verdict is not None else [],
            context.local_certificates,
            is_validated=verdict is not None and verdict.is_validated,
            is_server=False,
        )
        if stats is not None:
            if verdict is not None and verdict.counter:
                stats.count(verdict.counter)
            context.signature = stats.shook_hands(
                transport.tls, has_peer=True, known_signature=context.signature
            )
        if transport.tls.version() == "TLSv1.3":
            # Its tickets come later.
            transport.on_closing = partial(context.keep_session, sni)
        else:
            context.keep_session(sni, transport.tls)
        return transport
