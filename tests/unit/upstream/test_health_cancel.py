"""Health checks and outlier detection cancelled at each of their steps: no task, socket or gauge is left."""

from __future__ import annotations

import http.server
import socketserver
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import trio

from sidecar.core.address import Address
from sidecar.net.reactor import Reactor, open_reactor
from sidecar.observability.stats import Store
from sidecar.upstream.cluster import Cluster, ClusterConfig
from sidecar.upstream.cluster_manager import ClusterManager
from sidecar.upstream.discovery import Endpoint
from sidecar.upstream.health_check import HealthCheckSettings
from sidecar.upstream.health_grpc import GrpcProbe
from sidecar.upstream.health_probes import HttpProbe
from sidecar.upstream.health_tasks import HealthTasks
from sidecar.upstream.health_tcp import TcpProbe
from sidecar.upstream.outlier_detection import OutlierSettings
from sidecar.upstream.pools import PoolTable
from tests.support.cancelling import cancel_at_every_step


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def port() -> Iterator[int]:
    class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
        daemon_threads = True

    server = Server(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()
    thread.join()


PROBES: dict[str, tuple[Any, str]] = {
    "http": (HttpProbe(b"/"), "success"),
    # The server speaks HTTP/1.1 and closes: each check fails, with a connection of its own.
    "grpc": (GrpcProbe(timeout_s=1.0), "failure"),
    "tcp": (TcpProbe(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n", (b"200",)), "success"),
    "connect": (TcpProbe(), "success"),
}


@pytest.mark.parametrize("kind", PROBES)
async def test_checks_that_are_cancelled_leave_nothing(kind: str, port: int) -> None:
    probe, counter = PROBES[kind]
    reactors: list[Reactor] = []
    clusters: list[Cluster] = []

    async def work() -> None:
        reactor, store = Reactor(), Store()
        reactors.append(reactor)
        manager = ClusterManager(store)
        pools = PoolTable(reactor, manager)
        manager.make_health = lambda cluster: HealthTasks(cluster, reactor, pools.make, lambda n: 0)
        settings = HealthCheckSettings(
            "HTTP", 1.0, 0.001, 1, 1, no_traffic_interval_s=0.001, no_traffic_healthy_interval_s=0.001,
            unhealthy_interval_s=0.001, probe=probe,
        )  # fmt: skip
        config = ClusterConfig(
            "c",
            endpoints=(Endpoint(Address.ip("127.0.0.1", port)),),
            health_checks=(settings,),
            outliers=OutlierSettings(interval_s=0.001),
        )
        cluster = Cluster(config, store)
        clusters.append(cluster)
        manager.add(cluster)
        count = store.counter(f"cluster.c.health_check.{counter}")
        async with open_reactor(reactor), trio.open_nursery() as nursery:
            await nursery.start(manager.run)
            await manager.initial_resolution()
            while count.value < 2:  # noqa: ASYNC110 - a counter
                await trio.sleep(0.001)
            cluster.set_hosts([])
            await trio.sleep(0.001)
            nursery.cancel_scope.cancel()

    def check() -> None:
        reactor, cluster = reactors.pop(), clusters.pop()
        assert [strand.name for strand in reactor.strands] == []
        assert reactor._transports == {}
        for host in cluster.hosts:
            assert all(not pool.has_connections() for pool in host.pools)

    assert await cancel_at_every_step(work, check) > 10
    with trio.fail_after(5):
        while any("process_request_thread" in thread.name for thread in threading.enumerate()):  # noqa: ASYNC110
            await trio.sleep(0.01)
