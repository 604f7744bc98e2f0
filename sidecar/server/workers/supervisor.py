"""The supervisor: starts workers, tells them what changes, gathers what they counted, replaces the dead.

It makes of the configuration what a process makes that serves alone, but accepts no connections: admin
interface, control planes, health checks, names and the flush of statistics are its own.  A worker has
everything from the channel, also when it takes the place of another, so that it serves what its supervisor
serves and not what stands in a file by then.  The first ones are copies of the process from before it had
anything open (``forked``), later ones are started with ``exec``.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import trio

from sidecar.core.log import get_levels
from sidecar.core.notes import Notes
from sidecar.core.shared_memory import SharedMemory
from sidecar.server.listening_sockets import SharedSockets, SocketSource
from sidecar.server.role import Role
from sidecar.server.workers.channel import Channel
from sidecar.server.workers.forked import Forked, ForkedProcess
from sidecar.server.workers.frames import Frame, FrameError
from sidecar.server.workers.hosts import HostRelay
from sidecar.server.workers.processes import wait_for
from sidecar.xds.relay import Relay

if TYPE_CHECKING:
    from sidecar.server.main import Server
    from sidecar.upstream.cluster import Cluster
    from sidecar.upstream.cluster_manager import HealthWatch
    from sidecar.upstream.discovery import Discovery, Resolver
    from sidecar.upstream.health_tasks import HealthTasks
    from sidecar.xds.tap import Tap

__all__ = ["Supervisor"]

logger = logging.getLogger("sidecar.main")

#: How long an admin request waits for a worker that does not answer.
_COLLECT_S = 2.0
#: A worker that lived for less died of its start: the next one waits.
_SHORT_LIFE_S = 2.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 5.0
#: A worker that has to end and does not for so long is killed; it may be stopped.
_END_S = 5.0


class _Worker:
    """A place among the workers, and the process that has it."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.channel: Channel | None = None
        self.process: subprocess.Popen[bytes] | ForkedProcess | None = None
        #: It runs already and waits to be greeted.
        self.forked: Forked | None = None
        self.is_live = False
        #: Of the last answer.
        self.connections = 0
        self.resident = 0
        self.hosts: dict[str, dict[str, list[int]]] = {}
        #: What waits for its answers, in their order.
        self.questions: deque[trio.Event] = deque()
        #: It left a question open for too long: nobody waits for it until it has answered.
        self.is_silent = False
        #: Nobody takes this place any more.
        self.ended = trio.Event()


