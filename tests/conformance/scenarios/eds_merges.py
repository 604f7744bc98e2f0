"""Changes of health wait for one another (``update_merge_window``); what discovery says does not."""

from __future__ import annotations

from ..configuration import listener
from ..control_plane import ControlPlane
from ..endpoints import hosts
from ..lab import Session
from ..scenario import scenario
from ..upstream import Call, answers, ok
from ..wire import read_response
from .xds_ads import ADS, ads, stats

SUBJECT = "upstream"

#: Nothing of a scenario is later after something else than this.
WIDE = "300s"
MERGES = ads("eds_merges", one="h1", two="h1", three="h1")
_MANAGER = r"^cluster_manager\.(cluster_updated|update_)"


def _cluster(window: str, more: str = "") -> str:
    return (
        f"{{name: app, type: EDS, connect_timeout: 1s, eds_cluster_config: {{eds_config: {ADS}}}, "
        f"common_lb_config: {{healthy_panic_threshold: {{value: 0}}, {window}}}{more}}}"
    )


def _assigned(*priorities: dict[str, str], policy: str = "") -> str:
    """Hosts by priority, each with fields of its own."""
    places = ", ".join(
        f"{{priority: {number}, lb_endpoints: ["
        + ", ".join(
            f"{{{more} endpoint: {{address: {{socket_address: {{address: 127.0.0.1, "
            f"port_value: PORT({name})}}}}}}}}"
            for name, more in each.items()
        )
        + "]}"
        for number, each in enumerate(priorities)
    )
    return f"{{cluster_name: app, endpoints: [{places}]{policy}}}"


_WELL, _ILL = "", "health_status: UNHEALTHY,"


async def _begin(s: Session, cluster: str, *priorities: dict[str, str]) -> ControlPlane:
    s.proxy.is_spent = True
    plane = ControlPlane(s)
    for name in ("one", "two", "three"):
        s.upstream(name).script = answers(ok(name.encode()))
    await plane.update("cds", "c1", cluster)
    await plane.update("eds", "e1", _assigned(*priorities))
    await plane.update("lds", "l1", listener("main", routes="- {match: {prefix: /}, route: {cluster: app}}"))
    await plane.live()
    return plane


async def _shares(s: Session, label: str) -> None:
    """Observe who answers."""
    client = await s.connect()
    seen: set[str] = set()
    for _ in range(6):
        await client.send(b"GET /a HTTP/1.1\r\nhost: example.com\r\n\r\n")
        reply = await read_response(client.wire)
        seen.add(f"{reply.start_line} {reply.body.decode()}")
    client.close()
    for name in ("one", "two", "three"):
        s.upstream(name).seen.clear()  # whose turn is first is chance
    s.see(label, sorted(seen))


@scenario(MERGES)
async def eds_merge_window(s: Session) -> None:
    """What an assignment says counts at once, be it weights or health alone."""
    plane = await _begin(s, _cluster(f"update_merge_window: {WIDE}"), {"one": _WELL, "two": _WELL})
    steps = {
        "weight": _assigned({"one": "load_balancing_weight: 3,", "two": _WELL}),
        "weight again": _assigned({"one": "load_balancing_weight: 2,", "two": _WELL}),
        "metadata": _assigned({"one": "metadata: {filter_metadata: {envoy.lb: {x: 1}}},", "two": _WELL}),
        "no metadata": _assigned({"one": _WELL, "two": _WELL}),
        "the first": _assigned({"one": _WELL, "two": _ILL}),
        "another": _assigned({"one": _ILL, "two": _WELL}),
        "the same": _assigned({"one": _ILL, "two": _WELL}),
        "a host": _assigned({"one": _ILL, "two": _WELL, "three": _WELL}),
        "a drop": _assigned(
            {"one": _ILL, "two": _WELL, "three": _WELL},
            policy=", policy: {drop_overloads: [{category: c, drop_percentage: {numerator: 100}}]}",
        ),
        "a priority": _assigned({"two": _ILL, "three": _WELL}, {"one": _WELL}),
        "in the other": _assigned({"two": _ILL, "three": _ILL}, {"one": _WELL}),
        "a factor": _assigned(
            {"two": _ILL, "three": _ILL}, {"one": _WELL}, policy=", policy: {overprovisioning_factor: 100}"
        ),
        "one less": _assigned({"two": _ILL}, {"one": _WELL}),
    }
    for label, assignment in steps.items():
        await plane.update("eds", label, assignment)
        await _shares(s, label)
        await hosts(s, "app", f"{label}: hosts")
        await stats(s, _MANAGER, r"^cluster\.app\.(update|membership)", label=f"{label}: stats")


