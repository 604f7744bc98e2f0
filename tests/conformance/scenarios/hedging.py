# ruff: noqa: E501  (a route is a line of a table)
"""hedge_policy: a try that is too slow goes on beside the next, and the first good answer wins."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from ..client import get
from ..configuration import bootstrap, cluster, listener
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import Call, H2Call
from ..wire import head
from .retries import BAD, DONE, FAST, INSIDE, LOG, stats

SUBJECT = "upstream"

HEDGE = "hedge_policy: {hedge_on_per_try_timeout: true}"


def route(
    path: str, policy: str, to: str = "app", hedge: str = f", {HEDGE}", more: str = "timeout: 0s"
) -> str:
    return f"- {{match: {{prefix: {path}}}, route: {{cluster: {to}, {more}, retry_policy: {{{policy}, {FAST}}}{hedge}}}}}\n"


ROUTES = "".join(
    (
        route("/one", "retry_on: 5xx, per_try_timeout: 0.1s"),
        route("/two", "retry_on: 5xx, per_try_timeout: 0.1s, num_retries: 2"),
        route("/gentle", "retry_on: retriable-4xx, per_try_timeout: 0.1s"),
        route("/never", "per_try_timeout: 0.1s"),
        route("/idle", "retry_on: 5xx, per_try_idle_timeout: 0.1s"),
        route("/timed", "retry_on: 5xx, per_try_timeout: 0.1s", more="timeout: 0.5s"),
        route("/closed", "retry_on: 5xx, per_try_timeout: 0.1s", "closed"),
        route("/h2", "retry_on: 5xx, per_try_timeout: 0.1s", "h2app"),
        route("/plain", "retry_on: 5xx, per_try_timeout: 0.1s", hedge="", more="timeout: 5s"),
        route("/off", "retry_on: 5xx, per_try_timeout: 0.1s", hedge=", hedge_policy: {}", more="timeout: 5s"),
        route("/cut-idle", "retry_on: 5xx, per_try_idle_timeout: 0.1s", more="timeout: 1s"),
    )
)
LEVELS = f"""
route_config:
  virtual_hosts:
  - name: all
    domains: ["*"]
    {HEDGE}
    include_request_attempt_count: true
    include_attempt_count_in_response: true
    retry_policy: {{retry_on: 5xx, num_retries: 2, per_try_timeout: 0.1s, {FAST}}}
    virtual_clusters: [{{name: all, headers: [{{name: ":path", string_match: {{prefix: /}}}}]}}]
    routes:
    - {{match: {{prefix: /own}}, route: {{cluster: app, timeout: 1s, hedge_policy: {{initial_requests: 3, additional_request_chance: {{numerator: 100}}}}}}}}
    - {{match: {{prefix: /}}, route: {{cluster: app, timeout: 2s}}}}
