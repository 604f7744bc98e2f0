# ruff: noqa: E501  (a cluster is a line of a table)
"""How requests are spread over priorities by the health of their hosts, and when all hosts are used."""

from __future__ import annotations

from ..configuration import bootstrap, listener
from ..lab import Session
from ..scenario import Setup, scenario
from .localities import MANY, chosen, locality, near, routes, spread_over

SUBJECT = "upstream"


def level(priority: int, first: int, *states: str) -> str:
    """So many hosts of one priority, each `+` well, `-` not, `~` degraded, with its weight behind."""
    names = {"+": "", "-": "UNHEALTHY", "~": "DEGRADED"}
    hosts = []
    for number, state in enumerate(states, first):
        status, weight = names[state[0]], state[1:]
        hosts.append(f"{number}!{status}{'*' + weight if weight else ''}")
    return locality("", hosts, extra=f"priority: {priority}")


#: Fields, levels, policy of the assignment, and the share of each priority: hosts 1.. stand in P0, 11.. in P1, 21.. in P2.
CLUSTERS: dict[str, tuple[str, tuple[str, ...], str, dict[str, float]]] = {
    "first": ("", (level(0, 1, "+", "+"), level(1, 11, "+")), "", {"0": 1}),
    "most": ("", (level(0, 1, "+", "+", "+", "-"), level(1, 11, "+")), "", {"0": 1}),
    "half": ("", (level(0, 1, "+", "-"), level(1, 11, "+")), "", {"0": 0.7, "1": 0.3}),
    "three": (
        "",
        (level(0, 1, "+", "-", "-", "-"), level(1, 11, "+", "-", "-", "-"), level(2, 21, "+")),
        "",
        {"0": 0.35, "1": 0.35, "2": 0.3},
    ),
    "factor": (
        "",
        (level(0, 1, "+", "-"), level(1, 11, "+")),
        "overprovisioning_factor: 100",
        {"0": 0.5, "1": 0.5},
    ),
    "factor-high": (
        "",
        (level(0, 1, "+", "-", "-", "-"), level(1, 11, "+")),
        "overprovisioning_factor: 300",
        {"0": 0.75, "1": 0.25},
    ),
    "gap": ("", (level(0, 1, "+", "-"), level(2, 21, "+")), "", {"0": 0.7, "2": 0.3}),
    "gap-first": ("", (level(1, 11, "+"),), "", {"1": 1}),
    "degraded": ("", (level(0, 1, "+", "~"), level(1, 11, "~")), "", {"0": 1}),
    "degraded-below": ("", (level(0, 1, "+", "-"), level(1, 11, "~")), "", {"0": 0.7, "1": 0.3}),
    "degraded-last": (
        "",
        (level(0, 1, "-", "~", "-"), level(1, 11, "+", "-", "-")),
        "",
        {"0": 0.5, "1": 0.5},
    ),
    "panic": ("", (level(0, 1, "+", "-", "-", "-"),), "", {"0": 1, "1+": 0.25}),
    "panic-both": (
        "",
        (level(0, 1, "-", "-"), level(1, 11, "-", "-", "-", "-", "-", "-")),
        "",
        {"0": 0.25, "1": 0.75},
    ),
    "panic-one": ("", (level(0, 1, "-", "-", "-", "+"), level(1, 11, "+", "-")), "", {"0": 0.35, "1": 0.65}),
    "panic-low": (
        "common_lb_config: {healthy_panic_threshold: {value: 20}}",
        (level(0, 1, "+", "-", "-", "-"),),
        "",
        {"0": 1, "1+": 1},
    ),
    "panic-below": (
        "common_lb_config: {healthy_panic_threshold: {value: 25.4}}",
        (level(0, 1, "+", "-", "-", "-"),),
        "",
        {"0": 1, "1+": 1},
    ),
    "panic-not-rounded": (
        "common_lb_config: {healthy_panic_threshold: {value: 25.5}}",
        (level(0, 1, "+", "-", "-", "-"),),
        "",
        {"0": 1, "1+": 1},
    ),
    # 57 / 100 * 100 is less than 57, and the rest is cut off.
    "panic-cut": (
        "common_lb_config: {healthy_panic_threshold: {value: 57}}",
        (level(0, 1, *"+++++++++-------"),),
        "",
        {"0": 1},
    ),
    "panic-never": (
        "common_lb_config: {healthy_panic_threshold: {value: 0}}",
        (level(0, 1, "-", "-"),),
        "",
        {"503": 1},
    ),
    "weighted": (
        "",
        (level(0, 1, "+1", "-3"), level(1, 11, "+")),
        "weighted_priority_health: true",
        {"0": 0.35, "1": 0.65},
    ),
    "unweighted": ("", (level(0, 1, "+1", "-3"), level(1, 11, "+")), "", {"0": 0.7, "1": 0.3}),
    "random": ("lb_policy: RANDOM", (level(0, 1, "+", "-"), level(1, 11, "+")), "", {"0": 0.7, "1": 0.3}),
}
CLUSTERS["chance"] = ("lb_policy: RANDOM", (level(0, 0, *"+" * 50, *"-" * 50), level(1, 100, "+")), "", {})
PRIORITIES = Setup(
    "priorities",
    bootstrap(
        [listener("main", routes=routes(list(CLUSTERS)))],
        [
            spread_over(name, fields, *levels, policy=policy)
            for name, (fields, levels, policy, _) in CLUSTERS.items()
        ],
    ),
)


