"""TCP health checks: bytes that are sent, and bytes that must come; or a connection alone.

What a host says between checks counts as in Envoy: what was waited for is a check that went well, and to
close the connection is a failure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sidecar.core.address import Address
from sidecar.core.dataclass import dataclass
from sidecar.net.peer_options import PeerOptions
from sidecar.upstream.health_check import NETWORK, Outcome
from sidecar.upstream.health_probes import ERRORS, CheckContext, matches
from sidecar.upstream.proxy_header import LOCAL_HEADER, proxy_header

if TYPE_CHECKING:
    from sidecar.net.reactor import Strand, Transport
    from sidecar.upstream.host import Host

__all__ = ["TcpProbe"]


@dataclass(frozen=True, slots=True)
class TcpProbe:
    """``tcp_health_check``."""

    send: bytes = b""
    receive: tuple[bytes, ...] = ()
    #: Version of the PROXY protocol whose head stands before every question; 0 for none.
    proxy_protocol: int = 0
    http2: bool = False

    def connect(self, context: CheckContext, host: Host) -> Any:
        """What asks one host."""
        return _TcpSession(self, context, host)


class _TcpSession:
    closes_when_late = True
    verified = False

    def __init__(self, probe: TcpProbe, context: CheckContext, host: Host) -> None:
        self._probe = probe
        self._reactor = context.reactor
        self._connector = context.cluster.connector
        self._target = context.target_of(host)
        self._options = PeerOptions(context.alpn)
        self._transport: Transport | None = None
        self._heard = bytearray()

    @property
    def is_listening(self) -> bool:
        """Whether there is a connection on which the host may say something."""
        return self._transport is not None

    async def ask(self, strand: Strand) -> Outcome:
        """One check."""
        probe = self._probe
        try:
            transport = self._transport
            if transport is None:
                transport = self._transport = await self._connector.connect(
                    self._reactor, self._target, strand, has_timeout=False, options=self._options
                )
            if not probe.receive:
                self.disconnect()
                return Outcome()
            if question := self._question(transport):
                await transport.send_all(question)
        except (*ERRORS, OSError):
            self.disconnect()
            return NETWORK
        return await self.listen(strand)

    async def listen(self, strand: Strand) -> Outcome:
        """What the host says until it said enough."""
        transport, heard = self._transport, self._heard
        assert transport is not None
        try:
            while True:
                chunk = await transport.receive(65536)
                if not chunk:
                    break
                heard += chunk
                if matches(self._probe.receive, heard):
                    heard.clear()
                    return Outcome()
        except (*ERRORS, OSError):
            pass
        self.disconnect()
        return NETWORK

    def disconnect(self) -> None:
        """Close the connection; the next check makes another."""
        transport, self._transport = self._transport, None
        self._heard.clear()
        if transport is not None:
            transport.close()

    def _question(self, transport: Transport) -> bytes:
        version = self._probe.proxy_protocol
        if version == 1:
            sock = transport.sock
            local = Address.from_sockaddr(sock.family, sock.getsockname()).text
            return proxy_header(local, self._target.address, 1) + self._probe.send
        return (LOCAL_HEADER if version else b"") + self._probe.send
