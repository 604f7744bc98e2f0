"""How connections ended, in the logs of listeners, requests, tries and TCP proxies."""

from __future__ import annotations

import json
from typing import Any

import trio

from ..configuration import bootstrap, cluster, listener
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import Call
from ..wire import head
from .access_log_every_operator import json_log, tcp

SUBJECT = "observability"

NAMES = (
    "DOWNSTREAM_DETECTED_CLOSE_TYPE",
    "DOWNSTREAM_LOCAL_CLOSE_REASON",
    "DOWNSTREAM_TRANSPORT_FAILURE_REASON",
    "UPSTREAM_DETECTED_CLOSE_TYPE",
    "UPSTREAM_LOCAL_CLOSE_REASON",
    "UPSTREAM_TRANSPORT_FAILURE_REASON",
    "CONNECTION_TERMINATION_DETAILS",
    "RESPONSE_FLAGS",
    "RESPONSE_CODE_DETAILS",
)
AGE = "common_http_protocol_options: {max_connection_duration: 0.3s}"
TREE = {name: f"%{name}%" for name in NAMES}
ROUTES = """
- {match: {path: /direct}, direct_response: {status: 200, body: {inline_string: here}}}
- {match: {path: /late}, route: {cluster: app, timeout: 0.05s}}
- {match: {prefix: /}, route: {cluster: app}}
"""


def logged(name: str, hcm: str = "", **more: Any) -> dict[str, Any]:
    made = listener(name, hcm, routes=ROUTES, **more)
    manager = made["filter_chains"][0]["filters"][0]["typed_config"]
    manager["access_log"] = [json_log(f"FILE({name}.log)", {"where": "request", **TREE})]
    made["access_log"] = [json_log(f"FILE({name}.log)", {"where": "listener", **TREE})]
    return made


def logged_tcp(name: str, to: str, **options: Any) -> dict[str, Any]:
    made = tcp(name, to, json_log(f"FILE({name}.log)", {"where": "tcp", **TREE}))
    made["filter_chains"][0]["filters"][0]["typed_config"].update(options)
    made["access_log"] = [json_log(f"FILE({name}.log)", {"where": "listener", **TREE})]
    return made


SETUP = Setup(
    "log-ends",
    bootstrap(
        [
            logged("main"),
            logged("idle", "common_http_protocol_options: {idle_timeout: 0.3s}"),
            logged("old", f"{AGE}\ndrain_timeout: 0.05s"),
            logged_tcp("tcp", "app"),
            logged_tcp("tcp-idle", "app", idle_timeout="0.3s"),
            logged_tcp("tcp-old", "app", max_downstream_connection_duration="0.3s"),
            logged_tcp("tcp-dead", "dead"),
            logged_tcp("tcp-none", "none"),
        ],
        [cluster("app", "app"), cluster("dead", "dead"), {"name": "none", "type": "STATIC"}],
    ),
    {"app": "h1", "dead": "dead"},
)


def told(line: str) -> Any:
    return {name: value for name, value in json.loads(line).items() if value is not None}


@scenario(SETUP)
async def log_ends_of_clients(s: Session) -> None:
    """Clients that leave: in order, with a reset, during a request."""
    arrived = trio.Event()

    async def wait(call: Call) -> None:
        await call.body()
        arrived.set()
        await call.gone()

    for reset in (False, True):
        async with s.logging(2, "main", told):
            client = await s.connect()
            await client.send(head("GET /direct HTTP/1.1", "host: a"))
            await client.reply()
            client.reset() if reset else client.close()
        s.upstream().script = wait
        arrived = trio.Event()
        async with s.logging(2, "main", told):
            client = await s.connect()
            await client.send(head("GET /wait HTTP/1.1", "host: a"))
            await arrived.wait()
            client.reset() if reset else client.close()


@scenario(SETUP)
async def log_ends_of_the_proxy(s: Session) -> None:
    """Connections that the proxy ends."""
    async with s.logging(2, "main", told):
        await s.get("/direct", "connection: close", label="close")
    async with s.logging(2, "main", told):
        client = await s.connect()
        await client.send(b"nonsense\r\n\r\n")
        await client.reply("nonsense")
        await client.closed("nonsense, then")
    async with s.logging(1, "main", told):
        client = await s.connect()
        await client.wire.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\1\x06\0\0\0\0\0x")
        await client.wire.rest()
        client.close()
    async with s.logging(2, "idle", told):
        client = await s.connect("idle")
        await client.send(head("GET /direct HTTP/1.1", "host: a"))
        await client.reply("idle")
        await client.closed("idle, then")
    async with s.logging(2, "old", told):
        client = await s.connect("old")
        await client.send(head("GET /direct HTTP/1.1", "host: a"))
        await client.reply("old")
        await client.closed("old, then")


@scenario(SETUP)
async def log_ends_of_upstreams(s: Session) -> None:
    """Upstreams that leave, with and without a reset; tries that the proxy gives up."""

    async def leave(call: Call) -> None:
        await call.body()
        await (call.reset() if call.path == "/reset" else call.close())

    async def wait(call: Call) -> None:
        await call.body()
        await call.gone()

    s.upstream().script = leave
    for path in ("/reset", "/close"):
        async with s.logging(2, "main", told):
            await s.get(path, label=path)
    s.upstream().script = wait
    async with s.logging(2, "main", told):
        await s.get("/late", label="late")


@scenario(SETUP)
async def log_ends_of_tcp(s: Session) -> None:
    """A TCP proxy: its client's end, its upstream's, and its own."""
    arrived = trio.Event()

    async def script(call: Call) -> None:
        arrived.set()
        if call.path == "/reset":
            await call.reset()
        elif call.path == "/close":
            await call.close()
        else:
            await call.gone()

    s.upstream().script = script
    for path in ("/reset", "/close"):
        async with s.logging(2, "tcp", told):
            client = await s.connect("tcp")
            await client.send(head(f"GET {path} HTTP/1.1", "host: a"))
            await client.closed(path)
            client.close()
    for reset in (False, True):
        arrived = trio.Event()
        async with s.logging(2, "tcp", told):
            client = await s.connect("tcp")
            await client.send(head("GET /wait HTTP/1.1", "host: a"))
            await arrived.wait()
            client.reset() if reset else client.close()
    for name in ("tcp-idle", "tcp-old", "tcp-dead", "tcp-none"):
        async with s.logging(2, name, told):
            client = await s.connect(name)
            await client.closed(name)
            client.close()
