# ruff: noqa: E501  (a cluster is a line of a table)
"""Hosts that are new begin slowly, and how LEAST_REQUEST looks for the least busy host."""

from __future__ import annotations

from collections import Counter
from functools import partial

import trio

from ..configuration import bootstrap, cluster, listener
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import Call, ok
from .localities import MANY, chosen, counts, extension, locality, near, routes, spread_over

SUBJECT = "upstream"
SLOW = "slow_start_config: {slow_start_window: 1.4s, min_weight_percent: {value: %s}%s}"
STARTING = {
    "plain": "lb_policy: ROUND_ROBIN",
    "slow": f"round_robin_lb_config: {{{SLOW % (10, '')}}}",
    "slow-least": f"lb_policy: LEAST_REQUEST, least_request_lb_config: {{{SLOW % (5, ', aggression: {default_value: 0.7}')}}}",
    "slow-extension": extension(
        "round_robin", SLOW % (5, ", aggression: {default_value: 0.7, runtime_key: none}")
    ),
}


def starting(name: str, fields: str) -> dict[str, object]:
    """A cluster of a host that is never checked and one that fails its first checks."""
    check = f"timeout: 1s, interval: 0.05s, no_traffic_interval: 0.05s, unhealthy_threshold: 1, healthy_threshold: 1, http_health_check: {{path: /check-{name}}}"
    hosts = ", ".join(
        f"{{endpoint: {{{extra}address: {{socket_address: {{address: 127.0.0.1, port_value: PORT({up})}}}}}}}}"
        for up, extra in (
            ("old", "health_check_config: {disable_active_health_check: true}, "),
            ("young", ""),
        )
    )
    return cluster(
        name,
        extra=f"{{{fields}, health_checks: [{{{check}}}], load_assignment: {{cluster_name: {name}, endpoints: [{{lb_endpoints: [{hosts}]}}]}}}}",
    )


SLOW_START = Setup(
    "slow_start",
    bootstrap(
        [listener("main", routes=routes(list(STARTING)))],
        [starting(name, fields) for name, fields in STARTING.items()],
    ),
    {"old": "h1", "young": "h1"},
)


class Starting:
    """Two hosts of one cluster; the young one is well once it was asked so often that the other is old."""

    def __init__(self, s: Session, name: str) -> None:
        self.s = s
        self.name = name
        self.checks = 0
        self.taken: Counter[str] = Counter()
        s.proxy.is_spent = True
        s.upstream("old").script = self.old
        s.upstream("young").script = self.young

    async def old(self, call: Call) -> None:
        self.taken["old"] += 1
        await call.send(ok())

    async def young(self, call: Call) -> None:
        path = call.request.start_line.split()[1]
        if path.startswith("/check"):
            # They go on behind the end of the scenario, and are no part of it.
            seen = self.s.upstream("young").seen
            seen[:] = [each for each in seen if each is not call]
            self.checks += path == f"/check-{self.name}"
            well = self.checks > 32
            await call.send(
                ok() if well else b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n"
            )
            return
        self.taken["young"] += 1
        await call.send(ok())

    async def share(self, requests: int) -> float:
        """The young host's share of so many requests."""
        self.taken.clear()
        await chosen(self.s, f"/{self.name}/", requests, at_once=20)
        self.s.upstream("old").seen.clear()
        self.s.upstream("young").seen.clear()
        return self.taken["young"] / requests

    async def start(self) -> float:
        """Its share of the first requests once it is well."""
        gauge = f"cluster.{self.name}.membership_healthy"
        await self.s.until_stats(lambda stats: stats[gauge] == 2, gauge)
        return await self.share(40)

    async def grow(self) -> None:
        """Until both get the same."""
        while abs(await self.share(20) - 0.5) > 0.051:
            await trio.lowlevel.checkpoint()


@scenario(SLOW_START)
async def slow_start_not_asked_for(s: Session) -> None:
    """A host that turns well has its share at once."""
    s.see("share", round(await Starting(s, "plain").start(), 1))


@scenario(SLOW_START)
async def slow_start_round_robin(s: Session) -> None:
    """A host that turns well begins with a tenth of its weight, and has all of it when the window is over."""
    host = Starting(s, "slow")
    s.see("begins small", 0 < await host.start() < 0.35)
    await host.grow()


@scenario(SLOW_START)
async def slow_start_least_request(s: Session) -> None:
    """LEAST_REQUEST does so, too."""
    host = Starting(s, "slow-least")
    s.see("begins small", await host.start() < 0.35)
    await host.grow()


@scenario(SLOW_START)
async def slow_start_of_an_extension(s: Session) -> None:
    """As does the policy as an extension."""
    host = Starting(s, "slow-extension")
    s.see("begins small", await host.start() < 0.35)
    await host.grow()


THREE = locality("a", ["1", "2", "3"])
UNEQUAL = locality("a", ["1!*1", "2!*2", "3!*3"])
CHOOSING = {
    "two": ("lb_policy: LEAST_REQUEST", THREE),
    "five": ("lb_policy: LEAST_REQUEST, least_request_lb_config: {choice_count: 5}", THREE),
    "scan": (extension("least_request", "selection_method: FULL_SCAN"), THREE),
    "scan-old": (extension("least_request", "enable_full_scan: true"), THREE),
    "scan-both": (extension("least_request", "enable_full_scan: false, selection_method: FULL_SCAN"), THREE),
    "none": (extension("least_request", "choice_count: 0"), THREE),
    "one": (extension("least_request", "choice_count: 1"), THREE),
    "weights": ("lb_policy: LEAST_REQUEST", UNEQUAL),
    "weights-scan": (extension("least_request", "selection_method: FULL_SCAN"), UNEQUAL),
}


