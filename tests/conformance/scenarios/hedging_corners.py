# ruff: noqa: E501  (a route is a line of a table)
"""Hedging beside what else happens: bodies that still come, upgrades, buffers that are too small."""

from __future__ import annotations

import trio

from ..configuration import bootstrap, cluster, listener
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import Call
from ..wire import head
from .hedging import HEDGE, legs, sends, stall
from .retries import BAD, DONE, FAST, LOG, stats
from .upgrades import echoing, handshake

SUBJECT = "upstream"

ROUTES = "".join(
    (
        f"- {{match: {{prefix: /two}}, route: {{cluster: app, timeout: 0s, {HEDGE}, retry_policy: {{retry_on: 5xx, num_retries: 2, per_try_timeout: 0.1s, {FAST}}}}}}}\n",
        f"- {{match: {{prefix: /small}}, request_body_buffer_limit: 4, route: {{cluster: app, timeout: 1s, {HEDGE}, retry_policy: {{retry_on: 5xx, per_try_timeout: 0.1s, {FAST}}}}}}}\n",
        f"- {{match: {{prefix: /upgraded}}, route: {{cluster: app, timeout: 1s, upgrade_configs: [{{upgrade_type: websocket}}], {HEDGE}, retry_policy: {{retry_on: 5xx, per_try_timeout: 0.1s, {FAST}}}}}}}\n",
        f"- {{match: {{prefix: /tried-upgrade}}, route: {{cluster: app, timeout: 1s, upgrade_configs: [{{upgrade_type: websocket}}], retry_policy: {{retry_on: 5xx, per_try_timeout: 0.1s, {FAST}}}}}}}\n",
    )
)
CORNERS = Setup(
    "hedging_corners",
    bootstrap([listener("main", routes=ROUTES, log=LOG)], [cluster("app", "app")]),
    {"app": "h1"},
)


@scenario(CORNERS)
async def hedge_of_a_body_that_still_comes(s: Session) -> None:
    """The first try fails while the body comes, the second is too slow, the third good; or all in one."""
    async with s.logging(2), s.counting(*stats()):
        early = trio.Event()

        async def first(call: Call) -> None:
            await call.send(BAD.replace(b"content-length", b"connection: close\r\ncontent-length"))
            early.set()
            await call.gone()

        s.upstream().script = legs(first, stall, sends(DONE))
        client = await s.connect()
        await client.send(head("POST /two HTTP/1.1", "host: a", "content-length: 6") + b"abc")
        await early.wait()
        await s.upstream().arrivals(2)
        await client.send(b"def")
        await client.reply("in two parts")
        s.upstream().script = legs(stall, stall, sends(DONE))
        await s.http(head("POST /two HTTP/1.1", "host: a", "content-length: 6") + b"abcdef", label="in one")


@scenario(CORNERS)
async def hedge_of_a_body_too_long(s: Session) -> None:
    """What is longer than what is kept is not hedged."""

    async def slow(call: Call) -> None:
        await call.body()
        await trio.sleep(0.3)
        await call.send(DONE)

    s.upstream().script = slow
    async with s.logging(1), s.counting(*stats()):
        await s.http(head("POST /small HTTP/1.1", "host: a", "content-length: 6") + b"abcdef")


async def opens(s: Session, path: str) -> None:
    """A handshake whose first try is not answered."""
    s.upstream().script = legs(stall, echoing())
    async with s.logging(1), s.counting(*stats()):
        client = await s.connect()
        await client.send(handshake(path))
        s.see(path, (await client.wire.line()).decode())
        client.close()


@scenario(CORNERS)
async def retry_of_a_handshake_that_is_too_slow(s: Session) -> None:
    """The limit of a try runs from a websocket's head on."""
    await opens(s, "/tried-upgrade")


@scenario(CORNERS, differs={"stats": "hedged-handshake", "upstream app": "hedged-handshake"})
async def hedge_of_an_upgrade(s: Session) -> None:
    """A handshake that is not answered in time, where others would be hedged."""
    await opens(s, "/upgraded")
