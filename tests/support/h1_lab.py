"""The real HTTP/1 path between two sockets of the test: driver, manager, router, pool, real upstream.

The upstream is a listening Unix socket in the abstract namespace: connecting to it takes no time, so
``settle()`` is all that a test has to wait for.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import time
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any

import trio

from sidecar.core.address import Address
from sidecar.http.connection_manager import ConnectionManager
from sidecar.http.hcm_stats import HcmStats
from sidecar.http.serve import serve_http
from sidecar.net.reactor import Reactor, Strand, Transport
from sidecar.observability.stats import Store
from sidecar.router.exchange import Router
from sidecar.router.route_table import PREFIX, Route, RouteTable, VirtualHost
from sidecar.upstream.cluster import Cluster, ClusterConfig
from sidecar.upstream.host import Host
from sidecar.upstream.pools import PoolTable
from tests.support.strands import Driven, Lab, open_lab, settle

__all__ = ["ClientConnection", "H1Lab", "Upstream", "make_manager", "open_h1_lab", "skewed_clock"]

_names = itertools.count()

GET = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


def skewed_clock() -> Callable[[], float]:
    """The monotonic clock, moved on by what MockClock jumped: the router's marks are monotonic."""
    began = trio.current_time()
    return lambda: time.monotonic() + trio.current_time() - began


class ClientConnection:
    """A downstream connection as the manager's streams see it."""

    connection_id = 1
    remote_address = "127.0.0.1:5555"
    direct_remote_address = "127.0.0.1:5555"
    direct_local_address = "127.0.0.1:80"
    filter_state = dynamic_metadata = None
    local_address = "127.0.0.1:80"
    listener_name = "ingress"
    filter_chain_name = ""
    detected_close_type = "Normal"
    agent: Any = False
    local_close_reason = ""
    requested_server_name = ""
    tls = None
    transport_failure_reason = ""
    traffic_direction = "UNSPECIFIED"
    start_ns = 0


class Upstream:
    """A listening socket, and the connections that were made to it."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self.listener = lab.keep(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        self.listener.bind(f"\0sidecar-test-{os.getpid()}-{next(_names)}")
        self.listener.listen(64)
        self.listener.setblocking(False)
        self.address = Address.from_sockaddr(socket.AF_UNIX, self.listener.getsockname())

    def accept(self) -> socket.socket:
        """The oldest connection that was not accepted yet."""
        sock, _ = self.listener.accept()
        sock.setblocking(False)
        return self._lab.keep(sock)

    def has_connection(self) -> bool:
        try:
            self.accept()
        except BlockingIOError:
            return False
        return True


def make_manager(reactor: Reactor, store: Store, clusters: dict[str, Cluster]) -> ConnectionManager:
    """A connection manager that routes everything to the cluster ``up`` over HTTP/1 pools."""

    table = PoolTable(reactor, SimpleNamespace(clusters=clusters))  # type: ignore[arg-type] # all it reads
    router = Router(reactor, clusters.get, table.get)
    manager = ConnectionManager(reactor, HcmStats(store.scope("http.test")), router)
    manager.delayed_close_timeout_s = 0.0
    route = Route(PREFIX, b"/")
    route.cluster_name = "up"
    manager.route_table = table_of(route)
    return manager


def table_of(*routes: Route) -> RouteTable:
    """A route table with one virtual host for everything."""
    table = RouteTable("test")
    table.add(b"*", VirtualHost("all", routes))
    return table


class H1Lab:
    """A manager, a cluster of one upstream, and clients."""

    def __init__(self, lab: Lab, config: ClusterConfig, upstream: Upstream, address: Address) -> None:
        self.lab = lab
        self.store = Store()
        self.upstream = upstream
        self.cluster = Cluster(config, self.store)
        self.host = Host(address)
        self.cluster.set_hosts([self.host])
        self.manager = make_manager(lab.reactor, self.store, {"up": self.cluster})

    def connect(
        self, *, wrap: Callable[[Any], Any] = lambda coroutine: coroutine
    ) -> tuple[socket.socket, Driven]:
        """A client's socket, and the connection task that serves it."""
        transport, client = self.lab.pair()

        def serve(strand: Strand) -> Any:
            return wrap(_served(self.manager, transport, strand))

        return client, self.lab.own(serve)

    async def exchange(self, client: socket.socket, server: socket.socket, answer: bytes = OK) -> bytes:
        """One GET through to ``server``, answered; what the client gets."""
        client.send(GET)
        await settle()
        server.recv(65536)
        server.send(answer)
        await settle()
        return client.recv(65536)

    def counter(self, name: str) -> int:
        """The value of a counter by its full name; 0 when nobody made it."""
        found = self.store.counters.get(name)
        return 0 if found is None else found.value

    def gauges(self) -> dict[str, int]:
        """The gauges that are not zero, but for those of the membership and of limits."""
        return {
            name: gauge.value
            for name, gauge in self.store.gauges.items()
            if gauge.value
            and ".circuit_breakers." not in name
            and not name.rpartition(".")[2].startswith(("membership", "max_host_weight"))
        }


async def _served(manager: ConnectionManager, transport: Transport, strand: Strand) -> None:
    try:
        await serve_http(manager, ClientConnection(), transport, strand)
    finally:
        transport.close()


@contextlib.asynccontextmanager
async def open_h1_lab(
    *, clock: Callable[[], float] | None = None, address: Address | None = None, **config: Any
) -> AsyncIterator[H1Lab]:
    """A lab with one cluster of one host; ``config`` goes to its ClusterConfig."""
    async with open_lab(clock or time.monotonic) as lab:
        upstream = Upstream(lab)
        yield H1Lab(lab, ClusterConfig(name="up", **config), upstream, address or upstream.address)
