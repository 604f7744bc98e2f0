"""Downstream TLS of one filter chain: from an accepted socket to a transport that speaks HTTP's bytes."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from sidecar.core.errors import DeadlineExceeded, Disconnected
from sidecar.net.tls_facts import TlsFacts
from sidecar.net.tls_names import failure_reason
from sidecar.net.tls_stats import TlsStats
from sidecar.net.tls_transport import TlsTransport

if TYPE_CHECKING:
    from sidecar.net.reactor import Strand, Transport
    from sidecar.net.tls_context import ServerContext
    from sidecar.net.tls_verify import Verdict
    from sidecar.observability.stats import Counter, Scope

__all__ = ["TlsServer", "explain", "tls_serve"]

Serve = Callable[[Any, "Transport", "Strand"], Coroutine[Any, Any, None]]

_TIMEOUT = "transport socket timeout was reached"
_MISUSE = "TLS_error:|268435758:SSL routines:OPENSSL_internal:KEY_USAGE_BIT_INCORRECT:TLS_error_end"
_NO_CERTIFICATE = "PEER_DID_NOT_RETURN_A_CERTIFICATE"


def explain(error: ssl.SSLError, verdict: Verdict | None) -> tuple[str, str]:
    """Envoy's ``transport_failure_reason`` of a broken handshake, and the counter that it belongs to."""
    if error.reason == "CERTIFICATE_VERIFY_FAILED" and verdict is not None:
        if verdict.misuse is not None:
            return _MISUSE, ""
        return failure_reason(error, verdict.reason), verdict.counter
    if error.reason == _NO_CERTIFICATE:
        return failure_reason(
            error, "peer did not provide required client certificate"
        ), "fail_verify_no_cert"
    return failure_reason(error), ""


class TlsServer:
    """``DownstreamTlsContext`` of a filter chain."""

    def __init__(self, context: ServerContext | None) -> None:
        #: New connections take it; None while its secrets are not there.
        self.context = context
        self.timeout_s = 0.0
        #: Those that shake hands against a timeout.
        self._timed: set[Strand] = set()
        self.stats: TlsStats | None = None
        self._timeouts: Counter | None = None

    def replace_context(self, context: ServerContext | None) -> None:
        """Let new connections take another context."""
        self.context = context
        self._count_for(context)

    def _count_for(self, context: ServerContext | None) -> None:
        if self.stats is not None and context is not None:
            self.stats.show_expiry(context)
            context.stapler.count = self.stats.count

    def set_scope(self, scope: Scope) -> None:
        """Count in ``listener.<address>.``."""
        self.stats = TlsStats(scope)
        self._count_for(self.context)
        self._timeouts = scope.counter("downstream_cx_transport_socket_connect_timeout")

    def move_timeout(self, seconds: float, more_s: float) -> None:
        """The timeout is ``seconds`` from now on, ``more_s`` later for who shakes hands already."""
        self.timeout_s = seconds
        for strand in self._timed:
            strand.deadline += more_s
            strand.stir()

    async def accept(self, plain: Transport, connection: Any, strand: Strand) -> TlsTransport:
        """The transport over ``plain``, which it takes over, once hands are shaken.

        Raises: Disconnected; ``connection.transport_failure_reason`` says why.  If cancelled: nothing is left
        open.
        """
        context = self.context
        if context is None:
            plain.close()
            connection.transport_failure_reason = "TLS error: Secret is not supplied by SDS"
            raise Disconnected("no certificate yet")
        transport = TlsTransport(plain, context.wrap)
        stats = self.stats
        if self.timeout_s:
            strand.deadline = plain.reactor.clock() + self.timeout_s
            self._timed.add(strand)
        try:
            await transport.handshake(context.verifier)
        except ssl.SSLError as error:
            transport.close()
            reason, counter = explain(error, transport.verdict)
            connection.transport_failure_reason = reason
            if stats is not None:
                stats.failed(counter)
            raise Disconnected(reason) from error
        except DeadlineExceeded:
            transport.close()
            connection.transport_failure_reason = _TIMEOUT
            if self._timeouts is not None:
                self._timeouts.value += 1
            raise Disconnected("transport socket timeout") from None
        except OSError as error:
            transport.close()
            raise Disconnected(str(error)) from error
        except BaseException:
            transport.close()
            raise
        finally:
            strand.deadline = 0.0
            self._timed.discard(strand)
        verdict = transport.verdict
        facts = TlsFacts(
            transport.tls,
            verdict.chain if verdict is not None else [],
            context.local_certificates,
            is_validated=verdict.is_validated
            if verdict is not None
            else _was_validated(transport.tls, context),
            is_server=True,
        )
        connection.tls = facts
        if stats is not None:
            if verdict is not None and verdict.counter:
                stats.count(verdict.counter)  # it was accepted all the same
            stats.shook_hands(transport.tls, has_peer=context.verifier is not None and facts.has_peer)
        return transport


def tls_serve(server: TlsServer, serve: Serve, on_refused: Callable[..., None] | None = None) -> Serve:
    """``serve`` behind a handshake.

    ``on_refused(connection, is_remote=…)`` is told of those that fail in it; as for Envoy only those that
    take too long are ended by us.
    """

    async def shake_hands_and_serve(connection: Any, plain: Transport, strand: Strand) -> None:
        try:
            transport = await server.accept(plain, connection, strand)
        except Disconnected:
            if on_refused is not None:
                on_refused(connection, is_remote=connection.transport_failure_reason != _TIMEOUT)
            raise
        try:
            await serve(connection, transport, strand)
        finally:
            transport.close()

    return shake_hands_and_serve


def _was_validated(tls: ssl.SSLObject, context: ServerContext) -> bool:
    """A resumed session was validated when it began, by rules that are the same."""
    verifier = context.verifier
    return bool(
        tls.session_reused
        and verifier is not None
        and not verifier.rules.accepts_untrusted
        and tls.getpeercert(binary_form=True)
    )
