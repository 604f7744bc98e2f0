# ruff: noqa: E501  (a route is a line of a table)
"""``upstream_log`` of the router: a line for each try, about the try alone."""

from __future__ import annotations

from functools import partial
from typing import Any

import trio

from ..configuration import ROUTER, bootstrap, cluster, listener, parse
from ..lab import Session
from ..proxy import POLL_S
from ..scenario import Setup, scenario
from ..upstream import Call, answers, ok
from ..wire import head
from .access_log_every_operator import FILTERS, IDS, PLAIN, TIMES, TLS, json_log, values
from .hedging import stall

SUBJECT = "observability"

#: Envoy knows the host of a request from when there is a connection; and when that began.
LEFT_OUT = (
    "COMMON_DURATION(US_CX_BEG:US_HS_END)",
    "REQUESTED_SERVER_NAME(SNI_FIRST:HOST)",
    "REQUESTED_SERVER_NAME(HOST_FIRST:ORIG_OR_HOST)",
)
TREE = {name: f"%{name}%" for name in [*PLAIN, *TIMES, *IDS, *TLS] if name not in LEFT_OUT}
SHORT = {
    name.partition("(")[0]: f"%{name}%"
    for name in (
        "ACCESS_LOG_TYPE",
        "RESPONSE_CODE",
        "RESPONSE_FLAGS",
        "RESPONSE_CODE_DETAILS",
        "BYTES_RECEIVED",
        "BYTES_SENT",
        "PROTOCOL",
        "UPSTREAM_PROTOCOL",
        "UPSTREAM_HOST",
        "UPSTREAM_CLUSTER",
        "UPSTREAM_REQUEST_ATTEMPT_COUNT",
        "UPSTREAM_TRANSPORT_FAILURE_REASON",
        "ROUTE_NAME",
        "REQ(:path)",
        "RESP(x-up)",
        "TRAILER(x-t)",
    )
}
ROUTES = """
- {match: {path: /direct}, name: direct, direct_response: {status: 200, body: {inline_string: here}}}
- {match: {path: /dead}, route: {cluster: dead}}
- match: {prefix: /retry}
  name: retried
  route: {cluster: app, timeout: 0s, retry_policy: {retry_on: "5xx,reset", num_retries: 1, retry_back_off: {base_interval: 0.001s}}}
- match: {prefix: /slow}
  route: {cluster: app, retry_policy: {retry_on: "5xx", num_retries: 1, per_try_timeout: 0.05s, retry_back_off: {base_interval: 0.001s}}}
- {match: {prefix: /late}, route: {cluster: app, timeout: 0.05s}}
- {match: {prefix: /two}, route: {cluster: two}}
- {match: {prefix: /rewrite}, name: rewritten, metadata: {filter_metadata: {rt: {key: route}}}, route: {cluster: app, prefix_rewrite: /new}}
- {match: {prefix: /}, name: app-route, route: {cluster: app}}
"""


def logged(name: str, tree: dict[str, Any], *, filters: str = "", **more: Any) -> dict[str, Any]:
    made = listener(name, routes=ROUTES, filters=filters)
    router = made["filter_chains"][0]["filters"][0]["typed_config"]["http_filters"][-1]
    router["typed_config"] = {
        "@type": ROUTER,
        "upstream_log": [json_log(f"FILE({name}-up.log)", tree)],
        **more,
    }
    return made


SETUP = Setup(
    "upstream-log",
    bootstrap(
        [
            logged("every", TREE, filters=FILTERS),
            logged("short", SHORT),
            logged(
                "ready",
                SHORT,
                upstream_log_options=parse("{flush_upstream_log_on_upstream_stream: true}"),
            ),
            logged("often", SHORT, upstream_log_options=parse("{upstream_log_flush_interval: 0.05s}")),
        ],
        [cluster("app", "app"), cluster("two", "two", http2=True), cluster("dead", "dead")],
    ),
    {"app": "h1", "two": "h2", "dead": "dead"},
)


async def cut(call: Call) -> None:
    """Break off inside of the body."""
    await call.body()
    await call.send(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf")
    await call.close()


async def close(call: Call) -> None:
    """Answer nothing and leave."""
    await call.body()
    await call.close()


@scenario(SETUP)
async def upstream_log_every_operator(s: Session) -> None:
    """All operators."""
    async with s.logging(2, "every-up", values):
        s.upstream().script = answers(
            b"HTTP/1.1 200 OK\r\nx-up: up\r\ngrpc-status: 7\r\ntransfer-encoding: chunked\r\n\r\n"
            b"2\r\nok\r\n0\r\nx-t: tra\r\n\r\n"
        )
        await s.get("/rewrite/p?q=1%20&q=2", "x-a: abcdef", "x-b: b", to="every")
        await s.get("/direct", to="every")
        await s.http(head("POST /dead HTTP/1.1", "host: a", "content-length: 4") + b"body", "every")


@scenario(SETUP)
async def upstream_log_tries(s: Session) -> None:
    """A line for each try, and what came of it; none where nothing was tried."""
    async with s.logging(5, "short-up"):
        s.upstream().script = answers(ok(b"four", "x-up: up"))
        await s.http(head("POST /retry HTTP/1.1", "host: a", "content-length: 4") + b"body", "short")
        s.upstream().script = answers(
            b"HTTP/1.1 503 No\r\nx-up: first\r\ncontent-length: 3\r\n\r\nbad", ok(b"four", "x-up: second")
        )
        await s.http(head("POST /retry HTTP/1.1", "host: a", "content-length: 4") + b"body", "short")
        await s.get("/direct", to="short")
        await s.get("/dead", to="short")
        await s.get("/two", to="short")


@scenario(SETUP)
async def upstream_log_failures(s: Session) -> None:
    """Tries that got no whole answer."""
    async with s.logging(5, "short-up"):
        s.upstream().script = stall
        await s.get("/slow", to="short")
        await s.get("/late", to="short")
        s.upstream().script = cut
        await s.get("/cut", to="short")
        s.upstream().script = close
        await s.get("/gone", to="short")


@scenario(SETUP)
async def upstream_log_moments(s: Session) -> None:
    """A line when the connection is there, and lines from time to time."""
    gate = trio.Event()

    async def script(call: Call) -> None:
        await call.body()
        await gate.wait()
        await call.send(ok(b"four", "x-up: up"))

    async with s.logging(2, "ready-up"):
        s.upstream().script = answers(ok(b"four", "x-up: up"))
        await s.get("/ready", to="ready")
    s.upstream().script = script
    path = s.proxy.directory / "often-up.log"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(s.get, "/often", to="often"))
        while not path.exists() or b"UpstreamPeriodic" not in path.read_bytes():  # noqa: ASYNC110 - another process
            await trio.sleep(POLL_S)
        gate.set()
    await s.quiet()
    lines = path.read_text().splitlines()
    s.see("kinds of lines", list(dict.fromkeys(lines)))
