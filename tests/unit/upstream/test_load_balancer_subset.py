"""Subsets: who is in one, who is told of a change, and what is done without one."""

from __future__ import annotations

from random import Random
from types import SimpleNamespace
from typing import Any

import pytest

from sidecar.core.address import Address
from sidecar.observability.stats import Store
from sidecar.upstream.cluster_stats import ClusterStats
from sidecar.upstream.host import NO_LOCALITY, HealthFlag, Host, Locality
from sidecar.upstream.host_set import part_hosts
from sidecar.upstream.load_balancer import LbContext
from sidecar.upstream.load_balancer_factory import make_load_balancer
from sidecar.upstream.load_balancer_policies import LbPolicy
from sidecar.upstream.local_zone import LocalZone
from sidecar.upstream.metadata_match import MetadataMatch
from sidecar.upstream.subset_settings import Fallback, SubsetSelector, SubsetSettings, selector_fallbacks

V, VS = SubsetSelector(("v",)), SubsetSelector(("s", "v"))


def host(number: int, priority: int = 0, **metadata: Any) -> Host:
    return Host(
        Address.ip(f"10.0.{priority}.{number}", 80), priority=priority, metadata={"envoy.lb": metadata}
    )


class Balancer:
    """A subset load balancer over hosts, and who was chosen for some criteria."""

    def __init__(self, hosts: list[Host], *selectors: SubsetSelector, **settings: Any) -> None:
        self.stats = ClusterStats(Store().scope("cluster.c"))
        self.hosts = hosts
        self.updates: list[list[Host]] = []
        self.local = LocalZone(NO_LOCALITY, "proxies")
        context = LbContext(Random(1).randrange, self.stats, local=self.local)
        policy = LbPolicy(
            "SUBSET", subset=SubsetSettings(selectors=selectors, **{"child": LbPolicy(), **settings})
        )
        self.lb: Any = make_load_balancer(policy, context)
        self.update()

    def update(self) -> None:
        self.sets = part_hosts(self.hosts, before=getattr(self, "sets", ()))
        self.lb.update(self.sets)

    def take(self, criteria: dict[str, Any] | None, count: int = 4) -> set[int]:
        """The numbers of the hosts chosen, -1 for none."""
        match = None if criteria is None else MetadataMatch(criteria)
        stream = SimpleNamespace(
            route=SimpleNamespace(metadata_match=match),
            connection=SimpleNamespace(dynamic_metadata=None),
            dynamic_metadata=None,
        )
        chosen = [self.lb.choose(stream) for _ in range(count)]
        return {-1 if host is None else self.hosts.index(host) for host in chosen}

    def watch(self) -> None:
        """Note from now on whose load balancers are told of hosts."""
        for subset in self.lb._members.subsets.values():
            inner, update = subset.balancer, subset.balancer.update
            subset.balancer = SimpleNamespace(
                update=lambda sets, update=update: (
                    self.updates.append([host for each in sets for host in each.hosts]),
                    update(sets),
                ),
                choose=inner.choose,
            )


def test_hosts_are_parted_by_every_selector() -> None:
    balancer = Balancer([host(1, v=1, s=1), host(2, v=1, s=2), host(3, v=2), host(4)], V, VS)
    assert balancer.take({"v": 1}) == {0, 1}
    assert balancer.take({"v": 2}) == {2}
    assert balancer.take({"v": 1, "s": 2}) == {1}
    assert balancer.take({"s": 2}) == {-1}
    assert balancer.take(None) == {-1}
    assert balancer.lb.choose() is None


def test_health_changes_are_told_to_the_hosts_own_subsets() -> None:
    hosts = [host(1, v=1, s=1), host(2, v=1, s=2), host(3, v=2, s=1)]
    balancer = Balancer(hosts, V, VS)
    balancer.watch()
    hosts[0].set_flag(HealthFlag.FAILED_ACTIVE_HC)
    balancer.update()
    assert sorted(map(len, balancer.updates)) == [1, 2]
    assert all(hosts[0] in each for each in balancer.updates)
    balancer.updates.clear()
    balancer.update()
    assert balancer.updates == []


