# ruff: noqa: E501  (a line of configuration reads best unbroken)
"""What is taken of an answer one resource of which is refused for what it holds, wherever that one stands."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from ..configuration import parse
from ..control_plane import ControlPlane
from ..lab import Session
from ..scenario import Setup, scenario
from ..tls import CERTIFICATES, DOWNSTREAM, certificate, get_tls
from .xds_ads import ADS, WHOLE, ads, assigned, direct, eds_cluster, rds_listener, stats
from .xds_ads import begin as begin_whole
from .xds_delta import DELTA, begin
from .xds_delta import STATIC as PLAIN
from .xds_dumps import BAD_CLUSTER, BAD_MANAGER

SUBJECT = "xds"

NAMES = ("first", "second", "third")
#: Envoy takes these as they are, and refuses them when it makes use of them.
_HOST = "{endpoint: {address: {socket_address: {address: %s, port_value: PORT(two)}}}%s}"
_GOOD = _HOST % ("127.0.0.1", "")
#: Endpoints of an assignment that may be wrong.
CONTENTS = {
    "a name": f"{{lb_endpoints: [{_HOST % ('nowhere', '')}]}}",
    "a name behind a good one": f"{{lb_endpoints: [{_GOOD}, {_HOST % ('nowhere', '')}]}}",
    "a name in another locality": f"{{lb_endpoints: [{_GOOD}]}}, "
    f"{{locality: {{zone: z}}, lb_endpoints: [{_HOST % ('nowhere', '')}]}}",
    "twice": f"{{lb_endpoints: [{_GOOD}, {_GOOD}]}}",
    "in two localities": f"{{lb_endpoints: [{_GOOD}]}}, {{locality: {{zone: z}}, lb_endpoints: [{_GOOD}]}}",
    "in two priorities": f"{{lb_endpoints: [{_GOOD}]}}, {{priority: 1, lb_endpoints: [{_GOOD}]}}",
    "a locality twice": f"{{locality: {{zone: z}}, lb_endpoints: [{_GOOD}]}}, "
    f"{{locality: {{zone: z}}, lb_endpoints: [{_HOST % ('127.0.0.2', '')}]}}",
    "weights too great": "{lb_endpoints: ["
    + ", ".join(_HOST % (f"127.0.0.{n}", ", load_balancing_weight: 4294967295") for n in (1, 2))
    + "]}",
    "weights of localities too great": ", ".join(
        f"{{locality: {{zone: {zone}}}, load_balancing_weight: 4294967295, lb_endpoints: [{_HOST % (ip, '')}]}}"
        for zone, ip in (("a", "127.0.0.1"), ("b", "127.0.0.2"))
    ),
    "no priority 0": f"{{priority: 1, lb_endpoints: [{_GOOD}]}}",
    "no address": "{lb_endpoints: [{endpoint: {}}]}",
    "no endpoint": "{lb_endpoints: [{}]}",
    "weight 0": f"{{lb_endpoints: [{_HOST % ('127.0.0.1', ', load_balancing_weight: 0')}]}}",
    "a wrong additional address": "{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, "
    "port_value: PORT(two)}}, additional_addresses: [{address: {socket_address: {address: nowhere, "
    "port_value: 1}}}]}}]}",
    "a wrong address for health": "{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, "
    "port_value: PORT(two)}}, health_check_config: {address: {socket_address: {address: nowhere, "
    "port_value: 1}}}}}]}",
    "by name": "{lb_endpoints: [{endpoint_name: x}]}",
    "a port by name": "{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, "
    "named_port: http}}}}]}",
}


def wrong(name: str, contents: str = "a name") -> str:
    return f"{{cluster_name: {name}, endpoints: [{CONTENTS[contents]}]}}"


def _nameless(requests: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without the names, whose order is each proxy's own."""
    return [{key: value for key, value in each.items() if key != "names"} for each in requests]


async def _took(s: Session, label: str, *patterns: str) -> None:
    """Who took and who refused how many answers."""
    await stats(s, *(rf"{each}\.update_(success|rejected|failure)$" for each in patterns), label=label)


