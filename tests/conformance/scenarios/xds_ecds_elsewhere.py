# ruff: noqa: E501  (a line of configuration reads best unbroken)
"""Network filters, listener filters and filters towards upstreams whose configuration is discovered (ECDS)."""

from __future__ import annotations

import json
from typing import Any

from ..configuration import HTTP_OPTIONS, parse
from ..control_plane import ControlPlane
from ..lab import Session
from ..scenario import scenario
from ..upstream import answers, ok
from .upstream_filters import CODEC
from .xds_ads import ADS, WHOLE, assigned, direct, stats
from .xds_delta import DELTA, STATIC
from .xds_ecds import FAULT, MUTATION, begin, fault

SUBJECT = "xds"

NETWORK = "type.googleapis.com/envoy.extensions.filters.network"
RBAC = f"{NETWORK}.rbac.v3.RBAC"
LIMIT = f"{NETWORK}.local_ratelimit.v3.LocalRateLimit"
TCP = f"{NETWORK}.tcp_proxy.v3.TcpProxy"
PROXY = "type.googleapis.com/envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol"
TLS = "type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector"
SOON = "{ads: {}, resource_api_version: V3, initial_fetch_timeout: 0.1s}"


def rbac(action: str) -> str:
    policies = "{all: {permissions: [{any: true}], principals: [{any: true}]}}"
    return f"{{'@type': {RBAC}, stat_prefix: '', rules: {{action: {action}, policies: {policies}}}}}".replace(
        "stat_prefix: ''", "stat_prefix: r"
    )


def tcp(to: str) -> str:
    return f"{{'@type': {TCP}, stat_prefix: t, cluster: {to}}}"


def proxied(*, is_optional: bool) -> str:
    return f"{{'@type': {PROXY}, allow_requests_without_proxy_protocol: {str(is_optional).lower()}}}"


def named(config: str, name: str = "ext") -> str:
    return f"{{name: {name}, typed_config: {config}}}"


def discovered(types: str, more: str = "", *, source: str = ADS, name: str = "ext") -> Any:
    """An entry of any list of filters."""
    return parse(
        f"{{name: {name}, config_discovery: {{config_source: {source}, type_urls: [{types}]{more}}}}}"
    )


def network(
    more: str = "", *, name: str = "main", source: str = ADS, types: str = RBAC, entry: str = "ext"
) -> dict[str, Any]:
    """A listener that answers by itself behind a network filter that is discovered."""
    made = direct(name, "through")
    made["stat_prefix"] = name
    made["filter_chains"][0]["filters"].insert(0, discovered(types, more, source=source, name=entry))
    return made


def terminal(more: str = "", *, source: str = ADS, types: str = TCP) -> dict[str, Any]:
    """A listener whose only filter is discovered."""
    made = direct("main", "")
    made["stat_prefix"] = "main"
    made["filter_chains"][0]["filters"] = [discovered(types, more, source=source)]
    return made


def listening(
    more: str = "", *, name: str = "main", source: str = ADS, types: str = PROXY, entry: str = "ext"
) -> dict[str, Any]:
    """A listener that answers by itself behind a listener filter that is discovered."""
    made = direct(name, "through")
    made["stat_prefix"] = name
    made["listener_filters"] = [discovered(types, more, source=source, name=entry)]
    return made


_COUNTS = (
    r"extension_config_discovery",
    r"^listener\.(main|later|second)\..*(extension_config_missing|downstream_cx_total|no_filter)",
)


def _answers(plane: ControlPlane) -> list[dict[str, Any]]:
    """Without what is asked first, which Envoy asks for each kind of list by itself."""
    return [each for each in plane.requests["ecds"] if "nonce" in each]


@scenario(WHOLE)
async def xds_ecds_network(s: Session) -> None:
    """A listener waits for a network filter; new connections pass another; wrong ones are refused."""
    plane = await begin(s, network())
    await plane.asked("ecds")
    await plane.update("ecds", "f1", named(rbac("ALLOW")))
    await plane.live()
    old = await s.connect()

    async def ask(label: str) -> None:
        await old.send(b"GET /a HTTP/1.1\r\nhost: example.com\r\n\r\n")
        await old.reply(f"{label}, old")
        await s.get("/", label=f"{label}, new")

    await ask("allowed")
    await plane.update("ecds", "f2", named(rbac("DENY")))
    await ask("denied")
    await plane.update("ecds", "f3", named(f"{{'@type': {LIMIT}, stat_prefix: l}}"))
    await ask("of another type")
    await plane.update("ecds", "f4", named(f"{{'@type': {RBAC}}}"))
    await ask("against the rules")
    await plane.update("ecds", "f5", named(rbac("ALLOW"), "other"))
    await ask("of another name")
    await plane.update("ecds", "f6")
    await ask("none")
    await plane.update("ecds", "f7", named(tcp("one")))
    await ask("one that ends chains")
    await plane.update("ecds", "f8", named(rbac("ALLOW")))
    await ask("allowed again")
    plane.see()
    await stats(s, *_COUNTS)


