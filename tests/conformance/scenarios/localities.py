# ruff: noqa: E501  (a cluster is a line of a table)
"""Localities: weights, priorities with gaps, and what takes part in the share of each."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from ..client import H1Client
from ..configuration import bootstrap, cluster, listener
from ..lab import Session
from ..scenario import Setup, scenario

SUBJECT = "upstream"
#: So many requests at once save a busy machine its time.
MANY = 25
_LB = "type.googleapis.com/envoy.extensions.load_balancing_policies"


def locality(zone: str, hosts: Sequence[str], *, weight: int | None = None, extra: str = "") -> str:
    """A LocalityLbEndpoints; a host is the last number of its address and, if it is unwell, its status (`3!UNHEALTHY`)."""
    listed = []
    for host in hosts:
        number, _, rest = host.partition("!")
        status, _, own = rest.partition("*")
        fields = f"health_status: {status}, " if status else ""
        fields += f"load_balancing_weight: {own}, " if own else ""
        address = f"address: {{socket_address: {{address: 127.0.1.{number}, port_value: 1}}}}"
        listed.append(f"{{{fields}endpoint: {{{address}}}}}")
    fields = f"locality: {{region: r, zone: {zone}}}, " if zone else ""
    if weight is not None:
        fields += f"load_balancing_weight: {weight}, "
    fields += f"{extra}, " if extra else ""
    return f"{{{fields}lb_endpoints: [{', '.join(listed)}]}}"


def spread_over(name: str, fields: str, *localities: str, policy: str = "") -> dict[str, object]:
    """A cluster of hosts that refuse: which one was chosen stands in the answer."""
    lines = f"{fields}, " if fields else ""
    extra = f", policy: {{{policy}}}" if policy else ""
    return cluster(
        name,
        extra=f"{{{lines}load_assignment: {{cluster_name: {name}, endpoints: [{', '.join(localities)}]{extra}}}}}",
    )


def extension(name: str, fields: str) -> str:
    kind = "".join(part.capitalize() for part in name.split("_"))
    return (
        "load_balancing_policy: {policies: [{typed_extension_config: {name: a, typed_config: "
        f"{{'@type': {_LB}.{name}.v3.{kind}, {fields}}}}}}}]}}"
    )


SHOWN = 'response_headers_to_add: [{header: {key: x-host, value: "%UPSTREAM_HOST%"}}]'


def routes(names: Sequence[str], action: str = "") -> str:
    more = f", {action}" if action else ""
    return "".join(
        f"- {{match: {{prefix: /{name}/}}, route: {{cluster: {name}{more}}}, {SHOWN}}}\n" for name in names
    )


async def chosen(s: Session, path: str, count: int, head: str = "", *, at_once: int = 1) -> list[str]:
    """Which host each of the requests went to: the last number of its address, or else the status.

    All on one connection; ``at_once`` sends so many before the first answer is read, which does not work where
    the proxy answers by itself.
    """
    found = []
    client = await s.connect()
    line = f"{head}\r\n" if head else ""
    requests = [
        f"GET {path} HTTP/1.1\r\nhost: a\r\n{line % number if head else ''}\r\n" for number in range(count)
    ]
    for begin in range(0, count, at_once):
        batch = requests[begin : begin + at_once]
        await client.send("".join(batch).encode())
        found.extend([await _place(client) for _ in batch])
    client.close()
    return found


async def _place(client: H1Client) -> str:
    place = (await client.wire.line()).decode().split()[1]
    size = 0
    while line := (await client.wire.line()).decode():
        name, _, value = line.partition(": ")
        if name == "content-length":
            size = int(value)
        elif name == "x-host" and value != "-":
            place = value.removeprefix("127.0.1.").partition(":")[0]
    await client.wire.exactly(size)
    return place


def counts(found: Sequence[str]) -> dict[str, int]:
    return dict(sorted(Counter(found).items()))


def near(found: Sequence[str], shares: dict[str, float], tolerance: float = 0.06) -> object:
    """``as expected``, or how it is instead: shares of hosts chosen by chance."""
    real = {name: count / len(found) for name, count in counts(found).items()}
    names = sorted(set(real) | set(shares))
    if all(abs(real.get(name, 0) - shares.get(name, 0)) <= tolerance for name in names):
        return "as expected"
    return real


WEIGHTED = "common_lb_config: {locality_weighted_lb_config: {}}"
EVEN = (
    locality("a", ["1", "2"], weight=1),
    locality("b", ["3"], weight=2),
    locality("c", ["4", "5"], weight=3),
)
UNWELL = (
    locality("a", ["1", "2!UNHEALTHY", "3!UNHEALTHY", "4!UNHEALTHY"], weight=4),
    locality("b", ["5", "6"], weight=2),
)
CLUSTERS = {
    "plain": ("", *EVEN),
    "weighted": (WEIGHTED, *EVEN),
    "random": (f"lb_policy: RANDOM, {WEIGHTED}", *EVEN),
    "least": (f"lb_policy: LEAST_REQUEST, {WEIGHTED}", *EVEN),
    "ring": (f"lb_policy: RING_HASH, {WEIGHTED}", *EVEN),
    "maglev": (f"lb_policy: MAGLEV, {WEIGHTED}, maglev_lb_config: {{table_size: 1009}}", *EVEN),
    "ring-plain": ("lb_policy: RING_HASH", *EVEN),
    "round-robin-extension": (
        extension("round_robin", "locality_lb_config: {locality_weighted_lb_config: {}}"),
        *EVEN,
    ),
    "random-extension": (extension("random", "locality_lb_config: {locality_weighted_lb_config: {}}"), *EVEN),
    "least-extension": (
        extension("least_request", "locality_lb_config: {locality_weighted_lb_config: {}}"),
        *EVEN,
    ),
    "ring-extension": (extension("ring_hash", "locality_weighted_lb_config: {}"), *EVEN),
    "maglev-extension": (extension("maglev", "table_size: 1009, locality_weighted_lb_config: {}"), *EVEN),
    "unwell": (WEIGHTED, *UNWELL),
    "unwell-ring": (f"lb_policy: RING_HASH, {WEIGHTED}", *UNWELL),
    "one-zone-down": (
        WEIGHTED,
        locality("a", ["1!UNHEALTHY"], weight=9),
        locality("b", ["2", "3"], weight=1),
    ),
    "degraded": (
        WEIGHTED,
        locality("a", ["1!DEGRADED", "2!DEGRADED"], weight=3),
        locality("b", ["3!DEGRADED"], weight=1),
    ),
    "mixed": (
        WEIGHTED,
        locality("a", ["1", "2!DEGRADED", "3!UNHEALTHY"], weight=3),
        locality("b", ["4!DEGRADED", "5", "6!UNHEALTHY"], weight=1),
    ),
    "panic": (
        WEIGHTED,
        locality("a", ["1!UNHEALTHY", "2!UNHEALTHY"], weight=3),
        locality("b", ["3!UNHEALTHY"], weight=1),
    ),
    "panic-ring": (
        f"lb_policy: RING_HASH, {WEIGHTED}",
        locality("a", ["1!UNHEALTHY", "2!UNHEALTHY"], weight=3),
        locality("b", ["3!UNHEALTHY"], weight=1),
    ),
    "no-weights": (WEIGHTED, locality("a", ["1", "2"]), locality("b", ["3"])),
    "no-weights-ring": (f"lb_policy: RING_HASH, {WEIGHTED}", locality("a", ["1", "2"]), locality("b", ["3"])),
    "one-weight": (WEIGHTED, locality("a", ["1", "2"], weight=1), locality("b", ["3"])),
    "one-weight-ring": (
        f"lb_policy: RING_HASH, {WEIGHTED}",
        locality("a", ["1", "2"], weight=1),
        locality("b", ["3"]),
    ),
    "one-weight-down": (
        WEIGHTED,
        locality("a", ["1!UNHEALTHY", "2!UNHEALTHY"], weight=1),
        locality("b", ["3", "4", "5"]),
    ),
    "no-name": (WEIGHTED, locality("", ["1", "2"], weight=1), locality("b", ["3"], weight=2)),
    "same-twice": (
        WEIGHTED,
        locality("a", ["1"], weight=1),
        locality("b", ["2"], weight=2),
        locality("a", ["3"], weight=4),
    ),
    "same-twice-unset": (
        WEIGHTED,
        locality("a", ["1"], weight=4),
        locality("b", ["2"], weight=2),
        locality("a", ["3"]),
    ),
    "own-weights": (WEIGHTED, locality("a", ["1!*1", "2!*3"], weight=1), locality("b", ["3"], weight=1)),
    "priorities": (
        WEIGHTED,
        locality("a", ["1!UNHEALTHY", "2!UNHEALTHY"], weight=5),
        locality("a", ["3", "4"], weight=1, extra="priority: 1"),
        locality("b", ["5"], weight=3, extra="priority: 1"),
    ),
    "empty": (WEIGHTED, locality("a", [], weight=5), locality("b", ["3"], weight=1)),
    "nobody": ("", locality("a", [])),
    "nobody-second": ("", locality("a", []), locality("a", ["1"], extra="priority: 2")),
    "proximity": ("", locality("a", ["1"], extra="proximity: 1"), locality("b", ["2"], extra="proximity: 9")),
    "drained": ("", locality("a", ["1", "2!DRAINING", "3!TIMEOUT", "4!DEGRADED", "5!HEALTHY"])),
    "half-drained": (
        "common_lb_config: {healthy_panic_threshold: {value: 0}}",
        locality("a", ["1", "2!DRAINING", "3!DRAINING", "4!DRAINING"]),
        locality("a", ["5"], extra="priority: 1"),
    ),
}
ENDLESS = (
    "ring",
    "maglev",
    "ring-plain",
    "ring-extension",
    "maglev-extension",
    "unwell-ring",
    "panic-ring",
    "no-weights-ring",
    "one-weight-ring",
)
BY_CHANCE = ("random", "random-extension", "least", "least-extension")
_EVEN = {"1": 1 / 12, "2": 1 / 12, "3": 1 / 3, "4": 1 / 4, "5": 1 / 4}
SHARES = {
    "plain": dict.fromkeys("12345", 0.2),
    "weighted": _EVEN,
    "round-robin-extension": _EVEN,
    "own-weights": {"1": 1 / 8, "2": 3 / 8, "3": 1 / 2},
    "unwell": {"1": 1.4 / 3.4, "5": 1 / 3.4, "6": 1 / 3.4},
    "one-zone-down": {"2": 0.5, "3": 0.5},
    "degraded": {"1": 3 / 8, "2": 3 / 8, "3": 1 / 4},
    "priorities": {"3": 1 / 8, "4": 1 / 8, "5": 3 / 4},
    "one-weight-down": dict.fromkeys("345", 1 / 3),
    "no-weights": dict.fromkeys("123", 1 / 3),
    "one-weight": {"1": 0.5, "2": 0.5},
    "no-name": {"3": 1.0},
    "same-twice": dict.fromkeys("123", 1 / 3),
    "same-twice-unset": dict.fromkeys("123", 1 / 3),
    "empty": {"3": 1.0},
    "proximity": {"1": 0.5, "2": 0.5},
}
#: How far shares may be off that are had in turns: the turn or two that a rotation begins with.
CYCLES = 0.013
LOCALITIES = Setup(
    "localities",
    bootstrap(
        [listener("main", routes=routes(list(CLUSTERS), "hash_policy: [{header: {header_name: x-key}}]"))],
        [spread_over(name, fields, *parts) for name, (fields, *parts) in CLUSTERS.items()],
    ),
)


@scenario(LOCALITIES)
async def localities_weighted_round_robin(s: Session) -> None:
    """Each locality gets its weight's share, in it every host the same; without the configuration all the same."""
    for name in ("plain", "weighted", "round-robin-extension", "own-weights"):
        s.see(name, near(await chosen(s, f"/{name}/", 240, at_once=MANY), SHARES[name], CYCLES))