def busy(name: str, fields: str) -> dict[str, object]:
    hosts = ", ".join(
        f"{{load_balancing_weight: {weight}, endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: PORT({up})}}}}}}}}"
        for up, weight in (("b0", 1 + 3 * ("bias" in name)), ("b1", 1), ("b2", 1))
    )
    return cluster(
        name,
        extra=f"{{{fields}, load_assignment: {{cluster_name: {name}, endpoints: [{{lb_endpoints: [{hosts}]}}]}}}}",
    )


BUSY = {
    "busy-scan": extension("least_request", "selection_method: FULL_SCAN"),
    "busy-two": "lb_policy: LEAST_REQUEST",
    "bias-none": "lb_policy: LEAST_REQUEST, least_request_lb_config: {active_request_bias: {default_value: 0}}",
    "bias-one": "lb_policy: LEAST_REQUEST",
    "bias-two": extension("least_request", "active_request_bias: {default_value: 2}"),
    "bias-below": "lb_policy: LEAST_REQUEST, least_request_lb_config: {active_request_bias: {default_value: -1}}",
}
#: Of hosts with 3, 1 and 0 requests under way, 1, 1 and 0 for the scan; with a bias the first weighs 4.
BUSY_SHARES = {
    "busy-scan": {"b2": 1.0},
    "busy-two": {"b0": 1 / 9, "b1": 3 / 9, "b2": 5 / 9},
    "bias-none": {"b0": 4 / 6, "b1": 1 / 6, "b2": 1 / 6},
    "bias-one": {"b0": 1 / 2.5, "b1": 0.5 / 2.5, "b2": 1 / 2.5},
    "bias-two": {"b0": 0.25 / 1.5, "b1": 0.25 / 1.5, "b2": 1 / 1.5},
    "bias-below": {"b0": 1 / 2.5, "b1": 0.5 / 2.5, "b2": 1 / 2.5},
}
LEAST = Setup(
    "least_request",
    bootstrap(
        [listener("main", routes=routes([*CHOOSING, *BUSY]))],
        [
            *(spread_over(name, fields, part) for name, (fields, part) in CHOOSING.items()),
            *(busy(name, fields) for name, fields in BUSY.items()),
        ],
    ),
    {"b0": "h1", "b1": "h1", "b2": "h1"},
)


@scenario(LEAST)
async def least_request_of_idle_hosts(s: Session) -> None:
    """Any of them; without choices none; in turns where weights differ."""
    for name in ("two", "five", "scan", "scan-old", "scan-both", "one"):
        s.see(name, near(await chosen(s, f"/{name}/", 500, at_once=MANY), dict.fromkeys("123", 1 / 3), 0.09))
    s.see("none", counts(await chosen(s, "/none/", 10)))
    for name in ("weights", "weights-scan"):
        s.see(name, near(await chosen(s, f"/{name}/", 120), {"1": 1 / 6, "2": 1 / 3, "3": 1 / 2}, 0.02))


class Busy:
    """Three hosts of a cluster, at which so many requests hang as wanted before the others are answered."""

    def __init__(self, s: Session, name: str, wanted: dict[str, int]) -> None:
        self.s = s
        self.name = name
        self.wanted = wanted
        self.waiting: Counter[str] = Counter()
        self.taken: Counter[str] = Counter()
        self.release = trio.Event()
        self.arrived = trio.Event()
        for up in wanted:
            s.upstream(up).script = partial(self._serve, up)

    async def _serve(self, up: str, call: Call) -> None:
        self.arrived.set()
        if self.waiting[up] < self.wanted[up]:
            self.waiting[up] += 1
            await self.release.wait()
        else:
            self.taken[up] += 1
        await call.send(ok())

    async def fill(self) -> None:
        while self.waiting != +Counter(self.wanted):
            self.arrived = trio.Event()
            client = await self.s.connect()
            await client.send(f"GET /{self.name}/ HTTP/1.1\r\nhost: a\r\n\r\n".encode())
            await self.arrived.wait()
        gauge = f"cluster.{self.name}.upstream_rq_active"
        await self.s.until_stats(lambda stats: stats[gauge] == sum(self.wanted.values()), gauge)

    async def end(self) -> None:
        self.release.set()
        await self.s.quiet()
        for up in self.wanted:
            self.s.upstream(up).seen.clear()


@scenario(LEAST)
async def least_request_of_busy_hosts(s: Session) -> None:
    """Requests that hang count, as far as the bias says; a scan finds the idle host every time."""
    for name, shares in BUSY_SHARES.items():
        most = 1 if "scan" in name else 3
        busy_hosts = Busy(s, name, {"b0": most, "b1": 1, "b2": 0})
        await busy_hosts.fill()
        busy_hosts.taken.clear()
        await chosen(s, f"/{name}/", 400)
        s.see(name, near(list(busy_hosts.taken.elements()), shares, 0.08))
        await busy_hosts.end()
