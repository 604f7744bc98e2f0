"""Slow start: what a host weighs by its age."""

from __future__ import annotations

from collections import Counter as Counts
from random import Random

import pytest

from sidecar.core.address import Address
from sidecar.observability.stats import Store
from sidecar.upstream.cluster_stats import ClusterStats
from sidecar.upstream.host import HealthFlag, Host
from sidecar.upstream.host_set import part_hosts
from sidecar.upstream.load_balancer import LbContext
from sidecar.upstream.load_balancer_factory import make_load_balancer
from sidecar.upstream.load_balancer_policies import LbPolicy
from sidecar.upstream.slow_start import SlowStart, SlowStartSettings


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def make_host(number: int, weight: int = 1) -> Host:
    return Host(Address.ip(f"10.0.0.{number}", 80), weight=weight)


class Balancer:
    """A load balancer of a window of ten seconds under a clock of its own."""

    def __init__(self, *hosts: Host, name: str = "ROUND_ROBIN", **settings: float) -> None:
        self.clock = Clock()
        stats = ClusterStats(Store().scope("cluster.c"))
        slow = SlowStartSettings(10_000, **settings)
        context = LbContext(Random(1).randrange, stats, clock=self.clock)
        self.lb = make_load_balancer(LbPolicy(name, slow_start=slow), context)
        self.hosts: list[Host] = []
        self.set(*hosts)

    def set(self, *hosts: Host) -> None:
        self.hosts = list(hosts)
        self.lb.update(part_hosts(self.hosts))

    def take(self, count: int) -> list[int]:
        counts = Counts(self.lb.choose() for _ in range(count))
        return [counts[host] for host in self.hosts]


@pytest.mark.parametrize(
    ("age_s", "aggression", "expected"),
    [
        # docs: arch_overview/upstream/load_balancing/slow_start, with a window of 10 s.
        (0.0, 1.0, 0.1),
        (0.5, 1.0, 0.1),
        (2.5, 1.0, 0.25),
        (9.0, 1.0, 0.9),
        (10.0, 1.0, 1.0),
        (2.5, 2.0, 0.5),
        (2.5, 0.5, 0.1),
        (5.0, 0.5, 0.25),
    ],
)
def test_factor_grows_with_age(age_s: float, aggression: float, expected: float) -> None:
    clock = Clock()
    slow = SlowStart(SlowStartSettings(10_000, aggression=aggression), clock)
    host = make_host(1)
    slow.note([host])
    clock.now += age_s
    assert slow.factor(host) == pytest.approx(expected)


@pytest.mark.parametrize("name", ["ROUND_ROBIN", "LEAST_REQUEST"])
def test_host_that_is_added_begins_small_and_grows(name: str) -> None:
    old, young = make_host(1), make_host(2)
    balancer = Balancer(old, name=name)
    balancer.clock.now += 60
    balancer.set(old, young)
    assert balancer.take(110) == pytest.approx([100, 10], abs=1)
    balancer.clock.now += 5
    balancer.take(10)
    assert balancer.take(90) == pytest.approx([60, 30], abs=1)
    balancer.clock.now += 6
    balancer.take(10)
    assert balancer.take(100) == pytest.approx([50, 50], abs=1)


def test_hosts_that_start_together_share_evenly() -> None:
    balancer = Balancer(make_host(1), make_host(2, 2))
    assert balancer.take(90) == pytest.approx([30, 60], abs=1)


def test_host_that_turns_well_by_a_health_check_begins_again(monkeypatch: pytest.MonkeyPatch) -> None:
    old, other = make_host(1), make_host(2)
    balancer = Balancer(old, other)
    balancer.clock.now += 60
    monkeypatch.setattr("sidecar.upstream.host.monotonic", balancer.clock)
    other.set_flag(HealthFlag.FAILED_ACTIVE_HC)
    balancer.set(old, other)
    assert balancer.take(10) == [10, 0]
    other.clear_flag(HealthFlag.FAILED_ACTIVE_HC)
    balancer.set(old, other)
    assert balancer.take(110) == pytest.approx([100, 10], abs=1)


def test_host_that_returns_from_an_ejection_does_not_begin_again() -> None:
    old, other = make_host(1), make_host(2)
    balancer = Balancer(old, other)
    balancer.clock.now += 60
    other.set_flag(HealthFlag.FAILED_OUTLIER_CHECK)
    balancer.set(old, other)
    other.clear_flag(HealthFlag.FAILED_OUTLIER_CHECK)
    balancer.set(old, other)
    assert balancer.take(10) == [5, 5]


def test_host_of_another_priority_is_seen_though_it_is_not_used() -> None:
    first, second = make_host(1), make_host(2)
    second.priority = 1
    balancer = Balancer(first, second)
    assert second.last_hc_pass_s == balancer.clock.now