@scenario(LOCALITIES)
async def localities_weighted_by_chance(s: Session) -> None:
    """The locality is taken in turns, the host in it by chance, where the policy is RANDOM or LEAST_REQUEST."""
    for name in BY_CHANCE:
        found = await chosen(s, f"/{name}/", 600, at_once=MANY)
        zones = ["a" if place in "12" else "b" if place == "3" else "c" for place in found]
        s.see(name, near(zones, {"a": 1 / 6, "b": 1 / 3, "c": 1 / 2}, CYCLES))
        s.see(f"{name} hosts", near(found, _EVEN))


@scenario(LOCALITIES)
async def localities_weighted_hashing(s: Session) -> None:
    """Rings and tables weigh hosts by their locality, and do not look at how well it is."""
    for name in ENDLESS:
        s.see(name, "".join(await chosen(s, f"/{name}/", 200, "x-key: k%d")))
    found = await s.counters(r"\.(ring_hash_lb|maglev_lb)\.")
    s.see("stats", {name: found[name] for name in sorted(found)})


@scenario(LOCALITIES)
async def localities_weighted_with_unwell_hosts(s: Session) -> None:
    """A locality loses weight when fewer than 100/140 of its hosts are well."""
    for name in ("unwell", "one-zone-down", "degraded", "priorities", "one-weight-down"):
        s.see(name, near(await chosen(s, f"/{name}/", 240, at_once=MANY), SHARES[name], CYCLES))
    async with s.counting("cluster.panic.lb_healthy_panic", "cluster.panic-ring.lb_healthy_panic"):
        s.see("panic", counts(await chosen(s, "/panic/", 120)))
        s.see("panic with a ring", "".join(await chosen(s, "/panic-ring/", 60, "x-key: k%d")))
    found = await chosen(s, "/mixed/", 1500, at_once=MANY)
    s.see("mixed", near(found, {"1": 0.47 * 0.75, "5": 0.47 * 0.25, "2": 0.53 * 0.75, "4": 0.53 * 0.25}))


