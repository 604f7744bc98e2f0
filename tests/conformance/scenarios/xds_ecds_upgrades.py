# ruff: noqa: E501  (a line of configuration reads best unbroken)
"""Filters of upgrades, and connection managers, whose configuration is discovered (ECDS)."""

from __future__ import annotations

from typing import Any

from ..configuration import ROUTER, cluster, listener
from ..control_plane import ControlPlane
from ..lab import Session
from ..scenario import scenario
from .upgrades import echoing, handshake
from .xds_ads import WHOLE, stats
from .xds_delta import DELTA
from .xds_ecds import FAULT, MUTATION, ecds, fault
from .xds_ecds_elsewhere import SOON, discovered

SUBJECT = "xds"

ROUTER_ENTRY = {"name": "envoy.filters.http.router", "typed_config": {"@type": ROUTER}}
APP = "- {match: {prefix: /}, route: {cluster: app}}"
THROUGH = f"{{'@type': {FAULT}}}"
_COUNTS = (r"extension_config_discovery", r"^http\.main\.downstream_(cx_upgrades|rq_[2-5])")


def marking(value: str) -> str:
    """A filter that tells the upstream, and the client, that it was here."""
    add = f"[{{append: {{header: {{key: x-mark, value: {value}}}}}}}]"
    return f"{{'@type': {MUTATION}, mutations: {{request_mutations: {add}, response_mutations: {add}}}}}"


def upgrading(*filters: Any, name: str = "main", others: str = "") -> dict[str, Any]:
    """A listener whose WebSockets have filters of their own."""
    made = listener(name, routes=APP, filters=others)
    made["filter_chains"][0]["filters"][0]["typed_config"]["upgrade_configs"] = [
        {"upgrade_type": "websocket", "filters": [*filters, ROUTER_ENTRY]},
        {"upgrade_type": "foo"},
    ]
    return made


async def begin(s: Session, *listeners: dict[str, Any]) -> ControlPlane:
    s.proxy.is_spent = True
    plane = ControlPlane(s)
    s.upstream("one").script = echoing()
    await plane.update("cds", "c1", cluster("app", "one"))
    await plane.asked("lds")
    await plane.send("lds", "l1", *listeners)
    await plane.asked("ecds")
    return plane


async def over(s: Session) -> None:
    """Wait for the end of tunnels."""
    await s.until_stats(lambda stats: not any(stats.values()), r"downstream_cx_upgrades_active$")


@scenario(WHOLE)
async def xds_ecds_upgrade(s: Session) -> None:
    """A listener waits for a filter of its upgrades; tunnels keep the one with which they began."""
    types = f"{FAULT}, {MUTATION}"
    plane = await begin(s, upgrading(discovered(types)))
    await plane.update("ecds", "f1", ecds(fault(418)))
    await plane.live()

    async def ask(label: str) -> None:
        client = await s.connect()
        await client.send(handshake())
        reply = await client.reply(label)
        if reply is not None and " 101 " in reply.start_line:
            await client.send(b"hello")
            await client.tunnel(5, f"{label}, tunnel")
        client.close()

    await ask("refused")
    plain = await s.connect()
    await plain.send(handshake(kind="foo"))
    await plain.reply("of another type")
    await plain.send(b"hello")
    await plain.tunnel(5, "of another type, tunnel")
    plain.close()
    await plane.update("ecds", "f2", ecds(marking("one")))
    tunnel = await s.connect()
    await tunnel.send(handshake())
    await tunnel.reply("marked")
    await plane.update("ecds", "f3", ecds(marking("two")))
    await tunnel.send(b"hello")
    await tunnel.tunnel(5, "through the tunnel")
    await ask("marked by another")
    await plane.update(
        "ecds",
        "f4",
        ecds(
            "{'@type': type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer, max_request_bytes: 1}"
        ),
    )
    await ask("after one of another type")
    await plane.update("ecds", "f5", ecds(f"{{'@type': {FAULT}, abort: {{http_status: 99}}}}"))
    await ask("after one against the rules")
    plane.see()
    tunnel.close()
    await over(s)
    await stats(s, *_COUNTS)


@scenario(WHOLE)
async def xds_ecds_upgrade_default(s: Session) -> None:
    """A default filter of upgrades; without one they are refused, other requests are not."""
    default = f", default_config: {fault(418)}, apply_default_config_without_warming: true"
    plane = await begin(
        s,
        upgrading(discovered(FAULT, default)),
        upgrading(discovered(FAULT, source=SOON, name="missing"), name="second"),
    )
    await plane.live()
    for name in ("main", "second"):
        await s.http(handshake(), name, label=f"upgrade, {name}")
    await plane.update("ecds", "f1", ecds(THROUGH), ecds(fault(404), "missing"))
    for name in ("main", "second"):
        client = await s.connect(name)
        await client.send(handshake())
        reply = await client.reply(f"there, {name}")
        if reply is not None and " 101 " in reply.start_line:
            await client.send(b"hello")
            await client.tunnel(5, f"{name}, tunnel")
        client.close()
    await over(s)
    await stats(s, *_COUNTS)


@scenario(WHOLE)
async def xds_ecds_upgrade_shared(s: Session) -> None:
    """One resource for the filters of requests and of upgrades."""
    entry = discovered(FAULT)
    made = upgrading(entry)
    made["filter_chains"][0]["filters"][0]["typed_config"]["http_filters"].insert(0, entry)
    plane = await begin(s, made)
    await plane.update("ecds", "f1", ecds(fault(418)))
    await plane.live()
    await s.http(handshake(), label="upgrade")
    await s.get("/", label="request")
    await s.http(handshake(kind="foo"), label="other upgrade")
    await plane.update("ecds", "f2", ecds(fault(503)))
    await s.http(handshake(), label="upgrade later")
    await s.get("/", label="request later")
    await s.http(handshake(kind="foo"), label="other upgrade later")
    plane.see()
    await stats(s, *_COUNTS)


@scenario(DELTA)
async def xds_ecds_upgrade_removed(s: Session) -> None:
    """A filter of upgrades that is removed while a tunnel is open."""
    s.proxy.is_spent = True
    plane = ControlPlane(s)
    s.upstream("one").script = echoing()
    await plane.update_delta("cds", "c1", {"app": ("1", cluster("app", "one"))})
    await plane.asked("lds")
    await plane.send_delta("lds", "l1", {"main": ("1", upgrading(discovered(MUTATION)))})
    await plane.update_delta("ecds", "f1", {"ext": ("1", ecds(marking("one")))})
    await plane.live()
    tunnel = await s.connect()
    await tunnel.send(handshake())
    await tunnel.reply("marked")
    await plane.update_delta("ecds", "f2", removed=["ext"])
    await s.http(handshake(), label="gone")
    await tunnel.send(b"hello")
    await tunnel.tunnel(5, "through the tunnel")
    await plane.update_delta("ecds", "f3", {"ext": ("2", ecds(marking("two")))})
    again = await s.connect()
    await again.send(handshake())
    await again.reply("back")
    await again.send(b"hello")
    await again.tunnel(5, "through the other tunnel")
    plane.see()
    tunnel.close()
    again.close()
    await over(s)
    await stats(s, *_COUNTS)
