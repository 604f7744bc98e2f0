# ruff: noqa: E501  (a cluster is a line of a table)
"""Zone-aware routing: requests stay in the proxy's own zone as far as its share of the hosts allows."""

from __future__ import annotations

from ..configuration import bootstrap, listener
from ..lab import Session
from ..scenario import Setup, scenario
from .localities import MANY, chosen, counts, extension, locality, near, routes, spread_over

SUBJECT = "upstream"
NODE = "node: {id: proxy, cluster: proxies, locality: {region: r, zone: a}}\ncluster_manager: {local_cluster_name: local}\n"
ZONE = "common_lb_config: {zone_aware_lb_config: {%s}}"
SIX = (locality("a", ["1", "2"]), locality("b", ["3", "4"]), locality("c", ["5", "6"]))
#: A fifth of the hosts is in zone a, and a third of the proxies.
FEW = (locality("a", ["1"]), locality("b", ["2", "3"]), locality("c", ["4", "5"]))
CLUSTERS = {
    "default": ("", *SIX),
    "direct": (ZONE % "", *SIX),
    "small": (ZONE % "min_cluster_size: 7", *SIX),
    "five": ("", *FEW),
    "residual": (ZONE % "min_cluster_size: 5", *FEW),
    "turned-off": (ZONE % "routing_enabled: {value: 0}", *SIX),
    "half-on": (ZONE % "routing_enabled: {value: 50}", *SIX),
    "one-zone": ("", locality("a", ["1", "2", "3", "4", "5", "6"])),
    "elsewhere": ("", locality("b", ["1", "2", "3"]), locality("c", ["4", "5", "6"])),
    "other": ("", locality("b", ["1", "2", "3", "4"]), locality("d", ["5", "6"])),
    "unwell": (
        ZONE % "min_cluster_size: 1",
        locality("a", ["1", "2!UNHEALTHY"]),
        locality("b", ["3", "4"]),
        locality("c", ["5", "6"]),
    ),
    "own-down": (
        ZONE % "min_cluster_size: 1",
        locality("a", ["1!UNHEALTHY", "2!UNHEALTHY"]),
        locality("b", ["3", "4"]),
        locality("c", ["5", "6"]),
    ),
    "degraded": (
        ZONE % "min_cluster_size: 1",
        locality("a", ["1!DEGRADED"]),
        locality("b", ["2!DEGRADED", "3!DEGRADED"]),
        locality("c", ["4!DEGRADED", "5!DEGRADED"]),
    ),
    "panic": (
        ZONE % "min_cluster_size: 1",
        locality("a", ["1!UNHEALTHY", "2!UNHEALTHY"]),
        locality("b", ["3!UNHEALTHY", "4"]),
    ),
    "panic-fails": (
        ZONE % "min_cluster_size: 1, fail_traffic_on_panic: true",
        locality("a", ["1!UNHEALTHY", "2!UNHEALTHY"]),
        locality("b", ["3!UNHEALTHY", "4"]),
    ),
    "second": (
        ZONE % "min_cluster_size: 1",
        locality("a", ["1!UNHEALTHY"]),
        locality("a", ["2", "3"], extra="priority: 1"),
        locality("b", ["4", "5"], extra="priority: 1"),
    ),
    "random": (f"lb_policy: RANDOM, {ZONE % ''}", *SIX),
    "least": (f"lb_policy: LEAST_REQUEST, {ZONE % ''}", *SIX),
    "ring": (f"lb_policy: RING_HASH, {ZONE % ''}", *SIX),
    "weighted": (
        "common_lb_config: {locality_weighted_lb_config: {}}",
        locality("a", ["1", "2"], weight=1),
        locality("b", ["3", "4"], weight=1),
        locality("c", ["5", "6"], weight=1),
    ),
    "weighted-without": ("common_lb_config: {locality_weighted_lb_config: {}}", *SIX),
    "extension": (
        extension("round_robin", "locality_lb_config: {zone_aware_lb_config: {min_cluster_size: 5}}"),
        *FEW,
    ),
    "extension-plain": (extension("round_robin", ""), *SIX),
    "forced": (
        extension(
            "round_robin",
            "locality_lb_config: {zone_aware_lb_config: {min_cluster_size: 5, force_locality_direct_routing: true}}",
        ),
        *FEW,
    ),
    "forced-one": (
        extension(
            "random",
            "locality_lb_config: {zone_aware_lb_config: {min_cluster_size: 5, force_local_zone: {}}}",
        ),
        *FEW,
    ),
    "forced-two": (
        extension(
            "least_request",
            "locality_lb_config: {zone_aware_lb_config: {min_cluster_size: 5, force_local_zone: {min_size: 2}}}",
        ),
        *FEW,
    ),
    "by-weight": (
        extension(
            "round_robin",
            "locality_lb_config: {zone_aware_lb_config: {min_cluster_size: 5, locality_basis: HEALTHY_HOSTS_WEIGHT}}",
        ),
        locality("a", ["1!*2"]),
        locality("b", ["2", "3"]),
        locality("c", ["4", "5"]),
    ),
    "own-weights": (
        ZONE % "",
        locality("a", ["1!*1", "2!*3"]),
        locality("b", ["3", "4"]),
        locality("c", ["5", "6"]),
    ),
}
DIRECT = ("default", "direct", "weighted-without", "extension-plain", "forced", "by-weight", "own-weights")
FLAT = (
    "small",
    "five",
    "turned-off",
    "one-zone",
    "panic",
    "panic-fails",
    "second",
    "weighted",
    "degraded",
    "local",
)
#: Shares by host; of 10,000 requests of the zone with 33.33 % of the proxies and 20 % of the hosts 6,000 stay.
RESIDUAL = {
    "residual": {"1": 0.6, "2": 0.1, "3": 0.1, "4": 0.1, "5": 0.1},
    "extension": {"1": 0.6, "2": 0.1, "3": 0.1, "4": 0.1, "5": 0.1},
    "forced-two": {"1": 0.6, "2": 0.1, "3": 0.1, "4": 0.1, "5": 0.1},
    "half-on": {"1": 1 / 3, "2": 1 / 3, "3": 1 / 12, "4": 1 / 12, "5": 1 / 12, "6": 1 / 12},
    "elsewhere": dict.fromkeys("123456", 1 / 6),
    "other": {"1": 0.126, "2": 0.126, "3": 0.126, "4": 0.126, "5": 0.248, "6": 0.248},
    "unwell": {"1": 0.6, "3": 0.1, "4": 0.1, "5": 0.1, "6": 0.1},
    "own-down": dict.fromkeys("3456", 0.25),
}
#: The proxies themselves: one in each zone.
LOCAL = (locality("a", ["201"]), locality("b", ["202"]), locality("c", ["203"]))