def test_membership_changes_are_told_to_the_subsets_that_are_not_the_same() -> None:
    hosts = [host(1, v=1), host(2, v=2)]
    balancer = Balancer(hosts, V)
    balancer.watch()
    hosts.append(host(3, v=2))
    balancer.update()
    assert balancer.updates == [[hosts[1], hosts[2]]]
    assert balancer.take({"v": 2}) == {1, 2}


def test_subset_without_a_host_is_no_subset() -> None:
    hosts = [host(1, v=1), host(2, v=2)]
    balancer = Balancer(hosts, V, fallback=Fallback.ANY)
    del hosts[1]
    balancer.update()
    assert balancer.take({"v": 2}) == {0}
    stats = balancer.stats
    assert (stats.lb_subsets_created.value, stats.lb_subsets_removed.value) == (4, 2)
    assert stats.lb_subsets_active.value == 2
    hosts.clear()
    balancer.update()
    assert stats.lb_subsets_active.value == 0


def test_metadata_that_changes_moves_the_host() -> None:
    hosts = [host(1, v=1), host(2, v=2)]
    balancer = Balancer(hosts, V, fallback=Fallback.DEFAULT, default_subset={"v": 3})
    assert balancer.take({"v": 3}) == {-1}
    hosts[0].metadata = {"envoy.lb": {"v": 3}}
    balancer.update()
    assert balancer.take({"v": 1}) == {0}
    assert balancer.take({"v": 3}) == {0}
    assert balancer.stats.lb_subsets_fallback.value == 4


def test_subset_has_panic_of_its_own() -> None:
    hosts = [host(1, v=1), host(2, v=1), host(3, v=2), host(4, v=2)]
    balancer = Balancer(hosts, V)
    hosts[0].set_flag(HealthFlag.FAILED_ACTIVE_HC)
    hosts[1].set_flag(HealthFlag.FAILED_ACTIVE_HC)
    hosts[2].set_flag(HealthFlag.FAILED_ACTIVE_HC)
    balancer.update()
    assert balancer.take({"v": 1}) == {0, 1}
    assert balancer.stats.lb_healthy_panic.value == 4
    assert balancer.take({"v": 2}) == {3}


def test_single_host_is_the_first_of_the_highest_priority() -> None:
    selector = SubsetSelector(("v",), single_host=True)
    hosts = [host(1, 1, v=1), host(2, 0, v=1), host(3, 0, v=1)]
    balancer = Balancer(hosts, selector)
    hosts[1].set_flag(HealthFlag.FAILED_ACTIVE_HC)
    balancer.update()
    assert balancer.take({"v": 1}) == {1}
    del hosts[1:]
    balancer.update()
    assert balancer.take({"v": 1}) == {0}


def test_keys_subset_tries_again_with_fewer_keys() -> None:
    selector = SubsetSelector(("s", "v"), Fallback.KEYS, frozenset("v"))
    balancer = Balancer([host(1, v=1, s=1), host(2, v=2)], selector, V, fallback=Fallback.NONE)
    assert balancer.take({"v": 1, "s": 9}) == {0}
    assert balancer.take({"v": 2, "s": 1}) == {1}
    assert balancer.take({"v": 9, "s": 9}) == {-1}


def test_fallback_of_a_selector_is_that_of_the_first_to_come() -> None:
    long = SubsetSelector(("a", "b"), Fallback.ANY)
    short = SubsetSelector(("a",), Fallback.DEFAULT)
    assert selector_fallbacks((short, long))["a",] is short
    found = selector_fallbacks((long, short))
    assert found["a",].fallback == Fallback.NOT_DEFINED
    assert found["a", "b"] is long


def test_panic_mode_any_needs_a_fallback() -> None:
    hosts = [host(1, v=1)]
    without = Balancer(hosts, V, panic_mode_any=True)
    assert without.take({"v": 9}) == {-1}
    balancer = Balancer(hosts, V, panic_mode_any=True, fallback=Fallback.DEFAULT, default_subset={"v": 9})
    assert balancer.take({"v": 9}) == {0}
    assert balancer.stats.lb_subsets_fallback_panic.value == 4
    assert balancer.stats.lb_subsets_fallback.value == 0


