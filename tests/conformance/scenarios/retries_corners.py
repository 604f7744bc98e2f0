# ruff: noqa: E501  (a route is a line of a table)
"""Retries beside what else happens to a request: bodies that still come, 1xx, trailers, mirrors, upgrades, limits."""

from __future__ import annotations

import trio

from ..client import get
from ..configuration import bootstrap, cluster, listener
from ..http2 import Fields
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import Call, H2Call
from ..wire import head
from .retries import BAD, DONE, FAST, INSIDE, LOG, script, stats, status
from .upgrades import echoing, handshake, opened

SUBJECT = "upstream"


def route(
    path: str, policy: str = "retry_on: 5xx", to: str = "app", more: str = "timeout: 0s", at: str = ""
) -> str:
    return f"- {{match: {{prefix: {path}}}, {at}route: {{cluster: {to}, {more}, retry_policy: {{{policy}, {FAST}}}}}}}\n"


SLOWLY = "retry_back_off: {base_interval: 900s}"
ROUTES = "".join(
    (
        route("/plain", "retry_on: '5xx,reset'"),
        route("/h2", "retry_on: '5xx,reset'", "h2app"),
        route("/mirrored", more="timeout: 0s, request_mirror_policies: [{cluster: shadow}]"),
        route("/upgraded", more="timeout: 0s, upgrade_configs: [{upgrade_type: websocket}]"),
        route("/own-small", at="per_request_buffer_limit_bytes: 4, "),
        route("/own-large", at="request_body_buffer_limit: 20000, "),
        route("/redirected", more="timeout: 0s, internal_redirect_policy: {}"),
        route("/idle", "retry_on: 5xx, per_try_idle_timeout: 0.2s"),
        "- {match: {prefix: /slowly}, request_body_buffer_limit: 10, route: {cluster: app, timeout: 0s, retry_policy: {retry_on: 5xx, "
        + SLOWLY
        + "}}}\n",
        route("/single", to="single", more="timeout: 0.1s"),
        route("/held", to="single"),
        f"- {{match: {{prefix: /tight}}, route: {{cluster: tight, timeout: 0s, retry_policy: {{retry_on: 5xx, {SLOWLY}}}}}}}\n",
        "- {match: {prefix: /unlimited}, route: {cluster: app, timeout: 0s}}\n",
        "- {match: {prefix: /}, route: {cluster: app, timeout: 5s}}\n",
    )
)
CORNERS = Setup(
    "retries_corners",
    bootstrap(
        [
            listener("main", routes=ROUTES, log=LOG),
            listener("interim", "proxy_100_continue: true", routes=ROUTES, log=LOG),
            listener("inside", INSIDE, routes=ROUTES, log=LOG),
            listener("small", routes=ROUTES, extra="per_connection_buffer_limit_bytes: 10000", log=LOG),
        ],
        [
            cluster("app", "app"),
            cluster("h2app", "h2app", http2=True),
            cluster("shadow", "shadow"),
            cluster("tight", "app", extra="circuit_breakers: {thresholds: [{max_retries: 1}]}"),
            cluster("single", "app", extra="circuit_breakers: {thresholds: [{max_connections: 1}]}"),
        ],
    ),
    {"app": "h1", "h2app": "h2", "shadow": "h1"},
)


@scenario(CORNERS)
async def retry_behind_an_interim_answer(s: Session) -> None:
    """A 1xx of an upstream ends all tries, whether it is handed on or not."""
    hint = head("HTTP/1.1 103 Early Hints", "link: x")
    for to in ("main", "interim"):
        async with s.logging(3, to), s.counting(*stats()):
            for name, first in (
                ("bad", hint + BAD),
                ("closed", hint),
                ("unknown", head("HTTP/1.1 150 What") + BAD),
            ):
                count = [0]

                async def run(
                    call: Call, first: bytes = first, name: str = name, count: list[int] = count
                ) -> None:
                    count[0] += 1
                    if count[0] > 1:
                        await call.send(DONE)
                        return
                    await call.send(first)
                    if name == "closed":
                        await call.close()

                s.upstream().script = run
                client = await s.connect(to)
                await client.send(head("GET /plain HTTP/1.1", "host: a"))
                if to == "interim" and name != "unknown":
                    s.see(f"{to} {name}", (await client.wire.line()).decode())
                    while await client.wire.line():
                        pass
                await client.reply(f"{to} {name}, then")
                client.close()
                await s.quiet()


@scenario(CORNERS)
async def retry_timeout_of_a_try_by_header(s: Session) -> None:
    """x-envoy-upstream-rq-per-try-timeout-ms where the route has no policy, and with what the request asks for."""

    async def stall(call: Call) -> None:
        await call.gone()

    s.upstream().script = stall
    async with s.logging(4, "inside"), s.counting(*stats()):
        for path, *headers in (
            ("/unlimited", "x-envoy-upstream-rq-per-try-timeout-ms: 60"),
            ("/", "x-envoy-upstream-rq-per-try-timeout-ms: 60"),
            (
                "/",
                "x-envoy-upstream-rq-per-try-timeout-ms: 60",
                "x-envoy-retry-on: 5xx",
                "x-envoy-max-retries: 2",
            ),
            ("/unlimited", "x-envoy-upstream-rq-per-try-timeout-ms: 60", "x-envoy-retry-on: 5xx"),
        ):
            await s.get(path, *headers, to="inside")


