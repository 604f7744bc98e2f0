"""Who stays though discovery dropped him."""

from __future__ import annotations

from sidecar.core.address import Address
from sidecar.observability.stats import Store
from sidecar.upstream.cluster import Cluster, ClusterConfig
from sidecar.upstream.health_check import HealthCheckSettings
from sidecar.upstream.host import HealthFlag, Host
from sidecar.upstream.host_removal import keep_until_failed

CHECKED = ClusterConfig("c", type="EDS", health_checks=(HealthCheckSettings("HTTP", 1.0, 1.0, 1, 1),))


def hosts(count: int) -> list[Host]:
    return [Host(Address.ip("127.0.0.1", 80 + number)) for number in range(count)]


def test_hosts_that_are_well_stay_behind_those_that_are_named() -> None:
    well, failed, ill, unchecked, new = hosts(5)
    failed.set_flag(HealthFlag.FAILED_ACTIVE_HC)
    ill.set_eds_health("UNHEALTHY")
    unchecked.has_no_health_checks = True
    assert keep_until_failed(CHECKED, [well, failed, ill, unchecked], [new]) == [new, well]
    assert well.health_flags_text() == "/pending_dynamic_removal"
    assert well.health == "healthy"
    assert keep_until_failed(CHECKED, [new, well], [well]) == [well, new]
    assert (well.health_flags_text(), new.health_flags_text()) == ("healthy", "/pending_dynamic_removal")


def test_without_checks_nobody_stays() -> None:
    first, second = hosts(2)
    unchecked = ClusterConfig("c", type="EDS")
    ignoring = ClusterConfig(
        "c", type="EDS", health_checks=CHECKED.health_checks, ignore_health_on_host_removal=True
    )
    assert keep_until_failed(unchecked, [first], [second]) == [second]
    assert keep_until_failed(ignoring, [first], [second]) == [second]


def test_eds_cluster_drops_such_a_host_when_it_fails_and_a_dns_cluster_waits() -> None:
    for kind, left in (("EDS", 1), ("STRICT_DNS", 2)):
        cluster = Cluster(ClusterConfig("c", type=kind, health_checks=CHECKED.health_checks), Store())
        before = hosts(2)
        cluster.set_hosts(before)
        cluster.set_hosts(keep_until_failed(CHECKED, before, before[:1]))
        assert len(cluster.hosts) == 2
        before[1].set_flag(HealthFlag.FAILED_ACTIVE_HC)
        cluster.on_host_changed(before[1])
        assert len(cluster.hosts) == left
