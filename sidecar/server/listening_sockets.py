"""Where a listener's sockets come from, and who accepts on them.

A process that serves alone binds them.  A supervisor binds one for each of its workers, keeps all of them, so
that connections wait in the queue of a worker that is being replaced, and accepts nothing itself.  A worker
uses what its supervisor sent.  A new epoch of a hot restart has them from the one before
(:mod:`sidecar.server.hot_restart`).
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any, Protocol

from sidecar.core.address import Address
from sidecar.server.bind import BindError, BindOptions, bind

__all__ = ["GivenSockets", "OwnSockets", "SharedSockets", "SocketSource"]


class SocketSource(Protocol):
    """Opens the sockets of listeners."""

    #: How many workers accept on them; 0 where the process does itself.
    workers: int

    def open(
        self, listener: Any, number: int, address: Address, options: BindOptions
    ) -> socket.socket | None:
        """The socket of address ``number`` of a listener; None where it accepts no more.

        Raises: BindError.
        """
        ...

    def opened(self, listener: Any) -> None:
        """All of a listener's sockets are open."""


class OwnSockets:
    """Bound here."""

    workers = 0

    def open(self, listener: Any, number: int, address: Address, options: BindOptions) -> socket.socket:
        return bind(address, reuse_port=listener.reuse_port, options=options, kind=listener.socket_type)

    def opened(self, listener: Any) -> None:
        """Nobody else wants them."""


class SharedSockets:
    """Of a supervisor: the listener's own are its first worker's, the others' are its ``copies``."""

    def __init__(self, workers: int, source: SocketSource, opened: Callable[[Any], None]) -> None:
        """``opened`` is told of each listener whose sockets are open."""
        self.workers = workers
        self._opened = opened
        self._source = source

    def open(self, listener: Any, number: int, address: Address, options: BindOptions) -> socket.socket:
        first = self._source.open(listener, number, address, options)
        assert first is not None  # a supervisor's are bound or inherited
        if address.family != socket.AF_UNIX:
            address = Address.from_sockaddr(address.family, first.getsockname())
        is_shared = address.family == socket.AF_UNIX or not listener.reuse_port
        for _ in range(1, self.workers):
            try:
                each = first.dup() if is_shared else self._source.open(listener, number, address, options)
            except BindError:
                first.close()
                raise
            assert each is not None
            listener.copies.append(each)
        return first

    def opened(self, listener: Any) -> None:
        """The workers get theirs."""
        self._source.opened(listener)
        self._opened(listener)


class GivenSockets:
    """Of a worker: what the supervisor sent before the listener that it is for."""

    workers = 0

    def __init__(self) -> None:
        self._given: dict[str, list[int]] = {}
        #: Listeners that accept no more: those whose worker died behind a drain.
        self._closed: set[str] = set()

    def take(self, name: str, descriptors: list[int], *, is_closed: bool) -> None:
        """Keep these for the listener of this name; those that nobody used are closed."""
        for each in self._given.pop(name, ()):
            socket.close(each)
        self._given[name] = descriptors
        self._closed.discard(name)
        if is_closed:
            self._closed.add(name)

    def open(
        self, listener: Any, number: int, address: Address, options: BindOptions
    ) -> socket.socket | None:
        given = self._given.get(listener.name)
        if listener.name in self._closed:
            return None
        if not given:
            raise BindError(f"cannot bind '{address.text}': the supervisor has not")
        sock = socket.socket(fileno=given.pop(0))
        sock.setblocking(False)
        return sock

    def opened(self, listener: Any) -> None:
        """Those beyond the addresses are of an epoch that had more workers."""
        for each in self._given.pop(listener.name, ()):
            sock = socket.socket(fileno=each)
            sock.setblocking(False)
            listener.spare.append(sock)
