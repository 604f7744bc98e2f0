"""Connections to the hosts of a cluster: every one is made here, whoever wants it.

Pools of every protocol and the health checks share the :class:`Connector` of their cluster: the addresses of
the host are tried in order, then ``handshake`` makes the transport that is used out of the one that was
connected.  All of it has ``Cluster.connect_timeout``.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from sidecar.core.errors import DeadlineExceeded, UpstreamError
from sidecar.net.reactor import Reactor, Strand, Transport
from sidecar.net.tls_client import PLAIN_OPTIONS, PeerOptions
from sidecar.upstream.pool import connect_failure, connect_timeout

if TYPE_CHECKING:
    from sidecar.core.address import Address
    from sidecar.upstream.cluster import ClusterConfig
    from sidecar.upstream.host import Host

__all__ = ["Connector", "Handshake"]

#: ``handshake(transport, host, options)``: the transport to be used.  Raises: UpstreamError.  Whatever it
#: raises, the connector closes the transport that it was given.
Handshake = Callable[[Transport, "Host", PeerOptions], Awaitable[Transport]]


class Connector:
    """Makes the connections of one cluster."""

    __slots__ = ("handshake", "timeout_s")

    def __init__(self, config: ClusterConfig) -> None:
        self.timeout_s = config.connect_timeout_s
        #: None where the bytes of the connection are used as they are.
        sockets = config.transport_sockets
        self.handshake: Handshake | None = None if sockets is None else sockets.shake_hands

    async def connect(
        self,
        reactor: Reactor,
        host: Host,
        strand: Strand,
        *,
        has_timeout: bool = True,
        options: PeerOptions = PLAIN_OPTIONS,
    ) -> Transport:
        """A connection to ``host``, ready to be used.  ``strand`` carries the deadline.

        Raises: UpstreamError.  If cancelled: nothing is left open.
        """
        last: UpstreamError | None = None
        if has_timeout:
            strand.deadline = reactor.clock() + self.timeout_s if self.timeout_s else 0.0
        try:
            for address in host.addresses:
                try:
                    transport = await self._open(reactor, address)
                    if self.handshake is not None:
                        transport = await self._shake_hands(transport, host, options)
                except UpstreamError as error:
                    last = error
                else:
                    # What edges said meanwhile stays: a server may speak, or leave, at once, and no edge
                    # comes twice.
                    return transport
        except DeadlineExceeded:
            raise connect_timeout() from None
        finally:
            if has_timeout:
                strand.deadline = 0.0
        raise last or connect_failure("the host has no address", remote=False)

    async def _open(self, reactor: Reactor, address: Address) -> Transport:
        """A connected transport."""
        try:
            sock = socket.socket(
                address.family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
            )
        except OSError as error:  # no descriptor is left
            raise connect_failure(error.strerror or "", remote=False) from error
        if address.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        code = sock.connect_ex(address.sockaddr)
        if code not in (0, errno.EINPROGRESS):
            sock.close()
            raise connect_failure(os.strerror(code), remote=code == errno.ECONNREFUSED)
        transport = Transport(sock, reactor)
        try:
            await transport.writable()
        except BaseException:
            transport.close()
            raise
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            transport.close()
            raise connect_failure(f"delayed connect error: {os.strerror(code)}")
        return transport

    async def _shake_hands(self, transport: Transport, host: Host, options: PeerOptions) -> Transport:
        assert self.handshake is not None
        try:
            return await self.handshake(transport, host, options)
        except BaseException:
            transport.close()
            raise