_EACH = r"^cluster\.(app|first|second|third)"


async def _warm(s: Session) -> None:
    await s.until_stats(lambda stats: stats["cluster_manager.warming_clusters"] == 0, "warming_clusters")


@scenario(WHOLE)
async def xds_contents_of_endpoints(s: Session) -> None:
    """A wrong assignment keeps those from being taken that were asked for before it, wherever it stands."""
    plane = await begin_whole(s)
    await plane.send("cds", "c2", eds_cluster("app"), *map(eds_cluster, NAMES))
    await plane.asked("eds", 3)
    await plane.update("eds", "e2", *(assigned(each, "one") for each in NAMES))
    await _warm(s)
    for bad in NAMES:
        for turned in (NAMES, NAMES[::-1]):
            resources = (wrong(each) if each == bad else assigned(each, "two") for each in turned)
            await plane.update("eds", f"{bad} {turned[0]}", *resources)
            await _took(s, f"{bad} is wrong, {turned[0]} stands first", _EACH)
        await plane.update("eds", f"{bad} right", *(assigned(each, "one") for each in NAMES))
    s.see("requests", _nameless(plane.requests["eds"]))


@scenario(WHOLE)
async def xds_contents_one_by_one(s: Session) -> None:
    """What of an assignment is refused."""
    plane = await begin_whole(s)
    for label in CONTENTS:
        await plane.update("eds", label, wrong("app", label))
        await stats(s, r"^cluster\.app\.(update_(success|rejected|no_rebuild)|membership)", label=label)
    s.see("requests", list(plane.requests["eds"]))


@scenario(DELTA)
async def xds_contents_delta_one_by_one(s: Session) -> None:
    """The same of an assignment that came by itself, and in which version it is here afterwards."""
    plane = await begin(s)
    for number, label in enumerate(CONTENTS):
        await plane.update_delta("eds", label, {"app": (f"{number}", wrong("app", label))})
        await stats(s, r"^cluster\.app\.(update_(success|rejected|no_rebuild)|membership)", label=label)
    await plane.update_delta("eds", "last", {"app": ("last", assigned("app", "one"))})
    await plane.update_delta("eds", "wrong", {"app": ("wrong", wrong("app"))})
    count = len(plane.requests["eds"])
    await plane.end()
    await plane.asked("eds", count + 1)
    await s.get("/")
    s.see("requests", list(plane.requests["eds"]))


@scenario(DELTA)
async def xds_contents_delta_endpoints(s: Session) -> None:
    """Of several assignments one of which is wrong it is chance in Envoy which are taken, though none of
    their versions is remembered; all are in the end."""
    plane = await begin(s)
    await plane.send_delta("cds", "c2", {each: ("1", eds_cluster(each)) for each in NAMES})
    await plane.asked("eds", 3)
    await plane.update_delta("eds", "e2", {each: ("1", assigned(each, "one")) for each in NAMES})
    await _warm(s)
    for bad in NAMES:
        for turned in (NAMES, NAMES[::-1]):
            version = f"{bad} {turned[0]}"
            resources = {
                each: wrong(each) if each == bad else assigned(each, "one", "two") for each in turned
            }
            await plane.update_delta(
                "eds", version, {each: (version, resource) for each, resource in resources.items()}
            )
            await stats(
                s, rf"{_EACH}\.update_rejected$", rf"^cluster\.{bad}\.membership_total$", label=version
            )
        right = {each: (f"{bad} right", assigned(each, "one")) for each in NAMES}
        await plane.update_delta("eds", f"{bad} right", right)
        await stats(s, rf"{_EACH}\.(update_rejected|membership_total)$", label=f"{bad} is right")
    count = len(plane.requests["eds"])
    await plane.end()
    await plane.asked("eds", count + 1)
    await plane.update_delta(
        "eds", "right", {each: ("right", assigned(each, "one", "two")) for each in NAMES}
    )
    await stats(s, rf"{_EACH}\.(update_rejected|membership_total)$", label="right")
    rule = f"{{cluster_name: second, endpoints: [{CONTENTS['weight 0']}]}}"
    await plane.update_delta(
        "eds",
        "rule",
        {"first": ("r", assigned("first", "two")), "second": ("r", rule), "third": ("r", assigned("third"))},
    )
    await stats(s, rf"{_EACH}\.(update_rejected|membership_total)$", label="against the rules")
    await plane.update_delta(
        "eds", "unread", {"first": ("u", assigned("first", "two")), "nobody": ("u", wrong("nobody"))}
    )
    await stats(s, rf"{_EACH}\.(update_rejected|membership_total)$", label="wrong of nobody's")
    s.see("requests", list(plane.requests["eds"]))


