"""Clients and hosts of scenarios that send datagrams."""

from __future__ import annotations

import socket
from types import TracebackType
from typing import Any

import trio

from .lab import Session

#: How long a datagram that should not come is waited for.
SILENCE_S = 0.1


class Peer:
    """A UDP socket on loopback whose port is hidden in observations."""

    def __init__(self, sock: trio.socket.SocketType) -> None:
        self.sock = sock

    @property
    def port(self) -> int:
        return int(self.sock.getsockname()[1])

    async def send(self, data: bytes) -> None:
        """To the port that it is connected to."""
        await self.sock.send(data)

    async def take(self) -> tuple[bytes, Any]:
        """The next datagram and where it came from; the scenario's own deadline bounds it."""
        return await self.sock.recvfrom(70000)

    async def is_silent(self) -> bool:
        """Whether nothing comes for a moment."""
        with trio.move_on_after(SILENCE_S):
            await self.take()
            return False
        return True

    def __enter__(self) -> Peer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.sock.close()


async def client(s: Session, to: str, *, source: str = "127.0.0.1", target: str = "127.0.0.1") -> Peer:
    """A client of the listener `to`."""
    sock = trio.socket.socket(type=socket.SOCK_DGRAM)
    await sock.bind((source, 0))
    await sock.connect((target, s.proxy.ports[to]))
    return Peer(sock)


def host(s: Session, name: str) -> Peer:
    """The host on the port of an upstream of kind `udp`, emptied of what came before."""
    sock = s.proxy.listening[name].dup()
    sock.setblocking(False)
    while True:
        try:
            sock.recv(1)
        except BlockingIOError:
            break
    return Peer(trio.socket.from_stdlib_socket(sock))


async def exchange(client_: Peer, host_: Peer, data: bytes, answer: bytes) -> tuple[bytes, bytes, Any]:
    """Send there and back; what the host got, what the client got, and where from the host got it."""
    await client_.send(data)
    got, peer = await host_.take()
    await host_.sock.sendto(answer, peer)
    return got, (await client_.take())[0], peer
