"""How a proxy ends: by signal, by the admin server, and what draining does to connections."""

from __future__ import annotations

import signal

import trio

from ..configuration import bootstrap, cluster, listener
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import Call, ok
from ..wire import head

SUBJECT = "lifecycle"

ROUTES = """
- {match: {path: /direct}, direct_response: {status: 200, body: {inline_string: here}}}
- {match: {prefix: /}, route: {cluster: app}}
"""
LIFECYCLE = Setup(
    "lifecycle",
    bootstrap([listener("main", "drain_timeout: 0.1s", routes=ROUTES)], [cluster("app", "app")]),
    {"app": "h1"},
)


async def until_refused(s: Session) -> None:
    """Connect again and again until the listener is closed; the scenario's deadline bounds it."""
    while True:
        try:
            client = await s.connect()
        except OSError:
            s.see("new connections", "refused")
            return
        client.close()


@scenario(LIFECYCLE)
async def lifecycle_sigterm(s: Session) -> None:
    """SIGTERM with an idle connection: a clean end."""
    client = await s.connect()
    await client.send(head("GET /direct HTTP/1.1", "host: a"))
    await client.reply()
    s.proxy.signal(signal.SIGTERM)
    await client.closed()
    await s.exited()


@scenario(LIFECYCLE, differs={"reply": "sigterm-finishes-what-has-begun"})
async def lifecycle_sigterm_with_a_request(s: Session) -> None:
    """SIGTERM with a request under way: its upstream answers once the proxy accepts no more, or is gone."""
    refused = trio.Event()

    async def answer(call: Call) -> None:
        await refused.wait()
        await call.send(ok())

    s.upstream().script = answer
    client = await s.connect()
    await client.send(head("GET / HTTP/1.1", "host: a"))
    await s.upstream().arrivals(1)
    s.proxy.signal(signal.SIGTERM)
    await until_refused(s)
    refused.set()
    await client.reply()
    await s.exited()


@scenario(LIFECYCLE)
async def lifecycle_sigint(s: Session) -> None:
    """SIGINT: the same."""
    s.proxy.signal(signal.SIGINT)
    await s.exited()


@scenario(LIFECYCLE)
async def lifecycle_quitquitquit(s: Session) -> None:
    """POST /quitquitquit answers, then the process ends."""
    await s.admin("POST /quitquitquit")
    await s.exited()


@scenario(LIFECYCLE)
async def lifecycle_drain_listeners(s: Session) -> None:
    """POST /drain_listeners: no new connections; an old one still serves, the process lives on."""
    client = await s.connect()
    await client.send(head("GET /direct HTTP/1.1", "host: a"))
    await client.reply()
    await s.admin("POST /drain_listeners")
    await until_refused(s)
    await s.admin("GET /ready")
    await client.send(head("GET /direct HTTP/1.1", "host: a"))
    await client.reply("old connection")
    s.proxy.is_spent = True
