"""The new epoch's part: it takes sockets and statistics over, and lets the old one drain and end.

In order, as Envoy's: the configuration is made; sockets are asked for; the old admin interface closes and the
new one opens; once the new epoch serves, the old one drains; after ``--parent-shutdown-time-s`` it ends.  A
new epoch that fails before it serves leaves the old one as it was.
"""

from __future__ import annotations

import logging
import socket
from typing import TYPE_CHECKING, Any

import trio

from sidecar.core.address import Address
from sidecar.server.bind import BindOptions
from sidecar.server.hot_restart.endpoint import VERSION, RestartError
from sidecar.server.listening_sockets import OwnSockets
from sidecar.server.workers.channel import Channel
from sidecar.server.workers.frames import FrameError

if TYPE_CHECKING:
    from sidecar.server.main import Server

__all__ = ["InheritedSockets", "Takeover"]

logger = logging.getLogger("sidecar.main")

#: A parent that does not answer for so long is left alone.
_ANSWER_S = 10.0
_COLLECT_S = 2.0
#: The old epoch among those whose gauges add up; workers have the numbers from 0.
PARENT = -1


class _EndedError(RestartError):
    """It does not answer any more."""


class InheritedSockets:
    """Sockets of the old epoch where an address is the same, new ones for the rest."""

    workers = 0

    def __init__(self) -> None:
        self._own = OwnSockets()
        self._given: dict[tuple[int, str], list[socket.socket]] = {}

    def add(self, kind: int, address: str, descriptor: int) -> None:
        """One more."""
        self._given.setdefault((kind, address), []).append(socket.socket(fileno=descriptor))

    def open(self, listener: Any, number: int, address: Address, options: BindOptions) -> socket.socket:
        given = self._given.get((int(listener.socket_type), address.text))
        if not given:
            return self._own.open(listener, number, address, options)
        sock = given.pop(0)
        sock.setblocking(False)
        return sock

    def opened(self, listener: Any) -> None:
        """Who waits on sockets that are not needed any more is served, too."""
        for address in listener.addresses:
            for sock in self._given.pop((int(listener.socket_type), address.text), ()):
                sock.setblocking(False)
                listener.spare.append(sock)

    def close(self) -> None:
        """Nobody wants the rest."""
        for sockets in self._given.values():
            for sock in sockets:
                sock.close()
        self._given.clear()


class Takeover:
    """The link to the old epoch."""

    def __init__(self, sock: socket.socket) -> None:
        """Raises: RestartError, when the old one speaks another version."""
        sock.settimeout(_ANSWER_S)
        self._sock = sock
        self._channel = Channel(sock)
        self.sockets = InheritedSockets()
        welcome = self._ask("hello", "welcome", version=VERSION)
        #: When the first epoch began.
        self.started_s = float(welcome["started_s"])
        self.generation = int(welcome["generation"])
        self.connections = 0
        self._answered = trio.Event()
        self._server: Server | None = None

    # -- before anything runs ----------------------------------------------------------------------------
    def _ask(self, kind: str, wanted: str, **values: Any) -> dict[str, Any]:
        """Raises: RestartError."""
        self._channel.send(kind, values)
        try:
            received = self._channel.receive_now()
        except FrameError as error:
            raise RestartError(f"the old epoch cannot be understood: {error}") from error
        if received is None:
            raise _EndedError("the old epoch cannot be taken over from: it does not answer")
        if received[0].kind != wanted:
            reason = received[0].values.get("reason", "")
            raise RestartError(f"the old epoch cannot be taken over from: {reason}")
        return received[0].values

    def take_sockets(self) -> None:
        """Have the sockets that the old epoch listens on; what one that ends has closed is bound anew.

        Raises: RestartError.
        """
        self._channel.send("sockets")
        while True:
            try:
                received = self._channel.receive_now()
            except FrameError as error:
                raise RestartError(f"the old epoch cannot be understood: {error}") from error
            if received is None:
                logger.warning("the old epoch has ended")
                return
            frame, descriptors = received
            if frame.kind != "socket":
                return
            for descriptor, (kind, address) in zip(descriptors, frame.values["sockets"], strict=True):
                self.sockets.add(kind, address, descriptor)

    def close_admin(self) -> None:
        """Let the old epoch close its admin interface, if it did not end before.  Raises: RestartError."""
        try:
            self._ask("close_admin", "done")
        except _EndedError:
            logger.warning("the old epoch has ended")

    # -- while serving -----------------------------------------------------------------------------------
    def start(self, server: Server, nursery: trio.Nursery) -> None:
        """The server runs."""
        self._server = server
        self._sock.setblocking(False)
        nursery.start_soon(self._channel.run, name="to the old epoch")
        nursery.start_soon(self._listen, name="from the old epoch")

    def told_live(self, nursery: trio.Nursery) -> None:
        """Clients are served here from now on."""
        self.sockets.close()
        self._channel.send("drain")
        nursery.start_soon(self._end_later, name="end of the old epoch")

    async def _end_later(self) -> None:
        assert self._server is not None
        await trio.sleep(self._server.options.parent_shutdown_time_s)
        self.terminate()

    def terminate(self) -> None:
        """Let the old epoch end now."""
        if not self._channel.is_closed:
            logger.info("shutting down parent after drain")
            self._channel.send("terminate")

    async def collect(self) -> None:
        """Have what the old epoch counted in the store."""
        assert self._server is not None
        if self._channel.is_closed or self._server.options.skip_hot_restart_parent_stats:
            return
        self._answered = trio.Event()
        self._channel.send("stats")
        with trio.move_on_after(_COLLECT_S):
            await self._answered.wait()

    async def _listen(self) -> None:
        server = self._server
        assert server is not None
        try:
            while (received := await self._channel.receive()) is not None:
                frame = received[0]
                if frame.kind == "stats":
                    server.merger.take(PARENT, frame.values["stats"])
                    self.connections = frame.values["connections"]
                    self._answered.set()
        except FrameError:
            logger.exception("the old epoch does not say what can be understood")
        self._channel.close()
        server.merger.forget(PARENT)
        self._answered.set()