class Supervisor(Role):
    """See the module."""

    has_workers = True

    def __init__(
        self, count: int, sockets: SocketSource | None = None, forked: Sequence[Forked] = ()
    ) -> None:
        super().__init__(sockets)
        self.sockets = SharedSockets(count, self.sockets, self._send_sockets)
        self.count = count
        self.shared_memory: SharedMemory = SharedMemory.create(count + 1)
        self.notes: Notes = Notes(self._send_note)
        self._relay = Relay(self.broadcast)
        self._hosts = HostRelay(self.broadcast)
        self._workers = [_Worker(number) for number in range(count)]
        for worker, each in zip(self._workers, forked, strict=False):
            worker.forked = each
        self._server: Server | None = None
        self._ending = trio.Event()
        self._live = trio.Event()
        self._overrides: dict[str, str] = {}
        self._calls: dict[str, dict[str, Any]] = {}
        #: What the workers that died counted on hosts.
        self._lost_hosts: dict[str, dict[str, list[int]]] = {}

    # -- Role ----------------------------------------------------------------------------------------------
    def make_tap(self, bootstrap: Any, registry: Any) -> Tap:
        return self._relay

    def make_health(self, cluster: Cluster, make: Callable[[], HealthTasks]) -> HealthWatch:
        return self._hosts.watch(cluster, make())

    def watch_outliers(self, cluster: Cluster) -> None:
        self._hosts.watch_outliers(cluster)

    def make_dns(self, cluster: Cluster, resolver: Resolver, draw: Callable[[int], int]) -> Discovery:
        return self._hosts.make_dns(cluster, resolver, draw)

    # -- telling -------------------------------------------------------------------------------------------
    def broadcast(self, kind: str, values: dict[str, Any] | None = None, blobs: Sequence[bytes] = ()) -> None:
        """Tell every worker; one that is being started hears it with the rest of what there is."""
        for each in self._workers:
            if each.channel is not None:
                each.channel.send(kind, values, blobs)

    def call(self, name: str, **values: Any) -> None:
        """Have every worker do what the supervisor was asked to do.

        What changes a state is told to workers that come later, too.
        """
        if name in ("health_failed", "log_levels", "drain_for_successor", "tap"):
            self._calls[name] = values
        elif name == "tap_end":
            self._calls.pop("tap", None)
        elif name == "drain_listeners":
            key = f"{name} {sorted(values.items())}"
            values["at_s"] = time.monotonic()  # of all processes: who comes later drains until then, too
            self._calls.setdefault(key, values)
        elif name == "runtime":
            self._overrides.update(values["values"])
        self.broadcast("call", {"name": name, **values})

    def _send_sockets(self, listener: Any) -> None:
        for each in self._workers:
            if each.channel is not None:
                self._send_sockets_to(each, each.channel, listener)

    def _send_sockets_to(self, worker: _Worker, channel: Channel, listener: Any) -> None:
        sockets = listener.sockets_of(worker.number, self.count)
        values = {"listener": listener.name, "is_closed": listener.stopped.is_set()}
        channel.send("sockets", values, (), [each.fileno() for each in sockets])

    def _send_note(self, to: int, kind: str, number: int) -> None:
        """Pass a note on, or take it if it is for this process; one for a worker that is gone is lost."""
        if to == self.count:
            self.notes.take(kind, number)
            return
        channel = self._workers[to].channel
        if channel is not None:
            channel.send("note", {"kind": kind, "number": number})

    # -- life ----------------------------------------------------------------------------------------------
    def start(self, server: Server, nursery: trio.Nursery) -> None:
        """Start the workers; the listeners of the configuration are bound."""
        self._server = server
        scope = server.store.scope("workers")
        self._died = scope.counter("died")
        self._active = scope.gauge("active")
        for worker in self._workers:
            nursery.start_soon(self._keep, worker, name=f"worker {worker.number}")

    async def ready(self) -> None:
        """Wait until every worker serves."""
        await self._live.wait()

    async def end(self, how: str) -> None:
        """Let the workers end (``stop`` at once, ``shut_down`` when they have nothing to do), and wait."""
        self._ending.set()
        await self.collect()
        self.broadcast("call", {"name": how})
        assert self._server is not None
        limit_s = _END_S + (self._server.options.shutdown_deadline_s if how == "shut_down" else 0)
        with trio.move_on_after(limit_s) as limit:
            await self._all_ended()
        if limit.cancelled_caught:
            for each in self._workers:
                if each.process is not None:
                    logger.error("worker %d does not end and is killed", each.number)
                    each.process.kill()
            await self._all_ended()

    async def _all_ended(self) -> None:
        for each in self._workers:
            await each.ended.wait()

    async def _keep(self, worker: _Worker) -> None:
        pause = 0.0
        while not self._ending.is_set():
            began = trio.current_time()
            has_run = await self._run(worker)
            if self._ending.is_set():
                break
            self._died.value += has_run
            if "drain_for_successor" in self._calls:
                logger.error("worker %d ended by itself; the next epoch serves in its place", worker.number)
                break
            pause = min(max(2 * pause, _FIRST_PAUSE_S), _LONGEST_PAUSE_S)
            if trio.current_time() - began > _SHORT_LIFE_S:
                pause = 0.0
            if has_run:
                logger.error("worker %d ended by itself; another one takes its place", worker.number)
            await trio.sleep(pause)
        worker.ended.set()

    async def _run(self, worker: _Worker) -> bool:
        """One process from its start to its end; False where there cannot be one now."""
        try:
            channel = self._spawn(worker)
        except OSError as error:  # no descriptor, process or memory is left
            logger.error("worker %d cannot be started: %s", worker.number, error)  # noqa: TRY400 - no mistake of ours
            return False
        process = worker.process
        assert process is not None
        worker.channel = channel
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(channel.run)
                await self._listen(worker, channel)
                nursery.cancel_scope.cancel()
        finally:
            channel.close()
            worker.channel = None
            if not worker.is_live:
                process.kill()  # it serves nobody, and may be far from hearing that it has to end
            with trio.CancelScope(shield=True):
                await self._reap(process)
            self._forget(worker)
        return True

    def _spawn(self, worker: _Worker) -> Channel:
        """Have a process, and tell it all that there is.  Raises: OSError."""
        forked, worker.forked = worker.forked, None
        process, ours = _start() if forked is None else (forked.process, forked.channel)
        channel = Channel(ours)
        try:
            self._greet(worker, channel)
        except OSError:
            process.kill()
            process.wait()
            channel.close()
            raise
        worker.process = process
        return channel

    async def _reap(self, process: subprocess.Popen[bytes] | ForkedProcess) -> None:
        """Wait for a process that has closed its channel, or has to end because ours is closed."""
        with trio.move_on_after(5):
            await wait_for(process)
            return
        process.send_signal(signal.SIGKILL)
        process.wait()

    def _forget(self, worker: _Worker) -> None:
        worker.process, worker.is_live = None, False
        worker.connections = worker.resident = 0
        assert self._server is not None
        self._server.merger.forget(worker.number)
        self.shared_memory.forget(worker.number)
        for cluster, hosts in worker.hosts.items():
            for address, values in hosts.items():
                lost = self._lost_hosts.setdefault(cluster, {}).setdefault(address, [0] * len(values))
                for index, value in enumerate(values):
                    lost[index] += value if index >= len(GAUGES) else 0
        worker.hosts = {}
        worker.is_silent = False
        while worker.questions:
            worker.questions.popleft().set()
        self._count()

    def _count(self) -> None:
        self._active.set(sum(each.is_live for each in self._workers))
        if all(each.is_live for each in self._workers):
            self._live.set()

    def _greet(self, worker: _Worker, channel: Channel) -> None:
        """Tell a new process all that there is."""
        server = self._server
        assert server is not None
        options = dataclasses.asdict(server.options)
        greeting = {"worker": worker.number, "of": self.count, "options": options, "levels": get_levels()}
        bootstrap = server.loaded.bootstrap.SerializeToString()
        channel.send("hello", greeting, (bootstrap,), (self.shared_memory.descriptor,))
        for listener in server.all_listeners():
            self._send_sockets_to(worker, channel, listener)
        self._hosts.tell(channel.send)
        if self._overrides:
            channel.send("call", {"name": "runtime", "values": self._overrides})
        for name, values in self._calls.items():
            channel.send("call", {"name": name.partition(" ")[0], **values})
        channel.send("go")

    async def _listen(self, worker: _Worker, channel: Channel) -> None:
        while True:
            try:
                received = await channel.receive()
            except FrameError:
                logger.exception("worker %d does not say what can be understood", worker.number)
                return
            if received is None:
                return
            self._take(worker, channel, received[0])

    def _take(self, worker: _Worker, channel: Channel, frame: Frame) -> None:
        values = frame.values
        if frame.kind == "subscribe":
            self._relay.tell(values["key"], channel.send)
        elif frame.kind == "request":
            self._relay.request(values["key"], values["names"])
        elif frame.kind == "stats":
            assert self._server is not None
            self._server.merger.take(worker.number, values["stats"])
            worker.connections, worker.resident = values["connections"], values["resident"]
            worker.hosts = values["hosts"]
            self._server.assembly.python_filters.take(values["python_filters"])
            worker.is_silent = False
            if worker.questions:
                worker.questions.popleft().set()
        elif frame.kind == "tap":
            assert self._server is not None
            attached = self._server.assembly.taps.attached
            if attached is not None:
                attached.emit(frame.blobs[0])
        elif frame.kind == "fail_immediately":
            self._hosts.fail_immediately(values["cluster"], values["host"])
        elif frame.kind == "outlier":
            assert self._server is not None
            cluster = self._server.assembly.clusters.clusters.get(values["cluster"])
            if cluster is not None:
                self._hosts.take_outlier(cluster, values["host"], values["kind"])
        elif frame.kind == "note":
            self._send_note(values["to"], values["kind"], values["number"])
        elif frame.kind == "live":
            worker.is_live = True
            self._count()
        elif frame.kind == "failed":
            logger.critical("worker %d cannot go on: %s", worker.number, values["reason"])

    # -- gathering -----------------------------------------------------------------------------------------
    async def collect(self) -> None:
        """Have what all workers counted up to now in the store and at the hosts."""
        open_questions = []
        for each in self._workers:
            if each.channel is None or not each.is_live or each.is_silent:
                continue
            question = trio.Event()
            each.questions.append(question)
            each.channel.send("stats")
            open_questions.append((each, question))
        with trio.move_on_after(_COLLECT_S):
            for _, question in open_questions:
                await question.wait()
        for each, question in open_questions:
            if not question.is_set() and not each.is_silent:
                each.is_silent = True
                logger.warning("worker %d does not answer; what it counts is shown when it does", each.number)
        self._show_hosts()

    @property
    def serves(self) -> bool:
        return any(each.is_live for each in self._workers)

    @property
    def connections(self) -> int:
        """Open connections of clients."""
        return sum(each.connections for each in self._workers)

    @property
    def resident_bytes(self) -> int:
        """Memory of the workers."""
        return sum(each.resident for each in self._workers)

    def _show_hosts(self) -> None:
        assert self._server is not None
        sources = [self._lost_hosts, *(each.hosts for each in self._workers)]
        for name, cluster in self._server.assembly.clusters.clusters.items():
            found = [each[name] for each in sources if name in each]
            if not found:
                continue
            for host in cluster.hosts:
                parts = [each[host.address] for each in found if host.address in each]
                for index, field in enumerate(HOST_FIELDS):
                    setattr(host, field, sum(part[index] for part in parts))


def _start() -> tuple[subprocess.Popen[bytes], socket.socket]:
    """A new process, and our end of its channel.  Raises: OSError."""
    ours, theirs = socket.socketpair()
    descriptor = theirs.fileno()
    command = [sys.executable, "-m", "sidecar", "worker", str(descriptor), str(os.getpid())]
    try:
        # From this very thread: a worker hears of the end of the one that started it.
        process = subprocess.Popen(  # noqa: S603 - this very program
            command, pass_fds=(descriptor,), stdin=subprocess.DEVNULL
        )
    except OSError:
        ours.close()
        raise
    finally:
        theirs.close()
    return process, ours


GAUGES = ("cx_active", "rq_active", "rq_pending_active")
HOST_FIELDS = (*GAUGES, "cx_connect_fail", "cx_total", "rq_error", "rq_success", "rq_timeout", "rq_total")
