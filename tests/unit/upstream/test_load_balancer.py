"""Priorities, health and turns: plain arithmetic, checked by counting."""

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
from sidecar.upstream.priority_loads import priority_loads


def make_hosts(*weights: int, priority: int = 0, status: str = "UNKNOWN") -> list[Host]:
    return [
        Host(
            Address.ip(f"10.{priority}.{number >> 8}.{number & 255}", 80),
            weight=weight,
            priority=priority,
            eds_health_status=status,
        )
        for number, weight in enumerate(weights, 1)
    ]


class Balancer:
    """A load balancer over hosts, and the text of who was chosen."""

    def __init__(
        self, hosts: list[Host], policy: LbPolicy | None = None, seed: int = 7, **options: float
    ) -> None:
        self.stats = ClusterStats(Store().scope("cluster.c"))
        self.hosts = hosts
        context = LbContext(Random(seed).randrange, self.stats, **options)  # type: ignore[arg-type]
        self.lb = make_load_balancer(policy or LbPolicy(), context)
        self.update()

    def update(self) -> None:
        self.lb.update(part_hosts(self.hosts))

    def take(self, count: int) -> list[int]:
        chosen = [self.lb.choose() for _ in range(count)]
        return [-1 if host is None else self.hosts.index(host) for host in chosen]


def test_choose_without_hosts_gives_none() -> None:
    assert Balancer([]).lb.choose() is None


@pytest.mark.parametrize("seed", range(5))
def test_round_robin_with_equal_weights_rotates_in_order(seed: int) -> None:
    taken = Balancer(make_hosts(1, 1, 1), seed=seed).take(9)
    assert [(number - taken[0]) % 3 for number in taken] == [0, 1, 2] * 3


def test_round_robin_starts_at_different_hosts_for_different_seeds() -> None:
    assert {Balancer(make_hosts(1, 1, 1), seed=seed).take(1)[0] for seed in range(20)} == {0, 1, 2}


def test_round_robin_goes_on_where_it_stood_when_hosts_change() -> None:
    balancer = Balancer(make_hosts(1, 1, 1))
    taken = balancer.take(1)
    balancer.update()
    assert balancer.take(1) == [(taken[0] + 1) % 3]


@pytest.mark.parametrize("seed", range(5))
def test_round_robin_with_weights_gives_each_its_share_of_every_cycle(seed: int) -> None:
    taken = Balancer(make_hosts(1, 2, 3), seed=seed).take(24)
    for begin in range(0, 24, 6):
        assert Counts(taken[begin : begin + 6]) == {0: 1, 1: 2, 2: 3}


def test_round_robin_with_weights_repeats_envoys_cycle() -> None:
    # Envoy 1.40 with weights 1, 2, 3: "123323" over and over, begun anywhere.
    taken = "".join(str(number + 1) for number in Balancer(make_hosts(1, 2, 3)).take(600))
    assert taken in "123323" * 102


def test_random_uses_every_host_and_no_weights() -> None:
    counts = Counts(Balancer(make_hosts(1, 100), LbPolicy("RANDOM")).take(1000))
    assert 400 < counts[0] < 600


def test_least_request_prefers_the_idle_host() -> None:
    hosts = make_hosts(1, 1)
    hosts[0].rq_active = 10
    counts = Counts(Balancer(hosts, LbPolicy("LEAST_REQUEST")).take(1000))
    # The busy one is taken only when both draws hit it.
    assert 180 < counts[0] < 320


def test_least_request_with_weights_divides_by_active_requests() -> None:
    hosts = make_hosts(2, 1)
    hosts[0].rq_active = 3
    counts = Counts(Balancer(hosts, LbPolicy("LEAST_REQUEST")).take(300))
    assert counts == {0: 100, 1: 200}


def test_priority_zero_takes_everything_while_healthy() -> None:
    balancer = Balancer(make_hosts(1, 1) + make_hosts(1, 1, priority=1))
    assert set(balancer.take(20)) == {0, 1}


def test_priority_one_takes_over_when_priority_zero_is_down() -> None:
    balancer = Balancer(make_hosts(1, 1, status="UNHEALTHY") + make_hosts(1, 1, priority=1))
    assert set(balancer.take(20)) == {2, 3}
    assert balancer.stats.lb_healthy_panic.value == 0


@pytest.mark.parametrize(
    ("well", "expected"),
    [
        # docs: arch_overview/upstream/load_balancing/priority, P0 and P1 with 100 % well in P1.
        (100, (100, 0)),
        (72, (100, 0)),
        (71, (99, 1)),
        (50, (70, 30)),
        (25, (35, 65)),
        (0, (0, 100)),
    ],
)
def test_priority_loads_follow_the_documented_table(well: int, expected: tuple[int, int]) -> None:
    hosts = make_hosts(*[1] * 100) + make_hosts(*[1] * 100, priority=1)
    for host in hosts[well:100]:
        host.set_flag(HealthFlag.FAILED_ACTIVE_HC)
    assert priority_loads(part_hosts(hosts), 50).healthy == expected


