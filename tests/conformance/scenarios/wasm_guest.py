"""The conformance guest: header maps and HTTP calls, its answers compared line by line.

`filters_rust/conformance-guest` is one module that does what its configuration says. A request names its case
in `x-case`; what the guest wrote down is the observation.
"""

from __future__ import annotations

import trio

from ..guest_log import guest_log, guest_says, log_end
from ..guest_scripts import SETUP
from ..lab import Session
from ..scenario import scenario
from ..upstream import Call, H2Call, answers, ok
from ..wire import head

SUBJECT = "wasm"


@scenario(SETUP)
async def wasm_guest_header_maps(s: Session) -> None:
    """Header maps in every phase of a stream: what can be read, what changed, what is refused."""
    s.upstream().script = answers(ok(b"ok", "x-up: 1"))
    async with guest_log(s, "headers", "on_delete"):
        await s.get("/", "x-case: maps", "X-Upper: u", "x-twice: 1", "x-twice: 2", to="headers")


@scenario(SETUP)
async def wasm_guest_http_call(s: Session) -> None:
    """A call holds the request; its answer is read in the callback, which lets the request go on."""
    s.upstream().script = answers(ok(b"the answer", "x-answer: 42"), ok(b"ok"))
    async with guest_log(s, "calls", "on_delete"):
        await s.get("/", "x-case: ok", to="calls")


@scenario(SETUP)
async def wasm_guest_http_call_without_waiting(s: Session) -> None:
    """The request does not wait for the call; outside of the callback nothing is known of its answer."""

    async def script(call: Call) -> None:
        await call.body()
        await guest_says(s, start, "calls", "on_http_call_response")
        await call.send(ok(b"ok"))

    start = log_end(s)
    s.upstream().script = script
    async with guest_log(s, "calls", "on_delete"):
        await s.get("/", "x-case: after", to="calls")


@scenario(SETUP)
async def wasm_guest_http_call_refused(s: Session) -> None:
    """Calls that cannot be made: no cluster, no pseudo headers, a negative timeout, pointers to nowhere."""
    async with guest_log(s, "calls", "on_delete", "on_http_call_response"):
        await s.get("/", "x-case: bad", to="calls")


@scenario(SETUP)
async def wasm_guest_http_call_fails(s: Session) -> None:
    """Nobody listens, there is no host, nobody answers in time."""

    async def script(call: Call) -> None:
        await call.body()
        if call.path == "/hang":
            await call.gone()
        else:
            await call.send(ok(b"ok"))

    s.upstream().script = script
    for case in ("dead", "empty", "late"):
        async with guest_log(s, "calls", "on_delete", label=f"log {case}"):
            await s.get("/", f"x-case: {case}", to="calls", label=case)


@scenario(SETUP)
async def wasm_guest_http_call_breaks_off(s: Session) -> None:
    """The answer has begun and breaks off: there is none, and the status says why."""

    async def script(call: Call) -> None:
        await call.body()
        if call.path == "/broken":
            await call.send(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")
            await call.close()
        else:
            await call.send(ok(b"ok"))

    s.upstream().script = script
    async with guest_log(s, "broken", "on_delete"):
        await s.get("/", "x-case: broken", to="broken")


@scenario(SETUP)
async def wasm_guest_http_call_outlives_its_stream(s: Session) -> None:
    """The client leaves while the call is under way: the plugin hears of the answer, the stream is gone."""
    asked, gone = trio.Event(), trio.Event()

    async def script(call: Call) -> None:
        await call.body()
        asked.set()
        await gone.wait()
        await call.send(ok(b"late"))

    s.upstream().script = script
    async with guest_log(s, "calls", "on_delete", "set_effective_context"):
        client = await s.connect("calls")
        await client.send(head("GET / HTTP/1.1", "host: a", "x-case: gone"))
        await asked.wait()
        client.close()
        await s.until_stats(
            lambda stats: not any(stats.values()), r"^http\.calls\.downstream_(cx|rq)_active$"
        )
        gone.set()


@scenario(SETUP)
async def wasm_guest_http_call_with_trailers(s: Session) -> None:
    """A call with a body and trailers, answered with trailers."""

    async def script(call: H2Call) -> None:
        await call.body()
        await call.answer([(":status", "200"), ("x-h", "1")], b"ok", [("x-trailer", "back")])

    s.upstream("h2app").h2_script = script
    async with guest_log(s, "calls", "on_delete"):
        await s.get("/", "x-case: trailers", to="calls")


@scenario(SETUP)
async def wasm_guest_http_call_from_its_callback(s: Session) -> None:
    """The callback of one call makes the next."""
    async with guest_log(s, "calls", "on_delete"):
        await s.get("/", "x-case: twice", to="calls")


@scenario(SETUP)
async def wasm_guest_capabilities(s: Session) -> None:
    """Host functions that are not allowed fail, callbacks that are not allowed are not called."""
    async with guest_log(s, "restricted", "on_delete"):
        await s.get("/", "x-case: restricted", to="restricted")
