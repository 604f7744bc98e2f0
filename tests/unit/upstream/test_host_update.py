"""A new list of endpoints: who stays the same host, who takes whose place, who stays until it fails."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from sidecar.core.address import Address
from sidecar.observability.stats import Store
from sidecar.upstream.cluster import Cluster, ClusterConfig
from sidecar.upstream.discovery import Endpoint
from sidecar.upstream.health_check import HealthCheckSettings
from sidecar.upstream.host import HealthFlag, Host, Locality
from sidecar.upstream.host_update import HostUpdater

CHECK = HealthCheckSettings("HTTP", 1, 1, 1, 1)


class Bed:
    def __init__(self, *, checked: bool = False, **config: Any) -> None:
        checks = (CHECK,) if checked else ()
        self.cluster = Cluster(ClusterConfig("c", type="EDS", health_checks=checks, **config), Store())
        self.updater = HostUpdater(self.cluster)

    def update(self, *endpoints: Endpoint) -> bool:
        return self.updater.update(endpoints)

    def hosts(self) -> list[tuple[str, str]]:
        return [(host.address.rpartition(":")[0], host.health_flags_text()) for host in self.cluster.hosts]


def at(number: int, **fields: Any) -> Endpoint:
    return Endpoint(Address.ip(f"192.0.2.{number}", 80), **fields)


def counts(bed: Bed) -> tuple[int, int]:
    stats = bed.cluster.stats
    return stats.membership_change.value, stats.default_total_match_count.value


def test_host_that_is_named_again_stays_and_changes_in_place() -> None:
    bed = Bed()
    assert bed.update(at(1), at(2), at(1, weight=9))
    first, second = bed.cluster.hosts
    assert not bed.update(at(1), at(2))
    assert bed.update(at(2, weight=3, metadata={"envoy.lb": {"canary": True}}, priority=1), at(1))
    assert bed.cluster.hosts == (first, second)
    assert (second.weight, second.canary, second.priority) == (3, True, 1)
    # Two came, one moved between two priorities; each endpoint is a host for a moment, metadata is one more.
    assert counts(bed) == (3, 2 + 2 + 3)


def test_order_of_the_endpoints_alone_changes_nothing() -> None:
    bed = Bed()
    bed.update(at(1), at(2))
    hosts = bed.cluster.hosts
    assert not bed.update(at(2), at(1))
    assert bed.cluster.hosts is hosts


def test_weight_of_a_locality_is_news_for_the_load_balancer() -> None:
    bed = Bed()
    bed.update(at(1, locality_weight=1))
    assert bed.update(at(1, locality_weight=2))
    assert bed.cluster.hosts[0].locality_weight == 2
    assert counts(bed)[0] == 1


def test_host_in_another_place_or_of_another_name_is_another_host() -> None:
    bed = Bed()
    bed.update(at(1))
    found = [bed.cluster.hosts[0]]
    for endpoint in (at(1, locality=Locality("r")), at(1, locality=Locality("r"), hostname="h")):
        bed.update(endpoint)
        assert len(bed.cluster.hosts) == 1
        assert bed.cluster.hosts[0] not in found
        found.append(bed.cluster.hosts[0])


def test_host_that_takes_the_place_of_another_is_as_well_as_that() -> None:
    bed = Bed(checked=True)
    bed.update(at(1))
    bed.cluster.hosts[0].set_flag(HealthFlag.FAILED_ACTIVE_HC | HealthFlag.ACTIVE_HC_TIMEOUT)
    bed.update(at(1, locality=Locality("r")))
    [host] = bed.cluster.hosts
    assert host.keeps_health
    assert host.health_flags_text() == "/failed_active_hc/active_hc_timeout"
    bed.update(at(1, locality=Locality("r"), health_port=1))
    assert [host.keeps_health for host in bed.cluster.hosts] == [False]


def test_checked_host_that_is_dropped_stays_until_it_fails_and_may_be_named_again() -> None:
    bed = Bed(checked=True)
    bed.update(at(1), at(2))
    first = bed.cluster.hosts[0]
    assert not bed.update(at(2))
    assert bed.hosts() == [("192.0.2.1", "/pending_dynamic_removal"), ("192.0.2.2", "healthy")]
    bed.update(at(2), at(1))
    assert first in bed.cluster.hosts
    assert {flags for _, flags in bed.hosts()} == {"healthy"}
    bed.update(at(2))
    first.set_flag(HealthFlag.FAILED_ACTIVE_HC)
    bed.cluster.on_host_changed(first)
    assert bed.hosts() == [("192.0.2.2", "healthy")]


def test_host_of_another_name_leaves_a_checked_one_behind_until_it_fails() -> None:
    bed = Bed(checked=True)
    bed.update(at(1))
    bed.update(at(1, hostname="h"))
    assert bed.hosts() == [("192.0.2.1", "healthy"), ("192.0.2.1", "/pending_dynamic_removal")]
    named = bed.cluster.hosts[0]
    assert not bed.update(at(1, hostname="h"))
    assert bed.cluster.hosts[0] is named


def test_endpoints_that_are_the_same_are_shared() -> None:
    bed = Bed()
    first, second = at(1, metadata={"a": {"b": 1}}), at(2)
    bed.update(first, second)
    shared = bed.updater.share((replace(first), replace(second, weight=2), at(3)))
    assert shared[0] is first
    assert [each.weight for each in shared] == [1, 2, 1]
    assert bed.update(*shared)
    assert len(bed.cluster.hosts) == 3


def test_heaviest_host_is_the_last_prioritys() -> None:
    bed = Bed()
    gauge = bed.cluster.stats.max_host_weight
    for endpoints, weight in (
        ((at(1, weight=7), at(2)), 7),
        ((at(1, weight=7), at(2, weight=2, priority=1)), 2),
        ((at(1, weight=7),), 1),
    ):
        bed.update(*endpoints)
        assert gauge.value == weight


def test_hosts_are_those_of_the_first_endpoint_at_an_address() -> None:
    bed = Bed()
    bed.update(at(1, weight=2), at(1, weight=3))
    hosts: tuple[Host, ...] = bed.cluster.hosts
    assert [host.weight for host in hosts] == [2]


class Counted(tuple[Endpoint, ...]):  # noqa: SLOT001 - it counts
    looks = 0

    def __iter__(self) -> Iterator[Endpoint]:
        self.looks += 1
        return super().__iter__()


def test_endpoints_that_were_taken_already_are_not_looked_at_until_the_hosts_are_others() -> None:
    bed = Bed()
    endpoints = Counted((at(1), at(2)))
    bed.updater.update(endpoints)
    looks = endpoints.looks
    assert not bed.updater.update(endpoints)
    assert endpoints.looks == looks
    assert counts(bed) == (1, 2 + 2)
    bed.cluster.set_hosts(bed.cluster.hosts[:1])
    assert bed.updater.update(endpoints)
    assert len(bed.cluster.hosts) == 2
    assert bed.updater.update(endpoints, is_forced=True)