@pytest.mark.parametrize(
    ("well", "expected"),
    [
        # The same page, three levels.
        ((100, 100, 100), (100, 0, 0)),
        ((72, 72, 100), (100, 0, 0)),
        ((71, 71, 100), (99, 1, 0)),
        ((50, 50, 100), (70, 30, 0)),
        ((25, 100, 100), (35, 65, 0)),
        ((25, 25, 100), (35, 35, 30)),
        ((25, 25, 20), (36, 35, 29)),
    ],
)
def test_priority_loads_of_three_levels(well: tuple[int, ...], expected: tuple[int, ...]) -> None:
    loads = priority_loads(part_hosts(hundreds(*well)), 0)
    assert sum(loads.healthy) == 100
    assert loads.healthy == pytest.approx(expected, abs=1)


@pytest.mark.parametrize(
    ("well", "panic"),
    [
        # docs: arch_overview/upstream/load_balancing/panic_threshold, the threshold at 50 %.
        ((72, 72), (False, False)),
        ((71, 71), (False, False)),
        ((50, 60), (False, False)),
        ((25, 100), (False, False)),
        ((25, 25), (True, True)),
        ((5, 65), (True, False)),
    ],
)
def test_panic_begins_when_all_levels_together_are_unwell(
    well: tuple[int, ...], panic: tuple[bool, ...]
) -> None:
    assert priority_loads(part_hosts(hundreds(*well)), 50).panic == panic


def hundreds(*well: int) -> list[Host]:
    """A hundred hosts in each priority, so many of them well."""
    hosts = []
    for priority, count in enumerate(well):
        level = make_hosts(*[1] * 100, priority=priority)
        for host in level[count:]:
            host.set_flag(HealthFlag.FAILED_ACTIVE_HC)
        hosts.extend(level)
    return hosts


def test_priority_loads_with_degraded_hosts_prefers_the_healthy() -> None:
    hosts = make_hosts(1, 1, 1, 1)
    for host in hosts[1:]:
        host.set_eds_health("DEGRADED")
    loads = priority_loads(part_hosts(hosts), 50)
    assert (loads.healthy, loads.degraded) == ((35,), (65,))


def test_all_hosts_down_panics_and_uses_them_all() -> None:
    balancer = Balancer(make_hosts(1, 1, status="UNHEALTHY"))
    assert set(balancer.take(10)) == {0, 1}
    assert balancer.stats.lb_healthy_panic.value == 10


def test_all_hosts_down_without_panic_gives_none() -> None:
    balancer = Balancer(make_hosts(1, 1, status="UNHEALTHY"), panic_threshold=0)
    assert balancer.take(3) == [-1, -1, -1]


def test_total_panic_spreads_by_the_number_of_hosts() -> None:
    hosts = make_hosts(1, status="UNHEALTHY") + make_hosts(1, 1, 1, priority=1, status="UNHEALTHY")
    assert priority_loads(part_hosts(hosts), 50).healthy == (25, 75)


def test_weighted_priority_health_counts_weights() -> None:
    hosts = make_hosts(9, 1)
    hosts[0].set_flag(HealthFlag.FAILED_ACTIVE_HC)
    hosts += make_hosts(1, priority=1)
    assert priority_loads(part_hosts(hosts), 50).healthy == (70, 30)
    assert priority_loads(part_hosts(hosts), 50, weighted=True).healthy == (14, 86)


def test_excluded_hosts_do_not_count() -> None:
    hosts = make_hosts(1, 1)
    hosts[0].set_flag(HealthFlag.PENDING_ACTIVE_HC)
    [only] = part_hosts(hosts)
    assert (only.excluded, only.healthy) == (1, (hosts[1],))
    assert priority_loads([only], 50).healthy == (100,)


@pytest.mark.parametrize("name", ["RING_HASH", "MAGLEV"])
def test_hash_balancer_gives_other_hosts_to_further_attempts(name: str) -> None:
    lb = Balancer(make_hosts(*[1] * 8), LbPolicy(name)).lb
    lb.update(part_hosts(make_hosts(*[1] * 8)))
    request = HashedRequest(12345)
    assert lb.choose(request) is lb.choose(request)
    assert len({lb.choose(request, attempt) for attempt in range(50)}) > 3


def test_tables_of_very_many_hosts_are_made_by_the_first_request() -> None:
    balancer = Balancer(make_hosts(*[1] * 1001), LbPolicy("MAGLEV"))
    gauge = balancer.stats.scope.gauge("maglev_lb.max_entries_per_host")
    balancer.update()
    assert gauge.value == 0
    assert balancer.lb.choose(HashedRequest(7)) is not None
    assert gauge.value == 66


class HashedRequest:
    """As much of a stream as a hash balancer looks at."""

    def __init__(self, value: int) -> None:
        self.route = self.request = self
        self.headers = None
        self.value = value

    def hash_policy(self, headers: object, stream: object, may_set_cookie: bool) -> int:
        return self.value
