"""Ends of upstream connections and of requests on them: which numbers move, in both protocols."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import trio

from ..client import get
from ..configuration import HTTP_OPTIONS, bootstrap, cluster, listener
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import Call, H2Call, answers, ok
from ..wire import head

SUBJECT = "upstream"

_KINDS = {
    "plain": "common_http_protocol_options: {}",
    "idle": "common_http_protocol_options: {idle_timeout: 0.1s}",
    "aged": "common_http_protocol_options: {max_connection_duration: 0.15s}",
    "twice": "common_http_protocol_options: {max_requests_per_connection: 2}",
}
_ONE = "circuit_breakers: {thresholds: [{max_connections: 1}]}"


def options(common: str, protocol: str) -> str:
    return f"""
typed_extension_protocol_options:
  {HTTP_OPTIONS}:
    "@type": type.googleapis.com/{HTTP_OPTIONS}
    {common}
    explicit_http_config: {{{protocol}: {{}}}}
"""


_NAMES = [f"{kind}{number}" for kind in (*_KINDS, "one") for number in (1, 2)]
ROUTES = "\n".join(f"- {{match: {{prefix: /{name}/}}, route: {{cluster: {name}}}}}" for name in _NAMES)
ENDS = Setup(
    "upstream-ends",
    bootstrap(
        [listener("main", routes=ROUTES)],
        [
            *(cluster(f"{kind}1", "app", extra=options(common, "http_protocol_options"))
              for kind, common in _KINDS.items()),
            *(cluster(f"{kind}2", "app2", extra=options(common, "http2_protocol_options"))
              for kind, common in _KINDS.items()),
            cluster("one1", "app", extra=_ONE),
            cluster("one2", "app2", extra=options(_KINDS["plain"], "http2_protocol_options") + _ONE),
        ],
    ),
    {"app": "h1", "app2": "h2"},
)  # fmt: skip

#: What is another number each time.
_UNSTEADY = ("bytes", "_ms", "membership", "max_host_weight", "update_")


@asynccontextmanager
async def moving(
    s: Session, name: str, settled: Callable[[dict[str, int]], bool] | None = None
) -> AsyncIterator[None]:
    """Observe every number of a cluster that moves inside the block, once ``settled`` holds."""
    pattern = rf"^cluster\.{name}\.(?!circuit|http[12]\.|external|internal)"
    before = await s.counters(pattern)
    yield
    if settled is not None:
        await s.until_stats(lambda stats: settled(dict(stats)), pattern)
    else:
        await s.quiet()
    after = await s.counters(pattern)
    moved = {
        stat: value - before.get(stat, 0)
        for stat, value in after.items()
        if value != before.get(stat, 0) and not any(word in stat for word in _UNSTEADY)
    }
    s.see(f"moved {name}", moved)


def none_active(name: str) -> Callable[[dict[str, int]], bool]:
    return lambda stats: stats[f"cluster.{name}.upstream_cx_active"] == 0


async def both(play: Callable[[str], Awaitable[None]], kind: str) -> None:
    """The same over HTTP/1.1 and HTTP/2."""
    for number in (1, 2):
        await play(f"{kind}{number}")


@scenario(ENDS)
async def upstream_end_by_idleness(s: Session) -> None:
    """idle_timeout closes a connection that nobody uses."""

    async def play(name: str) -> None:
        async with moving(s, name, none_active(name)):
            await s.get(f"/{name}/")

    await both(play, "idle")


@scenario(ENDS)
async def upstream_end_by_age(s: Session) -> None:
    """max_connection_duration closes one that is idle then."""

    async def play(name: str) -> None:
        async with moving(s, name, none_active(name)):
            await s.get(f"/{name}/")

    await both(play, "aged")


@scenario(ENDS, differs={"moved aged2": "goaway-is-no-protocol-error"})
async def upstream_end_by_age_while_in_use(s: Session) -> None:
    """One that is too old while a request is on it ends with that."""
    door = trio.Event()

    async def h1(call: Call) -> None:
        await door.wait()
        await call.send(ok())

    async def h2(call: H2Call) -> None:
        await door.wait()
        await call.answer([(":status", "200"), ("content-length", "2")], b"ok")

    s.upstream().script = h1
    s.upstream("app2").h2_script = h2

    async def play(name: str) -> None:
        nonlocal door
        door = trio.Event()
        reached = f"cluster.{name}.upstream_cx_max_duration_reached"
        seen = (await s.counters(reached))[reached]
        async with moving(s, name, none_active(name)):
            client = await s.connect()
            await client.send(head(f"GET /{name}/held HTTP/1.1", "host: a"))
            await s.until_stats(lambda stats: stats[reached] == seen + 1, reached)
            door.set()
            await client.reply()

    await both(play, "aged")


@scenario(ENDS, differs={"moved twice2": "goaway-is-no-protocol-error"})
async def upstream_end_after_its_requests(s: Session) -> None:
    """max_requests_per_connection: 2 of three requests share a connection."""

    async def play(name: str) -> None:
        async with moving(s, name):
            client = await s.connect()
            for _ in range(3):
                await client.send(head(f"GET /{name}/ HTTP/1.1", "host: a"))
                await client.reply()
            client.close()

    await both(play, "twice")


@scenario(ENDS)
async def upstream_end_by_a_client_that_leaves(s: Session) -> None:
    """A client that leaves takes its connection along over HTTP/1.1, and its stream over HTTP/2."""

    async def h1(call: Call) -> None:
        await call.gone()

    async def h2(call: H2Call) -> None:
        await call.stream.ended.wait()

    s.upstream().script = h1
    s.upstream("app2").h2_script = h2

    async def play(name: str) -> None:
        upstream = s.upstream("app2" if name.endswith("2") else "app")
        async with moving(s, name):
            client = await s.connect_h2()
            stream = await client.start(get(f"/{name}/leaving"))
            await upstream.arrivals(len(upstream.seen) + (not upstream.seen))
            await s.until_stats(lambda stats: stats[active] == 1, active)
            client.close()
            del stream

    active = "cluster.plain1.upstream_rq_active"
    await play("plain1")
    active = "cluster.plain2.upstream_rq_active"
    await play("plain2")


@scenario(ENDS)
async def upstream_end_of_a_request_that_waits(s: Session) -> None:
    """A client that leaves while its request waits for a connection: cancelled."""
    door = trio.Event()

    async def h1(call: Call) -> None:
        await door.wait()
        await call.send(ok())

    s.upstream().script = h1
    pending = "cluster.one1.upstream_rq_pending_active"
    async with moving(s, "one1"):
        first = await s.connect()
        await first.send(head("GET /one1/held HTTP/1.1", "host: a"))
        await s.upstream().arrivals(1)
        second = await s.connect()
        await second.send(head("GET /one1/waits HTTP/1.1", "host: a"))
        await s.until_stats(lambda stats: stats[pending] == 1, pending)
        second.close()
        await s.until_stats(lambda stats: stats[pending] == 0, pending)
        door.set()
        await first.reply()


@scenario(ENDS)
async def upstream_end_by_the_upstream(s: Session) -> None:
    """An upstream that closes: with its answer, between requests, and under a request."""
    s.upstream().script = answers(ok(b"ok", "connection: close"))
    async with moving(s, "plain1", none_active("plain1")):
        await s.get("/plain1/with-its-answer")

    s.upstream().script = answers(b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok")
    async with moving(s, "plain1", none_active("plain1")):
        await s.get("/plain1/of-http-1.0")

    async def until_close(call: Call) -> None:
        await call.send(b"HTTP/1.1 200 OK\r\n\r\nok")
        await call.close()

    s.upstream().script = until_close
    async with moving(s, "plain1", none_active("plain1")):
        await s.get("/plain1/with-its-body")

    async def under(call: Call) -> None:
        await call.close()

    s.upstream().script = under
    async with moving(s, "plain1", none_active("plain1")):
        await s.get("/plain1/under-a-request")

    async def between(call: Call) -> None:
        await call.send(ok())
        await call.close()

    s.upstream().script = between
    async with moving(s, "plain1", none_active("plain1")):
        await s.get("/plain1/between")
