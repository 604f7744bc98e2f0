"""Wasm on connections: callbacks, edits, what is held back and let go, closing, and a guest that fails."""

from __future__ import annotations

from typing import Any

import trio

from .. import guests
from ..configuration import bootstrap, cluster, file_log, listener
from ..lab import Session
from ..scenario import Setup, scenario
from ..wire import Wire
from .wasm_places import TCP_PROXY, plugin

SUBJECT = "wasm"
NETWORK = "type.googleapis.com/envoy.extensions.filters.network.wasm.v3.Wasm"
LINE = "in=%BYTES_RECEIVED% out=%BYTES_SENT% %RESPONSE_FLAGS% %CONNECTION_TERMINATION_DETAILS%\n"
MODULES = {
    "events": guests.connection_events(),
    "edits": guests.connection_edits(),
    "holds": guests.connection_holds(),
    "gathers": guests.connection_gathers(),
    "waits": guests.connection_waits(),
    "waits-closes": guests.connection_waits(closes=True),
    "closes": guests.connection_closes(),
    "traps": guests.connection_traps(),
}


MUCH = b"0123456789abcdef" * (6 * 65536)


def guarded(name: str, module: str, *, to: str = "app", **more: Any) -> dict[str, Any]:
    """A listener with a guest in front of a TCP proxy."""
    config = {"@type": NETWORK, "config": {**plugin(name, module), **more}}
    proxy = {
        "@type": TCP_PROXY,
        "stat_prefix": name,
        "cluster": to,
        "access_log": [file_log(f"FILE({name}.log)", LINE)],
    }
    filters = [
        {"name": "envoy.filters.network.wasm", "typed_config": config},
        {"name": "envoy.filters.network.tcp_proxy", "typed_config": proxy},
    ]
    address = {"socket_address": {"address": "127.0.0.1", "port_value": 0}}
    return {"name": name, "address": address, "filter_chains": [{"filters": filters}]}


def _http() -> dict[str, Any]:
    routes = "- {match: {prefix: /}, direct_response: {status: 200}}"  # a body may be a write of its own
    found = listener("http", routes=routes)
    config = {"@type": NETWORK, "config": plugin("http", "events")}
    found["filter_chains"][0]["filters"].insert(0, {"name": "wasm", "typed_config": config})
    return found


CONNECTIONS = Setup(
    "wasm_network",
    bootstrap(
        [
            *(guarded(name, name) for name in MODULES if name != "gathers"),
            {**guarded("gathers", "gathers", to="much"), "per_connection_buffer_limit_bytes": 16777216},
            guarded("traps-open", "traps", failure_policy="FAIL_OPEN"),
            guarded("traps-past", "traps", fail_open=True),
            _http(),
        ],
        [cluster("app", "app"), cluster("much", "app", extra="per_connection_buffer_limit_bytes: 16777216")],
    ),
    {"app": "raw"},
    {f"{name}.wasm": code for name, code in MODULES.items()},
)
EVENTS = (
    *("new", "downstream data", "downstream end", "upstream data", "upstream end"),
    *(f"{side} closed, {by}" for side in ("downstream", "upstream") for by in ("unknown", "local", "remote")),
    *("done", "logged", "deleted"),
)


async def _deleted(s: Session, before: int) -> None:
    name = "wasmcustom.deleted"
    await s.until_stats(lambda stats: stats.get(name, 0) > before, name)


@scenario(CONNECTIONS)
async def wasm_connection_events(s: Session) -> None:
    """All callbacks of a connection: ended by the client, by the upstream, and of one that carries HTTP."""
    counted = [f"wasmcustom.{name}" for name in EVENTS]

    heard = trio.Event()

    async def says_and_ends(wire: Wire) -> None:
        await wire.send(b"bye")
        await heard.wait()

    for ending in ("client", "upstream", "client resets"):
        async with s.counting(*counted):
            before = (await s.counters("wasmcustom.deleted")).get("wasmcustom.deleted", 0)
            if ending == "upstream":
                usual, s.upstream().raw_script = s.upstream().raw_script, says_and_ends
            client = await s.connect("events")
            if ending == "upstream":
                await client.tunnel(3, ending)
                heard.set()
                s.upstream().raw_script = usual
            else:
                await client.send(b"hello")
                await client.tunnel(5, ending)
            if ending == "client resets":
                client.reset()
            elif ending == "upstream":
                await client.closed()
                client.half_close()
            else:
                client.half_close()
                await client.closed()
            await _deleted(s, before)
    async with s.counting(*counted):
        before = (await s.counters("wasmcustom.deleted")).get("wasmcustom.deleted", 0)
        await s.get("/", to="http")
        await _deleted(s, before)
    s.proxy.is_spent = True  # a stat that nobody counted yet is absent


