"""Two workers: what is limited is limited for both together, whichever has the connection."""

from __future__ import annotations

from typing import Any

from tests.support import yaml_text

from ..configuration import bootstrap, cluster, listener
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import answers, ok
from ..wire import head
from .circuit_breakers import Gate, breakers, changed, hold, until
from .local_ratelimit import bucket, descriptor, limits, named

SUBJECT = "lifecycle"

#: So many connections hardly ever come to one worker all.
MANY = 12
ANY_USER = descriptor(3, ("user", ""))
BY_USER = [{"actions": [{"request_headers": {"header_name": "x-user", "descriptor_key": "user"}}]}]


def answered(path: str, limit: dict[str, Any]) -> dict[str, Any]:
    """A route that asks no upstream, with a limit."""
    return {
        "match": {"prefix": path},
        "direct_response": {"status": 200},
        "typed_per_filter_config": {"limit": limit},
    }


ROUTES = [
    {"match": {"path": "/held"}, "route": {"cluster": "held"}},
    {"match": {"path": "/ejected"}, "route": {"cluster": "ejected"}},
    {"match": {"path": "/back"}, "route": {"cluster": "back"}},
    answered("/limited", limits("limited", token_bucket=bucket(5))),
    answered("/wild", limits("wild", token_bucket=bucket(100), descriptors=[ANY_USER], rate_limits=BY_USER)),
]
NETWORK = "type.googleapis.com/envoy.extensions.filters.network"


def before(name: str, message: str, **fields: Any) -> dict[str, Any]:
    """A listener whose connections pass a network filter first."""
    made = listener(name, routes="[{match: {prefix: /}, direct_response: {status: 200}}]")
    filters = made["filter_chains"][0]["filters"]
    filters.insert(0, {"name": name, "typed_config": {"@type": f"{NETWORK}.{message}", **fields}})
    return made


def ejecting(fields: str) -> str:
    """YAML of a cluster that ejects its only host after five failures in a row."""
    return (
        f"outlier_detection: {{{fields}, consecutive_5xx: 5, max_ejection_percent: 100}}\n"
        # Workers hear of every change at once.
        "common_lb_config: {healthy_panic_threshold: {value: 0}, update_merge_window: 0s}"
    )


TOGETHER = Setup(
    "workers-together",
    bootstrap(
        [
            listener("main", routes=yaml_text.dump(ROUTES), filters=named(limits("all"))),
            before("few", "connection_limit.v3.ConnectionLimit", stat_prefix="few", max_connections=3),
            before("slow", "local_ratelimit.v3.LocalRateLimit", stat_prefix="slow", token_bucket=bucket(4)),
        ],
        [
            cluster("held", "app", extra=breakers("max_requests: 2")),
            cluster("app", "app"),
            cluster("ejected", "app", extra=ejecting("interval: 600s, base_ejection_time: 600s")),
            cluster("back", "app", extra=ejecting("interval: 0.2s, base_ejection_time: 0.05s")),
        ],
    ),
    {"app": "h1"},
    concurrency=2,
)


@scenario(TOGETHER)
async def workers_break_circuits_together(s: Session) -> None:
    """Two requests are under way; who comes then is refused by either worker, until one of them is over."""
    gate = Gate(s, "app")
    async with s.counting(*(each for each in changed("held") if "_cx_" not in each)):
        clients = await hold(s, gate, "held", 2)
        gauges = r"^cluster\.held\.(circuit_breakers\.default\.(.*_open|remaining_rq)|upstream_rq_active)$"
        s.see("two", await s.counters(gauges))
        for number in range(MANY):
            await s.get("/held", label=f"refused {number}")
        gate.open()
        for client in clients:
            await client.reply()
            client.close()
        await until(s, "held", "upstream_rq_active", 0)
        s.see("none", await s.counters(gauges))