def setup(name: str, clusters: dict[str, tuple[str, ...]], local: tuple[str, ...], node: str = NODE) -> Setup:
    table = {**clusters, "local": ("", *local)}
    return Setup(
        name,
        bootstrap(
            [listener("main", routes=routes(list(table), "hash_policy: [{header: {header_name: x-key}}]"))],
            [spread_over(each, fields, *parts) for each, (fields, *parts) in table.items()],
            extra=node,
        ),
    )


ZONES = setup("zones", CLUSTERS, LOCAL)
STATS = (
    "lb_zone_no_capacity_left",
    "lb_zone_routing_all_directly",
    "lb_zone_routing_cross_zone",
    "lb_zone_routing_sampled",
    "lb_local_cluster_not_ok",
    "lb_healthy_panic",
    "upstream_cx_none_healthy",
)


async def counted(s: Session, name: str, count: int, head: str = "") -> list[str]:
    """Which hosts were chosen, and which stats of load balancing moved."""
    before = await s.counters(rf"^cluster\.{name}\.")
    found = await chosen(s, f"/{name}/", count, head)
    after = await s.counters(rf"^cluster\.{name}\.")
    moved = {stat: after[f"cluster.{name}.{stat}"] - before[f"cluster.{name}.{stat}"] for stat in STATS}
    s.see(f"{name} stats", {stat: value for stat, value in moved.items() if value})
    return found


@scenario(ZONES)
async def zones_direct(s: Session) -> None:
    """Where the own zone has its share of hosts, everything stays in it; Envoy does so without being asked."""
    for name in DIRECT:
        s.see(name, counts(await counted(s, name, 48)))
    for name in ("random", "least", "forced-one"):
        s.see(name, sorted(set(await counted(s, name, 60))))


@scenario(ZONES)
async def zones_that_do_not_count(s: Session) -> None:
    """Too few hosts, one zone, another priority, panic, a policy that does not know zones, the local cluster."""
    for name in FLAT:
        s.see(name, counts(await counted(s, name, 60)))
    s.see("ring", "".join(await counted(s, "ring", 60, "x-key: k%d")))


