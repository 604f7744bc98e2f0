"""The HTTP filter health_check: answers for the server, or passes the question on and keeps the answer."""

from __future__ import annotations

import re

import trio

from ..configuration import bootstrap, cluster, listener
from ..lab import Session
from ..proxy import POLL_S
from ..scenario import Setup, scenario
from ..upstream import answers, ok
from ..wire import read_response

SUBJECT = "upstream"

FILTER = "type.googleapis.com/envoy.extensions.filters.http.health_check.v3.HealthCheck"
PATH = "{name: ':path', string_match: {exact: /healthz}}"


def checking(fields: str, headers: str = PATH) -> str:
    return (
        f"[{{name: envoy.filters.http.health_check, typed_config: {{'@type': {FILTER}, "
        f"{fields}, headers: [{headers}]}}}}]"
    )


ROUTES = "[{match: {prefix: /}, route: {cluster: app}, stat_prefix: its}]"


def percentages(**wanted: float) -> str:
    each = ", ".join(f"{name}: {{value: {value}}}" for name, value in wanted.items())
    return f"pass_through_mode: false, cluster_min_healthy_percentages: {{{each}}}"


LISTENERS = {
    "plain": checking("pass_through_mode: false"),
    "several": checking(
        "pass_through_mode: false",
        f"{PATH}, {{name: x-check, string_match: {{prefix: a}}, invert_match: true}}, {{name: ':method', "
        "string_match: {exact: POST}}",
    ),
    "all": checking("pass_through_mode: false").replace(f"[{PATH}]", "[]"),
    "through": checking("pass_through_mode: true"),
    "cached": checking("pass_through_mode: true, cache_time: 600s"),
    "brief": checking("pass_through_mode: true, cache_time: 0.3s"),
    "half": checking(percentages(half=50.9)),
    "more": checking(percentages(half=51)),
    "unknown": checking(percentages(app=1, nobody=0)),
    "empty": checking(percentages(empty=0, app=100)),
    "vacant": checking(percentages(empty=1)),
}
HALF = """
load_assignment:
  cluster_name: half
  endpoints:
  - lb_endpoints:
    - {endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: PORT(app)}}}}
    - {endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 1}}}, health_status: UNHEALTHY}
    - {endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 2}}}, health_status: DEGRADED}
    - {endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 3}}}, health_status: UNHEALTHY}
"""
CHECKING = Setup(
    "health_filter",
    bootstrap(
        [
            *(listener(name, routes=ROUTES, filters=filters) for name, filters in LISTENERS.items()),
            listener("main", routes=ROUTES),
        ],
        [cluster("app", "app"), cluster("half", extra=HALF), cluster("empty")],
        "node: {id: it, cluster: its-cluster}",
    ),
    {"app": "h1"},
)


@scenario(CHECKING)
async def health_filter_answers(s: Session) -> None:
    """Without passing through, the filter answers what its headers match, at the end of the request."""
    async with s.logging(8, "plain"):
        await s.get("/healthz", to="plain")
        await s.get("/healthz?x=1", to="plain")
        await s.get("/other", to="plain")
        await s.http("HEAD /healthz HTTP/1.1\r\nhost: a\r\n\r\n", to="plain", has_body=False)
        await s.http("POST /healthz HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc", to="plain")
        await s.http(
            "POST /healthz HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            to="plain",
        )
        await s.http(
            "POST /healthz HTTP/1.1\r\nhost: a\r\ncontent-type: application/grpc\r\n"
            "content-length: 0\r\n\r\n",
            to="plain",
        )
        client = await s.connect("plain")
        await client.send(b"POST /healthz HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\na")
        await client.send(b"bc")
        await client.reply("slow body")


@scenario(CHECKING)
async def health_filter_headers(s: Session) -> None:
    """All of its headers must match; without any it answers everything."""
    for head in ("POST /healthz", "GET /healthz"):
        for field in ("x-check: abc", "x-check: cab", "x-other: 1"):
            request = f"{head} HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n{field}\r\n\r\n"
            await s.http(request, to="several", label=f"{head} {field}")
    await s.get("/anything", to="all")


async def ask(s: Session, path: str, to: str, label: str) -> None:
    """Observe the reply alone: when a connection that is told to close ends is another matter."""
    client = await s.connect(to)
    await client.send(f"GET {path} HTTP/1.1\r\nhost: a\r\n\r\n".encode())
    await client.reply(label)
    client.close()


