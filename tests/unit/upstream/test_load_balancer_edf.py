"""Turns by weight: shares, order, and what changes of hosts do to them."""

from __future__ import annotations

from collections import Counter as Counts
from collections.abc import Callable, Sequence
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.address import Address
from sidecar.upstream.host import Host
from sidecar.upstream.load_balancer_edf import EdfPicker, Turns, WeightedRoundRobinPicker

Pick = WeightedRoundRobinPicker | EdfPicker
Make = Callable[[Sequence[Host], int], Pick]


def make_hosts(*weights: int) -> list[Host]:
    return [Host(Address.ip(f"10.0.0.{number}", 80), weight=weight) for number, weight in enumerate(weights)]


def scheduled(hosts: Sequence[Host], picks: int) -> EdfPicker:
    return EdfPicker(hosts, lambda host: host.weight, picks)


BOTH = pytest.mark.parametrize("make", [WeightedRoundRobinPicker, scheduled])


def take(picker: Pick, count: int) -> Counts[int]:
    return Counts(_number(picker.pick()) for _ in range(count))


def _number(host: Host | None) -> int:
    return -1 if host is None else int(host.address.split(":")[0].rpartition(".")[2])


class Reference:
    """Envoy's scheduler as simple as can be: everybody's next turn, the earliest first."""

    def __init__(self, weights: Sequence[int]) -> None:
        self.weights = weights
        self.queue = [(1 / weight, number, 1, number) for number, weight in enumerate(weights)]
        self.sequence = len(weights)

    def pick(self) -> int:
        first = min(self.queue)
        self.queue.remove(first)
        turn, number = first[2] + 1, first[3]
        self.queue.append((turn / self.weights[number], self.sequence, turn, number))
        self.sequence += 1
        return number


@given(st.lists(st.integers(1, 6), min_size=1, max_size=12))
def test_weighted_round_robin_takes_envoys_turns(weights: list[int]) -> None:
    reference = Reference(weights)
    picker = WeightedRoundRobinPicker(make_hosts(*weights), 0)
    count = 3 * sum(weights)
    assert [_number(picker.pick()) for _ in range(count)] == [reference.pick() for _ in range(count)]


@BOTH
@given(weights=st.lists(st.integers(1, 9), min_size=1, max_size=9), picks=st.integers(0, 1 << 16))
def test_every_host_gets_its_share_of_a_cycle(make: Make, weights: list[int], picks: int) -> None:
    picker = make(make_hosts(*weights), picks)
    taken = take(picker, 10 * sum(weights))
    for number, weight in enumerate(weights):
        assert abs(taken[number] - 10 * weight) <= 1


@BOTH
def test_schedule_begins_at_different_hosts(make: Make) -> None:
    hosts = make_hosts(1, 2, 3)
    assert {_number(make(hosts, picks).pick()) for picks in range(6)} == {0, 1, 2}


@BOTH
def test_schedule_without_hosts_picks_none(make: Make) -> None:
    picker = make([], 5)
    assert picker.pick() is None
    hosts = make_hosts(2)
    picker.update(hosts)
    assert picker.pick() is hosts[0]
    picker.update([])
    assert picker.pick() is None


@BOTH
def test_host_that_leaves_is_not_picked_and_one_that_returns_is(make: Make) -> None:
    hosts = make_hosts(1, 2, 3, 3)
    picker = make(hosts, 7)
    take(picker, 5)
    picker.update([hosts[0], hosts[2], hosts[3]])
    assert take(picker, 70) == {0: 10, 2: 30, 3: 30}
    picker.update(hosts)
    taken = take(picker, 90)
    assert taken[0] in (9, 10, 11)
    assert 18 <= taken[1] <= 21


@BOTH
def test_host_that_leaves_and_returns_before_its_turn_keeps_it(make: Make) -> None:
    hosts = make_hosts(1, 5, 5)
    picker = make(hosts, 0)
    picker.update(hosts[1:])
    picker.update(hosts)
    assert take(picker, 110) == {0: 10, 1: 50, 2: 50}


@BOTH
def test_changed_weight_counts_after_an_update(make: Make) -> None:
    hosts = make_hosts(1, 2, 3)
    picker = make(hosts, 3)
    take(picker, 4)
    hosts[0].weight = 5
    picker.update(hosts)
    take(picker, 10)
    taken = take(picker, 100)
    assert (taken[0], taken[1], taken[2]) == pytest.approx((50, 20, 30), abs=1)


@BOTH
@pytest.mark.parametrize("seed", range(5))
def test_hosts_that_come_and_go_never_starve_others(make: Make, seed: int) -> None:
    random = Random(seed)
    hosts = make_hosts(*[random.randint(1, 5) for _ in range(20)])
    picker = make(hosts, random.randrange(1 << 16))
    for _ in range(60):
        current = random.sample(hosts, random.randint(1, 20))
        picker.update(current)
        total = sum(host.weight for host in current)
        taken = take(picker, 2 * total)
        assert set(taken) <= {_number(host) for host in current}
        assert all(taken[_number(host)] >= 1 for host in current)


def test_dynamic_weight_is_asked_at_every_turn() -> None:
    hosts = make_hosts(1, 1)
    weights = {hosts[0]: 1.0, hosts[1]: 3.0}
    picker = EdfPicker(hosts, weights.__getitem__)
    assert take(picker, 40) == {0: 10, 1: 30}
    weights[hosts[0]] = 9.0
    take(picker, 4)
    assert take(picker, 40)[0] == pytest.approx(30, abs=1)


def test_turns_are_in_proportion_whatever_the_weights() -> None:
    turns = Turns([("a", 0.5), ("b", 1.5), ("c", 1.0)], 1234)
    assert Counts(turns.take() for _ in range(600)) == {"a": 100, "b": 300, "c": 200}