@scenario(ZONES)
async def zones_residual(s: Session) -> None:
    """What the own zone has no room for goes to where there is room."""
    pattern = r"^cluster\.(residual|elsewhere)\.lb_zone_routing_(sampled|cross_zone)$"
    before = await s.counters(pattern)
    for name, shares in RESIDUAL.items():
        found = await chosen(s, f"/{name}/", 400, at_once=MANY)
        s.see(name, near(found, shares, 0.1))
    after = await s.counters(pattern)
    moved = {stat: value - before[stat] for stat, value in after.items()}
    total = sum(moved[f"cluster.residual.lb_zone_routing_{name}"] for name in ("sampled", "cross_zone"))
    s.see("counted", [total, moved["cluster.elsewhere.lb_zone_routing_cross_zone"]])


@scenario(ZONES, differs={"recomputed": "stats-of-two-threads"})
async def zones_stats_of_updates(s: Session) -> None:
    """What is counted when hosts change, and not by request."""
    stats = await s.counters(r"^cluster\.(small|five)\.lb_zone_cluster_too_small$")
    s.see("recomputed", stats["cluster.small.lb_zone_cluster_too_small"])


SUBSET = "lb_subset_config: {fallback_policy: ANY_ENDPOINT, subset_selectors: [{keys: [stage]}]}"
#: Three of four proxies are not well.
SICK = (locality("a", ["201"]), locality("b", ["202!UNHEALTHY", "203!UNHEALTHY", "204!UNHEALTHY"]))
SICK_CLUSTERS = {
    "sick": (ZONE % "min_cluster_size: 1", *SIX),
    "sick-fails": (ZONE % "min_cluster_size: 1, fail_traffic_on_panic: true", *SIX),
    "sick-weighted": (
        "common_lb_config: {locality_weighted_lb_config: {}}",
        locality("a", ["1"], weight=1),
        locality("b", ["2"], weight=1),
    ),
    "sick-off": (ZONE % "min_cluster_size: 1, routing_enabled: {value: 0}", *SIX),
}
PEERS_IN_PANIC = setup("zones_panic", SICK_CLUSTERS, SICK)


@scenario(PEERS_IN_PANIC)
async def zones_with_peers_in_panic(s: Session) -> None:
    """Where too few proxies are well their zones do not count, or nothing is sent."""
    for name in SICK_CLUSTERS:
        s.see(name, counts(await counted(s, name, 24)))


MIXED_CLUSTERS = {
    # Of P0 so much is down that a part goes to P1: what stays in P0 stays in the zone.
    "spilled": (
        ZONE % "min_cluster_size: 1",
        locality("a", ["1", "2!UNHEALTHY"]),
        locality("b", ["3", "4!UNHEALTHY"]),
        locality("b", ["5"], extra="priority: 1"),
    ),
    "subsets": (f"{SUBSET}, {ZONE % 'min_cluster_size: 1'}", *SIX),
    "drained": (ZONE % "min_cluster_size: 5", locality("a", ["1", "2!DRAINING"]), *SIX[1:]),
    "no-room": (
        ZONE % "min_cluster_size: 1",
        locality("a", ["1", "2!UNHEALTHY"]),
        locality("b", ["3"]),
        locality("c", ["4!UNHEALTHY"]),
    ),
    "unnamed": (ZONE % "min_cluster_size: 1", locality("", ["1", "2"]), locality("a", ["3"])),
    "by-weight-random": (
        extension(
            "random",
            "locality_lb_config: {zone_aware_lb_config: {min_cluster_size: 1, locality_basis: HEALTHY_HOSTS_WEIGHT}}",
        ),
        locality("a", ["1!*1"]),
        locality("b", ["2!*1"]),
        locality("c", ["3!*4"]),
    ),
}
MIXED = setup("zones_mixed", MIXED_CLUSTERS, LOCAL)
MIXED_SHARES = {
    "spilled": {"1": 0.7, "5": 0.3},
    "subsets": {"1": 0.5, "2": 0.5},
    "drained": {"1": 0.6, "3": 0.1, "4": 0.1, "5": 0.1, "6": 0.1},
    "no-room": {"1": 1.0},
    "unnamed": {"3": 1.0},
    "by-weight-random": {"1": 0.5, "3": 0.5},
}


@scenario(MIXED)
async def zones_beside_other_things(s: Session) -> None:
    """Priorities that spill over, subsets, hosts that drain, zones without hosts, weights."""
    for name, shares in MIXED_SHARES.items():
        s.see(name, near(await chosen(s, f"/{name}/", 200, at_once=MANY), shares, 0.13))
