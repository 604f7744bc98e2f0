# ruff: noqa: E501  (a line of configuration reads best unbroken)
"""Scoped routes: inline, and from a control plane (SRDS), also on demand."""

from __future__ import annotations

import json
from typing import Any

from ..configuration import bootstrap, cluster, listener
from ..control_plane import ControlPlane
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import answers, ok
from .xds_ads import ADS, WHOLE, stats
from .xds_delta import DELTA, STATIC

SUBJECT = "xds"

KEYS = """
scope_key_builder:
  fragments:
  - header_value_extractor: {name: Addr, element_separator: ";", element: {separator: "=", key: x}}
  - header_value_extractor: {name: x-list, element_separator: ",", index: 1}
"""
ON_DEMAND = "- {name: envoy.filters.http.on_demand, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.http.on_demand.v3.OnDemand}}\n"


def answering(name: str, body: str, more: str = "") -> str:
    return (
        f"{{name: {name}, virtual_hosts: [{{name: all, domains: ['*'], routes: [{{match: {{prefix: /}}, "
        f"direct_response: {{status: 200, body: {{inline_string: '{body}'}}}}}}]}}]{more}}}"
    )


def keyed(*parts: str) -> str:
    return f"key: {{fragments: [{', '.join(f'{{string_key: {each}}}' for each in parts)}]}}"


INLINE = Setup(
    "scopes_inline",
    bootstrap(
        [
            listener(
                "main",
                f"""
scoped_routes:
  name: scopes
  {KEYS.strip().replace(chr(10), chr(10) + "  ")}
  scoped_route_configurations_list:
    scoped_route_configurations:
    - {{name: a, {keyed("one", "two")}, route_configuration: {answering("ra", "a", ", internal_only_headers: [x-inner]")}}}
    - {{name: b, {keyed("one", "''")}, route_configuration: {answering("rb", "b")}}}
    - {{name: c, {keyed("one")}, route_configuration: {answering("rc", "c")}}}
    - {{name: d, {keyed("same", "key")}, route_configuration: {answering("rd", "d")}}}
    - {{name: e, {keyed("same", "key")}, route_configuration: {answering("re", "e")}}}
    - {{name: f, {keyed("''", "k")}, route_configuration: {{name: rf, virtual_hosts: [{{name: app, domains: ['*'], routes: [{{match: {{prefix: /}}, route: {{cluster: app}}}}]}}]}}}}
""",
            )
        ],
        [cluster("app", "app")],
    ),
    {"app": "h1"},
)


@scenario(INLINE)
async def xds_scopes_inline(s: Session) -> None:
    """What makes a key, and what there is without one."""
    s.upstream().script = answers(ok(b"app"))
    async with s.logging(10):
        await s.get("/a", "addr: y=1;x=one", "x-list: 0,two", label="a")
        await s.get("/b", "addr: x=one", "x-list: 0,", label="an empty element")
        await s.get("/c", "addr: x=one", "x-list: 0", label="too few elements")
        await s.get("/c", "addr: x=one", label="a header is missing")
        await s.get("/d", "addr: y=one", "x-list: 0,two", label="no such element")
        await s.get("/e", "addr: x=same;x=one", "x-list: 0,key,two", label="the first of two")
        await s.get("/f", "addr: x", "x-list: ,k", label="without a separator")
        await s.get("/g", "addr: x=other", "x-list: 0,two", label="no such scope")
        await s.get("/h", "ADDR: x=one", "x-list: 0", "x-list: a,two", label="a header twice")
        await s.get("/i", label="nothing")
    page = await s.proxy.admin("GET", "/config_dump?resource=inline_scoped_route_configs")
    s.see("dump", _names(page.body))


def _names(body: bytes) -> Any:
    return [
        {
            "name": each.get("name"),
            "version": each.get("version_info"),
            "scopes": sorted(one["name"] for one in each.get("scoped_route_configs", ())),
        }
        for each in json.loads(body).get("configs", ())
    ]


def scoped_listener(more: str = "") -> dict[str, Any]:
    return listener(
        "main",
        f"""
scoped_routes:
  name: scopes
  {KEYS.strip().replace(chr(10), chr(10) + "  ")}
  rds_config_source: {ADS}
  scoped_rds: {{scoped_rds_config_source: {ADS}}}
""",
        filters=ON_DEMAND,
    )


def scope(name: str, routes: str, *key: str, more: str = "") -> str:
    return f"{{name: {name}, route_configuration_name: {routes}, {keyed(*key)}{more}}}"


async def ask(s: Session, label: str, first: str = "one", second: str = "two") -> None:
    await s.get("/a", f"addr: x={first}", f"x-list: 0,{second}", label=label)


