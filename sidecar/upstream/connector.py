"""Connections to the hosts of a cluster: every one is made here, whoever wants it.

Pools of every protocol and the health checks share the :class:`Connector` of their cluster: a socket is
prepared as the cluster says (:mod:`sidecar.upstream.connect_options`), connected, and ``handshake`` makes the
transport that is used out of it.  A host of several addresses has several attempts
(:mod:`sidecar.upstream.happy_eyeballs`).  All of it has ``Cluster.connect_timeout``.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from sidecar.core.errors import DeadlineExceeded
from sidecar.net.limited_transport import LimitedTransport
from sidecar.net.peer_options import PLAIN_OPTIONS, PeerOptions
from sidecar.net.reactor import Reactor, Strand, Transport
from sidecar.upstream.connect_options import BindError, ConnectOptions
from sidecar.upstream.happy_eyeballs import connect_first, sort_addresses
from sidecar.upstream.pool import connect_failure, connect_timeout

if TYPE_CHECKING:
    from sidecar.core.address import Address
    from sidecar.upstream.cluster import ClusterConfig
    from sidecar.upstream.cluster_stats import ClusterStats
    from sidecar.upstream.host import Host
    from sidecar.upstream.source import UpstreamSource
    from sidecar.upstream.transport_sockets import TransportSockets

__all__ = ["Connector", "Handshake"]

#: ``handshake(transport, host, options)``: the transport to be used.  Raises: UpstreamError.  Whatever it
#: raises, the connector closes the transport that it was given.
Handshake = Callable[[Transport, "Host", PeerOptions], Awaitable[Transport]]


class Connector:
    """Makes the connections of one cluster."""

    __slots__ = ("_options", "_read_limit", "_sockets", "_stats", "handshake", "timeout_s")

    def __init__(self, config: ClusterConfig, stats: ClusterStats | None = None) -> None:
        """``stats`` are those of connections for requests; health checks count in none."""
        self.timeout_s = config.connect_timeout_s
        self._options = config.connect_options
        self._read_limit = config.read_limit
        self._stats = stats
        #: None where the bytes of the connection are used as they are.
        self.handshake: Handshake | None = None
        #: None where every connection goes to its host.
        self._sockets: TransportSockets | None = None
        self.use(config.transport_sockets)

    def use(self, sockets: TransportSockets | None) -> None:
        """Let connections go through these transport sockets."""
        self.handshake = None if sockets is None else sockets.shake_hands
        self._sockets = sockets if sockets is not None and sockets.has_layers else None
        if self._sockets is not None and self._stats is not None:
            self.handshake = partial(self._sockets.shake_hands, sent=self._stats.upstream_cx_tx_bytes_total)

    async def connect(
        self,
        reactor: Reactor,
        host: Host,
        strand: Strand,
        *,
        has_timeout: bool = True,
        options: PeerOptions = PLAIN_OPTIONS,
        source: UpstreamSource | None = None,
    ) -> Transport:
        """A connection to ``host``, ready to be used.  ``strand`` carries the deadline.

        What edges said meanwhile stays: a server may speak, or leave, at once, and no edge comes twice.
        Raises: UpstreamError.  If cancelled: nothing is left open.
        """
        if has_timeout:
            strand.deadline = reactor.clock() + self.timeout_s if self.timeout_s else 0.0
        addresses: Sequence[Address] = host.addresses
        if self._sockets is not None and (proxy := self._sockets.address_of(host)) is not None:
            addresses = (proxy,)
        try:
            if len(addresses) == 1:
                return await self._attempt(reactor, host, addresses[0], options, source)
            ours = self._options
            if ours is None:
                addresses = sort_addresses(addresses)
            else:
                addresses = sort_addresses(addresses, ours.first_family, ours.first_count)
            first = addresses[0]

            async def attempt(address: Address) -> Transport:
                if address is not first and self._stats is not None:
                    # Envoy counts every attempt as a connection, but ends one.
                    self._stats.upstream_cx_total.value += 1
                    host.cx_total += 1
                return await self._attempt(reactor, host, address, options, source)

            return await connect_first(reactor, f"connect to {host.address}", strand, addresses, attempt)
        except DeadlineExceeded:
            raise connect_timeout() from None
        finally:
            if has_timeout:
                strand.deadline = 0.0

    async def _attempt(
        self,
        reactor: Reactor,
        host: Host,
        address: Address,
        options: PeerOptions,
        source: UpstreamSource | None,
    ) -> Transport:
        transport = await self._open(reactor, address, source)
        if self.handshake is None:
            return transport
        try:
            return await self.handshake(transport, host, options)
        except BaseException:
            transport.close()
            raise

    async def _open(self, reactor: Reactor, address: Address, source: UpstreamSource | None) -> Transport:
        """A connected transport."""
        try:
            sock = socket.socket(
                address.family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
            )
        except OSError as error:  # no descriptor is left
            raise connect_failure(error.strerror or "", remote=False) from error
        if address.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._options is not None or source is not None:
            self._prepare(sock, address, self._options or ConnectOptions(), source)
        code = sock.connect_ex(address.sockaddr)
        if code not in (0, errno.EINPROGRESS):
            sock.close()
            raise connect_failure(os.strerror(code), remote=code == errno.ECONNREFUSED)
        limit = self._read_limit
        transport = Transport(sock, reactor) if limit is None else LimitedTransport(sock, reactor, limit)
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

    def _prepare(
        self, sock: socket.socket, address: Address, options: ConnectOptions, source: UpstreamSource | None
    ) -> None:
        try:
            options.prepare(sock, address, source)
        except BindError as error:
            sock.close()
            if self._stats is not None:
                self._stats.bind_errors.value += 1
            raise connect_failure(str(error), remote=False) from error
        except OSError as error:
            sock.close()
            raise connect_failure("", remote=False) from error