@scenario(WHOLE)
async def xds_ecds_network_default(s: Session) -> None:
    """A default serves at once if it may, otherwise later; without one connections are closed."""
    plane = await begin(
        s,
        network(f", default_config: {rbac('DENY')}, apply_default_config_without_warming: true"),
        network(f", default_config: {rbac('DENY')}", name="later", source=SOON),
        network(name="second", source=SOON, entry="missing"),
    )
    await plane.asked("ecds")
    await plane.live()
    names = ("main", "later", "second")
    for name in names:
        await s.get("/", to=name, label=f"default, {name}")
    await plane.update("ecds", "f1", named(rbac("ALLOW")), named(rbac("ALLOW"), "missing"))
    for name in names:
        await s.get("/", to=name, label=f"there, {name}")
    await stats(s, *_COUNTS)


@scenario(DELTA)
async def xds_ecds_network_removed(s: Session) -> None:
    """A network filter that is removed: its default is back, or connections are closed."""
    s.proxy.is_spent = True
    plane = ControlPlane(s)
    await plane.update_delta("cds", "c1", {"plain": ("1", STATIC)})
    await plane.asked("lds")
    await plane.send_delta(
        "lds",
        "l1",
        {
            "main": ("1", network()),
            "later": ("1", network(f", default_config: {rbac('DENY')}", name="later")),
            "second": ("1", listening(name="second", entry="listening")),
        },
    )
    await plane.asked("ecds")
    await plane.update_delta("ecds", "f1", {"ext": ("1", named(rbac("ALLOW")))})
    await plane.update_delta(
        "ecds", "f2", {"listening": ("1", named(proxied(is_optional=True), "listening"))}
    )
    await plane.live()
    names = ("main", "later", "second")
    for name in names:
        await s.get("/", to=name, label=f"there, {name}")
    await plane.update_delta("ecds", "f3", removed=["ext", "listening"])
    for name in names:
        await s.get("/", to=name, label=f"gone, {name}")
    await plane.update_delta("ecds", "f4", {"ext": ("2", named(rbac("ALLOW")))})
    for name in names:
        await s.get("/", to=name, label=f"back, {name}")
    s.see("answers", _answers(plane))
    await stats(s, *_COUNTS)


@scenario(WHOLE)
async def xds_ecds_terminal(s: Session) -> None:
    """The filter that ends a chain is discovered, and leads elsewhere with the next configuration."""
    s.proxy.is_spent = True
    plane = ControlPlane(s)
    for name in ("one", "two"):
        s.upstream(name).script = answers(ok(name.encode()))
    clusters = (
        f"{{name: {name}, type: STATIC, connect_timeout: 1s, load_assignment: {assigned(name, name)}}}"
        for name in ("one", "two")
    )
    await plane.update("cds", "c1", *clusters)
    await plane.asked("lds")
    await plane.send("lds", "l1", terminal())
    await plane.asked("ecds")
    await plane.update("ecds", "f1", named(tcp("one")))
    await plane.live()
    old = await s.connect()

    async def ask(label: str) -> None:
        await old.send(b"GET /a HTTP/1.1\r\nhost: example.com\r\n\r\n")
        await old.reply(f"{label}, old")
        await s.get("/", label=f"{label}, new")

    await ask("one")
    await plane.update("ecds", "f2", named(tcp("two")))
    await ask("two")
    await plane.update("ecds", "f3", named(rbac("ALLOW")))
    await ask("one that ends no chain")
    plane.see()
    await stats(s, *_COUNTS, r"^tcp\.t\.downstream_cx_(total|no_route)$")


