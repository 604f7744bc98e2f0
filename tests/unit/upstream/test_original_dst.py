"""Hosts that requests ask for: where they ask, when a host is made, and when it goes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from sidecar.core.destination import parse_destination
from sidecar.core.headers import RequestHeaders
from sidecar.observability.stats import Store
from sidecar.upstream.cluster import Cluster, ClusterConfig, OriginalDstSettings
from sidecar.upstream.cluster_manager import ClusterManager
from tests.support.cancelling import cancel_at_every_step

HEADER = b"x-envoy-original-dst-host"


def make(settings: OriginalDstSettings | None = None) -> Cluster:
    settings = settings or OriginalDstSettings(HEADER)
    return Cluster(ClusterConfig("c", type="ORIGINAL_DST", original_dst=settings), Store())


def ask(*values: str, metadata: Any = None, state: Any = None, restored: str = "") -> Any:
    headers = RequestHeaders(b"GET", b"http", b"example.com", b"/", [(HEADER, v.encode()) for v in values])
    return SimpleNamespace(
        request=SimpleNamespace(headers=headers),
        dynamic_metadata=metadata,
        filter_state=state,
        connection=SimpleNamespace(
            is_local_address_restored=bool(restored),
            local_address=restored,
            dynamic_metadata=None,
            filter_state=None,
        ),
    )


def test_host_is_made_once_for_an_address() -> None:
    cluster = make()
    first = cluster.choose_host(ask("192.0.2.1:80", "192.0.2.9:80"))
    assert first is not None
    assert (first.address, first.hostname) == ("192.0.2.1:80", "c192.0.2.1:80")
    assert cluster.choose_host(ask("192.0.2.1:80")) is first
    second = cluster.choose_host(ask("[2001:db8::1]:8080"))
    assert second is not None
    assert cluster.hosts == (first, second)
    assert cluster.stats.membership_change.value == 2
    # The router asks the balancer about each request.
    assert cluster.picker is None


def test_request_without_a_destination_has_no_host() -> None:
    cluster = make()
    assert cluster.choose_host(ask()) is None
    assert cluster.choose_host() is None
    assert cluster.choose_host(ask("nothing")) is None
    stats = cluster.stats
    assert (stats.upstream_cx_none_healthy.value, stats.original_dst_host_invalid.value) == (3, 1)


@pytest.mark.parametrize(
    "text", ["", "192.0.2.1", "192.0.2.1:x", "192.0.2.1:65536", "name:80", "::1:80", "[::1]", "[1.2.3.4]:80"]
)
def test_what_is_no_address_with_a_port_is_none(text: str) -> None:
    assert parse_destination(text) is None


def test_state_goes_before_metadata_and_that_before_header_and_connection() -> None:
    cluster = make(OriginalDstSettings(HEADER, ("dst", "where")))
    everything: dict[str, Any] = {
        "state": {"envoy.network.transport_socket.original_dst_address": b"192.0.2.1:1"},
        "metadata": {"dst": {"where": ["192.0.2.2:2", "192.0.2.9:9"]}},
        "restored": "192.0.2.4:4",
    }
    found = []
    for without in ("", "state", "metadata"):
        everything.pop(without, None)
        host = cluster.choose_host(ask("192.0.2.3:3", **everything))
        found.append(host and host.address)
    host = cluster.choose_host(ask(restored="192.0.2.4:4"))
    found.append(host and host.address)
    assert found == ["192.0.2.1:1", "192.0.2.2:2", "192.0.2.3:3", "192.0.2.4:4"]


def test_port_is_overridden_wherever_the_address_comes_from() -> None:
    cluster = make(OriginalDstSettings(upstream_port_override=443))
    host = cluster.choose_host(ask(restored="[::1]:80"))
    assert host is not None
    assert host.address == "[::1]:443"


async def test_hosts_that_nobody_needs_go_after_an_interval(autojump_clock: MockClock) -> None:
    manager = ClusterManager(Store())
    cluster = make()
    manager.add(cluster)
    removed: list[str] = []
    cluster.on_hosts_removed = lambda hosts: removed.extend(host.address for host in hosts)
    async with trio.open_nursery() as nursery:
        await nursery.start(manager.run)
        await manager.initial_resolution()
        for number in (1, 2, 3):
            cluster.choose_host(ask(f"192.0.2.{number}:80"))
        cluster.hosts[1].cx_active = 1
        await trio.sleep(6)
        assert len(cluster.hosts) == 3
        cluster.choose_host(ask("192.0.2.1:80"))
        await trio.sleep(5)
        assert removed == ["192.0.2.3:80"]
        cluster.hosts[1].cx_active = 0
        await trio.sleep(5)
        assert removed == ["192.0.2.3:80", "192.0.2.1:80", "192.0.2.2:80"]
        assert cluster.hosts == ()
        nursery.cancel_scope.cancel()


async def test_sweep_is_cancelled_at_any_step(autojump_clock: MockClock) -> None:
    async def work() -> None:
        manager = ClusterManager(Store())
        cluster = make()
        manager.add(cluster)
        async with trio.open_nursery() as nursery:
            await nursery.start(manager.run)
            cluster.choose_host(ask("192.0.2.1:80"))
            await trio.sleep(11)
            assert cluster.hosts == ()
            nursery.cancel_scope.cancel()

    assert await cancel_at_every_step(work, lambda: None) > 3
