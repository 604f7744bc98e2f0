"""What the filters of UDP listeners are.

The factory of one compiles a message to a :class:`UdpFilterRecipe`; the composition root builds it, and the
listener opens it for each of its sockets and hands it every datagram.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from sidecar.api.network import ServerParts

__all__ = ["UdpFilter", "UdpFilterRecipe", "UdpPort", "UdpReadFilter"]


class UdpPort(Protocol):
    """One socket of a UDP listener."""

    #: Where it is bound, as :class:`sidecar.core.address.Address`.
    address: Any
    listener_name: str
    traffic_direction: str

    #: ``sendto(data, peer)`` of the socket, for where ``local`` is None.
    sendto: Any

    def send(self, data: bytes, peer: Any, local: bytes | None) -> None:
        """Send a datagram.  Raises: OSError."""

    def send_segments(self, data: bytes, size: int, peer: Any, local: bytes | None) -> bool:
        """Send a piece as datagrams of ``size`` at once; False where that cannot be."""

    def local_text(self, local: bytes | None) -> str:
        """The address that ``local`` stands for, with the port."""

    def peer_text(self, peer: Any) -> str:
        """The same for a client's."""


class UdpReadFilter(Protocol):
    """What gets the datagrams of one socket."""

    def on_datagrams(self, run: list[bytes], peer: Any, local: bytes | None) -> None:
        """Datagrams of one client came, one behind the other, all of one length; the last may be shorter.

        ``local``: where they were sent to, packed, where the socket has many addresses.  It is a plain
        function that the reactor calls, and raises nothing.
        """

    def on_receive_error(self) -> None:
        """The socket could not be read."""

    def close(self) -> None:
        """The socket is closed."""


class UdpFilter(Protocol):
    """A filter that was built, for all sockets of its listener."""

    access_logs: Sequence[Any]

    def open(self, port: UdpPort, strand: Any) -> UdpReadFilter:
        """Serve a socket; ``strand`` lives as long as it does and keeps the filter's timers."""


@runtime_checkable
class UdpFilterRecipe(Protocol):
    """A filter of a UDP listener that waits for the server's parts."""

    def build_udp(self, parts: ServerParts) -> UdpFilter:
        """The filter.  Raises: ConfigError with a path from the bootstrap's root."""
        ...
