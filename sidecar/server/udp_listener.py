"""UDP listeners: datagrams are read here, and given to the filter that makes sessions of them.

A socket is read in the reactor's pass, at most :data:`sidecar.net.datagrams.BATCH` datagrams in each, so that
a flood leaves room for connections.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import trio

from sidecar.core.address import Address
from sidecar.net.datagrams import (
    BATCH,
    MAX_DATAGRAM,
    DatagramSettings,
    DatagramTransport,
    dropped_by_kernel,
    enable_gro,
    enable_local_address,
    from_address,
    local_address,
    segment_size,
    segments,
    send_segments,
)
from sidecar.net.reactor import Reactor, Signal, Strand, drive
from sidecar.net.timer import start_timer
from sidecar.server.filter_chain import FilterChains
from sidecar.server.listener import Listener

if TYPE_CHECKING:
    from sidecar.api.udp import UdpFilter, UdpReadFilter
    from sidecar.observability.stats import Counter, Store

__all__ = ["UdpListener", "UdpSocket"]

logger = logging.getLogger("sidecar.udp")

#: Between two looks at how many datagrams found no room.
_LOST_INTERVAL_S = 0.25
_ANCILLARY_BYTES = socket.CMSG_SPACE(20) + socket.CMSG_SPACE(4)


class UdpListener(Listener):
    """A listener of datagrams; what it shares with others is where it is bound and what it is called."""

    socket_type = socket.SOCK_DGRAM

    def __init__(
        self,
        name: str,
        addresses: list[Address],
        filters: Sequence[UdpFilter],
        settings: DatagramSettings,
        reactor: Reactor,
        store: Store,
        **options: Any,
    ) -> None:
        super().__init__(
            name, addresses, FilterChains([], lambda connection: None), reactor, store, **options
        )
        self.filters = tuple(filters)
        self.settings = settings
        self._dropped: Counter
        self.on_bound.append(self._count_in)

    def _count_in(self, scope: Any) -> None:
        self._dropped = scope.counter("udp.downstream_rx_datagram_dropped")

    def begin(self) -> None:
        """Datagrams are kept by the kernel since the sockets were bound."""

    async def run(self) -> None:
        """Read until :meth:`stop_accepting`; sessions end with the sockets."""
        if not self.filters:
            logger.warning("UDP listener %s has no filters. Packets will be dropped.", self.name)
        with trio.CancelScope() as scope:
            self._accept_scope = scope
            async with trio.open_nursery() as nursery:
                if self.source.workers:
                    await trio.sleep_forever()
                places = list(zip(self.sockets, self.addresses, strict=False))
                places += [
                    (each, Address.from_sockaddr(each.family, each.getsockname())) for each in self.spare
                ]
                for sock, address in places:
                    port = UdpSocket(self, sock, address, self._dropped)
                    nursery.start_soon(port.run, name=f"datagrams on {self.name}")
        if self.source.workers:
            self.close()
        self.sockets, self.spare = [], []


class UdpSocket:
    """One socket of a UDP listener (:class:`sidecar.api.udp.UdpPort`)."""

    def __init__(
        self, listener: UdpListener, sock: socket.socket, address: Address, dropped: Counter
    ) -> None:
        self.address = address
        self.listener_name = listener.name
        self.traffic_direction = listener.traffic_direction
        self._listener = listener
        self._sock = sock
        self._limit = listener.settings.limit
        self._dropped = dropped
        self._lost = 0
        self.sendto = sock.sendto
        is_everywhere = address.family != socket.AF_UNIX and address.host in ("0.0.0.0", "::")  # noqa: S104 - it is compared
        has_gro = listener.settings.prefer_gro and enable_gro(sock)
        #: Whether the kernel tells something beside a datagram.
        self._is_told = is_everywhere or has_gro
        if is_everywhere:
            enable_local_address(sock)
        self._reader: UdpReadFilter = _Nobody()

    async def run(self) -> None:
        """Read until cancelled."""
        transport = DatagramTransport(self._sock, self._listener.reactor)
        try:
            await drive(
                self._listener.reactor,
                f"datagrams on {self.address.text}",
                lambda strand: self._serve(transport, strand),
            )
        finally:
            transport.close()

    async def _serve(self, transport: DatagramTransport, strand: Strand) -> None:
        readers = [each.open(self, strand) for each in self._listener.filters]
        # The first filter keeps every datagram; further ones see none, as in Envoy.
        self._reader = readers[0] if readers else _Nobody()
        transport.read_with(self._take_told if self._is_told else self._take_plain)
        self._count_lost(strand)
        try:
            await Signal(self._listener.reactor).wait()  # its end
        finally:
            transport.on_idle_event = None
            for each in readers:
                each.close()

    # -- reading -----------------------------------------------------------------------------------------
    def _take_plain(self) -> None:
        """Hand on a batch, in the reactor's pass."""
        limit, reader = self._limit, self._reader
        receive = self._sock.recvfrom
        run: list[bytes] = []
        whose: Any = None
        for _ in range(BATCH):
            try:
                data, peer = receive(limit + 1)
            except BlockingIOError:
                break
            except OSError:
                reader.on_receive_error()
                break
            if len(data) > limit:
                self._dropped.value += 1
            elif run and (peer != whose or len(data) != len(run[0])):
                reader.on_datagrams(run, whose, None)
                run, whose = [data], peer
            else:
                run.append(data)
                whose = peer
        if run:
            reader.on_datagrams(run, whose, None)

    def _take_told(self) -> None:
        """The same with what the kernel says beside."""
        limit, reader = self._limit, self._reader
        receive = self._sock.recvmsg
        for _ in range(BATCH):
            try:
                data, ancillary, _, peer = receive(min(limit, MAX_DATAGRAM) + 1, _ANCILLARY_BYTES)
            except BlockingIOError:
                return
            except OSError:
                reader.on_receive_error()
                return
            if len(data) > limit:
                self._dropped.value += 1
                continue
            run = segments(data, segment_size(ancillary))
            reader.on_datagrams(run, peer, local_address(ancillary))

    def _count_lost(self, strand: Strand) -> None:
        """Count what the kernel had no room for, from time to time."""
        lost = dropped_by_kernel(self._sock)
        self._dropped.value += lost - self._lost
        self._lost = lost
        when = strand.reactor.clock() + _LOST_INTERVAL_S
        start_timer(strand, when, partial(self._count_lost, strand), "lost datagrams", is_of_stream=False)

    # -- for filters -------------------------------------------------------------------------------------
    def send(self, data: bytes, peer: Any, local: bytes | None) -> None:
        """Send a datagram.  Raises: OSError."""
        if local is None:
            self.sendto(data, peer)
        else:
            self._sock.sendmsg([data], [from_address(local)], 0, peer)

    def send_segments(self, data: bytes, size: int, peer: Any, local: bytes | None) -> bool:
        """Send a piece as datagrams of ``size`` at once; False where that cannot be."""
        return send_segments(self._sock, [data], size, () if local is None else (from_address(local),), peer)

    def local_text(self, local: bytes | None) -> str:
        """The address that ``local`` stands for, with the port."""
        if local is None:
            return self.address.text
        family = socket.AF_INET if len(local) == 4 else socket.AF_INET6
        return Address.from_sockaddr(family, (socket.inet_ntop(family, local), self.address.port)).text

    def peer_text(self, peer: Any) -> str:
        """The same for a client's."""
        return Address.from_sockaddr(self.address.family, peer).text


class _Nobody:
    """Where there is no filter, datagrams are read and dropped."""

    def on_datagrams(self, run: list[bytes], peer: Any, local: bytes | None) -> None:
        return

    def on_receive_error(self) -> None:
        return

    def close(self) -> None:
        return
