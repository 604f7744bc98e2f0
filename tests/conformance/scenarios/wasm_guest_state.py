"""The conformance guest: shared data, queues, metrics, timers, logs, WASI, bad pointers and numbers."""

from __future__ import annotations

from ..guest_log import guest_log, guest_says, log_end
from ..guest_scripts import SETUP
from ..lab import Session
from ..scenario import scenario

SUBJECT = "wasm"


@scenario(SETUP)
async def wasm_guest_state(s: Session) -> None:
    """What outlives a stream: shared data with compare-and-swap, queues, metrics, timers.

    The root context is told of each item of its queue, and of ticks until it wants no more.
    """
    async with guest_log(s, "shared", "on_delete", label="shared data"):
        await s.get("/", "x-case: data", to="shared")
    async with guest_log(s, "shared", "on_delete", label="queues"):
        start = log_end(s)
        await s.get("/", "x-case: queue", to="shared")
        await guest_says(s, start, "shared", "dequeue_shared_queue $q -> 7")
    async with guest_log(s, "metrics", "on_delete", label="metrics"):
        await s.get("/", "x-case: metrics", to="metrics")
    s.see("stats", await s.counters("^wasmcustom.conformance"))
    async with guest_log(s, "timers", "set_tick_period_milliseconds 0", label="timers"):
        await s.get("/", "x-case: tick", to="timers")
    s.proxy.is_spent = True  # all of this stays


@scenario(SETUP)
async def wasm_guest_logs(s: Session) -> None:
    """Every level has its name in the proxy's log; others are refused."""
    for level in ("warning", "trace"):
        await s.proxy.admin("POST", f"/logging?wasm={level}")
        async with guest_log(s, "general", "on_delete", label=level):
            await s.get("/", "x-case: log", to="general", label=f"reply {level}")
    await s.proxy.admin("POST", "/logging?wasm=warning")


@scenario(SETUP)
async def wasm_guest_general(s: Session) -> None:
    """The clock, the status, the end of a stream that says it is not done, contexts that are not there."""
    async with guest_log(s, "general", "on_delete"):
        await s.get("/", "x-case: time", to="general")


@scenario(SETUP)
async def wasm_guest_wasi(s: Session) -> None:
    """Every function of WASI, under both names of its module."""
    async with guest_log(s, "general", "on_delete"):
        await s.get("/", "x-case: wasi", to="general")


@scenario(SETUP)
async def wasm_guest_pointers(s: Session) -> None:
    """Pointers and sizes that lie outside of the memory."""
    async with guest_log(s, "general", "on_delete"):
        await s.get("/", "x-case: pointers", to="general")


@scenario(SETUP)
async def wasm_guest_enumerations(s: Session) -> None:
    """Kinds of buffers, streams and calls that there are not, and buffers that cannot be had or changed."""
    async with guest_log(s, "general", "on_delete"):
        await s.get("/", "x-case: enums", to="general")