@scenario(TOGETHER)
async def workers_share_a_limit_of_connections(s: Session) -> None:
    """Three connections at once, and another one when one has gone."""
    async with s.counting("connection_limit.few.limited_connections"):
        clients = []
        for number in range(8):
            client = await s.connect("few")
            await client.send(head("GET / HTTP/1.1", "host: a"))
            if number < 3:
                await client.reply(f"reply {number}")
                clients.append(client)
            else:
                await client.closed(f"refused {number}")
                client.close()
        clients.pop().close()
        gauge = "connection_limit.few.active_connections"
        await s.until_stats(lambda stats: stats[gauge] == 2, f"^{gauge}$")
        client = await s.connect("few")
        await client.send(head("GET / HTTP/1.1", "host: a"))
        await client.reply("in its place")
        for each in (*clients, client):
            each.close()


@scenario(TOGETHER)
async def workers_share_a_rate_limit(s: Session) -> None:
    """Five tokens are five for all, and three for each value of a descriptor."""
    s.proxy.is_spent = True  # nothing comes back
    names = ("enabled", "enforced", "ok", "rate_limited")
    async with s.counting(
        *(f"{prefix}.http_local_rate_limit.{name}" for prefix in ("limited", "wild") for name in names)
    ):
        for number in range(MANY):
            await s.get("/limited", label=f"reply {number}")
        for user in ("a", "b"):
            for number in range(6):
                await s.get("/wild", f"x-user: {user}", label=f"{user} {number}")


@scenario(TOGETHER)
async def workers_share_a_rate_of_connections(s: Session) -> None:
    """Four connections, whoever takes them."""
    s.proxy.is_spent = True  # nothing comes back
    async with s.counting("local_rate_limit.slow.rate_limited"):
        for number in range(8):
            client = await s.connect("slow")
            await client.send(head("GET / HTTP/1.1", "host: a"))
            if number < 4:
                await client.reply(f"reply {number}")
            else:
                await client.closed(f"refused {number}")
            client.close()


#: On a connection of its own: whether two requests share one is chance.
FAILURE = head("HTTP/1.1 500 Oh", "content-length: 0", "connection: close")
OUTLIERS = ("ejections_active", "ejections_detected_consecutive_5xx", "ejections_enforced_total")


@scenario(TOGETHER)
async def workers_eject_together(s: Session) -> None:
    """Five failures in a row are five of all; a host that is ejected is ejected for either worker."""
    s.proxy.is_spent = True  # it stays so
    s.upstream().script = answers(FAILURE)
    async with s.counting(*(f"cluster.ejected.outlier_detection.{name}" for name in OUTLIERS)):
        for number in range(5):
            await s.get("/ejected", label=f"failure {number}")
        gauge = "cluster.ejected.outlier_detection.ejections_active"
        await s.until_stats(lambda stats: stats[gauge] == 1, f"^{gauge}$")
        for number in range(MANY):
            await s.get("/ejected", label=f"refused {number}")
        lines = (await s.proxy.admin("GET", "/clusters")).body.decode().splitlines()
        s.see(
            "flags",
            [each.rpartition("::")[2] for each in lines if "ejected::" in each and "::health_flags" in each],
        )
        s.see("membership", await s.counters(r"^cluster\.ejected\.membership_(healthy|total)$"))


@scenario(TOGETHER)
async def workers_let_back_in_together(s: Session) -> None:
    """A host that comes back comes back to both."""
    s.upstream().script = answers(*5 * [FAILURE], ok(b"ok", "connection: close"))
    prefix = "cluster.back.outlier_detection"
    total = f"{prefix}.ejections_enforced_total"
    before = (await s.counters(f"^{total}$"))[total]
    async with s.counting(*(f"{prefix}.{name}" for name in OUTLIERS)):
        for number in range(5):
            await s.get("/back", label=f"failure {number}")
        wanted = {total: before + 1, f"{prefix}.ejections_active": 0}
        await s.until_stats(lambda stats: wanted.items() <= stats.items(), f"^{prefix}")
        for number in range(MANY):
            await s.get("/back", label=f"reply {number}")
