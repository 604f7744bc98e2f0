"""Hosts parted by priority, health and locality."""

from __future__ import annotations

import pytest

from sidecar.core.address import Address
from sidecar.upstream.host import HealthFlag, Host, Locality
from sidecar.upstream.host_set import compare_hosts, part_hosts

EAST, WEST, NORTH = Locality("r", "east"), Locality("r", "west"), Locality("r", "north")


def host(number: int, locality: Locality = EAST, priority: int = 0, weight: int = 0) -> Host:
    address = Address.ip(f"10.0.0.{number}", 80)
    return Host(address, priority=priority, locality=locality, locality_weight=weight)


def test_hosts_are_parted_by_priority_and_a_gap_is_empty() -> None:
    hosts = [host(1, priority=2), host(2), host(3, priority=2)]
    sets = part_hosts(hosts)
    assert [each.hosts for each in sets] == [(hosts[1],), (), (hosts[0], hosts[2])]


def test_there_is_a_priority_without_hosts() -> None:
    [only] = part_hosts([])
    assert (only.hosts, only.healthy, only.degraded, only.excluded) == ((), (), (), 0)


def test_hosts_are_parted_by_health() -> None:
    hosts = [host(number) for number in range(4)]
    hosts[1].set_flag(HealthFlag.DEGRADED_ACTIVE_HC)
    hosts[2].set_flag(HealthFlag.FAILED_OUTLIER_CHECK)
    hosts[3].set_flag(HealthFlag.PENDING_ACTIVE_HC)
    [only] = part_hosts(hosts)
    assert (only.healthy, only.degraded, only.excluded) == ((hosts[0],), (hosts[1],), 1)


def test_lists_that_stay_are_the_same_objects() -> None:
    hosts = [host(1), host(2), host(3, priority=1)]
    before = part_hosts(hosts)
    hosts[0].set_flag(HealthFlag.FAILED_ACTIVE_HC)
    after = part_hosts(hosts, before=before)
    assert after[0].hosts is before[0].hosts
    assert after[0].healthy == (hosts[1],)
    assert after[1].healthy is before[1].healthy


def test_localities_stand_in_order_with_the_own_one_first() -> None:
    hosts = [host(1, WEST, weight=2), host(2, EAST, weight=3), host(3, NORTH), host(4, WEST, weight=2)]
    [plain] = part_hosts(hosts)
    assert plain.localities.keys == (EAST, NORTH, WEST)
    assert plain.localities.weights == (3, 0, 2)
    assert not plain.localities.has_local
    [own] = part_hosts(hosts, WEST)
    assert own.localities.keys == (WEST, EAST, NORTH)
    assert own.localities.hosts == ((hosts[0], hosts[3]), (hosts[1],), (hosts[2],))
    assert own.localities.has_local
    [foreign] = part_hosts(hosts, Locality("s"))
    assert not foreign.localities.has_local


def test_effective_weight_falls_when_too_few_hosts_are_well() -> None:
    # docs: arch_overview/upstream/load_balancing/locality_weight, with the factor of 140.
    hosts = [host(number, weight=10) for number in range(10)]
    found = []
    for unwell in (0, 2, 3, 5, 10):
        for each in hosts[:unwell]:
            each.set_flag(HealthFlag.FAILED_ACTIVE_HC)
        localities = part_hosts(hosts)[0].localities
        found.append(round(localities.effective_weight(0, localities.healthy, 140), 6))
    assert found == [10.0, 10.0, 9.8, 7.0, 0.0]


def test_restricted_set_keeps_what_is_wanted() -> None:
    hosts = [host(1), host(2, WEST), host(3)]
    hosts[2].set_flag(HealthFlag.FAILED_ACTIVE_HC)
    part = part_hosts(hosts, WEST)[0].restrict(lambda each: each is not hosts[0])
    assert (part.hosts, part.healthy) == ((hosts[1], hosts[2]), (hosts[1],))
    assert part.localities.keys == (WEST, EAST)


@pytest.mark.parametrize("change", ["none", "first", "last", "middle", "grow", "all", "order", "empty"])
def test_hosts_that_came_and_left_are_told(change: str) -> None:
    before = [host(number) for number in range(9)]
    now = list(before)
    if change in ("first", "last", "middle"):
        now[{"first": 0, "last": 8, "middle": 4}[change]] = host(20)
    elif change == "grow":
        now[4:4] = [host(20), host(21)]
    elif change == "all":
        now = [host(20)]
    elif change == "order":
        now.reverse()
    elif change == "empty":
        now = []
    came, left = compare_hosts(tuple(before), tuple(now))
    assert came == [each for each in now if each not in before]
    assert left == [each for each in before if each not in now]