@scenario(WHOLE)
async def xds_scopes_srds(s: Session) -> None:
    """Scopes come with their routes, change and go; conflicts and scopes without routes are refused."""
    s.proxy.is_spent = True
    plane = ControlPlane(s)
    await plane.update("cds", "c1", STATIC)
    await plane.asked("lds")
    await plane.send("lds", "l1", scoped_listener())
    await plane.asked("srds")
    await plane.update("srds", "s1", scope("a", "ra", "one", "two"), scope("b", "rb", "three", "four"))
    await plane.asked("rds")
    await plane.update("rds", "r1", answering("ra", "a"), answering("rb", "b"))
    await plane.live()
    await ask(s, "a")
    await ask(s, "b", "three", "four")
    await ask(s, "none", "three", "two")
    await plane.update("srds", "s2", scope("a", "rb", "one", "two"), scope("b", "rb", "three", "five"))
    await ask(s, "a has the routes of b")
    await ask(s, "the old key", "three", "four")
    await ask(s, "the new key", "three", "five")
    await plane.update("srds", "s3", scope("a", "rb", "one", "two"), scope("b", "rb", "one", "two"))
    await plane.update("srds", "s4", scope("a", "rb", "one", "two"), scope("a", "rc", "one", "six"))
    await plane.update("srds", "s5", f"{{name: a, {keyed('one', 'two')}}}")
    await ask(s, "refused")
    await ask(s, "refused, too", "three", "five")
    await plane.update("srds", "s6", f"{{name: '', route_configuration_name: x, {keyed('one', 'two')}}}")
    await plane.update("rds", "r2", answering("rb", "changed"))
    await ask(s, "changed")
    await plane.update("srds", "s7", scope("c", "rc", "c", "c"))
    await plane.update("rds", "r3", answering("rc", "c"))
    await ask(s, "gone")
    await ask(s, "c", "c", "c")
    plane.see()
    s.see("order", plane.streams)
    await stats(s, r"^http\.main\.scoped_rds", r"^http\.main\.rds.*(config_reload|success|rejected)$")
    for which in ("dynamic_scoped_route_configs", "dynamic_route_configs"):
        page = await s.proxy.admin("GET", f"/config_dump?resource={which}")
        s.see(which, _names(page.body) if "scoped" in which else page.body.count(b'"name": "r'))


@scenario(DELTA)
async def xds_scopes_delta(s: Session) -> None:
    """The same in the incremental protocol."""
    s.proxy.is_spent = True
    plane = ControlPlane(s)
    await plane.update_delta("cds", "c1", {"plain": ("1", STATIC)})
    await plane.asked("lds")
    await plane.send_delta("lds", "l1", {"main": ("1", scoped_listener())})
    await plane.asked("srds")
    await plane.update_delta("srds", "s1", {"a": ("1", scope("a", "ra", "one", "two"))})
    await plane.asked("rds")
    await plane.update_delta("rds", "r1", {"ra": ("1", answering("ra", "a"))})
    await plane.live()
    await ask(s, "a")
    await plane.update_delta("srds", "s2", {"b": ("1", scope("b", "rb", "one", "two"))}, ["a"])
    await plane.asked("rds", 3)
    client = await s.connect()
    await client.send(b"GET /a HTTP/1.1\r\nhost: example.com\r\naddr: x=one\r\nx-list: 0,two\r\n\r\n")
    await plane.update_delta("rds", "r2", {"rb": ("1", answering("rb", "b"))})
    await client.reply("b")
    await plane.update_delta("srds", "s3", {"c": ("1", scope("c", "rb", "one", "two"))})
    await plane.update_delta("srds", "s4", removed=["b", "never"])
    await ask(s, "gone")
    plane.see()
    await stats(s, r"^http\.main\.scoped_rds")


@scenario(WHOLE)
async def xds_scopes_on_demand(s: Session) -> None:
    """Routes of a scope are asked for when a request needs them."""
    s.proxy.is_spent = True
    plane = ControlPlane(s)
    await plane.update("cds", "c1", STATIC)
    await plane.asked("lds")
    await plane.send("lds", "l1", scoped_listener())
    await plane.asked("srds")
    on = ", on_demand: true"
    await plane.update(
        "srds", "s1", scope("a", "ra", "one", "two", more=on), scope("b", "rb", "b", "b", more=on)
    )
    await plane.live()
    client = await s.connect()
    await client.send(b"GET /a HTTP/1.1\r\nhost: example.com\r\naddr: x=one\r\nx-list: 0,two\r\n\r\n")
    await plane.asked("rds")
    await plane.update("rds", "r1", answering("ra", "a"))
    await client.reply("waited")
    await ask(s, "there")
    await ask(s, "no such scope", "x", "y")
    await client.send(b"GET /b HTTP/1.1\r\nhost: example.com\r\naddr: x=b\r\nx-list: 0,b\r\n\r\n")
    await plane.asked("rds", 3)
    await plane.update("rds", "r2", answering("rb", "b"))
    await client.reply("of another")
    plane.see()
    await stats(
        s,
        r"^http\.main\.scoped_rds",
        r"^http\.main\.(downstream_rq|rq|no_route)",
        r"^http\.main\.rds.*reload$",
    )
