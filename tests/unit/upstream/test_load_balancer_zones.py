"""Localities by weight and by zone."""

from __future__ import annotations

from collections import Counter as Counts
from dataclasses import replace
from random import Random

import pytest

from sidecar.core.address import Address
from sidecar.observability.stats import Store
from sidecar.upstream.cluster import Cluster, ClusterConfig
from sidecar.upstream.cluster_manager import ClusterManager
from sidecar.upstream.cluster_stats import ClusterStats
from sidecar.upstream.discovery import Endpoint
from sidecar.upstream.host import HealthFlag, Host, Locality
from sidecar.upstream.host_set import HostSet, part_hosts
from sidecar.upstream.load_balancer_policies import LbPolicy
from sidecar.upstream.load_balancer_zones import ZONE_AWARE, ZoneRouting, route_by_zone
from sidecar.upstream.local_zone import LocalZone

ANY = replace(ZONE_AWARE, min_cluster_size=1)


def make_hosts(**zones: int) -> list[Host]:
    return [
        Host(Address.ip(f"10.0.{number}.{place}", 80), locality=Locality("r", zone))
        for number, (zone, count) in enumerate(zones.items())
        for place in range(count)
    ]


def part(hosts: list[Host]) -> HostSet:
    [only] = part_hosts(hosts, Locality("r", "a"))
    return only


def route(upstream: list[Host], peers: list[Host], settings: object = ANY) -> ZoneRouting | None:
    stats = ClusterStats(Store().scope("cluster.c"))
    return route_by_zone(settings, part(upstream), part(peers), stats)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("upstream", "peers"),
    [
        ({"a": 2, "b": 2}, {"a": 1, "b": 1}),
        ({"a": 3, "b": 1}, {"a": 1, "b": 1}),
    ],
)
def test_everything_stays_where_the_zone_has_its_share(
    upstream: dict[str, int], peers: dict[str, int]
) -> None:
    assert route(make_hosts(**upstream), make_hosts(**peers)) == ZoneRouting(direct=True)


def test_residual_capacity_is_envoys_example() -> None:
    # 40, 40 and 20 % of the proxies, 25, 50 and 25 % of the hosts.
    found = route(make_hosts(a=25, b=50, c=25), make_hosts(a=40, b=40, c=20))
    assert found == ZoneRouting(False, local=6250, residual=(0, 1000, 1500))


def test_zone_without_hosts_sends_everything_elsewhere() -> None:
    assert route(make_hosts(b=1, c=3), make_hosts(a=1, b=1)) == ZoneRouting(False, 0, (0, 7500))


@pytest.mark.parametrize(
    ("upstream", "peers"),
    [({"a": 9}, {"a": 1, "b": 1}), ({"a": 3, "b": 3}, {"a": 3}), ({"a": 3, "b": 3}, {"b": 3, "c": 1})],
)
def test_zones_do_not_count_without_a_choice(upstream: dict[str, int], peers: dict[str, int]) -> None:
    assert route(make_hosts(**upstream), make_hosts(**peers), ZONE_AWARE) is None


def test_forced_zone_needs_no_share_but_hosts() -> None:
    upstream, peers = make_hosts(a=2, b=9), make_hosts(a=3)
    assert route(upstream, peers, replace(ANY, force_local_min_size=2)) == ZoneRouting(direct=True)
    residual = route(upstream, peers, replace(ANY, force_local_min_size=3))
    assert residual is not None
    assert not residual.direct


def test_shares_may_go_by_weight() -> None:
    upstream, peers = make_hosts(a=1, b=2), make_hosts(a=1, b=1)
    upstream[0].weight = 2
    assert route(upstream, peers, replace(ANY, by_weight=True)) == ZoneRouting(direct=True)


class Pair:
    """A cluster and the local cluster under one manager; the proxy is in zone a."""

    def __init__(self, policy: LbPolicy, upstream: list[Host], peers: list[Host]) -> None:
        store = Store()
        draw = Random(3).randrange
        self.manager = ClusterManager(store, draw=draw, local=LocalZone(Locality("r", "a"), "local"))
        self.cluster = Cluster(ClusterConfig("c", lb_policy=policy), store, draw=draw)
        self.local = Cluster(ClusterConfig("local"), store, draw=draw)
        self.manager.add(self.cluster)
        self.manager.add(self.local)
        self.cluster.set_hosts(upstream)
        self.local.set_hosts(peers)

    def take(self, count: int) -> dict[str, int]:
        chosen = [self.cluster.choose_host() for _ in range(count)]
        return dict(Counts("-" if host is None else host.locality.zone for host in chosen))


