"""One session of a UDP proxy: a client's address, and a socket of its own towards a host."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

from sidecar.core.address import Address
from sidecar.net.datagrams import (
    BATCH,
    MAX_DATAGRAM,
    DatagramTransport,
    enable_gro,
    enable_transparent,
    from_address,
    segment_size,
    segments,
    send_segments,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from sidecar.api.stream import Stream
    from sidecar.extensions.udp.udp_proxy import UdpCluster, UdpProxyFilter
    from sidecar.upstream.host import Host

__all__ = ["UdpSession", "session_metadata"]

_ANCILLARY_BYTES = socket.CMSG_SPACE(4)
#: What comes so soon behind another datagram is read with those behind it.
_BURST_S = 0.0001
#: So many at once are worth to be asked for in pieces, which makes each of a few dearer.
_MANY = 4


class UdpSession:
    """Made with its socket, which is connected by the first datagram; see the module.

    What the host sends is read in the reactor's pass, without a strand: a session that waits is a socket and
    this object.
    """

    __slots__ = (
        "_clock",
        "_control",
        "_has_gro",
        "_is_connected",
        "_limit",
        "_peer",
        "_port",
        "_prefers_gro",
        "_receive",
        "_sendto",
        "_sock",
        "_stats",
        "cluster",
        "filter",
        "host",
        "is_closed",
        "key",
        "last",
        "local",
        "number",
        "rx_bytes",
        "rx_datagrams",
        "send",
        "stream",
        "transport",
        "tx_bytes",
        "tx_datagrams",
        "tx_errors",
    )

    def __init__(
        self,
        proxy_filter: UdpProxyFilter,
        cluster: UdpCluster,
        host: Host,
        key: Any,
        peer: Any,
        local: bytes | None,
        number: int,
    ) -> None:
        """Raises: OSError, when there is no descriptor left."""
        config = proxy_filter.proxy.config
        self.filter = proxy_filter
        self.cluster = cluster
        self.host = host
        self.key = key
        self.local = local
        self.number = number
        self._peer = peer
        self._port = proxy_filter.port
        #: Where the listener's socket has one address, a datagram needs no more than the client's.
        self._sendto = proxy_filter.port.sendto if local is None else None
        self._stats = proxy_filter.proxy.stats
        self._clock = proxy_filter.reactor.clock
        self._limit = config.upstream_socket.limit
        self.last = 0.0
        self.rx_bytes = self.rx_datagrams = self.tx_bytes = self.tx_datagrams = self.tx_errors = 0
        self.is_closed = False
        self.stream: Stream | None = None
        self._control: list[tuple[int, int, bytes]] = []
        kind = socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        sock = self._sock = socket.socket(host.family, kind)
        self._receive = sock.recv
        self._prefers_gro = config.upstream_socket.prefer_gro
        self._has_gro = False
        self._is_connected = False
        #: Sends a datagram to the host.  Raises: OSError.
        self.send: Callable[[bytes], Any] = self._connect_and_send
        if config.use_original_src_ip:
            enable_transparent(sock)
            text = Address.from_sockaddr(self._port.address.family, peer).host
            family = socket.AF_INET6 if ":" in text else socket.AF_INET
            self._control.append(from_address(socket.inet_pton(family, text)))
            self.send = self._send_as_client
        transport = self.transport = DatagramTransport(sock, proxy_filter.reactor)
        transport.read_with(self._on_readable)

    # -- towards the host --------------------------------------------------------------------------------
    def _connect_and_send(self, data: bytes) -> None:
        self._sock.connect(self.host.sockaddr)
        self._is_connected = True
        self.send = self._sock.send
        self._sock.send(data)

    def send_run(self, run: list[bytes]) -> bool:
        """Send several datagrams of one length with one call; False where they have to be sent one by one."""
        return self._is_connected and send_segments(self._sock, run, len(run[0]))

    def _send_as_client(self, data: bytes) -> None:
        self._sock.sendmsg([data], self._control, 0, self.host.sockaddr)

    # -- towards the client ------------------------------------------------------------------------------
    def _on_readable(self) -> None:
        """Hand on what came: one datagram, or a batch where they come one upon the other."""
        now = self._clock()
        is_burst = now - self.last < _BURST_S
        self.last = now
        if self._has_gro:
            self._take_pieces()
            return
        limit, receive = self._limit, self._receive
        for taken in range(BATCH if is_burst else 1):
            try:
                data = receive(limit + 1)
            except BlockingIOError:
                return
            except OSError:
                # It tells of an earlier datagram.
                self.cluster.stats.sess_rx_errors.value += 1
                return
            if len(data) > limit:
                self.cluster.stats.sess_rx_datagrams_dropped.value += 1
            else:
                self._hand_on(data)
            if taken >= _MANY and self._prefers_gro:
                # Who answers with trains of datagrams goes on with them.
                self._prefers_gro = False
                self._has_gro = enable_gro(self._sock)
                if self._has_gro:
                    return

    def _take_pieces(self) -> None:
        """The same where datagrams come in pieces."""
        receive = self._sock.recvmsg
        for _ in range(BATCH):
            try:
                data, ancillary, _, _ = receive(MAX_DATAGRAM + 1, _ANCILLARY_BYTES)
            except BlockingIOError:
                return
            except OSError:
                self.cluster.stats.sess_rx_errors.value += 1
                return
            size = segment_size(ancillary) if ancillary else 0
            if not size or len(data) <= size:
                self._hand_on(data)
            else:
                self._hand_on_piece(data, size)

    def _hand_on(self, data: bytes) -> None:
        length = len(data)
        cluster = self.cluster
        cluster.rx_datagrams.value += 1
        cluster.rx_bytes.value += length
        stats = self._stats
        try:
            if self._sendto is None:
                self._port.send(data, self._peer, self.local)
            else:
                self._sendto(data, self._peer)
        except OSError:
            stats.downstream_sess_tx_errors.value += 1
            self.tx_errors += 1
        else:
            stats.downstream_sess_tx_bytes.value += length
            stats.downstream_sess_tx_datagrams.value += 1
            self.tx_bytes += length
            self.tx_datagrams += 1

    def _hand_on_piece(self, data: bytes, size: int) -> None:
        """Send the datagrams of a piece on with one call, where that can be."""
        if not self._port.send_segments(data, size, self._peer, self.local):
            for each in segments(data, size):
                self._hand_on(each)
            return
        length, count = len(data), -(-len(data) // size)
        cluster, stats = self.cluster, self._stats
        cluster.rx_datagrams.value += count
        cluster.rx_bytes.value += length
        stats.downstream_sess_tx_bytes.value += length
        stats.downstream_sess_tx_datagrams.value += count
        self.tx_bytes += length
        self.tx_datagrams += count

    # -- time, and the end -------------------------------------------------------------------------------
    def look_if_idle(self, now: float) -> float:
        """End the session if nothing went through it for ``idle_timeout``; else when to look again."""
        if self.is_closed:
            return 0.0
        due = self.last + self.filter.proxy.config.idle_timeout_s
        if due >= now:
            return due
        self.filter.proxy.stats.idle_timeout.value += 1
        self.filter.end_session(self)
        return 0.0

    def log_period(self, now: float) -> float:
        """Write a line from time to time; the next moment."""
        if self.is_closed:
            return 0.0
        self.log("UdpPeriodic")
        return now + self.filter.proxy.config.log_interval_s

    def close(self) -> None:
        """Close the socket, once what is known of it is logged."""
        self.is_closed = True
        if self.filter.proxy.config.session_logs:
            self.log("UdpSessionEnd")
        # Nothing holds the session any more.
        self.send = self.transport.send
        self.transport.on_idle_event = None
        self.transport.close()

    def log(self, kind: str) -> None:
        """Write a line to the session's access logs."""
        stream = self.stream
        if stream is None:
            return
        stream.access_log_type = kind
        stream.bytes_received = self.rx_bytes
        stream.bytes_sent = self.tx_bytes
        stream.upstream_host = self.host
        if self.send != self._connect_and_send and not self.transport.is_closed:
            name = self._sock.getsockname()
            stream.upstream_local_address = Address.from_sockaddr(self._sock.family, name).text
        stream.dynamic_metadata = session_metadata(self.cluster.cluster.name, self)
        for each in self.filter.proxy.config.session_logs:
            each.log(stream)


def session_metadata(cluster_name: str, session: UdpSession | None) -> dict[str, dict[str, Any]]:
    """What lines tell of a session as dynamic metadata; None for one that never was."""
    return {
        "udp.proxy.session": {
            "cluster_name": cluster_name,
            "bytes_sent": 0 if session is None else session.tx_bytes,
            "bytes_received": 0 if session is None else session.rx_bytes,
            "errors_sent": 0 if session is None else session.tx_errors,
            "datagrams_sent": 0 if session is None else session.tx_datagrams,
            "datagrams_received": 0 if session is None else session.rx_datagrams,
        }
    }