async def share(s: Session, *names: str) -> None:
    """Observe how the requests to these clusters are spread."""
    for name in names:
        shares = CLUSTERS[name][3]
        found = await chosen(s, f"/{name}/", 300 if len(shares) > 1 else 50, at_once=MANY)
        s.see(name, near([_level(host) for host in found], shares, 0.11))


@scenario(PRIORITIES)
async def priorities_share_by_health(s: Session) -> None:
    """A priority keeps its share until too few of its hosts are well; the rest falls to the next."""
    await share(s, "first", "most", "half", "three", "factor", "factor-high", "gap", "gap-first")


@scenario(PRIORITIES)
async def priorities_share_by_more(s: Session) -> None:
    """Degraded hosts, weights, another policy."""
    await share(s, "degraded", "degraded-below", "degraded-last", "weighted", "unweighted", "random")


@scenario(PRIORITIES)
async def priorities_of_chance(s: Session) -> None:
    """RANDOM takes one number for the priority and for the host: of 50 hosts the first 20 get twice as much."""
    found = await chosen(s, "/chance/", 1000, at_once=MANY)
    parts = ["first" if int(host) < 20 else "others" if int(host) < 100 else "second" for host in found]
    s.see("shares", near(parts, {"first": 0.4, "others": 0.3, "second": 0.3}))


@scenario(PRIORITIES)
async def priorities_in_panic(s: Session) -> None:
    """All hosts are used where fewer than the threshold are well and the other priorities cannot help."""
    for name, (_, _, _, shares) in CLUSTERS.items():
        if not name.startswith("panic"):
            continue
        stat = f"cluster.{name}.lb_healthy_panic"
        before = (await s.counters(stat))[stat]
        count = 300 if "1" in shares else 60
        found = await chosen(s, f"/{name}/", count, at_once=1 if "503" in shares else MANY)
        counted = (await s.counters(stat))[stat] - before
        s.see(f"{name}, counted", {0: "never", count: "always"}.get(counted, "at times"))
        levels = {key: share for key, share in shares.items() if key != "1+"}
        s.see(name, near([_level(host) for host in found], levels, 0.11))
        if "1+" in shares:
            s.see(
                f"{name}, the host that is well",
                near(
                    ["well" if host == "1" else "other" for host in found],
                    {"well": shares["1+"], "other": 1 - shares["1+"]},
                    0.01,
                ),
            )


def _level(host: str) -> str:
    return host if host == "503" else str(int(host) // 10)