"""
BREAKER = "circuit_breakers: {thresholds: [{max_retries: 0}]}"
HEDGING = Setup(
    "hedging",
    bootstrap(
        [
            listener("main", routes=ROUTES, log=LOG),
            listener("inside", INSIDE, routes=ROUTES, log=LOG),
            listener("levels", LEVELS, log=LOG),
            listener("interim", "proxy_100_continue: true", routes=ROUTES, log=LOG),
        ],
        [
            cluster("app", "app"),
            cluster("closed", "app", extra=BREAKER),
            cluster("h2app", "h2app", http2=True),
        ],
    ),
    {"app": "h1", "h2app": "h2"},
)
Act = Callable[[Call], Awaitable[None]]


async def stall(call: Call) -> None:
    """Answer nothing until the proxy leaves."""
    await call.body()
    await call.gone()


def sends(reply: bytes, *, after: trio.Event | None = None, then: trio.Event | None = None) -> Act:
    """Answer, once something has happened."""

    async def act(call: Call) -> None:
        await call.body()
        if after is not None:
            await after.wait()
        await call.send(reply)
        if then is not None:
            then.set()

    return act


def closes(*, after: trio.Event | None = None, then: trio.Event | None = None) -> Act:
    """Break the connection off, once something has happened."""

    async def act(call: Call) -> None:
        await call.body()
        if after is not None:
            await after.wait()
        await call.close()
        if then is not None:
            then.set()

    return act


def legs(*acts: Act) -> Act:
    """One of these for each request, in the order of their coming."""
    left = list(acts)

    async def act(call: Call) -> None:
        await left.pop(0)(call)

    return act


OF_CLUSTER = (
    *stats(),
    *(
        f"cluster.app.{name}"
        for name in (
            *("upstream_cx_destroy_local_with_active_rq", "upstream_cx_destroy_remote_with_active_rq"),
            "upstream_rq_cancelled",
        )
    ),
)


def hide_what_is_left(s: Session) -> None:
    """How much of the whole time is left to a later try is not the same twice."""
    for call in s.upstream().seen:
        assert isinstance(call, Call)
        headers = call.request.headers
        for index, (name, value) in enumerate(headers):
            if name == "x-envoy-expected-rq-timeout-ms" and int(value) not in (500, 1000, 2000, 5000):
                headers[index] = (name, "less")


def once() -> tuple[trio.Event, trio.Event]:
    return trio.Event(), trio.Event()


@scenario(HEDGING)
async def hedge_the_second_wins(s: Session) -> None:
    """The first stalls for good: it is reset when the second has answered."""
    async with s.logging(6), s.counting(*OF_CLUSTER):
        for path in ("/one", "/two", "/gentle", "/idle"):
            s.upstream().script = legs(stall, sends(DONE))
            await s.get(path)
        s.upstream().script = legs(stall, sends(DONE))
        await s.http(head("POST /one HTTP/1.1", "host: a", "content-length: 5") + b"hello")
        s.upstream().script = legs(stall, sends(DONE))
        await s.http(
            head("POST /one HTTP/1.1", "host: a", "transfer-encoding: chunked") + b"5\r\nhello\r\n0\r\n\r\n"
        )


@scenario(HEDGING)
async def hedge_the_first_wins(s: Session) -> None:
    """The first answers while the second is under way."""
    async with s.logging(1), s.counting(*OF_CLUSTER):
        began = trio.Event()

        async def second(call: Call) -> None:
            began.set()
            await call.gone()

        s.upstream().script = legs(sends(DONE, after=began), second)
        await s.get("/one")


@scenario(HEDGING)
async def hedge_bad_answers(s: Session) -> None:
    """A bad answer beside another try: retried where that may be, dropped where it may not."""
    by_status = ("upstream_rq_503", "upstream_rq_200", "retry.upstream_rq_503", "retry.upstream_rq_completed")
    async with s.logging(5), s.counting(*OF_CLUSTER, *(f"cluster.app.{name}" for name in by_status)):
        _, done = once()
        s.upstream().script = legs(sends(DONE, after=done), sends(BAD, then=done))
        await s.get("/one", label="the second is bad, the first good")
        _, done = once()
        s.upstream().script = legs(sends(BAD, after=done), sends(BAD, then=done))
        await s.get("/one", label="both are bad")
        s.upstream().script = legs(stall, sends(BAD), sends(DONE))
        await s.get("/two", label="the third is good")
        began, _ = once()
        go_on = trio.Event()

        async def second(call: Call) -> None:
            began.set()
            await go_on.wait()
            await call.send(DONE)

        async def first(call: Call) -> None:
            await began.wait()
            await call.send(BAD)
            await call.gone()
            go_on.set()

        s.upstream().script = legs(first, second)
        await s.get("/one", label="the first is bad, the second good")
        _, done = once()
        s.upstream().script = legs(
            sends(DONE, after=done), sends(head("HTTP/1.1 409 No", "content-length: 0"), then=done)
        )
        await s.get("/one", label="not one to try again after")


@scenario(HEDGING)
async def hedge_broken_legs(s: Session) -> None:
    """A connection that breaks beside another try."""
    async with s.logging(4), s.counting(*OF_CLUSTER):
        _, done = once()
        s.upstream().script = legs(sends(DONE, after=done), closes(then=done))
        await s.get("/one", label="the second breaks, the first is good")
        began, _ = once()
        go_on = trio.Event()

        async def second(call: Call) -> None:
            began.set()
            await go_on.wait()
            await call.send(DONE)

        s.upstream().script = legs(closes(after=began, then=go_on), second)
        await s.get("/one", label="the first breaks, the second is good")
        _, done = once()
        s.upstream().script = legs(closes(after=done), closes(then=done))
        await s.get("/one", label="both break")
        s.upstream().script = legs(closes(), stall, sends(DONE))
        await s.get("/two", label="the first at once, the second slow")


@scenario(HEDGING)
async def hedge_in_the_whole_time(s: Session) -> None:
    """The route's timeout ends all tries, and each counts."""
    s.upstream().script = stall
    async with s.logging(2), s.counting(*OF_CLUSTER, "cluster.app.upstream_rq_504"):
        await s.get("/timed")
        await s.get("/cut-idle")
    hide_what_is_left(s)


@scenario(HEDGING)
async def hedge_without_another_try(s: Session) -> None:
    """No retry_on, or no room for a retry: the slow try goes on alone."""

    def slow(call_s: float) -> Act:
        async def act(call: Call) -> None:
            await trio.sleep(call_s)
            await call.send(DONE)

        return act

    async with s.logging(2), s.counting(*OF_CLUSTER, *stats("closed")):
        s.upstream().script = slow(0.3)
        await s.get("/never")
        await s.get("/closed")