@scenario(WHOLE)
async def xds_ecds_listener(s: Session) -> None:
    """A listener waits for a listener filter; new connections pass another; wrong ones are refused."""
    plane = await begin(s, listening())
    await plane.asked("ecds")
    await plane.update("ecds", "f1", named(proxied(is_optional=True)))
    await plane.live()
    old = await s.connect()

    async def ask(label: str) -> None:
        await old.send(b"GET /a HTTP/1.1\r\nhost: example.com\r\n\r\n")
        await old.reply(f"{label}, old")
        await s.get("/", label=f"{label}, new")
        await stats(s, r"extension_config_discovery.*config_", label=label)

    await ask("optional")
    await plane.update("ecds", "f2", named(proxied(is_optional=False)))
    await ask("not optional")
    await plane.update("ecds", "f3", named(f"{{'@type': {TLS}}}"))
    await ask("of another type")
    await plane.update("ecds", "f4", named(f"{{'@type': {PROXY}, rules: [{{tlv_type: 300}}]}}"))
    await ask("against the rules")
    await plane.update("ecds", "f4 again", named(f"{{'@type': {PROXY}, rules: [{{tlv_type: 300}}]}}"))
    await ask("against the rules again")
    await plane.update("ecds", "f5")
    await ask("none")
    await plane.update("ecds", "f6", named(proxied(is_optional=True)))
    await ask("optional again")
    plane.see()
    await stats(s, *_COUNTS)


@scenario(WHOLE)
async def xds_ecds_listener_default(s: Session) -> None:
    """A default serves at once if it may, otherwise later; without one connections are closed."""
    strict = f", default_config: {proxied(is_optional=False)}"
    plane = await begin(
        s,
        listening(f"{strict}, apply_default_config_without_warming: true"),
        listening(strict, name="later", source=SOON),
        listening(name="second", source=SOON, entry="missing"),
    )
    await plane.asked("ecds")
    await plane.live()
    names = ("main", "later", "second")
    for name in names:
        await s.get("/", to=name, label=f"default, {name}")
    right = proxied(is_optional=True)
    await plane.update("ecds", "f1", named(right), named(right, "missing"))
    for name in names:
        await s.get("/", to=name, label=f"there, {name}")
    await stats(s, *_COUNTS)


@scenario(WHOLE)
async def xds_ecds_kinds(s: Session) -> None:
    """One name in three kinds of lists: the kinds share the resource, and each takes what is its own."""
    both = network(name="later")
    both["listener_filters"] = [discovered(PROXY)]
    plane = await begin(s, network(), listening(name="second"), both)
    await plane.asked("ecds")
    await plane.update("ecds", "f1", named(rbac("ALLOW")))
    await plane.update("ecds", "f2", named(proxied(is_optional=True)))
    s.see("answers", _answers(plane))
    await stats(s, *_COUNTS)
    page = await s.proxy.admin("GET", "/config_dump")
    dumps = [each for each in json.loads(page.body)["configs"] if "Ecds" in each["@type"]]
    s.see("dump", [each["ecds_filters"][0]["ecds_filter"] for each in dumps if "ecds_filters" in each])
    s.see("dumps", len(dumps))


def mutation(value: str) -> str:
    add = f"[{{append: {{header: {{key: x-passed, value: {value}}}}}}}]"
    return f"{{'@type': {MUTATION}, mutations: {{request_mutations: {add}}}}}"


def options(more: str = "", source: str = ADS, types: str = MUTATION) -> str:
    filters = json.dumps([discovered(types, more, source=source), CODEC])
    return (
        f"{{'@type': type.googleapis.com/{HTTP_OPTIONS}, explicit_http_config: {{http_protocol_options: {{}}}}, "
        f"http_filters: {filters}}}"
    )


def upward(name: str, to: str, more: str) -> str:
    return (
        f"{{name: {name}, type: STATIC, connect_timeout: 1s, load_assignment: {assigned(name, to)}, "
        f"typed_extension_protocol_options: {{envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {more}}}}}"
    )


_ROUTES = "- {match: {prefix: /}, route: {cluster: app}}"


def forwarding() -> dict[str, Any]:
    made = direct("main", "")
    hosts = made["filter_chains"][0]["filters"][0]["typed_config"]["route_config"]["virtual_hosts"]
    hosts[0]["routes"] = parse(_ROUTES)
    return made


