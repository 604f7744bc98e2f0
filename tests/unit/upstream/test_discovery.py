"""Hosts from the configuration and from names, under a mock clock and a scripted resolver."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from sidecar.core.address import Address
from sidecar.net.dns import DnsAnswer
from sidecar.observability.stats import Store
from sidecar.upstream.cluster import Cluster, ClusterConfig, DnsSettings
from sidecar.upstream.cluster_manager import ClusterManager
from sidecar.upstream.discovery import Endpoint
from tests.support.cancelling import cancel_at_every_step


def found(*ips: str, ttl: int = 0) -> DnsAnswer:
    return DnsAnswer(ok=True, addresses=tuple((ip, ttl) for ip in ips))


FAILED = DnsAnswer(ok=False, detail="refused")


class ScriptedResolver:
    """Answers with what stands in ``answers``; keeps when it was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, DnsAnswer] = {}
        self.asked: list[tuple[float, str, str]] = []
        #: Set to hold answers back.
        self.gate: trio.Event | None = None

    async def resolve(self, name: str, family: str) -> DnsAnswer:
        self.asked.append((trio.current_time(), name, family))
        if self.gate is not None:
            await self.gate.wait()
        await trio.lowlevel.checkpoint()
        return self.answers[name]

    def times(self) -> list[float]:
        start = self.asked[0][0]
        return [round(time - start, 3) for time, _, _ in self.asked]


class Bed:
    def __init__(self, draw: Callable[[int], int] = lambda n: n - 1) -> None:
        self.store = Store()
        self.resolver = ScriptedResolver()
        self.manager = ClusterManager(self.store, make_resolver=lambda settings: self.resolver, draw=draw)

    def add(self, *names: str, kind: str = "STRICT_DNS", dns: DnsSettings | None = None) -> Cluster:
        endpoints = tuple(Endpoint(address=None, name=name, port=80) for name in names)
        config = ClusterConfig("c", type=kind, endpoints=endpoints, dns=dns or DnsSettings())
        cluster = Cluster(config, self.store, draw=lambda n: 0)
        self.manager.add(cluster)
        return cluster

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with trio.open_nursery() as nursery:
            await nursery.start(self.manager.run)
            yield
            nursery.cancel_scope.cancel()


def addresses(cluster: Cluster) -> list[str]:
    return [host.address for host in cluster.hosts]


def value(cluster: Cluster, name: str) -> int:
    stat = getattr(cluster.stats, name)
    number: int = stat.value
    return number


def test_static_cluster_has_its_hosts_at_once() -> None:
    bed = Bed()
    endpoints = (
        Endpoint(Address.ip("192.0.2.1", 80), hostname="one", weight=3),
        Endpoint(Address.ip("192.0.2.2", 80), health_status="UNHEALTHY"),
    )
    cluster = Cluster(ClusterConfig("c", endpoints=endpoints), bed.store)
    bed.manager.add(cluster)
    assert addresses(cluster) == ["192.0.2.1:80", "192.0.2.2:80"]
    assert (cluster.hosts[0].hostname, cluster.hosts[0].weight) == ("one", 3)
    counts = [value(cluster, f"membership_{name}") for name in ("change", "total", "healthy", "degraded")]
    assert counts == [1, 2, 1, 0]
    assert cluster.stats.default_total_match_count.value == 2


async def test_static_cluster_is_initialized_without_waiting() -> None:
    bed = Bed()
    bed.manager.add(Cluster(ClusterConfig("c"), bed.store))
    async with bed.running():
        await bed.manager.initial_resolution()
    assert bed.store.gauge("cluster_manager.active_clusters").value == 1


async def test_strict_dns_makes_a_host_of_every_address(autojump_clock: MockClock) -> None:
    bed = Bed()
    bed.resolver.answers = {"a": found("192.0.2.1", "192.0.2.2", "192.0.2.1"), "b": found("::1")}
    cluster = bed.add("a", "b")
    async with bed.running():
        await bed.manager.initial_resolution()
        await wait_all_tasks_blocked()
        assert addresses(cluster) == ["192.0.2.1:80", "192.0.2.2:80", "[::1]:80"]
        assert {host.hostname for host in cluster.hosts} == {"a", "b"}
        assert (value(cluster, "update_attempt"), value(cluster, "update_success")) == (2, 2)
        assert value(cluster, "max_host_weight") == 1


