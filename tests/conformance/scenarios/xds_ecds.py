# ruff: noqa: E501  (a line of configuration reads best unbroken)
"""Filters whose configuration is discovered (ECDS)."""

from __future__ import annotations

from typing import Any

from ..configuration import parse
from ..control_plane import ControlPlane
from ..lab import Session
from ..scenario import scenario
from ..upstream import answers, ok
from .xds_ads import ADS, WHOLE, direct, stats
from .xds_delta import DELTA, STATIC

SUBJECT = "xds"

FAULT = "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault"
MUTATION = "type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation"


def fault(status: int) -> str:
    return f"{{'@type': {FAULT}, abort: {{http_status: {status}, percentage: {{numerator: 100}}}}}}"


def ecds(config: str, name: str = "ext") -> str:
    return f"{{name: {name}, typed_config: {config}}}"


def with_filter(
    more: str = "", *, name: str = "main", source: str = ADS, types: str = f"[{FAULT}]", entry: str = ""
) -> dict[str, Any]:
    """A listener that answers by itself after a filter that is discovered."""
    found = f"- {{name: ext, {entry}config_discovery: {{config_source: {source}, type_urls: {types}{more}}}}}"
    return direct(name, "through", filters=found)


async def begin(s: Session, *listeners: dict[str, Any]) -> ControlPlane:
    """A proxy with listeners that wait for their filters."""
    s.proxy.is_spent = True
    plane = ControlPlane(s)
    await plane.update("cds", "c1", STATIC)
    await plane.asked("lds")
    await plane.send("lds", "l1", *(listeners or (with_filter(),)))
    return plane


@scenario(WHOLE)
async def xds_ecds_updates(s: Session) -> None:
    """A listener waits for its filter; others take its place while requests go on; wrong ones do not."""
    plane = await begin(s)
    await plane.asked("ecds")
    await plane.update("ecds", "f1", ecds(fault(418)))
    await plane.live()
    client = await s.connect()

    async def ask(label: str) -> None:
        await client.send(b"GET /a HTTP/1.1\r\nhost: example.com\r\n\r\n")
        await client.reply(label)

    await ask("first")
    await plane.update("ecds", "f2", ecds(fault(419)))
    await ask("second")
    await plane.update("ecds", "f2", ecds(fault(419)))
    await plane.update("ecds", "f3", ecds(f"{{'@type': {MUTATION}}}"))
    await ask("of another type")
    await plane.update("ecds", "f4", ecds(fault(99)))
    await ask("refused")
    await plane.update("ecds", "f5", ecds(fault(420), "other"))
    await ask("of another name")
    await plane.update("ecds", "f6")
    await ask("none")
    await plane.update("ecds", "f7", ecds(f"{{'@type': {FAULT}}}"))
    await ask("without effect")
    plane.see()
    await stats(s, r"extension_config_discovery")


@scenario(WHOLE)
async def xds_ecds_default(s: Session) -> None:
    """A default serves at once if it may, otherwise after the time to wait is over; then what comes."""
    soon = "{ads: {}, resource_api_version: V3, initial_fetch_timeout: 0.1s}"
    plane = await begin(
        s,
        with_filter(f", default_config: {fault(430)}, apply_default_config_without_warming: true"),
        with_filter(f", default_config: {fault(431)}", name="later", source=soon),
    )
    await plane.asked("ecds")
    await plane.live()
    await s.get("/", label="the default at once")
    await s.get("/", to="later", label="the default later")
    await plane.update("ecds", "f1", ecds(fault(418)))
    await s.get("/", label="at once")
    await s.get("/", to="later", label="later")
    await stats(s, r"extension_config_discovery")


@scenario(WHOLE)
async def xds_ecds_missing(s: Session) -> None:
    """Without a default requests are refused until there is a configuration."""
    soon = "{ads: {}, resource_api_version: V3, initial_fetch_timeout: 0.1s}"
    plane = await begin(s, with_filter(source=soon))
    await plane.asked("ecds")
    await plane.live()
    await s.get("/", label="refused")
    await plane.update("ecds", "f1", ecds(fault(418)))
    await s.get("/", label="there")
    await stats(s, r"extension_config_discovery", r"^http\.main\.downstream_rq_[45]xx")


@scenario(WHOLE)
async def xds_ecds_shared(s: Session) -> None:
    """Two listeners with one filter ask once; a second one later has what is there, or what fits it."""
    plane = await begin(s, with_filter(), with_filter(name="second"))
    await plane.update("ecds", "f1", ecds(fault(418)))
    await plane.live()
    await s.get("/", label="first")
    await s.get("/", to="second", label="second")
    await plane.update("lds", "l2", with_filter(), with_filter(name="third", types=f"[{FAULT}, {MUTATION}]"))
    await s.until_stats(
        lambda stats: stats["listener_manager.listener_create_success"] == 3, "listener_create"
    )
    await s.proxy.learn_ports()
    await s.get("/", to="third", label="third")
    await plane.update("ecds", "f2", ecds(f"{{'@type': {MUTATION}}}"))
    await s.get("/", label="refused by one")
    plane.see()
    await stats(s, r"extension_config_discovery")


@scenario(DELTA)
async def xds_ecds_delta(s: Session) -> None:
    """A filter whose configuration is removed refuses requests, or its default is back."""
    s.proxy.is_spent = True
    plane = ControlPlane(s)
    s.upstream("one").script = answers(ok(b"one"))
    await plane.update_delta("cds", "c1")
    await plane.asked("lds")
    await plane.send_delta(
        "lds",
        "l1",
        {
            "main": ("1", with_filter()),
            "default": ("1", with_filter(f", default_config: {fault(430)}", name="default")),
        },
    )
    await plane.update_delta("ecds", "f1", {"ext": ("1", ecds(fault(418)))})
    await plane.live()
    await s.get("/", label="first")
    await plane.update_delta("ecds", "f2", removed=["ext"])
    await s.get("/", label="removed")
    await s.get("/", to="default", label="its default")
    await plane.update_delta("ecds", "f3", {"ext": ("3", ecds(fault(419)))})
    await s.get("/", label="back")
    plane.see()
    await stats(s, r"extension_config_discovery")


@scenario(WHOLE)
async def xds_ecds_disabled(s: Session) -> None:
    """A filter that is off by default, and one with a configuration of the route."""
    route = f"- {{match: {{prefix: /on}}, direct_response: {{status: 200}}, typed_per_filter_config: {{ext: {fault(422)}}}}}\n- {{match: {{prefix: /}}, direct_response: {{status: 201}}}}"
    made = with_filter(entry="disabled: true, ")
    other = with_filter(name="other")
    for each in (made, other):
        hosts = each["filter_chains"][0]["filters"][0]["typed_config"]["route_config"]["virtual_hosts"]
        hosts[0]["routes"] = parse(route)
    plane = await begin(s, made, other)
    await plane.update("ecds", "f1", ecds(fault(418)))
    await plane.live()
    for name in ("main", "other"):
        await s.get("/on", to=name, label=f"{name}: route")
        await s.get("/off", to=name, label=f"{name}: default")
