# ruff: noqa: E501  (a line of configuration reads best unbroken)
"""Virtual hosts that come by themselves (VHDS), also those that a request asks for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..configuration import listener
from ..control_plane import ControlPlane
from ..lab import Session
from ..scenario import scenario
from ..upstream import answers, ok
from .xds_ads import ADS, WHOLE, stats
from .xds_delta import DELTA, STATIC
from .xds_scopes import ON_DEMAND, answering

SUBJECT = "xds"


TWO_WORKERS = replace(DELTA, name="xds_delta_workers", concurrency=2)


def host(name: str, domain: str, body: str) -> str:
    return f"{{name: {name}, domains: ['{domain}'], routes: [{{match: {{prefix: /}}, direct_response: {{status: 200, body: {{inline_string: '{body}'}}}}}}]}}"


def routes(*hosts: str, vhds: bool = True) -> str:
    more = f", vhds: {{config_source: {ADS}}}" if vhds else ""
    return f"{{name: routes, virtual_hosts: [{', '.join(hosts)}]{more}}}"


def following(filters: str = ON_DEMAND) -> dict[str, Any]:
    return listener("main", f"rds: {{route_config_name: routes, config_source: {ADS}}}", filters=filters)


async def begin(s: Session, filters: str = ON_DEMAND) -> ControlPlane:
    """A proxy whose virtual hosts are discovered, beside one of its routes."""
    s.proxy.is_spent = True
    plane = ControlPlane(s)
    await plane.update_delta("cds", "c1", {"plain": ("1", STATIC)})
    await plane.asked("lds")
    await plane.send_delta("lds", "l1", {"main": ("1", following(filters))})
    await plane.update_delta("rds", "r1", {"routes": ("1", routes(host("own", "own.example", "own")))})
    await plane.asked("vhds")
    if filters == "":
        await stats(s, r"^http\.main\.(vhds|rds)", label="before")
    await plane.update_delta(
        "vhds", "v1", {"routes/first": ("1", host("routes/first", "first.example", "first"))}
    )
    await plane.live()
    return plane


def get(domain: str, *more: str) -> bytes:
    return "".join(f"{line}\r\n" for line in ("GET / HTTP/1.1", f"host: {domain}", *more, "")).encode()


@scenario(DELTA)
async def xds_vhds_updates(s: Session) -> None:
    """Virtual hosts come, change and go without a request; wrong ones change nothing."""
    plane = await begin(s, filters="")
    client = await s.connect()

    async def ask(domain: str, label: str) -> None:
        await client.send(get(domain))
        await client.reply(f"{domain} {label}")

    await stats(s, r"^http\.main\.(vhds|rds)", label="after")
    await ask("own.example", "of the routes")
    await ask("first.example", "discovered")
    await ask("second.example", "of nobody")
    await plane.update_delta(
        "vhds", "v2", {"routes/second": ("1", host("routes/second", "second.example", "second"))}
    )
    await ask("second.example", "came")
    await plane.update_delta(
        "vhds", "v3", {"routes/first": ("2", host("routes/first", "first.example", "changed"))}
    )
    await ask("first.example", "changed")
    await plane.update_delta("vhds", "v4", {"routes/bad": ("1", host("routes/bad", "first.example", "bad"))})
    await ask("first.example", "a domain twice")
    await plane.update_delta("vhds", "v5", {"routes/rule": ("1", "{name: routes/rule, domains: []}")})
    await plane.update_delta("vhds", "v6", {"other/x": ("1", host("other/x", "x.example", "x"))})
    await ask("x.example", "of other routes")
    await plane.update_delta("vhds", "v7", removed=["routes/first", "routes/never"])
    await ask("first.example", "gone")
    await plane.update_delta("vhds", "v8", {"routes/named": ("1", host("else", "named.example", "named"))})
    await ask("named.example", "of another name")
    await plane.update_delta("vhds", "v9", removed=["routes/named"])
    await ask("named.example", "of another name, removed")
    await plane.update_delta("vhds", "v10")
    await plane.update_delta("rds", "r2", {"routes": ("2", routes(host("own", "own.example", "new")))})
    await ask("own.example", "new routes")
    await ask("second.example", "with new routes")
    plane.see()
    await stats(s, r"^http\.main\.(vhds|rds)")


@scenario(DELTA)
async def xds_vhds_reconnect(s: Session) -> None:
    """What is asked for when the stream comes again; routes that have no more of them."""
    plane = await begin(s, filters="")
    await plane.update_delta(
        "vhds", "v2", {"routes/second": ("1", host("routes/second", "second.example", "second"))}
    )
    plane.requests.clear()
    await plane.end()
    for kind in ("cds", "lds", "rds", "vhds"):
        await plane.asked(kind)
    s.see("again", {kind: list(each) for kind, each in sorted(plane.requests.items())})
    await plane.update_delta(
        "rds", "r2", {"routes": ("2", routes(host("own", "own.example", "new"), vhds=False))}
    )
    client = await s.connect()
    for domain in ("own.example", "first.example"):
        await client.send(get(domain))
        await client.reply(domain)


@scenario(DELTA)
async def xds_vhds_on_demand(s: Session) -> None:
    """A request waits for its virtual host."""
    plane = await begin(s)
    client = await s.connect()
    await client.send(get("first.example"))
    await client.reply("here")
    await client.send(get("Second.Example:81"))
    await plane.asked("vhds", 3)
    await plane.update_delta(
        "vhds",
        "v2",
        {"routes/second": ("1", host("routes/second", "second.example:81", "second"))},
        aliases={"routes/second": ["routes/second.example:81"]},
    )
    await client.reply("by an alias")
    await client.send(get("third.example"))
    await plane.asked("vhds", 5)
    await plane.update_delta(
        "vhds",
        "v3",
        {"routes/third.example": ("1", None)},
        aliases={"routes/third.example": ["routes/third.example"]},
    )
    await client.reply("there is none")
    await client.send(get("fourth.example"))
    await plane.asked("vhds", 7)
    await plane.update_delta(
        "vhds",
        "v4",
        {"routes/fourth.example": ("1", host("routes/fourth.example", "fourth.example", "fourth"))},
    )
    await client.reply("fourth")
    plane.see()
    await stats(s, r"^http\.main\.(vhds|rds|downstream_rq|no_route|rq)")


@scenario(TWO_WORKERS)
async def xds_vhds_on_demand_of_workers(s: Session) -> None:
    """Requests of either worker wait for a virtual host."""
    plane = await begin(s)
    clients = [await s.connect() for _ in range(8)]
    for client in clients:
        await client.send(get("second.example"))
    await plane.asked("vhds", 3)
    await plane.update_delta(
        "vhds",
        "v2",
        {"routes/second.example": ("1", host("routes/second.example", "second.example", "second"))},
    )
    for client in clients:
        await client.reply("second")


@scenario(WHOLE)
async def xds_vhds_of_the_world(s: Session) -> None:
    """The state of the world has no virtual hosts: routes that want them are refused."""
    s.proxy.is_spent = True
    plane = ControlPlane(s)
    s.upstream("one").script = answers(ok(b"one"))
    await plane.update("cds", "c1", STATIC)
    await plane.asked("lds")
    await plane.send("lds", "l1", following(""))
    await plane.update("rds", "r1", routes(host("own", "own.example", "own")))
    await plane.live()
    client = await s.connect()
    await client.send(get("own.example"))
    await client.reply("refused")
    await plane.update("rds", "r2", answering("routes", "plain"))
    await client.send(get("own.example"))
    await client.reply("taken")
    plane.see()
    await stats(s, r"^http\.main\.(vhds|rds)")