@scenario(WHOLE)
async def xds_ecds_upstream(s: Session) -> None:
    """A cluster waits for a filter of its requests; others take its place; wrong ones do not."""
    s.proxy.is_spent = True
    plane = ControlPlane(s)
    s.upstream("one").script = answers(ok(b"one"))
    await plane.asked("cds")
    await plane.send("cds", "c1", upward("app", "one", options()))
    await plane.asked("ecds")
    await stats(s, r"^cluster_manager\.(warming|active)_clusters$", label="waiting")
    await plane.update("ecds", "f1", named(mutation("first")))
    await plane.asked("lds")
    await plane.update("lds", "l1", forwarding())
    await plane.live()
    await s.get("/", label="first")
    await plane.update("ecds", "f2", named(mutation("second")))
    await s.get("/", label="second")
    await plane.update("ecds", "f3", named(fault(418)))
    await s.get("/", label="of another type")
    await plane.update("ecds", "f4", named(mutation("''")))
    await s.get("/", label="another")
    plane.see()
    await stats(s, r"extension_config_discovery", r"^cluster_manager\.(warming|active)_clusters$")


@scenario(WHOLE)
async def xds_ecds_upstream_default(s: Session) -> None:
    """A default, at once or later; without one requests are refused."""
    s.proxy.is_spent = True
    plane = ControlPlane(s)
    s.upstream("one").script = answers(ok(b"one"))
    now = f", default_config: {mutation('default')}, apply_default_config_without_warming: true"
    later = f", default_config: {mutation('later')}"
    await plane.asked("cds")
    await plane.send(
        "cds",
        "c1",
        upward("app", "one", options(now)),
        upward("later", "one", options(later, SOON)),
        upward("none", "one", options("", SOON).replace('"ext"', '"none"')),
    )
    await plane.asked("ecds")
    await plane.asked("lds")
    made = forwarding()
    hosts = made["filter_chains"][0]["filters"][0]["typed_config"]["route_config"]["virtual_hosts"]
    names = ("app", "later", "none")
    hosts[0]["routes"] = [{"match": {"prefix": f"/{name}"}, "route": {"cluster": name}} for name in names]
    await plane.update("lds", "l1", made)
    await plane.live()
    for name in names:
        await s.get(f"/{name}", label=f"default, {name}")
    await plane.update("ecds", "f1", named(mutation("there")), named(mutation("there"), "none"))
    for name in names:
        await s.get(f"/{name}", label=f"there, {name}")
    await stats(s, r"extension_config_discovery", r"^cluster_manager\.(warming|active)_clusters$")


@scenario(WHOLE)
async def xds_ecds_router(s: Session) -> None:
    """The router's filters of tries are discovered: their listener waits for them."""
    s.proxy.is_spent = True
    plane = ControlPlane(s)
    s.upstream("one").script = answers(ok(b"one"))
    cluster = f"{{name: app, type: STATIC, connect_timeout: 1s, load_assignment: {assigned('app', 'one')}}}"
    await plane.update("cds", "c1", cluster)
    await plane.asked("lds")
    made = forwarding()
    router = made["filter_chains"][0]["filters"][0]["typed_config"]["http_filters"][-1]["typed_config"]
    router["upstream_http_filters"] = [discovered(MUTATION), CODEC]
    await plane.send("lds", "l1", made)
    await plane.asked("ecds")
    await plane.update("ecds", "f1", named(mutation("first")))
    await plane.live()
    await s.get("/", label="first")
    await plane.update("ecds", "f2", named(mutation("second")))
    await s.get("/", label="second")
    plane.see()
    await stats(s, r"extension_config_discovery")


@scenario(WHOLE)
async def xds_ecds_wrong(s: Session) -> None:
    """What is refused of such an entry itself."""
    s.proxy.is_spent = True
    plane = ControlPlane(s)
    await plane.update("cds", "c1", STATIC)
    await plane.asked("lds")
    first = network()
    middle = terminal()
    middle["filter_chains"][0]["filters"].insert(0, discovered(TCP, name="else"))
    empty = listening(f", default_config: {proxied(is_optional=True)}", types=TLS)
    wrong = {
        "no such type": network(types="type.googleapis.com/envoy.none"),
        "a type of another kind": network(types=FAULT),
        "a default of another type": network(f", default_config: {rbac('ALLOW')}", types=LIMIT),
        "a default that is wrong": network(f", default_config: {{'@type': {RBAC}}}"),
        "no default": network(", apply_default_config_without_warming: true"),
        "a terminal one in the middle": network(types=TCP),
        "none at the end": terminal(types=RBAC),
        "two terminal ones": middle,
        "a default of another type of a listener filter": empty,
        "a listener filter of another kind": listening(types=RBAC),
        "right": first,
    }
    for label, made in wrong.items():
        await plane.update("lds", label, made)
        await stats(s, r"^listener_manager\.lds\.update_(success|rejected)$", label=label)
    s.see("requests", list(plane.requests["lds"]))