_EJECTS = (
    ", outlier_detection: {consecutive_5xx: 1, max_ejection_percent: 100, interval: 3600s, "
    "enforcing_success_rate: 0, base_ejection_time: 3600s}"
)


@scenario(MERGES)
async def eds_merge_behind_an_assignment(s: Session) -> None:
    """An ejection soon after a host came."""
    plane = await _begin(s, _cluster(f"update_merge_window: {WIDE}", _EJECTS), {"one": _WELL})
    await plane.update("eds", "e2", _assigned({"one": _WELL, "two": _WELL}))
    for name in ("one", "two"):
        s.upstream(name).script = answers(b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n")
    for number in range(3):
        await s.get(f"/{number}", label=f"ejecting {number}")
        await stats(s, _MANAGER, r"^cluster\.app\.(membership|outlier)", label=f"ejecting {number}: stats")
    await _shares(s, "ejected")


@scenario(MERGES)
async def eds_merge_of_ejections(s: Session) -> None:
    """The first counts at once; the second does not, and is asked still, until an assignment comes."""
    plane = await _begin(s, _cluster(f"update_merge_window: {WIDE}", _EJECTS), {"one": _WELL, "two": _WELL})
    for name in ("one", "two"):
        s.upstream(name).script = answers(b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n")
    for number in range(4):
        await s.get(f"/{number}", label=f"ejecting {number}")
        await stats(s, _MANAGER, r"^cluster\.app\.(membership|outlier)", label=f"ejecting {number}: stats")
    await _shares(s, "ejected")
    await hosts(s, "app")
    for label, assignment in {
        "weighed": _assigned({"one": "load_balancing_weight: 3,", "two": "load_balancing_weight: 3,"}),
        "one more": _assigned({"one": _WELL, "two": _WELL, "three": _WELL}),
    }.items():
        await plane.update("eds", label, assignment)
        await _shares(s, label)
        await stats(s, _MANAGER, label=f"{label}: stats")


_CHECKS = (
    ", health_checks: [{timeout: 1s, interval: 0.03s, no_traffic_interval: 0.03s, unhealthy_threshold: 1, "
    "healthy_threshold: 1, http_health_check: {path: /healthz}}]"
)


@scenario(MERGES)
async def eds_merge_of_checks(s: Session) -> None:
    """What health checks find waits behind the first change; an assignment brings all of it at once."""
    ill: set[str] = set()

    def serving(name: str) -> None:
        async def script(call: Call) -> None:
            s.upstream(name).seen.clear()
            if call.path == "/healthz":
                await call.send(b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n" if name in ill else ok(b""))
            else:
                await call.send(ok(name.encode()))

        s.upstream(name).script = script

    s.proxy.is_spent = True
    plane = ControlPlane(s)
    for name in ("one", "two", "three"):
        serving(name)
    await plane.update("cds", "c1", _cluster(f"update_merge_window: {WIDE}", _CHECKS))
    await plane.update("eds", "e1", _assigned({"one": _WELL, "two": _WELL}))
    await plane.asked("lds")
    await plane.update("lds", "l1", listener("main", routes="- {match: {prefix: /}, route: {cluster: app}}"))
    await plane.live()

    async def until(healthy: int) -> None:
        await s.until_stats(
            lambda found: found["cluster.app.membership_healthy"] == healthy, r"^cluster\.app\."
        )

    async def look(label: str) -> None:
        await _shares(s, label)
        await stats(s, _MANAGER, r"^cluster\.app\.membership_(total|healthy|change)", label=f"{label}: stats")

    await look("all well")
    for name in ("one", "two"):
        ill.add(name)
        await until(2 - len(ill))
        await look(f"{name} ill")
    ill.remove("one")
    await until(1)
    await look("one well")
    # The same assignment changes nothing.
    await plane.update("eds", "e2", _assigned({"one": _WELL, "two": _WELL}))
    await look("the same assignment")
    # A weight is a change of the assignment, and goes with what waited.
    await plane.update("eds", "e3", _assigned({"one": "load_balancing_weight: 2,", "two": _WELL}))
    await look("a weight")
    ill.add("one")
    await until(0)
    await look("one ill again")
    await plane.update(
        "eds", "e4", _assigned({"one": "load_balancing_weight: 2,", "two": _WELL, "three": _WELL})
    )
    await s.until_stats(lambda found: found["cluster.app.membership_healthy"] == 1, r"^cluster\.app\.")
    await look("a host")
    await hosts(s, "app")
