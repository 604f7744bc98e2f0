"""The old epoch's part: it starts the next one, gives it what it asks for, drains, and ends when it is told.

The next epoch is started by SIGHUP or ``sidecar restart`` with the command line of this one, or by anybody
with ``--restart-epoch``.  Until it drains, this epoch serves on whatever becomes of the other.
"""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import trio

from sidecar.server.bind import BindError
from sidecar.server.hot_restart.endpoint import VERSION, Endpoint, is_trusted
from sidecar.server.workers.channel import Channel
from sidecar.server.workers.frames import MAX_DESCRIPTORS, FrameError
from sidecar.server.workers.processes import wait_for
from sidecar.server.workers.stats import StatsReader

if TYPE_CHECKING:
    from sidecar.server.main import Server

__all__ = ["Successor", "next_command"]

logger = logging.getLogger("sidecar.main")

_LOOK_S = 0.02
#: How long the admin port may still be with an epoch that died before it served.
_REOPEN_TRIES = 250


class Successor:
    """Whoever takes this process's place."""

    def __init__(self, endpoint: Endpoint, server: Server, arguments: Sequence[str]) -> None:
        self._endpoint = endpoint
        self._server = server
        self._arguments = arguments
        self._reader = StatsReader(server.store, of_epoch=True)
        self._child: Channel | None = None
        self._process: subprocess.Popen[bytes] | None = None
        #: Whether the admin interface is the next epoch's.
        self.has_admin = False
        self.is_draining = False
        self._outcome = trio.Event()

    async def run(self) -> None:
        """Serve whoever connects."""
        sock = self._endpoint.sock
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            while True:
                await trio.lowlevel.wait_readable(sock)
                try:
                    peer, _ = sock.accept()
                except OSError:
                    continue
                peer.setblocking(False)
                if is_trusted(peer):
                    nursery.start_soon(self._serve, Channel(peer), name="an epoch or a command")
                else:
                    peer.close()

    # -- starting one --------------------------------------------------------------------------------------
    def begin(self) -> bool:
        """Start the next epoch; False while one is starting or serves already, and at the end."""
        if self._server.is_ending:
            logger.warning("no hot restart: this epoch is about to end")
            return False
        if self._process is not None or self.is_draining:
            logger.warning("a hot restart is under way")
            return False
        self._outcome = trio.Event()
        command = next_command(self._arguments, self._server.options)
        logger.warning("hot restart: starting epoch %d", self._server.options.restart_epoch + 1)
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL)  # noqa: S603 - this very program
        self._nursery.start_soon(self._watch, self._process, name="the next epoch")
        return True

    async def _watch(self, process: subprocess.Popen[bytes]) -> None:
        """See whether it fails: this epoch serves on then."""
        await wait_for(process)
        if not self.is_draining:
            status = process.returncode
            logger.error("hot restart: the new epoch ended with status %d; this one serves on", status)
        self._process = None
        self._outcome.set()

    # -- serving it ----------------------------------------------------------------------------------------
    async def _serve(self, channel: Channel) -> None:
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(channel.run)
                while (received := await channel.receive()) is not None:
                    await self._answer(channel, received[0].kind, received[0].values)
                nursery.cancel_scope.cancel()
        except FrameError:
            logger.exception("hot restart: what came cannot be understood")
        finally:
            channel.close()
            if self._child is channel:
                self._child = None
        if self._child is None and not self.is_draining:
            await self._take_back()

    async def _answer(self, channel: Channel, kind: str, values: dict[str, Any]) -> None:
        server = self._server
        if kind == "hello":
            self._greet(channel, values)
        elif kind == "restart":
            if not self.begin():
                reason = "it is about to end" if server.is_ending else "a hot restart is under way"
                channel.send("failed", {"reason": reason})
                return
            await self._outcome.wait()
            channel.send("done" if self.is_draining else "failed", {"reason": "the new epoch did not start"})
        elif kind == "sockets":
            self._child = channel
            self._send_sockets(channel)
        elif kind == "close_admin":
            await self._close_admin()
            channel.send("done")
        elif kind == "stats":
            await server.role.collect()
            server.refresh_stats()
            connections = server.store.gauge("server.total_connections").value
            channel.send("stats", {"stats": self._reader.read(), "connections": connections})
        elif kind == "drain":
            self.is_draining = True
            self._outcome.set()
            server.drain_for_successor()
        elif kind == "terminate":
            logger.info("shutting down due to child request")
            if not server.is_ending:  # else it ends already, and has until its own deadline
                server.shut_down()

    def _greet(self, channel: Channel, values: dict[str, Any]) -> None:
        server = self._server
        if values.get("version") != VERSION:
            channel.send("refused", {"reason": f"it speaks {VERSION}, not {values.get('version')}"})
            return
        channel.send(
            "welcome",
            {
                "started_s": server.first_started_s,
                "generation": server.generation,
                "epoch": server.options.restart_epoch,
            },
        )

    def _send_sockets(self, channel: Channel) -> None:
        for listener in self._server.all_listeners():
            sockets = [*listener.sockets, *listener.copies, *listener.spare]
            for start in range(0, len(sockets), MAX_DESCRIPTORS):
                part = sockets[start : start + MAX_DESCRIPTORS]
                described = [(int(each.type), listener.address_of(each)) for each in part]
                channel.send("socket", {"sockets": described}, (), [each.fileno() for each in part])
        channel.send("done")

    async def _close_admin(self) -> None:
        server = self._server
        self.has_admin = True
        logger.warning("shutting down admin due to child startup")
        server.end_predecessor()
        if server.admin is not None:
            server.admin.listener.stop_accepting()
            await server.admin.listener.stopped.wait()

    async def _take_back(self) -> None:
        """The next epoch died before it served."""
        if not self.has_admin:
            return
        self.has_admin = False
        admin = self._server.admin
        if admin is None:
            return
        for _ in range(_REOPEN_TRIES):
            try:
                admin.reopen()
            except BindError:
                await trio.sleep(_LOOK_S)
                continue
            self._nursery.start_soon(admin.listener.run, name="admin")
            return
        logger.critical("the admin interface cannot be opened again")


def next_command(arguments: Sequence[str], options: Any) -> list[str]:
    """The command line of the next epoch: this one's with another epoch, and the base id that was found."""
    kept: list[str] = []
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        name = word.partition("=")[0]
        if name in ("--restart-epoch", "--base-id"):
            if "=" not in word:
                rest[:1] = []
        elif name != "--use-dynamic-base-id":
            kept.append(word)
    epoch = ["--restart-epoch", str(options.restart_epoch + 1), "--base-id", str(options.base_id)]
    return [sys.executable, "-m", "sidecar", *kept, *epoch]
