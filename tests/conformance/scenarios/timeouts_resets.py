"""Ways in which a stream ends before its time, on either protocol: who is reset, and what is counted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from ..client import get
from ..lab import Session
from ..scenario import scenario
from ..upstream import Call, H2Call, ok
from ..wire import head, read_head
from .timeouts_duration import DURATION

HCM_STATS = (
    "downstream_rq_rx_reset",
    "downstream_rq_tx_reset",
    "downstream_rq_response_before_rq_complete",
    "downstream_rq_timeout",
    "downstream_rq_completed",
    "downstream_cx_destroy_local",
    "downstream_cx_destroy_remote",
    "downstream_cx_destroy_active_rq",
    "downstream_cx_destroy_local_active_rq",
    "downstream_cx_destroy_remote_active_rq",
    "rq_reset_after_downstream_response_started",
)
CLUSTER_STATS = (
    "upstream_rq_tx_reset",
    "upstream_rq_rx_reset",
    "upstream_rq_cancelled",
    "upstream_rq_timeout",
    "upstream_rq_completed",
    "upstream_rq_pending_failure_eject",
    "upstream_cx_destroy_local_with_active_rq",
    "upstream_cx_destroy_remote_with_active_rq",
)
STATS = (
    *(f"http.main.{name}" for name in HCM_STATS),
    *(f"cluster.{cluster}.{name}" for cluster in ("app", "h2app") for name in CLUSTER_STATS),
)
PARTIAL = head("HTTP/1.1 200 OK", "content-length: 100") + b"partial"


async def silent(call: Call) -> None:
    await call.gone()


async def begun(call: Call) -> None:
    await call.send(PARTIAL)
    await call.gone()


async def early(call: Call) -> None:
    """Answer wholly before the request is here."""
    await call.part(5)
    await call.send(ok(b"early"))
    await call.gone()


async def h2_silent(call: H2Call) -> None:
    await call.stream.ended.wait()


async def h2_begun(call: H2Call) -> None:
    await call.peer.headers(call.stream, [(":status", "200")])
    await call.peer.data(call.stream, b"partial")
    await call.stream.ended.wait()


async def h2_early(call: H2Call) -> None:
    await call.stream.received(5)
    await call.answer([(":status", "200")], b"early")


async def each_way(
    s: Session,
    paths: tuple[str, str],
    method: str,
    scripts: tuple[Callable[[Call], Awaitable[None]], Callable[[H2Call], Awaitable[None]]],
) -> None:
    """The same from HTTP/1 and HTTP/2 clients to HTTP/1 and HTTP/2 upstreams; a POST stays unfinished."""
    s.upstream().script, s.upstream("h2app").h2_script = scripts
    for path in paths:
        async with s.counting(*STATS), s.logging(2):
            client = await s.connect()
            if method == "POST":
                await client.send(head(f"POST {path} HTTP/1.1", "host: a", "content-length: 9") + b"begun")
            else:
                await client.send(head(f"GET {path} HTTP/1.1", "host: a"))
            await client.reply(f"HTTP/1 {path}")
            if method == "POST":
                await client.closed(f"HTTP/1 {path} then")
            h2 = await s.connect_h2()
            if method == "POST":
                stream = await h2.start(get(path, method="POST"), b"begun", end=False)
            else:
                stream = await h2.start(get(path))
            await h2.reply(stream, f"HTTP/2 {path}")


@scenario(DURATION)
async def resets_timeout_of_the_response(s: Session) -> None:
    """The route's timeout, nothing answered yet."""
    await each_way(s, ("/late1", "/late2"), "GET", (silent, h2_silent))


@scenario(DURATION)
async def resets_timeout_within_the_response(s: Session) -> None:
    """The route's timeout, a part answered."""
    await each_way(s, ("/late1", "/late2"), "GET", (begun, h2_begun))


@scenario(DURATION)
async def resets_response_before_the_request(s: Session) -> None:
    """A whole response before the end of the request."""
    await each_way(s, ("/", "/to2"), "POST", (early, h2_early))


@scenario(DURATION)
async def resets_local_reply_before_the_request(s: Session) -> None:
    """A response of the proxy's own before the end of the request."""
    await each_way(s, ("/direct", "/probe"), "POST", (silent, h2_silent))


@scenario(DURATION)
async def resets_duration_before_the_request(s: Session) -> None:
    """max_stream_duration while the request is awaited."""
    await each_way(s, ("/route", "/h2"), "POST", (silent, h2_silent))


@scenario(DURATION)
async def resets_duration_within_the_response(s: Session) -> None:
    """max_stream_duration with both directions under way."""
    await each_way(s, ("/route", "/h2"), "POST", (begun, h2_begun))


@scenario(DURATION)
async def resets_duration_of_the_upstream(s: Session) -> None:
    """The upstream's max_stream_duration with both directions under way."""
    await each_way(s, ("/cluster", "/h2cluster"), "POST", (begun, h2_begun))


@scenario(DURATION)
async def resets_by_the_upstream_within_the_response(s: Session) -> None:
    """An upstream that breaks off its response."""

    async def script(call: Call) -> None:
        await call.send(PARTIAL)
        await call.close()

    async def h2_script(call: H2Call) -> None:
        await call.peer.headers(call.stream, [(":status", "200")])
        await call.peer.data(call.stream, b"partial")
        await call.peer.reset(call.stream, "CANCEL")

    await each_way(s, ("/", "/to2"), "GET", (script, h2_script))


@scenario(DURATION)
async def resets_by_the_upstream_before_the_response(s: Session) -> None:
    """An upstream that ends its connection before it answers, and one that resets the stream."""

    async def script(call: Call) -> None:
        await call.close()

    async def h2_close(call: H2Call) -> None:
        call.peer.wire.close()

    async def h2_reset(call: H2Call) -> None:
        await call.peer.reset(call.stream, "CANCEL")

    await each_way(s, ("/", "/to2"), "GET", (script, h2_close))
    await each_way(s, ("/to2",), "GET", (script, h2_reset))


@scenario(DURATION)
async def resets_of_requests_that_are_none(s: Session) -> None:
    """Requests that cannot be read."""
    async with s.counting(*STATS), s.logging(2):
        client = await s.connect()
        await client.send(b"NONSENSE\r\n\r\n")
        await client.reply()
        client.close()
        client = await s.connect()
        await client.send(head("POST / HTTP/1.1", "host: a", "transfer-encoding: chunked"))
        await s.upstream().arrivals(1)
        await client.send(b"x\r\n")
        await client.reply()
        client.close()


@scenario(DURATION)
async def resets_by_the_client(s: Session) -> None:
    """A client that leaves before the response, and one that leaves within it."""
    for name, scripts in (("silent", (silent, h2_silent)), ("begun", (begun, h2_begun))):
        s.upstream().script, s.upstream("h2app").h2_script = scripts
        for path in ("/", "/to2"):
            up = s.upstream("h2app" if path == "/to2" else "app")
            async with s.counting(*STATS), s.logging(2):
                client = await s.connect()
                seen = len(up.seen)
                await client.send(head(f"GET {path} HTTP/1.1", "host: a"))
                await up.arrivals(seen + 1)
                if name == "begun":
                    await read_head(client.wire)
                    await client.wire.exactly(12 if path == "/to2" else 7)
                client.close()
                h2 = await s.connect_h2()
                stream = await h2.start(get(path))
                await up.arrivals(seen + 2)
                if name == "begun":
                    await stream.received(7)
                await h2.peer.reset(stream)
