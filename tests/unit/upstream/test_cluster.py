"""A cluster's stats and health."""

from __future__ import annotations

import pytest

from sidecar.core.address import Address
from sidecar.observability.stats import Store
from sidecar.upstream.cluster import Cluster, ClusterConfig
from sidecar.upstream.cluster_stats import Trees
from sidecar.upstream.host import Health, HealthFlag, Host


def make_cluster(count: int = 2) -> tuple[Cluster, Store]:
    store = Store()
    cluster = Cluster(ClusterConfig("c"), store, draw=lambda n: 0)
    cluster.set_hosts([Host(Address.ip(f"192.0.2.{number}", 80)) for number in range(1, count + 1)])
    return cluster, store


def test_cluster_without_hosts_counts_what_it_could_not_serve() -> None:
    cluster, _ = make_cluster(0)
    assert cluster.choose_host() is None
    assert cluster.stats.upstream_cx_none_healthy.value == 1


def test_charge_response_counts_completed_class_and_code_in_every_tree() -> None:
    cluster, store = make_cluster()
    cluster.stats.charge_response(200)
    cluster.stats.charge_response(200, True)
    cluster.stats.charge_response(503, Trees(False, True, "zone.a.b.", "alt"))
    cluster.stats.charge_response(999)
    found = {
        name.removeprefix("cluster.c."): counter.value
        for name, counter in store.counters.items()
        if "upstream_rq_" in name and counter.value
    }
    assert found == {
        "upstream_rq_completed": 4,
        "upstream_rq_2xx": 2,
        "upstream_rq_200": 2,
        "upstream_rq_5xx": 1,
        "upstream_rq_503": 1,
        "upstream_rq_unknown": 1,
        "external.upstream_rq_completed": 3,
        "external.upstream_rq_2xx": 1,
        "external.upstream_rq_200": 1,
        "external.upstream_rq_5xx": 1,
        "external.upstream_rq_503": 1,
        "external.upstream_rq_unknown": 1,
        "internal.upstream_rq_completed": 1,
        "internal.upstream_rq_2xx": 1,
        "internal.upstream_rq_200": 1,
        "canary.upstream_rq_completed": 1,
        "canary.upstream_rq_5xx": 1,
        "canary.upstream_rq_503": 1,
        "zone.a.b.upstream_rq_completed": 1,
        "zone.a.b.upstream_rq_5xx": 1,
        "zone.a.b.upstream_rq_503": 1,
        **{
            f"alt.{tree}upstream_rq_{name}": 1
            for tree in ("", "external.", "canary.", "zone.a.b.")
            for name in ("completed", "5xx", "503")
        },
    }


def test_charge_time_makes_its_histograms_at_first_use() -> None:
    cluster, store = make_cluster()
    assert "cluster.c.upstream_rq_time" not in store.histograms
    cluster.stats.charge_time(5)
    assert {"cluster.c.upstream_rq_time", "cluster.c.external.upstream_rq_time"} <= store.histograms.keys()


def test_stats_at_the_start_are_those_of_envoy() -> None:
    _, store = make_cluster()
    names = {name.removeprefix("cluster.c.") for name in (*store.counters, *store.gauges, *store.histograms)}
    assert {"circuit_breakers.high.rq_retry_open", "default.total_match_count", "upstream_rq_per_cx"} <= names
    assert not {"upstream_rq_200", "external.upstream_rq_completed", "upstream_rq_time"} & names
    assert len(names) == 107


@pytest.mark.parametrize(
    ("flag", "health", "text"),
    [
        (HealthFlag.FAILED_ACTIVE_HC, Health.UNHEALTHY, "/failed_active_hc"),
        (HealthFlag.FAILED_OUTLIER_CHECK, Health.UNHEALTHY, "/failed_outlier_check"),
        (HealthFlag.DEGRADED_ACTIVE_HC, Health.DEGRADED, "/degraded_active_hc"),
        (HealthFlag.ACTIVE_HC_TIMEOUT, Health.HEALTHY, "/active_hc_timeout"),
    ],
)
def test_health_flag_decides_the_health_of_a_host(flag: HealthFlag, health: str, text: str) -> None:
    host = Host(Address.ip("192.0.2.1", 80))
    assert (host.health, host.health_flags_text()) == (Health.HEALTHY, "healthy")
    host.set_flag(flag)
    assert (host.health, host.health_flags_text()) == (health, text)
    host.clear_flag(flag)
    assert host.health == Health.HEALTHY


@pytest.mark.parametrize(
    ("status", "health"),
    [
        ("UNKNOWN", Health.HEALTHY),
        ("HEALTHY", Health.HEALTHY),
        ("UNHEALTHY", Health.UNHEALTHY),
        ("DRAINING", Health.UNHEALTHY),
        ("TIMEOUT", Health.UNHEALTHY),
        ("DEGRADED", Health.DEGRADED),
    ],
)
def test_eds_health_status_decides_the_health_of_a_host(status: str, health: str) -> None:
    assert Host(Address.ip("192.0.2.1", 80), eds_health_status=status).health == health


def test_refresh_health_moves_requests_away_from_a_host_that_failed() -> None:
    cluster, _ = make_cluster(3)
    cluster.hosts[0].set_flag(HealthFlag.FAILED_OUTLIER_CHECK)
    cluster.refresh_health()
    assert cluster.hosts[0] not in {cluster.choose_host() for _ in range(6)}
    assert cluster.stats.membership_healthy.value == 2


def test_host_with_canary_metadata_is_a_canary() -> None:
    assert Host(Address.ip("192.0.2.1", 80), metadata={"envoy.lb": {"canary": True}}).canary is True


def test_hosts_lose_their_connections_when_anything_changes_if_asked() -> None:
    class Pool:
        drained = 0

        def drain(self) -> None:
            self.drained += 1

    hosts = [Host(Address.ip(f"192.0.2.{number}", 80)) for number in range(3)]
    cluster = Cluster(ClusterConfig("c", close_connections_on_host_set_change=True), Store())
    cluster.set_hosts(hosts[:2])
    pool = Pool()
    hosts[0].pools = (pool,)
    cluster.on_host_changed(hosts[1])
    assert pool.drained == 1
    cluster.set_hosts(hosts)
    assert pool.drained == 2