def test_empty_list_begins_the_combinations_anew() -> None:
    balancer = Balancer([host(1, a=[], b=[1, 2])], SubsetSelector(("a", "b")), list_as_any=True)
    assert balancer.take({"b": 2}) == {0}


def test_host_that_changes_its_priority_is_told_to_its_subset() -> None:
    hosts = [host(1, v=1), host(2, 1, v=1)]
    balancer = Balancer(hosts, V)
    assert balancer.take({"v": 1}) == {0}
    hosts[0].priority, hosts[1].priority = 1, 0
    balancer.update()
    assert balancer.take({"v": 1}) == {1}


def seen_by(subset: Any) -> Any:
    """What the load balancer of a subset goes by."""
    if not subset.hosts:
        return None
    sets = getattr(subset, "_sets", ())
    loads = subset.balancer.loads if sets else subset.choose(None, 0)
    parts = [(each.hosts, each.healthy, each.excluded, each.localities) for each in sets]
    return parts, loads, subset.hosts


@pytest.mark.parametrize("is_scaled", [False, True])
@pytest.mark.parametrize("seed", range(10))
def test_subsets_after_any_changes_are_those_of_a_fresh_start(seed: int, is_scaled: bool) -> None:
    random = Random(seed)
    selectors = (V, VS, SubsetSelector(("s",), single_host=True))
    settings: dict[str, Any] = {
        "fallback": Fallback.DEFAULT,
        "default_subset": {"s": 1},
        "list_as_any": True,
        "panic_mode_any": True,
        "scale_locality_weight": is_scaled,
        "child": LbPolicy(locality_weighted=is_scaled),
    }

    def values() -> dict[str, Any]:
        made = {"v": random.choice([1, 2, [1, 2]]), "s": random.choice([1, 2, 3])}
        return {name: value for name, value in made.items() if random.random() < 0.8}

    hosts: list[Host] = []
    balancer = Balancer(hosts, *selectors, **settings)
    for number in range(60):
        for _ in range(random.randrange(3)):
            what = random.randrange(4) if hosts else 0
            if what == 0:
                one = host(number, random.randrange(2), **values())
                one.locality = Locality(zone=random.choice("abc"))
                one.locality_weight = {"a": 0, "b": 2, "c": 5}[one.locality.zone]
                hosts.insert(random.randint(0, len(hosts)), one)
            elif what == 1:
                del hosts[random.randrange(len(hosts))]
            elif what == 2:
                random.choice(hosts).metadata = {"envoy.lb": values()}
            else:
                one = random.choice(hosts)
                one.health_flags ^= HealthFlag.FAILED_ACTIVE_HC
                one.set_flag(0)
        balancer.update()
        fresh = Balancer(hosts, *selectors, **settings)
        mine, theirs = balancer.lb._members, fresh.lb._members
        assert mine.subsets.keys() == theirs.subsets.keys()
        for key, subset in theirs.subsets.items():
            assert seen_by(mine.subsets[key]) == seen_by(subset)
        assert seen_by(mine._any) == seen_by(theirs._any)
        assert seen_by(mine._default) == seen_by(theirs._default)
        for stat in ("lb_subsets_active", "lb_subsets_single_host_per_subset_duplicate"):
            assert balancer.stats.scope.gauge(stat).value == fresh.stats.scope.gauge(stat).value


def test_change_among_the_proxies_is_told_to_every_subset() -> None:
    hosts = [host(1, v=1), host(2, v=2)]
    balancer = Balancer(hosts, V)
    balancer.watch()
    balancer.local.set_peers(part_hosts([host(9)])[0])
    balancer.update()
    assert sorted(balancer.updates, key=str) == [[hosts[0]], [hosts[1]]]


def test_subset_that_is_empty_for_a_moment_is_made_anew() -> None:
    hosts = [host(1, v=1), host(2, v=2)]
    balancer = Balancer(hosts, V)
    hosts[0].priority = 1
    balancer.update()
    stats = balancer.stats
    assert (stats.lb_subsets_created.value, stats.lb_subsets_removed.value) == (6, 2)
    assert stats.lb_subsets_active.value == 4
    hosts[0].priority = 0
    balancer.update()
    assert (stats.lb_subsets_created.value, stats.lb_subsets_removed.value) == (6, 2)