def _turns(bad: Any, *good: Any) -> dict[str, list[Any]]:
    return {
        "first": [bad, *good],
        "in the middle": [good[0], bad, *good[1:]],
        "last": [*good, bad],
    }


async def _errors(s: Session, label: str) -> None:
    """Of which listeners and clusters /config_dump shows an error."""
    page = await s.proxy.admin("GET", "/config_dump")
    found = {}
    for each in json.loads(page.body)["configs"]:
        for kind in ("dynamic_listeners", "dynamic_active_clusters", "dynamic_warming_clusters"):
            for entry in each.get(kind, ()):
                name = entry.get("name") or entry.get("cluster", {}).get("name", "")
                if name:
                    error = entry.get("error_state")
                    found[f"{kind} {name}"] = "" if error is None else error.get("version_info", "?")
    s.see(f"{label}: errors", dict(sorted(found.items())))


_CLUSTERS = r"^cluster_manager\.(cluster|active)", r"^cluster_manager\.cds\.(?!.*(time|version|duration))"
_LISTENERS = r"^listener_manager\.(listener_(?!.*worker)|lds\.(?!.*(time|version|duration)))"


async def _send(plane: ControlPlane, kind: str, version: str, named: Sequence[tuple[str, Any]]) -> None:
    """As a whole, or each in this version, where there are only changes."""
    if "Delta" in plane.paths[-1]:
        await plane.update_delta(kind, version, {name: (version, each) for name, each in named})
    else:
        await plane.update(kind, version, *(each for _, each in named))


async def _clusters(s: Session, plane: ControlPlane) -> None:
    for label, turn in _turns(("bad", BAD_CLUSTER), ("plain", ""), ("more", "")).items():
        steady = [("app", eds_cluster("app"))]
        good = PLAIN.replace("connect_timeout: 1s", f"connect_timeout: {len(label)}s")
        named = [(name, resource or good.replace("plain", name)) for name, resource in turn]
        await _send(plane, "cds", label, [*named, *steady])
        await stats(s, *_CLUSTERS, label=label)
        await _errors(s, label)
    await _send(plane, "cds", "right", [("app", eds_cluster("app")), ("plain", PLAIN)])
    await stats(s, *_CLUSTERS, label="right")
    s.see("requests", _nameless(plane.requests["cds"]))


@scenario(WHOLE)
async def xds_contents_of_clusters(s: Session) -> None:
    """A wrong cluster is refused alone, wherever it stands."""
    await _clusters(s, await begin_whole(s))


@scenario(DELTA)
async def xds_contents_delta_clusters(s: Session) -> None:
    """The same of changes."""
    await _clusters(s, await begin(s))


async def _listeners(s: Session, plane: ControlPlane) -> None:
    bad = ("bad", direct("bad", "x", BAD_MANAGER))
    for label, turn in _turns(bad, ("good", None), ("more", None)).items():
        named = [(name, resource or direct(name, label)) for name, resource in turn]
        await _send(plane, "lds", label, [*named, ("main", rds_listener())])
        await s.until_stats(
            lambda stats: stats["listener_manager.total_listeners_active"] == 3, "total_listeners_active"
        )
        await s.proxy.learn_ports()
        for name in ("good", "more"):
            await s.get("/", to=name, label=f"{label}, {name}")
        await stats(s, _LISTENERS, label=label)
        await _errors(s, label)
    s.see("requests", _nameless(plane.requests["lds"]))


