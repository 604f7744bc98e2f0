"""Lines of the access log while a stream goes on: at its start, and from time to time."""

from __future__ import annotations

from pathlib import Path

import trio

from ..client import get
from ..configuration import bootstrap, cluster, listener
from ..lab import Session
from ..proxy import POLL_S
from ..scenario import Setup, scenario
from ..upstream import Call, ok
from ..wire import head

SUBJECT = "observability"

LINE = (
    "%ACCESS_LOG_TYPE% %REQ(:PATH)% %PROTOCOL% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% "
    "route=%ROUTE_NAME% cluster=%UPSTREAM_CLUSTER% in=%BYTES_RECEIVED% out=%BYTES_SENT% up=%UPSTREAM_HOST% "
    "id=%REQ(X-REQUEST-ID)%\n"
)
ROUTES = """
- {name: probe, match: {path: /probe}, direct_response: {status: 200, body: {inline_string: here}}}
- {name: app, match: {prefix: /app}, route: {cluster: app}}
"""


def logged(name: str, hcm: str) -> dict[str, object]:
    return listener(name, hcm, routes=ROUTES, log=LINE)


MOMENTS = Setup(
    "log-moments",
    bootstrap(
        [
            logged("start", "access_log_options: {flush_access_log_on_new_request: true}"),
            logged("old", "flush_access_log_on_new_request: true"),
            logged("periodic", "access_log_options: {access_log_flush_interval: 0.12s}"),
            logged(
                "tunnel",
                "{upgrade_configs: [{upgrade_type: websocket}], "
                "access_log_options: {flush_log_on_tunnel_successfully_established: true}}",
            ),
            logged("oldperiodic", "access_log_flush_interval: 0.12s"),
        ],
        [cluster("app", "app")],
    ),
    {"app": "h1"},
)


@scenario(MOMENTS)
async def access_log_at_the_start(s: Session) -> None:
    """flush_access_log_on_new_request, by both names, for requests of every kind."""
    async with s.logging(2, "old"):
        await s.get("/probe", to="old")
    async with s.logging(9, "start"):
        await s.get("/app", to="start")
        await s.get("/probe", to="start")
        await s.get("/none", to="start")
        await s.http(head("GET / HTTP/1.1"), "start", label="no host")
        h2 = await s.connect_h2("start")
        await h2.request(get("/probe"))


@scenario(MOMENTS)
async def access_log_of_a_tunnel(s: Session) -> None:
    """flush_log_on_tunnel_successfully_established: of an upgrade that is taken, and one that is not."""
    fields = ("host: a", "connection: upgrade", "upgrade: websocket")

    async def script(call: Call) -> None:
        if call.path == "/app":
            await call.send(head("HTTP/1.1 101 Switching Protocols", *fields[1:]))
            await call.close()
        else:
            await call.send(ok())

    s.upstream().script = script
    async with s.logging(4, "tunnel"):
        for path in ("/app", "/app/not", "/probe"):
            client = await s.connect("tunnel")
            await client.send(head(f"GET {path} HTTP/1.1", *fields))
            await client.reply(path, has_body=path != "/app")
            if path == "/app":
                await client.wire.rest()  # who ends it is no race
            client.close()


@scenario(MOMENTS)
async def access_log_from_time_to_time(s: Session) -> None:
    """access_log_flush_interval, by both names: the same stream before and after its response began."""
    for to in ("periodic", "oldperiodic"):
        begin, end = trio.Event(), trio.Event()

        async def script(call: Call, begin: trio.Event = begin, end: trio.Event = end) -> None:
            await begin.wait()
            await call.send(head("HTTP/1.1 200 OK", "content-length: 4") + b"ok")
            await end.wait()
            await call.send(b"ok")

        s.upstream().script = script
        path = s.proxy.directory / f"{to}.log"
        await s.quiet()
        size = len("\n".join([*_lines_after(path, 0), ""]))
        client = await s.connect(to)
        await client.send(head("GET /app HTTP/1.1", "host: a"))
        s.see(f"{to} before", await line_with(path, size, " 0 "))
        begin.set()
        s.see(f"{to} within", await line_with(path, size, " 200 "))
        end.set()
        await client.reply(to)
        s.see(f"{to} end", await line_with(path, size, "DownstreamEnd"))
        s.upstream().script = _quick
        await s.get("/probe", to=to, label=to)


def _lines_after(path: Path, size: int) -> list[str]:
    return path.read_bytes()[size:].decode().splitlines() if path.exists() else []


async def line_with(path: Path, size: int, text: str) -> str:
    """The first line of a log behind `size` bytes with this text in it, as soon as it is there."""
    while True:
        found = _lines_after(path, size)
        for line in found:
            if text in line:
                return line
        await trio.sleep(POLL_S)


async def _quick(call: Call) -> None:
    await call.send(ok())