@scenario(LOCALITIES)
async def localities_without_weights(s: Session) -> None:
    """A locality without a weight gets nothing beside others; where none has one they do not count."""
    for name in (
        "no-weights",
        "one-weight",
        "no-name",
        "same-twice",
        "same-twice-unset",
        "empty",
        "proximity",
    ):
        s.see(name, near(await chosen(s, f"/{name}/", 240, at_once=MANY), SHARES[name], CYCLES))


@scenario(LOCALITIES)
async def localities_leave_drained_hosts_out(s: Session) -> None:
    """What the share of a priority is computed from, and how a membership is counted."""
    reply = await s.proxy.admin("GET", "/clusters")
    lines = [line for line in reply.body.decode().splitlines() if re.match(r"(half-)?drained::127", line)]
    s.see("flags", sorted(line for line in lines if "health_flags" in line))
    found = await chosen(s, "/drained/", 1000, at_once=MANY)
    s.see("drained", near(found, {"1": 0.35, "5": 0.35, "4": 0.3}))
    s.see("half drained", counts(await chosen(s, "/half-drained/", 20)))
    stats = await s.counters(
        r"^cluster\.(drained|half-drained|priorities|no-name|nobody|nobody-second)\.membership_"
    )
    s.see("membership", {name: stats[name] for name in sorted(stats)})