@scenario(CONNECTIONS)
async def wasm_connection_edits(s: Session) -> None:
    """Bytes are added in front and behind, in both directions, and the log counts what went over the wire."""
    async with s.logging(1, "edits"):
        client = await s.connect("edits")
        await client.send(b"hello")
        await client.tunnel(len("<<hello>>"))
        client.half_close()
        await client.closed()


@scenario(CONNECTIONS)
async def wasm_connection_holds(s: Session) -> None:
    """What is stopped is seen again in front of what comes next; the end lets it go."""
    got = trio.Event()
    seen: list[bytes] = []

    async def upstream(wire: Wire) -> None:
        seen.append(await wire.exactly(10))
        await wire.send(b"short")
        got.set()
        seen.append((await wire.rest())[0])
        await wire.send(b", and more of it")

    s.upstream().raw_script = upstream
    client = await s.connect("holds")
    await client.send(b"12345")
    await client.send(b"6789")
    await client.send(b"0")
    await got.wait()
    await client.send(b"tail")
    client.half_close()
    await client.closed("client")
    s.see("upstream", [each.decode() for each in seen])


@scenario(CONNECTIONS)
async def wasm_connection_gathers(s: Session) -> None:
    """All that an upstream said is let go at its end, more than the client's socket takes at once."""

    async def says_much(wire: Wire) -> None:
        await wire.send(MUCH)
        wire.half_close()
        await wire.rest()

    s.upstream().raw_script = says_much
    counted = "wasmcustom.gathered"
    before = (await s.counters(counted)).get(counted, 0)
    client = await s.connect("gathers")
    await s.until_stats(lambda stats: stats.get(counted, 0) > before, counted)
    whole, how = await client.wire.rest()
    s.see("client", {"bytes": len(whole), "as they were": whole == MUCH, "then": how})
    client.half_close()


@scenario(CONNECTIONS)
async def wasm_connection_stops_much(s: Session) -> None:
    """A client sends more than is kept for a guest that stops it: no more is read until it is let go."""
    client = await s.connect("waits")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.wire.send, MUCH)
        echo = await client.wire.exactly(len(MUCH))
    s.see("echo", {"bytes": len(echo), "as they were": echo == MUCH})
    client.half_close()
    await client.closed()


@scenario(CONNECTIONS)
async def wasm_connection_waits(s: Session) -> None:
    """A connection that a guest stopped goes on by its timer, and so does what the client sends."""
    client = await s.connect("waits")
    await client.send(b"hello")
    await client.tunnel(5)
    await client.send(b"again")
    await client.tunnel(5)
    client.half_close()
    await client.closed()

    async def speaks_first(wire: Wire) -> None:
        await wire.send(b"220 hello")
        await wire.rest()

    s.upstream().raw_script = speaks_first
    client = await s.connect("waits")
    await client.tunnel(9, "the upstream speaks first")
    client.half_close()
    await client.closed()


@scenario(CONNECTIONS)
async def wasm_connection_closes(s: Session) -> None:
    """A guest closes a connection: by its timer, without an upstream, and over what the upstream says."""
    client = await s.connect("waits-closes")
    await client.closed("by the timer")
    client = await s.connect("closes")
    await client.send(b"hello")
    await client.closed("over the upstream")


@scenario(CONNECTIONS)
async def wasm_connection_trap(s: Session) -> None:
    """A trap closes this connection and every later one; with FAIL_OPEN this one, with fail_open none."""
    for to in ("traps", "traps-open", "traps-past"):
        for number in ("first", "second"):
            client = await s.connect(to)
            await client.send(b"hello")
            await client.tunnel(5, f"{to}, {number}")
            client.half_close()
            await client.closed(f"{to}, {number}, then")
    s.proxy.is_spent = True
