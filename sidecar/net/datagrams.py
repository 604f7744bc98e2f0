"""What the kernel says and wants beside a datagram: segments of a train, and the address it was sent to.

A socket with ``UDP_GRO`` gives several datagrams of one size as one piece, and a piece is sent as several
with ``UDP_SEGMENT`` (udp(7)): a burst costs one system call.  A socket that listens on every address learns
from ``IP_PKTINFO`` (ip(7), ipv6(7)) which one the client meant, and answers from there.
"""

from __future__ import annotations

import logging
import select
import socket
import struct
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from sidecar.core.dataclass import dataclass
from sidecar.net.reactor import Transport

__all__ = [
    "BATCH",
    "MAX_DATAGRAM",
    "DatagramSettings",
    "DatagramTransport",
    "dropped_by_kernel",
    "enable_gro",
    "enable_local_address",
    "enable_transparent",
    "from_address",
    "local_address",
    "segment_size",
    "segments",
    "send_segments",
]

logger = logging.getLogger("sidecar.udp")

#: More than any datagram has.
MAX_DATAGRAM = 65535
#: Datagrams that are taken from a socket before others have their turn.
BATCH = 16

# Of Linux; Python has no names for them.
_SOL_UDP = 17
_UDP_SEGMENT, _UDP_GRO = 103, 104
_IP_PKTINFO, _IP_TRANSPARENT = 8, 19
_IPV6_RECVPKTINFO, _IPV6_PKTINFO, _IPV6_TRANSPARENT = 49, 50, 75
_SO_MEMINFO, _SK_MEMINFO_DROPS = 55, 8
#: The kernel takes so many segments in one piece (UDP_MAX_SEGMENTS was 64 before Linux 6.9).
_MOST_SEGMENTS = 64
#: What a piece of several segments may have.
_MOST_BYTES = 65000

Ancillary = Sequence[tuple[int, int, bytes]]


@dataclass(frozen=True, slots=True)
class DatagramSettings:
    """``envoy.config.core.v3.UdpSocketConfig``."""

    max_rx_datagram_size: int = 1500
    prefer_gro: bool = False

    @property
    def limit(self) -> int:
        """What is longer is dropped; with GRO, whose pieces are long, nothing is, as in Envoy."""
        return MAX_DATAGRAM if self.prefer_gro else self.max_rx_datagram_size


class DatagramTransport(Transport):
    """A socket of datagrams, registered for reading, level-triggered.

    What ``read_with`` was given takes a few datagrams; as long as there are more it is called in every pass
    of the reactor, between the events of connections, and nobody has to read until nothing is left.
    """

    __slots__ = ()

    events = select.EPOLLIN

    def read_with(self, take: Callable[[], None]) -> None:
        """Have ``take`` called.  An error of its own harms the datagrams at hand, and not the reactor."""

        def guarded() -> None:
            try:
                take()
            except Exception:
                logger.exception("datagrams were lost")

        self.on_idle_event = guarded


def enable_gro(sock: socket.socket) -> bool:
    """Ask for trains of datagrams in one piece; False where the kernel cannot."""
    try:
        sock.setsockopt(_SOL_UDP, _UDP_GRO, 1)
    except OSError:
        return False
    return True


def enable_local_address(sock: socket.socket) -> None:
    """Have the address that a datagram was sent to told with it.  Raises: OSError."""
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVPKTINFO, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)


def enable_transparent(sock: socket.socket) -> None:
    """Let the socket send from addresses of others.  Raises: OSError without the right to."""
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_TRANSPARENT, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IP, _IP_TRANSPARENT, 1)


def local_address(ancillary: Ancillary) -> bytes | None:
    """Where a datagram was sent to, packed; None where nothing was told."""
    for level, kind, data in ancillary:
        if level == socket.IPPROTO_IP and kind == _IP_PKTINFO:
            return data[8:12]
        if level == socket.IPPROTO_IPV6 and kind == _IPV6_PKTINFO:
            return data[:16]
    return None


def from_address(packed: bytes) -> tuple[int, int, bytes]:
    """The control message that sends from an address."""
    if len(packed) == 4:
        return socket.IPPROTO_IP, _IP_PKTINFO, struct.pack("@I4s4s", 0, packed, bytes(4))
    return socket.IPPROTO_IPV6, _IPV6_PKTINFO, struct.pack("@16sI", packed, 0)


def segment_size(ancillary: Ancillary) -> int:
    """The length of each datagram of a piece but the last; 0 for a piece that is one datagram."""
    for level, kind, data in ancillary:
        if level == _SOL_UDP and kind == _UDP_GRO:
            size: int = struct.unpack_from("@i", data)[0]
            return size
    return 0


def segments(data: bytes, size: int) -> list[bytes]:
    """The datagrams of a piece."""
    if not size or len(data) <= size:
        return [data]
    return [data[start : start + size] for start in range(0, len(data), size)]


def send_segments(
    sock: socket.socket,
    pieces: Sequence[bytes],
    size: int,
    ancillary: Iterable[tuple[int, int, bytes]] = (),
    peer: Any = None,
) -> bool:
    """Send ``pieces`` as datagrams of ``size`` with one call; False where it has to be one by one."""
    length = sum(map(len, pieces))
    if not 0 < size < length or length > _MOST_BYTES or length > size * _MOST_SEGMENTS:
        return False
    control = [*ancillary, (_SOL_UDP, _UDP_SEGMENT, struct.pack("@H", size))]
    try:
        if peer is None:
            sock.sendmsg(pieces, control)
        else:
            sock.sendmsg(pieces, control, 0, peer)
    except OSError:
        # The way is too narrow for a segment, the device cannot do it, or an old error is told now.
        return False
    return True


def dropped_by_kernel(sock: socket.socket) -> int:
    """How many datagrams found no room in the receive buffer, ever."""
    try:
        info = sock.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, 4 * (_SK_MEMINFO_DROPS + 1))
    except OSError:
        return 0
    numbers = struct.unpack(f"@{len(info) // 4}I", info)
    return numbers[_SK_MEMINFO_DROPS] if len(numbers) > _SK_MEMINFO_DROPS else 0