async def test_strict_dns_keeps_the_hosts_that_stay(autojump_clock: MockClock) -> None:
    bed = Bed()
    bed.resolver.answers = {"a": found("192.0.2.1", "192.0.2.2")}
    cluster = bed.add("a")
    removed: list[str] = []
    cluster.on_hosts_removed = lambda hosts: removed.extend(host.address for host in hosts)
    async with bed.running():
        await bed.manager.initial_resolution()
        first, second = cluster.hosts
        bed.resolver.answers = {"a": found("192.0.2.3", "192.0.2.2")}
        await trio.sleep(6)
        assert cluster.hosts[1] is second
        assert addresses(cluster) == ["192.0.2.3:80", "192.0.2.2:80"]
        assert removed == [first.address]
        assert (value(cluster, "membership_change"), value(cluster, "update_no_rebuild")) == (2, 0)
        await trio.sleep(5)
        assert (value(cluster, "membership_change"), value(cluster, "update_no_rebuild")) == (2, 1)


async def test_strict_dns_with_an_empty_answer_has_no_hosts(autojump_clock: MockClock) -> None:
    bed = Bed()
    bed.resolver.answers = {"a": found("192.0.2.1")}
    cluster = bed.add("a")
    async with bed.running():
        await bed.manager.initial_resolution()
        bed.resolver.answers = {"a": found()}
        await trio.sleep(6)
        assert cluster.choose_host() is None
        assert value(cluster, "update_failure") == 0


async def test_strict_dns_keeps_its_hosts_when_a_lookup_fails(autojump_clock: MockClock) -> None:
    bed = Bed()
    bed.resolver.answers = {"a": found("192.0.2.1")}
    cluster = bed.add("a")
    async with bed.running():
        await bed.manager.initial_resolution()
        bed.resolver.answers = {"a": FAILED}
        await trio.sleep(6)
        assert addresses(cluster) == ["192.0.2.1:80"]
        assert value(cluster, "update_failure") == 1


@pytest.mark.parametrize(
    ("settings", "ttl", "times"),
    [
        (DnsSettings(), 1, [0, 5, 10]),
        (DnsSettings(refresh_rate_s=2), 1, [0, 2, 4, 6, 8, 10]),
        (DnsSettings(respect_ttl=True), 3, [0, 3, 6, 9]),
        (DnsSettings(respect_ttl=True), 0, [0, 5, 10]),
        (DnsSettings(jitter_s=1), 0, [0, 5.999]),
    ],
)
async def test_dns_asks_again_at_its_rate(
    settings: DnsSettings, ttl: int, times: list[float], autojump_clock: MockClock
) -> None:
    bed = Bed()
    bed.resolver.answers = {"a": found("192.0.2.1", ttl=ttl)}
    bed.add("a", dns=settings)
    async with bed.running():
        await trio.sleep(10.5)
    assert bed.resolver.times() == times


async def test_dns_failures_back_off_exponentially_up_to_the_maximum(autojump_clock: MockClock) -> None:
    bed = Bed()
    bed.resolver.answers = {"a": FAILED}
    bed.add("a", dns=DnsSettings(failure_base_s=1, failure_max_s=4))
    async with bed.running():
        await trio.sleep(12)
    # The draw gives the greatest number each time: 1, 2, 4, 4 seconds less a millisecond.
    assert bed.resolver.times() == [0, 0.999, 2.998, 6.997, 10.996]


async def test_dns_failures_without_a_rate_use_the_refresh_rate(
    autojump_clock: MockClock,
) -> None:
    bed = Bed()
    bed.resolver.answers = {"a": FAILED}
    bed.add("a")
    async with bed.running():
        await bed.manager.initial_resolution()  # a failure initializes the cluster too
        await trio.sleep(10.5)
    assert bed.resolver.times() == [0, 5, 10]


