"""What is taken of an answer that is refused."""

from __future__ import annotations

from typing import Any

from ..configuration import listener
from ..control_plane import ControlPlane
from ..lab import Session
from ..scenario import scenario
from ..upstream import answers, ok
from .xds_ads import WHOLE, assigned, begin, direct, eds_cluster, rds_listener, routed, stats

SUBJECT = "xds"


@scenario(WHOLE)
async def xds_partly_listeners(s: Session) -> None:
    """A listener whose filter breaks a rule of the API is refused alone: others come and go."""
    plane = await begin(s)
    await plane.update("lds", "l2", rds_listener(), direct("goes", "first"))
    await plane.update(
        "lds", "l3", rds_listener(), listener("rule", "stat_prefix: ''"), direct("comes", "second")
    )
    await s.until_stats(
        lambda stats: (
            stats.get("listener_manager.listener_removed") == 1
            and stats["listener_manager.total_listeners_active"] == 2
        ),
        r"^listener_manager\.",
    )
    await s.proxy.learn_ports()
    await s.get("/", to="comes")
    s.see("requests", plane.requests["lds"])
    await stats(s, r"^listener_manager\.(?!total_filter|.*worker|total_listeners_draining)")


BAD = (
    "{cluster_name: %s, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: "
    "{address: nowhere, port_value: 1}}}}]}]}"
)


def _nameless(requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without the names, whose order is each proxy's own."""
    return [{key: value for key, value in each.items() if key != "names"} for each in requests]


async def three(s: Session) -> ControlPlane:
    """Clusters app, first, second and third, all with the host one, and a route to each of those three."""
    plane = await begin(s)
    for name in ("one", "two"):
        s.upstream(name).script = answers(ok(name.encode()))
    await plane.send("cds", "c2", *(eds_cluster(each) for each in ("app", "first", "second", "third")))
    await plane.asked("eds", 3)
    await plane.update("eds", "e2", *(assigned(each, "one") for each in ("app", "first", "second", "third")))
    await s.until_stats(lambda stats: stats["cluster_manager.warming_clusters"] == 0, "warming_clusters")
    routes = ", ".join(
        f"{{match: {{prefix: /{each}}}, route: {{cluster: {each}}}}}" for each in ("first", "second", "third")
    )
    await plane.update(
        "rds", "r2", f"{{name: routes, virtual_hosts: [{{name: all, domains: ['*'], routes: [{routes}]}}]}}"
    )
    return plane


@scenario(WHOLE)
async def xds_partly_endpoints(s: Session) -> None:
    """Of endpoints in one answer those are taken that were wanted after the wrong ones."""
    plane = await three(s)

    async def ask(label: str) -> None:
        for each in ("first", "second", "third"):
            await s.get(f"/{each}", label=f"{label}, {each}")

    await ask("before")
    await plane.update(
        "eds",
        "e3",
        assigned("app", "one"),
        assigned("first", "two"),
        BAD % "second",
        assigned("third", "two"),
    )
    await ask("the second is wrong")
    await plane.update("eds", "e4", *(assigned(each, "one") for each in ("app", "first", "second", "third")))
    await ask("all are right")
    rule = "{cluster_name: second, endpoints: [{priority: 200}]}"
    await plane.update(
        "eds", "e5", assigned("app", "one"), assigned("first", "two"), rule, assigned("third", "two")
    )
    await ask("the second is against the rules")
    s.see("requests", _nameless(plane.requests["eds"]))
    await stats(s, r"^cluster\.(first|second|third)\.update_(?!duration|time|attempt)")


@scenario(WHOLE)
async def xds_partly_routes(s: Session) -> None:
    """Of two route configurations in one answer."""
    plane = await begin(s)
    await plane.update(
        "lds", "l2", rds_listener(), rds_listener("second", "others"), rds_listener("third", "more")
    )
    await plane.asked("rds", 3)
    right = (routed("routes", "app"), routed("others", "app"), routed("more", "app"))
    await plane.update("rds", "r2", *right)
    await s.until_stats(
        lambda stats: stats["listener_manager.total_listeners_active"] == 3, "total_listeners_active"
    )
    await s.proxy.learn_ports()

    async def ask(label: str) -> None:
        for each in ("main", "second", "third"):
            await s.get("/", to=each, label=f"{label}, {each}")

    await ask("before")
    fixed = "{{name: {0}, virtual_hosts: [{{name: all, domains: ['*'], routes: [{1}]}}]}}"
    direct_ = "{match: {prefix: /}, direct_response: {status: 201}}"
    regex = "{match: {safe_regex: {regex: '['}}, direct_response: {status: 201}}"
    await plane.update(
        "rds",
        "r3",
        fixed.format("routes", direct_),
        fixed.format("others", regex),
        fixed.format("more", direct_),
    )
    await ask("the second is wrong")
    s.see("requests", _nameless(plane.requests["rds"]))
    await stats(s, r"^http\.(main|second|third)\.rds\..*update_(success|rejected|failure)")