@scenario(CORNERS)
async def retry_of_a_body_that_still_comes(s: Session) -> None:
    """The first try fails before the body is over: the next has it from its beginning."""
    async with s.logging(3), s.counting(*stats()):
        for label, framing, first, second in (
            ("length", "content-length: 6", b"abc", b"def"),
            ("chunks", "transfer-encoding: chunked", b"3\r\nabc\r\n", b"3\r\ndef\r\n0\r\n\r\n"),
        ):
            failed = trio.Event()
            count = [0]

            async def run(call: Call, failed: trio.Event = failed, count: list[int] = count) -> None:
                count[0] += 1
                if count[0] == 1:
                    await call.send(status(503, "connection: close"))
                    failed.set()
                    await call.gone()
                else:
                    await call.body()
                    await call.send(DONE)

            before = len(s.upstream().seen)
            s.upstream().script = run
            client = await s.connect()
            await client.send(head("POST /plain HTTP/1.1", "host: a", framing) + first)
            await failed.wait()
            await s.upstream().arrivals(before + 2)
            await client.send(second)
            await client.reply(label)
            client.close()
        failed = trio.Event()
        seen = [0]

        async def h2run(call: H2Call) -> None:
            seen[0] += 1
            if seen[0] == 1:
                await call.stream.received(3)
                await call.peer.reset(call.stream, "REFUSED_STREAM")
                failed.set()
            else:
                await call.body()
                await call.answer([(":status", "200")], b"done")

        s.upstream("h2app").h2_script = h2run
        peer = await s.connect_h2()
        stream = await peer.start(get("/h2", method="POST"), b"abc", end=False)
        await s.upstream("h2app").arrivals(2)
        await peer.peer.data(stream, b"def", end=False)
        await peer.peer.headers(stream, [("x-trailer", "1")], end=True)
        await peer.reply(stream, "http2")


async def _answer_in_one(call: H2Call, headers: Fields, body: bytes, trailers: Fields) -> None:
    """All of an answer in one write: its end is there before its head is looked at."""
    connection, number = call.peer.h2, call.stream.id
    connection.send_headers(number, headers)
    connection.send_data(number, body)
    connection.send_headers(number, trailers, end_stream=True)
    await call.peer.flush()


@scenario(CORNERS)
async def retry_with_trailers(s: Session) -> None:
    """Trailers of a request are sent with each try, behind a body and without one."""
    left: list[int] = []

    async def run(call: H2Call) -> None:
        await call.body()
        if left:
            left.pop()
            await _answer_in_one(call, [(":status", "503")], b"bad", [("x-bad", "1")])
        else:
            await call.answer([(":status", "200")], b"done", [("x-done", "1")])

    s.upstream("h2app").h2_script = run
    resets = ("upstream_rq_tx_reset", "upstream_rq_rx_reset", "http2.tx_reset", "http2.rx_reset")
    async with s.logging(3), s.counting(*stats("h2app"), *(f"cluster.h2app.{name}" for name in resets)):
        client = await s.connect_h2()
        for body in (b"body", b""):
            left[:] = [1]
            await client.request(get("/h2", method="POST"), body, [("x-trailer", "1")])
        left[:] = [1, 1]
        await client.request(get("/h2", method="POST"), b"body", [("x-trailer", "1")], label="twice bad")


@scenario(CORNERS)
async def retry_limits_of_bodies(s: Session) -> None:
    """What is longer than the connection's buffer, or the route's, is sent once."""
    async with s.logging(4), s.logging(4, "small"), s.counting(*stats()):
        for to, path, size in (
            ("small", "/plain", 10000),
            ("small", "/plain", 10001),
            ("small", "/own-large", 15000),
            ("small", "/own-large", 20001),
            ("main", "/own-small", 4),
            ("main", "/own-small", 5),
        ):
            s.upstream().script = script(BAD, DONE)
            body = b"x" * size
            await s.http(
                head(f"POST {path} HTTP/1.1", "host: a", f"content-length: {size}") + body,
                to,
                label=f"{to} {path} {size}",
            )
        for size in (4, 5):
            s.upstream().script = script(BAD, DONE)
            client = await s.connect_h2()
            await client.request(get("/own-small", method="POST"), b"x" * size, label=f"http2 {size}")
    for call in s.upstream().seen:
        assert isinstance(call, Call)
        call.request.body = b"%d" % len(call.request.body)