@scenario(CHECKING)
async def health_filter_while_failing(s: Session) -> None:
    """After /healthcheck/fail checks are 503, and all answers say that the server fails."""
    s.proxy.is_spent = True
    await s.admin("POST /healthcheck/fail")
    for name in ("plain", "through", "half"):
        async with s.logging(2, name):
            await ask(s, "/healthz", name, f"{name} check")
            await ask(s, "/other", name, f"{name} other")
    await ask(s, "/other", "main", "without the filter")
    await ask(s, "/healthz", "cached", "cached check")
    await s.admin("POST /healthcheck/ok")
    await ask(s, "/healthz", "plain", "well again")
    await ask(s, "/healthz", "cached", "what was kept")
    await ask(s, "/other", "plain", "other")


@scenario(CHECKING)
async def health_filter_passes_through(s: Session) -> None:
    """The upstream answers, and the answer says who it was."""
    s.upstream().script = answers(
        ok(b"well"), ok(b"", "x-envoy-degraded: yes"), b"HTTP/1.1 503 X\r\ncontent-length: 3\r\n\r\nbad"
    )
    async with s.logging(3, "through"):
        for _ in range(3):
            await s.get("/healthz", to="through")


@scenario(CHECKING)
async def health_filter_keeps_answers(s: Session) -> None:
    """The answer is kept for the cache time: its status, and whether it was degraded."""
    s.proxy.is_spent = True
    s.upstream().script = answers(
        ok(b"well", "x-envoy-degraded: yes", "x-more: 1"), b"HTTP/1.1 404 X\r\ncontent-length: 3\r\n\r\nbad"
    )
    async with s.logging(4, "cached"):
        await s.get("/healthz", to="cached", label="asked")
        await s.get("/healthz", to="cached", label="kept")
        await s.get("/other", to="cached", label="other")
        await s.get("/healthz", to="cached", label="still kept")


@scenario(CHECKING)
async def health_filter_asks_again(s: Session) -> None:
    """When the cache time is over the upstream is asked again; a bad answer is kept, too."""
    s.proxy.is_spent = True
    s.upstream().script = answers(ok(b"well"), b"HTTP/1.1 404 X\r\ncontent-length: 3\r\n\r\nbad")
    await s.get("/healthz", to="brief", label="asked")
    client = await s.connect("brief")
    status = "200"
    while status == "200":
        await trio.sleep(POLL_S)
        await client.send(b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n")
        status = (await read_response(client.wire)).start_line.split(" ")[1]
    async with s.logging(1, "brief"):
        await s.get("/healthz", to="brief", label="kept")
    s.upstream().seen.clear()


@scenario(CHECKING)
async def health_filter_percentages(s: Session) -> None:
    """Clusters must have enough hosts that are well or degraded; percents are whole numbers."""
    for name in ("half", "more", "unknown", "empty", "vacant"):
        async with s.logging(1, name):
            await s.get("/healthz", to=name, label=name)


#: Of the route, and of the listeners, whose names have their ports.
MORE_STATS = "|".join(
    (
        r"\.route\.its\.upstream_rq_(total|completed|2xx|200)$",
        r"^listener\..*\.http\.(plain|through)\.downstream_rq_(completed|2xx)$",
    )
)


@scenario(CHECKING)
async def health_filter_counts(s: Session) -> None:
    """What asks for health is no traffic: neither the client's side nor the cluster counts its answers."""
    s.upstream().script = answers(ok(b"well"), ok(b"other"))
    names = ("total", "completed", "2xx", "active")
    counted = [f"http.{name}.downstream_rq_{each}" for name in ("plain", "through") for each in names]
    counted += [f"http.{name}.tracing.health_check" for name in ("plain", "through")]
    counted += [f"cluster.app.upstream_rq_{each}" for each in ("total", "completed", "2xx", "200")]
    async with s.counting(*counted):
        before = await s.counters(MORE_STATS)
        await s.get("/healthz", to="plain", label="check")
        await s.get("/healthz", to="through", label="check that passes")
        await s.get("/other", to="through", label="other")
    after = await s.counters(MORE_STATS)
    grown = {
        re.sub(r"^listener\..*?\.http", "listener.http", name): value - before.get(name, 0)
        for name, value in after.items()
    }
    s.see("of route and listener", grown)
