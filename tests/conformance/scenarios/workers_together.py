"""Two workers: what is limited is limited for both together, whichever has the connection."""

from __future__ import annotations

from typing import Any

from tests.support import yaml_text

from ..configuration import bootstrap, cluster, listener
from ..lab import Session
from ..scenario import Setup, scenario
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


TOGETHER = Setup(
    "workers-together",
    bootstrap(
        [
            listener("main", routes=yaml_text.dump(ROUTES), filters=named(limits("all"))),
            before("few", "connection_limit.v3.ConnectionLimit", stat_prefix="few", max_connections=3),
            before("slow", "local_ratelimit.v3.LocalRateLimit", stat_prefix="slow", token_bucket=bucket(4)),
        ],
        [cluster("held", "app", extra=breakers("max_requests: 2")), cluster("app", "app")],
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