def test_requests_stay_at_home_until_the_peers_say_otherwise() -> None:
    pair = Pair(LbPolicy(zone_aware=ANY), make_hosts(a=1, b=1, c=2), make_hosts(a=1, b=1, c=1, d=1))
    stats = pair.cluster.stats
    assert pair.take(40) == {"a": 40}
    assert stats.lb_zone_routing_all_directly.value == 40
    # Half of the proxies here, a quarter of the hosts: half may stay.
    pair.local.set_hosts(make_hosts(a=2, b=1, c=1))
    found = pair.take(400)
    assert found["a"] == pytest.approx(200, abs=40)
    # There is room in c alone: b has the share of hosts that it has of proxies.
    assert "b" not in found
    assert stats.lb_zone_routing_sampled.value == found["a"]
    assert stats.lb_zone_routing_cross_zone.value == found["c"]


def test_peers_in_panic_let_zones_go() -> None:
    peers = make_hosts(a=1, b=3)
    pair = Pair(LbPolicy(zone_aware=ANY), make_hosts(a=1, b=1), peers)
    for peer in peers[1:]:
        peer.set_flag(HealthFlag.FAILED_ACTIVE_HC)
    pair.local.refresh_health()
    assert pair.take(10) == {"a": 5, "b": 5}
    assert pair.cluster.stats.lb_local_cluster_not_ok.value == 10


def test_peers_in_panic_may_fail_the_traffic() -> None:
    peers = make_hosts(a=1, b=3)
    settings = replace(ANY, fail_traffic_on_panic=True)
    pair = Pair(LbPolicy(zone_aware=settings), make_hosts(a=1, b=1), peers)
    for peer in peers[1:]:
        peer.set_flag(HealthFlag.FAILED_ACTIVE_HC)
    pair.local.refresh_health()
    assert pair.take(10) == {"-": 10}


def test_local_cluster_itself_is_not_routed_by_zone() -> None:
    pair = Pair(LbPolicy(), make_hosts(a=1), make_hosts(a=3, b=3))
    chosen = Counts(str(pair.local.choose_host()) for _ in range(12))
    assert set(chosen.values()) == {2}


def test_removed_cluster_is_not_told_of_peers() -> None:
    pair = Pair(LbPolicy(), make_hosts(a=3, b=3), make_hosts(a=1, b=1))
    before = pair.cluster.stats.lb_recalculate_zone_structures.value
    pair.manager.remove("c")
    pair.local.set_hosts(make_hosts(a=1))
    assert pair.cluster.stats.lb_recalculate_zone_structures.value == before


def weighted_hosts(**zones: tuple[int, int]) -> list[Host]:
    hosts = make_hosts(**{zone: count for zone, (count, _) in zones.items()})
    for host in hosts:
        host.locality_weight = zones[host.locality.zone][1]
    return hosts


def test_localities_take_turns_by_weight_and_lose_it_with_their_hosts() -> None:
    hosts = weighted_hosts(a=(2, 1), b=(4, 3))
    cluster = Cluster(ClusterConfig("c", lb_policy=LbPolicy(locality_weighted=True)), Store())
    cluster.set_hosts(hosts)
    assert Counts(_zone(cluster) for _ in range(40)) == {"a": 10, "b": 30}
    for host in hosts[3:]:
        host.set_flag(HealthFlag.FAILED_OUTLIER_CHECK)
    cluster.refresh_health()
    # A quarter of b's hosts, times 1.4, times 3.
    taken = Counts(_zone(cluster) for _ in range(410))
    assert taken["a"] == pytest.approx(200, abs=2)
    assert taken["b"] == pytest.approx(210, abs=2)


def test_locality_keeps_its_turn_over_updates_that_do_not_change_weights() -> None:
    cluster = Cluster(ClusterConfig("c", lb_policy=LbPolicy(locality_weighted=True)), Store())
    cluster.set_hosts(weighted_hosts(a=(1, 1), b=(1, 1)))
    taken = []
    for _ in range(10):
        taken.append(_zone(cluster))
        cluster.refresh_health()
    assert Counts(taken) == {"a": 5, "b": 5}


def test_endpoint_hands_its_localitys_weight_to_the_host() -> None:
    endpoint = Endpoint(Address.ip("10.0.0.1", 80), locality_weight=7)
    manager = ClusterManager(Store())
    manager.add(Cluster(ClusterConfig("c", endpoints=(endpoint,)), Store()))
    assert [host.locality_weight for host in manager.clusters["c"].hosts] == [7]


def _zone(cluster: Cluster) -> str:
    host = cluster.choose_host()
    assert host is not None
    return host.locality.zone
