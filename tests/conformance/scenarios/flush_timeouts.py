"""``stream_flush_timeout``: the end of a response that the proxy has and the client's windows do not take.

HTTP/2 alone: over HTTP/1 what is answered goes to the socket, and ``stream_idle_timeout`` speaks of it.
"""

from __future__ import annotations

import trio

from ..client import H2Client, get
from ..configuration import bootstrap, cluster, listener
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import H2Call, answers, ok
from .overload_manager import pressure, reducing_timeouts

SUBJECT = "lifecycle"

#: More than the window that a client opens by default.
REST = b"more than a window of it"
SIZE = (1 << 16) - 1
ROUTES = """
- {match: {path: /short}, route: {cluster: app, timeout: 0s, flush_timeout: 0.15s}}
- {match: {path: /long}, route: {cluster: app, timeout: 0s, flush_timeout: 300s}}
- {match: {path: /idle}, route: {cluster: app, timeout: 0s, idle_timeout: 0.15s}}
- {match: {path: /never}, route: {cluster: app, timeout: 0s, flush_timeout: 0s}}
- {match: {path: /to2}, route: {cluster: h2app, timeout: 0s}}
- {match: {prefix: /}, route: {cluster: app, timeout: 0s}}
"""
FLUSH = Setup(
    "flush",
    bootstrap(
        [
            listener("flush", "{stream_idle_timeout: 500s, stream_flush_timeout: 0.15s}", routes=ROUTES),
            listener("slow", "{stream_idle_timeout: 500s, stream_flush_timeout: 400s}", routes=ROUTES),
            listener("unset", "stream_idle_timeout: 500s", routes=ROUTES),
            listener("idle", "{stream_idle_timeout: 0.15s, stream_flush_timeout: 0s}", routes=ROUTES),
            listener("both", "{stream_idle_timeout: 0.15s, stream_flush_timeout: 400s}", routes=ROUTES),
            listener("paced", "{stream_idle_timeout: 500s, stream_flush_timeout: 0.7s}", routes=ROUTES),
        ],
        [cluster("app", "app"), cluster("h2app", "h2app", http2=True)],
    ),
    {"app": "h1", "h2app": "h2"},
)
MANAGER = reducing_timeouts(
    "flush",
    "timer: HTTP_DOWNSTREAM_STREAM_FLUSH, min_timeout: 0.05s",
)
PRESSURE = Setup(
    "flush-under-pressure",
    bootstrap(
        [
            listener("main", "{stream_idle_timeout: 500s, stream_flush_timeout: 600s}", routes=ROUTES),
            listener("plain", "stream_idle_timeout: 500s", routes=ROUTES),
        ],
        [cluster("app", "app"), cluster("h2app", "app", http2=True)],
        extra=MANAGER,
    ),
    {"app": "h1"},
    files={"flush.pressure": b"0"},
)


def stats_of(name: str) -> tuple[str, ...]:
    prefix = f"http.{name}.downstream_rq_"
    return (
        f"{prefix}idle_timeout",
        f"{prefix}tx_reset",
        f"{prefix}rx_reset",
        "http2.tx_flush_timeout",
        "http2.tx_reset",
    )


async def deaf(s: Session, to: str) -> H2Client:
    """A client that opens no window."""
    h2 = await s.connect_h2(to, is_patient=True)
    h2.peer.h2.acknowledge_received_data = lambda *_: None  # type: ignore[method-assign]
    return h2


async def widen(h2: H2Client, stream: int) -> None:
    """Open the windows by a thousand bytes."""
    for each in (None, stream):
        h2.peer.h2.increment_flow_control_window(1000, each)
    await h2.peer.flush()


async def stands_still(s: Session, to: str, path: str, label: str) -> None:
    """Ask, take a window of it, and wait for the end."""
    h2 = await deaf(s, to)
    stream = await h2.start(get(path))
    await stream.ended.wait()
    s.see(label, {"size": len(stream.body), "reset": stream.reset})
    h2.close()


@scenario(FLUSH)
async def flush_timeout_of_a_response(s: Session) -> None:
    """stream_flush_timeout, flush_timeout of the route, and no other: the stream is reset."""
    s.upstream().script = answers(ok(bytes(SIZE) + REST))
    for to, path in (
        ("flush", "/"),
        ("slow", "/short"),
        ("flush", "/idle"),
        ("unset", "/short"),
    ):
        async with s.counting(*stats_of(to)):
            await stands_still(s, to, path, f"{to} {path}")


@scenario(FLUSH)
async def flush_timeout_behind_trailers(s: Session) -> None:
    """Trailers behind the body wait along."""

    async def longer(call: H2Call) -> None:
        await call.answer([(":status", "200")], bytes(SIZE) + REST, [("x-end", "here")])

    s.upstream("h2app").h2_script = longer
    async with s.counting(*stats_of("flush")):
        await stands_still(s, "flush", "/to2", "trailers")


@scenario(FLUSH)
async def flush_timeout_is_not_the_idle_timeout(s: Session) -> None:
    """A stream whose response is there wholly does not idle: the client takes the rest when it likes."""
    s.upstream().script = answers(ok(bytes(SIZE) + REST))
    for to, path in (
        ("idle", "/"),
        ("both", "/"),
        ("flush", "/never"),
        ("slow", "/idle"),
        ("unset", "/idle"),
    ):
        async with s.counting(*stats_of(to)):
            h2 = await deaf(s, to)
            stream = await h2.start(get(path))
            await stream.received(SIZE)
            await trio.sleep(0.5)
            await widen(h2, stream.id)
            await stream.ended.wait()
            s.see(f"{to} {path}", {"size": len(stream.body), "reset": stream.reset})
            h2.close()


@scenario(FLUSH)
async def flush_timeout_of_a_client_that_takes_a_little(s: Session) -> None:
    """Windows that open a little from time to time."""
    s.upstream().script = answers(ok(bytes(SIZE) + 4000 * b"x"))
    async with s.counting(*stats_of("paced")):
        h2 = await deaf(s, "paced")
        stream = await h2.start(get("/"))
        await stream.received(SIZE)
        for _ in range(4):
            await trio.sleep(0.3)
            if stream.ended.is_set():
                break
            await widen(h2, stream.id)
        await stream.ended.wait()
        s.see("got", {"reset": stream.reset, "size": len(stream.body)})
        h2.close()


@scenario(FLUSH)
async def flush_timeout_of_a_longer_response(s: Session) -> None:
    """More than a window, less than the buffer."""
    s.upstream().script = answers(ok(bytes(400_000)))
    async with s.counting(*stats_of("flush")):
        await stands_still(s, "flush", "/", "longer")


@scenario(PRESSURE)
async def overload_timers_of_flushes(s: Session) -> None:
    """reduce_timeouts: what stands still when the pressure comes, and what does then."""
    s.upstream().script = answers(ok(bytes(SIZE) + REST))
    for to in ("main", "plain"):
        async with s.counting(*stats_of(to)):
            h2 = await deaf(s, to)
            stream = await h2.start(get("/"))
            await stream.received(SIZE)
            async with pressure(s, "flush"):
                await stream.ended.wait()
                s.see(f"{to}, before", {"size": len(stream.body), "reset": stream.reset})
                await stands_still(s, to, "/", f"{to}, after")
                await stands_still(s, to, "/long", f"{to}, of the route")