@scenario(CORNERS)
async def retry_that_waits_for_a_body_too_long(s: Session) -> None:
    """Between two tries the body becomes too long: 507."""
    async with s.logging(2), s.counting(*stats()):
        for framing, first, second in (
            ("content-length: 20", b"01234", b"567890123456789"),
            ("transfer-encoding: chunked", b"5\r\n01234\r\n", b"6\r\n567890\r\n"),
        ):
            s.upstream().script = _at_once(status(503, "connection: close"))
            client = await s.connect()
            await client.send(head("POST /slowly HTTP/1.1", "host: a", framing) + first)
            await s.upstream().arrivals(len(s.upstream().seen) + 1)
            await s.until_stats(lambda found: not any(found.values()), r"^cluster\.app\.upstream_rq_active$")
            await client.send(second)
            await client.reply(framing)
            await client.closed()


def _at_once(reply: bytes):  # type: ignore[no-untyped-def]
    async def run(call: Call) -> None:
        await call.send(reply)
        await call.gone()

    return run


@scenario(CORNERS)
async def retry_beside_a_mirror(s: Session) -> None:
    """A request that is tried again has one copy."""
    s.upstream().script = script(BAD, DONE)
    async with s.logging(2), s.counting(*stats(), *stats("shadow")):
        await s.get("/mirrored")
        s.upstream().script = script(BAD, DONE)
        await s.http(
            head("POST /mirrored HTTP/1.1", "host: a", "transfer-encoding: chunked")
            + b"3\r\nabc\r\n0\r\n\r\n"
        )
        await s.upstream("shadow").arrivals(2)


@scenario(CORNERS)
async def retry_of_an_upgrade(s: Session) -> None:
    """A handshake that is answered with 503, or broken off, is tried again."""
    left = ["bad"]
    echo = echoing()

    async def run(call: Call) -> None:
        what = left.pop() if left else ""
        if what == "bad":
            await call.send(BAD)
        elif what == "closed":
            await call.close()
        else:
            await echo(call)

    s.upstream().script = run
    async with s.logging(2), s.counting(*stats()):
        for what in ("bad", "closed"):
            left[:] = [what]
            client = await opened(s, handshake("/upgraded"))
            await client.send(b"hello")
            await client.tunnel(5)
            client.close()
            await s.quiet()


@scenario(CORNERS)
async def retry_of_a_redirect_with_a_body(s: Session) -> None:
    """A body is kept for both: 503, a redirect, 503, the answer."""
    moved = status(302, "location: http://a/plain")
    s.upstream().script = script(BAD, moved, BAD, DONE)
    async with s.logging(2), s.counting(*stats()):
        await s.http(
            head("POST /redirected HTTP/1.1", "host: a", "transfer-encoding: chunked")
            + b"3\r\nabc\r\n0\r\n\r\n"
        )


@scenario(CORNERS)
async def retry_idle_timeout_of_a_try(s: Session) -> None:
    """per_try_idle_timeout begins anew with each piece of an answer, and cuts off one that pauses too long."""

    async def run(call: Call) -> None:
        await call.body()
        await call.send(head("HTTP/1.1 200 OK", "content-length: 10"))
        for _ in range(3):
            await trio.sleep(0.12)
            await call.send(b"xx")
        await call.gone()

    s.upstream().script = run
    async with s.logging(2), s.counting(*stats()):
        await s.get("/idle")
        await s.http(head("POST /idle HTTP/1.1", "host: a", "content-length: 3") + b"abc")


@scenario(CORNERS)
async def retry_of_a_client_that_leaves(s: Session) -> None:
    """The client leaves between two tries: no other follows."""
    async with s.logging(1), s.counting(*stats()):
        s.upstream().script = script(BAD)
        client = await s.connect()
        await client.send(head("GET /slowly HTTP/1.1", "host: a"))
        await s.upstream().arrivals(1)
        await s.until_stats(lambda found: not any(found.values()), r"^cluster\.app\.upstream_rq_active$")
        client.close()


@scenario(CORNERS)
async def retry_timed_out_without_a_connection(s: Session) -> None:
    """The route's timeout passes while a try still waits for its connection."""
    over = trio.Event()

    async def run(call: Call) -> None:
        await over.wait()
        await call.send(DONE)

    s.upstream().script = run
    names = ("upstream_rq_504", "upstream_rq_cancelled", "upstream_rq_pending_total")
    async with s.logging(2), s.counting(*stats("single"), *(f"cluster.single.{name}" for name in names)):
        client = await s.connect()
        await client.send(head("GET /held HTTP/1.1", "host: a"))
        await s.upstream().arrivals(1)
        await s.get("/single")
        over.set()
        await client.reply("the first")


@scenario(CORNERS)
async def retry_that_waits_takes_a_place(s: Session) -> None:
    """A retry counts for max_retries from its decision on, not from its beginning."""
    s.upstream().script = script(BAD)
    async with s.logging(2), s.counting(*stats("tight")):
        client = await s.connect()
        await client.send(head("GET /tight HTTP/1.1", "host: a"))
        await s.until_stats(
            lambda found: (
                not found["cluster.tight.upstream_rq_active"] and found["cluster.tight.upstream_rq_total"] > 0
            ),
            r"^cluster\.tight\.upstream_rq_(active|total)$",
        )
        gauges = r"^cluster\.tight\.(circuit_breakers\.default\.rq_retry_open|upstream_rq_retry)$"
        s.see("while it waits", await s.counters(gauges))
        await s.get("/tight")
        client.close()