@scenario(WHOLE)
async def xds_contents_of_listeners(s: Session) -> None:
    """A wrong listener is refused alone, wherever it stands; what came before is told with the error."""
    await _listeners(s, await begin_whole(s))


@scenario(DELTA)
async def xds_contents_delta_listeners(s: Session) -> None:
    """The same of changes."""
    await _listeners(s, await begin(s))


_ROUTES = "{name: %s, virtual_hosts: [{name: all, domains: ['*'], routes: [%s]}]}"
_WRONG_ROUTE = "{match: {safe_regex: {regex: '['}}, direct_response: {status: 201}}"
_RDS = ("routes", "others", "more")


def _routes(name: str, *, is_wrong: bool, status: int) -> str:
    right = f"{{match: {{prefix: /}}, direct_response: {{status: {status}}}}}"
    return _ROUTES % (name, _WRONG_ROUTE if is_wrong else right)


_HTTP = r"^http\.(main|second|third)\.rds\.(routes|others|more)"


@scenario(WHOLE)
async def xds_contents_of_routes(s: Session) -> None:
    """Wrong routes keep those from being taken that were asked for before them."""
    plane = await begin_whole(s)
    await plane.update(
        "lds", "l2", rds_listener(), rds_listener("second", "others"), rds_listener("third", "more")
    )
    await plane.asked("rds", 3)
    await plane.update("rds", "r2", *(_routes(each, is_wrong=False, status=200) for each in _RDS))
    await s.until_stats(
        lambda stats: stats["listener_manager.total_listeners_active"] == 3, "total_listeners_active"
    )
    for bad in _RDS:
        for status, turned in ((201, _RDS), (202, _RDS[::-1])):
            resources = (_routes(each, is_wrong=each == bad, status=status) for each in turned)
            await plane.update("rds", f"{bad} {turned[0]}", *resources)
            await _took(s, f"{bad} is wrong, {turned[0]} stands first", _HTTP)
    s.see("requests", _nameless(plane.requests["rds"]))


@scenario(DELTA)
async def xds_contents_delta_routes(s: Session) -> None:
    """Of changed routes some of which are wrong it is chance in Envoy which are taken: not those."""
    plane = await begin(s)
    await plane.update_delta("lds", "l2", {"second": ("1", rds_listener("second", "others"))})
    await plane.asked("rds", 3)
    await plane.update_delta("rds", "r2", {"others": ("1", _routes("others", is_wrong=False, status=200))})
    await s.until_stats(
        lambda stats: stats["listener_manager.total_listeners_active"] == 2, "total_listeners_active"
    )
    await s.proxy.learn_ports()
    for bad, to in (("routes", "main"), ("others", "second")):
        resources = {each: _routes(each, is_wrong=each == bad, status=201) for each in ("routes", "others")}
        await plane.update_delta("rds", bad, {name: (bad, each) for name, each in resources.items()})
        await s.get("/", to=to, label=f"{bad} is wrong")
        await stats(s, r"^http\.(main|second)\.rds\..*update_rejected$", label=f"{bad} is wrong")
        right = {each: _routes(each, is_wrong=False, status=203) for each in ("routes", "others")}
        await plane.update_delta(
            "rds", f"{bad} right", {name: (f"{bad} r", each) for name, each in right.items()}
        )
        await s.get("/", to="main", label=f"{bad} is right, main")
        await s.get("/", to="second", label=f"{bad} is right, second")
    count = len(plane.requests["rds"])
    await plane.end()
    await plane.asked("rds", count + 1)
    s.see("requests", list(plane.requests["rds"]))


_SECRETS = ads("xds_contents_secrets", one="h1", two="h1")
SECRETS = Setup("xds_contents_secrets", _SECRETS.bootstrap, _SECRETS.upstreams, CERTIFICATES, is_early=True)
_GARBAGE = "{certificate_chain: {inline_string: garbage}, private_key: {inline_string: garbage}}"


def _sds(name: str) -> str:
    return f"{{name: {name}, sds_config: {ADS}}}"