async def test_logical_dns_is_one_host_with_all_addresses(autojump_clock: MockClock) -> None:
    bed = Bed()
    bed.resolver.answers = {"a": found("192.0.2.1", "192.0.2.2")}
    cluster = bed.add("a", kind="LOGICAL_DNS")
    async with bed.running():
        await bed.manager.initial_resolution()
        [host] = cluster.hosts
        assert host.address == "192.0.2.1:80"
        assert [address.text for address in host.addresses] == ["192.0.2.1:80", "192.0.2.2:80"]
        await trio.sleep(5.5)
        assert cluster.hosts == (host,)
        bed.resolver.answers = {"a": found("192.0.2.2")}
        await trio.sleep(5)
        assert addresses(cluster) == ["192.0.2.2:80"]
        bed.resolver.answers = {"a": found()}
        await trio.sleep(5)
        assert addresses(cluster) == ["192.0.2.2:80"]
        assert value(cluster, "update_failure") == 1


async def test_initial_resolution_waits_for_the_first_answer(autojump_clock: MockClock) -> None:
    bed = Bed()
    bed.resolver.gate = trio.Event()
    bed.resolver.answers = {"a": found("192.0.2.1")}
    bed.add("a")
    async with bed.running():
        with trio.move_on_after(3) as scope:
            await bed.manager.initial_resolution()
        assert scope.cancelled_caught
        bed.resolver.gate.set()
        await bed.manager.initial_resolution()


async def test_initial_resolution_does_not_wait_where_the_cluster_says_so(autojump_clock: MockClock) -> None:
    bed = Bed()
    bed.resolver.gate = trio.Event()
    bed.add("a", dns=DnsSettings(wait_for_warm_on_init=False))
    async with bed.running():
        await bed.manager.initial_resolution()


async def test_manager_stops_the_lookups_of_clusters_that_go(
    autojump_clock: MockClock,
) -> None:
    bed = Bed()
    bed.resolver.answers = {"a": found("192.0.2.1"), "b": found("192.0.2.2")}
    bed.add("a")
    async with bed.running():
        await bed.manager.initial_resolution()
        second = bed.add("b")
        await bed.manager.initial_resolution()
        assert bed.manager.get("c") is second
        await trio.sleep(7)
        assert [name for _, name, _ in bed.resolver.asked] == ["a", "b", "b"]
        assert bed.manager.remove("c") is second
        assert bed.manager.remove("c") is None
        await trio.sleep(20)
        assert len(bed.resolver.asked) == 3
    for kind in ("added", "modified", "removed"):
        assert bed.store.counter(f"cluster_manager.cluster_{kind}").value == 1
    assert bed.store.gauge("cluster_manager.active_clusters").value == 0


@pytest.mark.parametrize("kind", ["STRICT_DNS", "LOGICAL_DNS"])
async def test_lookups_are_cancelled_at_any_step(kind: str, autojump_clock: MockClock) -> None:
    async def work() -> None:
        bed = Bed()
        bed.resolver.answers = {"a": found("192.0.2.1")}
        cluster = bed.add("a", kind=kind, dns=DnsSettings(failure_base_s=1))
        async with bed.running():
            await bed.manager.initial_resolution()
            bed.resolver.answers = {"a": found("192.0.2.2")}
            await trio.sleep(6)
            bed.resolver.answers = {"a": FAILED}
            await trio.sleep(6)
            assert addresses(cluster) == ["192.0.2.2:80"]
            assert bed.manager.remove("c") is cluster

    # The nurseries see to it that no task is left; a scope that is would be found by the next run.
    assert await cancel_at_every_step(work, lambda: None) > 10


async def test_least_refresh_rate_bounds_what_a_ttl_asks_for(autojump_clock: MockClock) -> None:
    bed = Bed()
    bed.resolver.answers = {"a": found("192.0.2.1", ttl=1)}
    bed.add("a", dns=DnsSettings(respect_ttl=True, min_refresh_rate_s=3))
    async with bed.running():
        await trio.sleep(7)
    assert bed.resolver.times() == [0, 3, 6]
