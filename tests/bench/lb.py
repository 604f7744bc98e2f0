"""``just bench-lb``: what it costs to choose a host, and to take in a change of one host among many.

Nothing is sent: a cluster is asked as the router asks it, and told as discovery and health checks tell it.
The processor's time, the least of several rounds.
"""

from __future__ import annotations

import argparse
import gc
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from random import Random
from time import process_time
from typing import Any

from sidecar.core.address import Address
from sidecar.observability.stats import Store
from sidecar.upstream.cluster import Cluster, ClusterConfig
from sidecar.upstream.cluster_manager import ClusterManager
from sidecar.upstream.host import HealthFlag, Host, Locality
from sidecar.upstream.load_balancer_policies import LbPolicy
from sidecar.upstream.load_balancer_zones import ZONE_AWARE
from sidecar.upstream.local_zone import LocalZone
from sidecar.upstream.slow_start import SlowStartSettings

SIZES = (10, 1000, 100_000)
ZONES = [Locality("r", zone) for zone in "abcde"]


@dataclass(frozen=True, slots=True)
class Case:
    """One way to choose."""

    name: str
    policy: LbPolicy
    #: ``host.weight`` by number; 0 for equal weights.
    weights: int = 0
    localities: bool = False
    zone_aware: bool = False
    #: More hosts than this take too long.
    most: int = SIZES[-1]


CASES = (
    Case("round robin", LbPolicy()),
    Case("round robin, weights 1 to 100", LbPolicy(), weights=100),
    Case("round robin, every weight another", LbPolicy(), weights=1_000_000),
    Case("round robin in slow start", LbPolicy(slow_start=SlowStartSettings(3_600_000))),
    Case("least request", LbPolicy("LEAST_REQUEST")),
    Case("least request, weights 1 to 100", LbPolicy("LEAST_REQUEST"), weights=100),
    Case("least request, every weight another", LbPolicy("LEAST_REQUEST"), weights=1_000_000),
    Case("least request, full scan", LbPolicy("LEAST_REQUEST", full_scan=True)),
    Case("random", LbPolicy("RANDOM")),
    Case("ring hash", LbPolicy("RING_HASH")),
    Case("Maglev", LbPolicy("MAGLEV")),
    Case("round robin, weighted localities", LbPolicy(locality_weighted=True), localities=True),
    Case("round robin, zone-aware", LbPolicy(), localities=True, zone_aware=True),
)


class Request:
    """As much of a stream as a hash balancer looks at."""

    def __init__(self) -> None:
        self.route = self.request = self
        self.headers = None
        self.random = Random(1)

    def hash_policy(self, headers: Any, stream: Any, may_set_cookie: bool) -> int:
        return self.random.getrandbits(64)


def make_host(number: int, case: Case) -> Host:
    host = Host(Address.ip(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", 80))
    if case.weights:
        host.weight = 1 + (number * 7919) % case.weights
    if case.localities:
        host.locality, host.locality_weight = ZONES[number % 5], 1 + number % 5
    return host


def make_cluster(case: Case, size: int) -> tuple[Cluster, list[Host]]:
    store = Store()
    policy = case.policy
    local = LocalZone(ZONES[0], "local" if case.zone_aware else "")
    manager = ClusterManager(store, local=local)
    if case.zone_aware:
        policy = replace(policy, zone_aware=replace(ZONE_AWARE, min_cluster_size=1))
        peers = Cluster(ClusterConfig("local"), store)
        manager.add(peers)
        # More of the proxies than of the hosts stand here, so that some requests leave.
        peers.set_hosts([make_host(number, case) for number in (0, 5, 10, 1, 2, 3, 4)])
    cluster = Cluster(ClusterConfig("c", lb_policy=policy), store)
    manager.add(cluster)
    hosts = [make_host(number, case) for number in range(size)]
    cluster.set_hosts(hosts)
    return cluster, hosts


def choosing(cluster: Cluster) -> Callable[[], Host | None]:
    """One choice, as the router makes it."""
    if cluster.picker is not None:
        return cluster.picker.pick
    request: Any = Request()
    return lambda: cluster.choose_host(request)


def cost_of_choice(cluster: Cluster, rounds: int) -> float:
    """Microseconds."""
    choose = choosing(cluster)
    count = 1
    while True:
        if _time(choose, count) > 0.02:
            break
        count *= 2
    return min(_time(choose, count) for _ in range(rounds)) / count * 1e6


def _time(call: Callable[[], object], count: int) -> float:
    numbers = range(count)
    begin = process_time()
    for _ in numbers:
        call()
    return process_time() - begin


def costs_of_changes(cluster: Cluster, hosts: Sequence[Host], rounds: int) -> dict[str, tuple[float, float]]:
    """Milliseconds for each kind of change, and for the first choice after it."""
    found: dict[str, tuple[float, float]] = {}
    middle = len(hosts) // 2
    host = hosts[middle]
    without = [*hosts[:middle], *hosts[middle + 1 :]]

    def flip() -> None:
        if host.health_flags:
            host.clear_flag(HealthFlag.FAILED_OUTLIER_CHECK)
        else:
            host.set_flag(HealthFlag.FAILED_OUTLIER_CHECK)
        cluster.on_host_changed(host)

    def reweigh() -> None:
        host.weight = 2 if host.weight != 2 else 3
        cluster.refresh_health()

    def move() -> None:
        cluster.set_hosts(without if len(cluster.hosts) == len(hosts) else hosts)

    weight = host.weight
    for name, change in (("health", flip), ("membership", move), ("weight", reweigh)):
        best, first = float("inf"), float("inf")
        for _ in range(2 * rounds):
            begin = process_time()
            change()
            between = process_time()
            choosing(cluster)()
            end = process_time()
            best, first = min(best, between - begin), min(first, end - between)
        found[name] = (best * 1e3, first * 1e3)
    host.weight = weight
    return found


def main(arguments: list[str]) -> int:
    """Print both tables."""
    parser = argparse.ArgumentParser(prog="just bench-lb", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="cases whose names have this in them")
    options = parser.parse_args(arguments)
    cases = [case for case in CASES if options.only in case.name]
    print("Choosing a host, us:\n")
    print(f"| | {' | '.join(f'{size:,} hosts' for size in SIZES)} |\n|---|{'---|' * len(SIZES)}", flush=True)
    changed: list[tuple[str, dict[str, tuple[float, float]]]] = []
    for case in cases:
        cells = []
        for size in SIZES:
            cluster, hosts = make_cluster(case, size)
            gc.collect()
            gc.freeze()
            cells.append(f"{cost_of_choice(cluster, options.rounds):.2f}")
            if size == SIZES[-1]:
                changed.append((case.name, costs_of_changes(cluster, hosts, options.rounds)))
            gc.unfreeze()
        print(f"| {case.name} | {' | '.join(cells)} |", flush=True)
    print(f"\nOne host among {SIZES[-1]:,}, ms (and the first choice after it):\n")
    print("| | health | comes or goes | weight |\n|---|---|---|---|")
    for name, costs in changed:
        cells = [
            f"{costs[kind][0]:.1f} ({costs[kind][1]:.1f})" for kind in ("health", "membership", "weight")
        ]
        print(f"| {name} | {' | '.join(cells)} |")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