def _secured(name: str, common: str) -> dict[str, Any]:
    made = direct(name, "x")
    typed = {"@type": DOWNSTREAM, "common_tls_context": parse(common)}
    made["filter_chains"][0]["transport_socket"] = {"name": "tls", "typed_config": typed}
    return made


@scenario(SECRETS)
async def xds_contents_of_secrets(s: Session) -> None:
    """A wrong secret keeps those from being taken that were asked for before it."""
    plane = await begin_whole(s)
    names = ("cert", "other", "last")
    listeners = (_secured(name, f"tls_certificate_sds_secret_configs: [{_sds(name)}]") for name in names)
    await plane.update("lds", "l2", rds_listener(), *listeners)
    await plane.asked("sds")
    good = f"tls_certificate: {certificate('server')}"
    await plane.update("sds", "s1", *(f"{{name: {name}, {good}}}" for name in names))
    await s.until_stats(
        lambda stats: stats["listener_manager.total_listeners_active"] == 4, "total_listeners_active"
    )
    for bad in names:
        for turned in (names, names[::-1]):
            changed = "wild" if turned is names else "server"
            await plane.update(
                "sds",
                f"{bad} {turned[0]}",
                *(
                    f"{{name: {name}, tls_certificate: {_GARBAGE if name == bad else certificate(changed)}}}"
                    for name in turned
                ),
            )
            await _took(s, f"{bad} is wrong, {turned[0]} stands first", r"^sds\.(cert|other|last)")
    s.see("requests", _nameless(plane.requests["sds"]))


async def _refused_again(s: Session, common: str, good: str, wrong: dict[str, str]) -> None:
    plane = await begin_whole(s)
    await plane.update("lds", "l2", rds_listener(), _secured("secured", common))
    await plane.asked("sds")
    await plane.update("sds", "s1", f"{{name: cert, {good}}}")
    await s.until_stats(
        lambda stats: stats["listener_manager.total_listeners_active"] == 2, "total_listeners_active"
    )
    await s.proxy.learn_ports()
    for label, each in wrong.items():
        for turn in ("once", "twice", "thrice"):
            await plane.update("sds", f"{label} {turn}", f"{{name: cert, {each}}}")
            await _took(s, f"{label} {turn}", r"^sds\.cert")
        await get_tls(s, to="secured", label=label)
        await plane.update("sds", f"{label} right", f"{{name: cert, {good}}}")
        await _took(s, f"{label} right", r"^sds\.cert")
    s.see("requests", list(plane.requests["sds"]))


_PAIR = "{certificate_chain: {filename: FILE(server-cert.pem)}, private_key: {filename: FILE(wild-key.pem)}}"


@scenario(SECRETS)
async def xds_contents_certificate_again(s: Session) -> None:
    """A wrong certificate is refused once; the same again is no change, and the one before serves."""
    await _refused_again(
        s,
        f"tls_certificate_sds_secret_configs: [{_sds('cert')}]",
        f"tls_certificate: {certificate('server')}",
        {
            "garbage": f"tls_certificate: {_GARBAGE}",
            "no file": "tls_certificate: {certificate_chain: {filename: /nowhere}}",
            "no pair": f"tls_certificate: {_PAIR}",
            "no key": "tls_certificate: {certificate_chain: {filename: FILE(server-cert.pem)}}",
            "empty": "tls_certificate: {}",
            "another kind": "validation_context: {trusted_ca: {inline_string: garbage}}",
            "none": "",
        },
    )


@scenario(SECRETS)
async def xds_contents_authority_again(s: Session) -> None:
    """A wrong authority as well, but not what breaks the rules of the API."""
    await _refused_again(
        s,
        f"tls_certificates: [{certificate('server')}]\nvalidation_context_sds_secret_config: {_sds('cert')}",
        "validation_context: {trusted_ca: {filename: FILE(root.pem)}}",
        {
            "garbage": "validation_context: {trusted_ca: {inline_string: garbage}}",
            "no file": "validation_context: {trusted_ca: {filename: /nowhere}}",
            "rule": "validation_context: {trusted_ca: {filename: FILE(root.pem)}, verify_certificate_hash: [x]}",
        },
    )