@scenario(HEDGING)
async def hedge_by_header(s: Session) -> None:
    """x-envoy-hedge-on-per-try-timeout turns it on and off; other values, and other clients, are not heard."""
    async with s.logging(6, "inside"), s.logging(1), s.counting(*OF_CLUSTER):
        for path, *headers in (
            ("/plain", "x-envoy-hedge-on-per-try-timeout: true"),
            ("/plain", "x-envoy-hedge-on-per-try-timeout: True"),
            ("/plain", "x-envoy-hedge-on-per-try-timeout: 1"),
            ("/off", "x-envoy-hedge-on-per-try-timeout: true"),
            ("/one", "x-envoy-hedge-on-per-try-timeout: false"),
            ("/plain",),
        ):
            s.upstream().script = legs(stall, sends(DONE))
            await s.get(path, *headers, to="inside", label=f"{path} {headers}")
        s.upstream().script = legs(stall, sends(DONE))
        await s.get("/plain", "x-envoy-hedge-on-per-try-timeout: true")
    hide_what_is_left(s)


@scenario(HEDGING)
async def hedge_of_a_virtual_host(s: Session) -> None:
    """A virtual host's policy, and a route's that takes its place; the counts of tries, and where they count."""
    vhost = "vhost.all.vcluster.all.upstream_rq_"
    names = (
        "retry",
        "retry_success",
        "retry_limit_exceeded",
        "retry_overflow",
        "total",
        "completed",
        "timeout",
    )
    async with s.logging(3, "levels"), s.counting(*(vhost + name for name in names), *OF_CLUSTER):
        s.upstream().script = legs(stall, stall, sends(DONE))
        await s.get("/x", to="levels")
        s.upstream().script = legs(stall, stall, sends(DONE))
        await s.get("/own", to="levels")
        s.upstream().script = legs(stall, stall, sends(BAD))
        await s.get("/all-bad", to="levels")
    hide_what_is_left(s)


@scenario(HEDGING)
async def hedge_over_http2(s: Session) -> None:
    """Streams of one connection; a body with trailers is sent with each."""
    first = trio.Event()

    async def script(call: H2Call) -> None:
        await call.body()
        if first.is_set():
            await call.answer([(":status", "200")], b"done", [("x-done", "1")])
        else:
            first.set()
            await call.peer.ended.wait()

    s.upstream("h2app").h2_script = script
    names = ("upstream_rq_tx_reset", "upstream_rq_rx_reset", "http2.tx_reset", "http2.streams_active")
    async with s.logging(3), s.counting(*stats("h2app"), *(f"cluster.h2app.{name}" for name in names)):
        client = await s.connect_h2()
        for body, trailers in ((b"", None), (b"hello", None), (b"hello", [("x-trailer", "1")])):
            first = trio.Event()
            await client.request(get("/h2", method="POST"), body, trailers)


@scenario(HEDGING)
async def hedge_of_a_client_that_leaves(s: Session) -> None:
    """Both tries end with it."""
    over = [trio.Event(), trio.Event()]
    left = list(over)

    async def watch(call: Call) -> None:
        mine = left.pop()
        await call.gone()
        mine.set()

    s.upstream().script = watch
    async with s.logging(1), s.counting(*OF_CLUSTER):
        client = await s.connect()
        await client.send(head("GET /one HTTP/1.1", "host: a"))
        await s.upstream().arrivals(2)
        client.close()
        for each in over:
            await each.wait()


@scenario(HEDGING)
async def hedge_and_interim_answers(s: Session) -> None:
    """A 1xx is the beginning of an answer: the other try ends."""
    hint = head("HTTP/1.1 103 Early Hints", "link: x")
    for to in ("main", "interim"):
        async with s.logging(2, to), s.counting(*OF_CLUSTER):
            ended = trio.Event()

            async def first(call: Call, ended: trio.Event = ended) -> None:
                await call.gone()
                ended.set()

            async def second(call: Call, ended: trio.Event = ended) -> None:
                await call.send(hint)
                await ended.wait()
                await call.send(BAD)

            for path in ("/one", "/two"):
                s.upstream().script = legs(first, second)
                client = await s.connect(to)
                await client.send(head(f"GET {path} HTTP/1.1", "host: a"))
                if to == "interim":
                    s.see(f"{to} {path}", (await client.wire.line()).decode())
                    while await client.wire.line():
                        pass
                await client.reply(f"{to} {path}, then")
                client.close()
