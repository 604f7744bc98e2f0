"""A worker: a proxy whose configuration, names, health, sockets and orders come from its supervisor.

``sidecar worker DESCRIPTOR PID`` is its command line; nobody but a supervisor gives it.  It ends with its
supervisor: the kernel kills it (``PR_SET_PDEATHSIG``), and the end of the channel stops it.
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import socket
from base64 import b64decode
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import trio

from sidecar.config.application_log import application_log_pattern
from sidecar.config.compile.tap import compile_tap_request
from sidecar.config.errors import ConfigErrors
from sidecar.config.load import Loaded
from sidecar.config.messages import message_class
from sidecar.config.report import Reporter
from sidecar.core import log
from sidecar.core.errors import SidecarError
from sidecar.core.notes import Notes
from sidecar.core.options import Options
from sidecar.core.shared_memory import SharedMemory
from sidecar.server.listening_sockets import GivenSockets
from sidecar.server.role import Role
from sidecar.server.workers.channel import Channel
from sidecar.server.workers.frames import Frame
from sidecar.server.workers.hosts import GivenHosts
from sidecar.server.workers.stats import StatsReader
from sidecar.server.workers.supervisor import HOST_FIELDS
from sidecar.xds.relay import Given

if TYPE_CHECKING:
    from sidecar.config.registry import Registry
    from sidecar.server.main import Server
    from sidecar.upstream.cluster import Cluster
    from sidecar.upstream.cluster_manager import HealthWatch
    from sidecar.upstream.discovery import Discovery, Resolver
    from sidecar.upstream.health_tasks import HealthTasks

__all__ = ["run_worker"]

logger = logging.getLogger("sidecar.main")

_PR_SET_PDEATHSIG = 1


class Worker(Role):
    """The role of this process."""

    is_main = False

    def __init__(self, channel: Channel, number: int, memory: SharedMemory) -> None:
        self.given_sockets = GivenSockets()
        super().__init__(self.given_sockets)
        self.worker = number
        self.shared_memory = memory
        self.notes = Notes(
            lambda to, kind, number: channel.send("note", {"to": to, "kind": kind, "number": number})
        )
        self._channel = channel
        self._hosts = GivenHosts(channel.send)
        self._given: Given | None = None
        self._server: Server | None = None
        self._reader: StatsReader | None = None
        #: Orders that came before there was somebody to carry them out.
        self._early: list[Frame] = []

    # -- Role ----------------------------------------------------------------------------------------------
    def make_tap(self, bootstrap: Any, registry: Registry) -> Given:
        self._given = Given(self._channel.send, bootstrap, registry)
        return self._given

    def make_health(self, cluster: Cluster, make: Callable[[], HealthTasks]) -> HealthWatch:
        return self._hosts.make_health(cluster)

    def watch_outliers(self, cluster: Cluster) -> None:
        self._hosts.watch_outliers(cluster)

    def make_dns(self, cluster: Cluster, resolver: Resolver, draw: Callable[[int], int]) -> Discovery:
        return self._hosts.make_dns(cluster, resolver, draw)

    # -- life ----------------------------------------------------------------------------------------------
    def start(self, server: Server, nursery: trio.Nursery) -> None:
        """The server runs: hear the supervisor from now on."""
        self._server = server
        self._reader = StatsReader(server.store)
        nursery.start_soon(self._channel.run, name="to the supervisor")
        nursery.start_soon(self._listen, name="from the supervisor")
        for frame in self._early:
            self._call(frame.values)
        self._early.clear()

    def told_live(self) -> None:
        """Connections are accepted."""
        self._channel.send("live")

    def take_early(self, frame: Frame, descriptors: list[int]) -> None:
        """What comes before there is a server."""
        if frame.kind == "call":
            self._early.append(frame)
        else:
            self._take_plain(frame, descriptors)

    async def _listen(self) -> None:
        server = self._server
        assert server is not None
        try:
            while (received := await self._channel.receive()) is not None:
                await self._take(*received)
        except SidecarError as error:
            # Half of what it was told: nobody should be served by it.
            self._channel.send("failed", {"reason": str(error)})
            server.exit_status = 1
        server.stop()

    async def _take(self, frame: Frame, descriptors: list[int]) -> None:
        if frame.kind == "resources":
            assert self._given is not None
            await self._given.take(frame.values, frame.blobs)
        elif frame.kind == "stats":
            self._tell_stats()
        elif frame.kind == "call":
            self._call(frame.values)
        else:
            self._take_plain(frame, descriptors)

    def _take_plain(self, frame: Frame, descriptors: list[int]) -> None:
        values = frame.values
        if frame.kind == "sockets":
            self.given_sockets.take(values["listener"], descriptors, is_closed=values["is_closed"])
        elif frame.kind == "health":
            self._hosts.take_health(values["cluster"], values["host"], values["flags"])
        elif frame.kind == "outlier":
            self._hosts.take_outlier(values["cluster"], values["host"], values["flags"])
        elif frame.kind == "dns":
            self._hosts.take_dns(values)
        elif frame.kind == "note":
            assert self.notes is not None
            self.notes.take(values["kind"], values["number"])

    def _call(self, values: dict[str, Any]) -> None:
        """Do what the supervisor was asked to do."""
        server = self._server
        assert server is not None
        values = dict(values)
        name = values.pop("name")
        if name == "health_failed":
            server.draining.health_failed = values["failed"]
        elif name == "log_levels":
            for logger_name, level in values["levels"].items():
                log.set_level(logger_name, level)
        elif name == "drain_listeners":
            server.drain_listeners(**values)
        elif name == "drain_for_successor":
            server.drain_for_successor()
        elif name == "reopen_logs":
            server.reopen_logs()
        elif name == "runtime":
            server.assembly.runtime_layers.modify(values["values"])
        elif name == "tap":
            runtime = server.assembly.runtime_layers.runtime
            attached = compile_tap_request(b64decode(values["request"]), runtime)
            server.assembly.taps.attach(replace(attached, emit=self._emit_trace))
        elif name == "tap_end":
            server.assembly.taps.detach()
        elif name == "reset_counters":
            server.store.reset_counters()
        elif name == "shut_down":
            server.shut_down()
        else:
            server.stop()

    def _emit_trace(self, trace: bytes) -> None:
        self._channel.send("tap", {}, (trace,))

    def _tell_stats(self) -> None:
        server, reader = self._server, self._reader
        assert server is not None
        assert reader is not None
        hosts: dict[str, dict[str, list[int]]] = {}
        for name, cluster in server.assembly.clusters.clusters.items():
            found = {}
            for host in cluster.hosts:
                values = [getattr(host, field) for field in HOST_FIELDS]
                if any(values):
                    found[host.address] = values
            if found:
                hosts[name] = found
        self._channel.send(
            "stats",
            {
                "stats": reader.read(),
                "connections": sum(each.active for each in server.assembly.listeners),
                "resident": server.resident_bytes(),
                "hosts": hosts,
                "python_filters": server.assembly.python_filters.tell(),
            },
        )


def run_worker(arguments: list[str]) -> int:
    """Serve until the supervisor says stop; the exit status."""
    descriptor, supervisor = map(int, arguments)
    _end_with(supervisor)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(
            number, signal.SIG_IGN
        )  # those of a terminal or a group: the supervisor hears them, too
    channel = Channel(socket.socket(fileno=descriptor))
    os.set_inheritable(descriptor, False)
    received = channel.receive_now()
    if received is None or received[0].kind != "hello":
        return 1
    hello = received[0]
    options = _options(hello.values["options"])
    log.setup(options.log_level, options.component_log_levels, path=options.log_path,
              pattern=options.log_format, escape=options.log_format_escaped)  # fmt: skip
    for name, level in hello.values["levels"].items():
        log.set_level(name, level)
    memory = SharedMemory(received[1][0], hello.values["worker"], hello.values["of"] + 1)
    role = Worker(channel, hello.values["worker"], memory)
    while (received := channel.receive_now()) is not None and received[0].kind != "go":
        role.take_early(*received)
    if received is None:
        return 1
    bootstrap: Any = message_class("envoy.config.bootstrap.v3.Bootstrap")()  # type: ignore[misc] # it is there
    bootstrap.ParseFromString(hello.blobs[0])
    loaded = Loaded(bootstrap, Reporter(None), None, options.config_path)
    pattern = application_log_pattern(bootstrap)
    if pattern is not None:
        log.set_pattern(pattern)
    from sidecar.server.main import serve

    try:
        status: int = serve(options, loaded, role)
    except ConfigErrors as errors:
        logger.critical("worker %d: %s", role.worker, "; ".join(map(str, errors.problems)))
        return 1
    return status


def _options(values: dict[str, Any]) -> Options:
    """As they were before they were JSON."""
    values = {name: tuple(each) if isinstance(each, list) else each for name, each in values.items()}
    return Options(**values)


def _end_with(supervisor: int) -> None:
    """Be killed when the process that started this one ends, however it does."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != supervisor:
        raise SystemExit(1)  # it ended before
