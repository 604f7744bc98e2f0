"""Subset load balancing: which hosts a request's metadata leads to, and what if it leads nowhere."""

from __future__ import annotations

import json
from typing import Any

from ..configuration import bootstrap, listener
from ..lab import Session
from ..scenario import Setup, scenario
from ..wire import read_response
from .lua import script

SUBJECT = "upstream"
TYPE = "type.googleapis.com/envoy.extensions.load_balancing_policies"
ROUND_ROBIN = {
    "typed_extension_config": {"name": "rr", "typed_config": {"@type": f"{TYPE}.round_robin.v3.RoundRobin"}}
}
#: What hosts are, by upstream; a cluster may say something else.
HOSTS: dict[str, Any] = {
    "one": {"version": "1", "stage": "prod"},
    "two": {"version": "2", "stage": "prod"},
    "three": {"version": "1", "stage": "dev"},
    "four": None,
}
#: Filters set `envoy.lb` to what a header says, as a Lua table.
FROM_HEADER = """
function envoy_on_request(h)
  local text = h:headers():get("x-lb")
  if text then
    for name, value in pairs(load("return " .. text)()) do
      h:streamInfo():dynamicMetadata():set("envoy.lb", name, value)
    end
  end
end
"""
COUNTED = ("selected", "fallback", "fallback_panic")


def host(name: str, metadata: Any, **fields: Any) -> dict[str, Any]:
    address = {"socket_address": {"address": "127.0.0.1", "port_value": f"PORT({name})"}}
    found: dict[str, Any] = {"endpoint": {"address": address}, **fields}
    if metadata is not None:
        found["metadata"] = {"filter_metadata": {"envoy.lb": metadata}}
    return found


def parted(
    name: str,
    subsets: dict[str, Any],
    hosts: dict[str, Any] = HOSTS,
    *,
    localities: Any = None,
    **fields: Any,
) -> dict[str, Any]:
    """A cluster with ``lb_subset_config``; localities take the place of hosts."""
    if localities is None:
        localities = [{"lb_endpoints": [host(each, metadata) for each, metadata in hosts.items()]}]
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "2s",
        "load_assignment": {"cluster_name": name, "endpoints": localities},
        "lb_subset_config": subsets,
        **fields,
    }


def by(*keys: str, **fields: Any) -> dict[str, Any]:
    return {"keys": list(keys), **fields}


def match(metadata: dict[str, Any]) -> dict[str, Any]:
    return {"filter_metadata": {"envoy.lb": metadata}}


def extension(subsets: dict[str, Any], child: Any = ROUND_ROBIN) -> dict[str, Any]:
    config = {"@type": f"{TYPE}.subset.v3.Subset", **subsets, "subset_lb_policy": {"policies": [child]}}
    return {"policies": [{"typed_extension_config": {"name": "subset", "typed_config": config}}]}


def by_extension(
    name: str, subsets: dict[str, Any], hosts: dict[str, Any] = HOSTS, child: Any = ROUND_ROBIN
) -> dict[str, Any]:
    made = parted(name, {}, hosts, load_balancing_policy=extension(subsets, child))
    del made["lb_subset_config"]
    return made


def to(path: str, cluster: str, metadata: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {
        "match": {"path": path},
        "route": {"cluster": cluster, "metadata_match": match(metadata), **fields},
    }


VERSION = {"subset_selectors": [by("version")]}
BOTH = {"subset_selectors": [by("version", "stage"), by("version")]}
VALUES: dict[str, Any] = {
    "one": {"value": 1},
    "two": {"value": "1"},
    "three": {"value": True},
    "four": {"value": [1, {"a": "b", "c": None}]},
}
CLUSTERS = [
    parted("none", VERSION),
    parted("any", {**VERSION, "fallback_policy": "ANY_ENDPOINT"}),
    parted("default", {**VERSION, "fallback_policy": "DEFAULT_SUBSET", "default_subset": {"stage": "prod"}}),
    parted("nobody", {**VERSION, "fallback_policy": "DEFAULT_SUBSET", "default_subset": {"stage": "x"}}),
    parted("everybody", {**VERSION, "fallback_policy": "DEFAULT_SUBSET"}),
    parted(
        "panic",
        {
            **VERSION,
            "fallback_policy": "DEFAULT_SUBSET",
            "default_subset": {"stage": "x"},
            "panic_mode_any": True,
        },
    ),
    parted("nopanic", {**VERSION, "panic_mode_any": True}),
    parted("unparted", {"fallback_policy": "DEFAULT_SUBSET", "default_subset": {"stage": "x"}}),
    parted(
        "keyless",
        {"subset_selectors": [{}], "fallback_policy": "DEFAULT_SUBSET", "default_subset": {"stage": "dev"}},
    ),
    parted("both", BOTH),
    parted("values", {"subset_selectors": [by("value")]}, VALUES),
    parted(
        "ordered",
        {
            "subset_selectors": [
                by("version", "stage", fallback_policy="ANY_ENDPOINT"),
                by("stage", fallback_policy="ANY_ENDPOINT"),
                by("version", fallback_policy="NO_FALLBACK"),
            ],
            "fallback_policy": "DEFAULT_SUBSET",
            "default_subset": {"stage": "dev"},
        },
    ),
    parted(
        "keys",
        {
            "subset_selectors": [
                by("version", "stage", fallback_policy="KEYS_SUBSET", fallback_keys_subset=["version"]),
                by("version", fallback_policy="DEFAULT_SUBSET"),
                by("stage", fallback_policy="NO_FALLBACK"),
            ],
            "fallback_policy": "ANY_ENDPOINT",
            "default_subset": {"version": "2"},
        },
    ),
    parted("weighted", VERSION),
]
ROUTES = [
    to("/v1", "none", {"version": "1"}),
    to("/v1prod", "both", {"stage": "prod", "version": "1"}),
    to("/empty", "any", {}),
    {
        "match": {"path": "/weighted"},
        "route": {
            "metadata_match": match({"version": "1"}),
            "weighted_clusters": {
                "header_name": "x-draw",
                "clusters": [
                    {"name": "both", "weight": 1, "metadata_match": match({"stage": "prod"})},
                    {"name": "both", "weight": 1, "metadata_match": match({"version": "2"})},
                    {"name": "both", "weight": 1},
                    {
                        "name": "both",
                        "weight": 1,
                        "metadata_match": {"filter_metadata": {"other": {"version": "2"}}},
                    },
                    {"cluster_header": "x-cluster", "weight": 1, "metadata_match": match({"stage": "prod"})},
                ],
            },
        },
    },
    {"match": {"prefix": "/"}, "route": {"cluster_header": "x-cluster"}},
]
UPSTREAMS = dict.fromkeys(HOSTS, "h1")
SUBSETS = Setup(
    "subsets",
    bootstrap(
        [listener("main", routes=json.dumps(ROUTES), filters=script(FROM_HEADER))],
        CLUSTERS,
    ),
    UPSTREAMS,
)


async def spread(s: Session, label: str, path: str, *headers: str, requests: int = 4) -> None:
    """Observe what so many requests are answered with, and by whom; forget the details."""
    client = await s.connect()
    statuses: dict[str, int] = {}
    lines = "".join(f"{line}\r\n" for line in headers)
    for _ in range(requests):
        await client.send(f"GET {path} HTTP/1.1\r\nhost: a\r\n{lines}\r\n".encode())
        reply = await read_response(client.wire)
        status = reply.start_line.split(" ")[1]
        statuses[status] = statuses.get(status, 0) + 1
    client.close()
    s.see(label, {"statuses": statuses, "hosts": {n: len(u.seen) for n, u in s.upstreams.items() if u.seen}})
    for upstream in s.upstreams.values():
        upstream.seen.clear()


async def ask(s: Session, cluster: str, lb: str = "", requests: int = 4) -> None:
    """The same of a cluster, with the metadata of a Lua table; observe what was counted."""
    async with s.counting(*(f"cluster.{cluster}.lb_subsets_{name}" for name in COUNTED)):
        headers = [f"x-cluster: {cluster}", *([f"x-lb: {lb}"] if lb else [])]
        await spread(s, f"{cluster} {lb}", "/", *headers, requests=requests)


@scenario(SUBSETS)
async def subset_of_a_route(s: Session) -> None:
    """``metadata_match`` of a route picks the subset; every host of it gets its share."""
    await spread(s, "one key", "/v1")
    await spread(s, "two keys", "/v1prod")
    await spread(s, "empty", "/empty")


@scenario(SUBSETS)
async def subset_of_dynamic_metadata(s: Session) -> None:
    """What filters put into ``envoy.lb`` goes over what the route asks for."""
    await ask(s, "none", "{version='2'}")
    await spread(s, "over the route", "/v1", "x-lb: {version='2'}")
    await spread(s, "beside the route", "/v1prod", "x-lb: {stage='dev'}")
    await spread(s, "too much", "/v1", "x-lb: {stage='prod'}")
    await spread(s, "no subset", "/v1", "x-lb: {version='9'}")


@scenario(SUBSETS)
async def subset_fallback_policies(s: Session) -> None:
    """NO_FALLBACK is 503 with UH; the others have a host for whoever has no subset, or says nothing."""
    for cluster in (
        "none",
        "any",
        "default",
        "nobody",
        "everybody",
        "panic",
        "nopanic",
        "unparted",
        "keyless",
    ):
        await ask(s, cluster)
        await ask(s, cluster, "{version='9'}")
        await ask(s, cluster, "{stage='dev'}")
        await ask(s, cluster, "{version='1'}")


@scenario(SUBSETS)
async def subset_without_a_host(s: Session) -> None:
    """The answer, and the log line."""
    async with s.logging(1):
        await s.get("/", "x-cluster: none", "x-lb: {version='9'}")


@scenario(SUBSETS)
async def subset_compares_values(s: Session) -> None:
    """Numbers, texts, booleans, lists and structs are equal only to their like."""
    for value in ("1", "1.0", "'1'", "true", "{1, {a='b'}}", "'true'", "2", "{a='b'}"):
        await ask(s, "values", f"{{value={value}}}", requests=1)


@scenario(SUBSETS)
async def subset_selectors_of_two_keys(s: Session) -> None:
    """The names have to be those of a selector; which selector comes first does not matter."""
    for lb in (
        "{version='1'}",
        "{version='1', stage='dev'}",
        "{stage='dev'}",
        "{version='1', stage='dev', more='x'}",
    ):
        await ask(s, "both", lb)


@scenario(SUBSETS)
async def subset_fallback_of_a_selector(s: Session) -> None:
    """A selector's own fallback; it counts only if no longer selector came by before."""
    for cluster in ("ordered", "keys"):
        for lb in ("{version='9'}", "{version='9', stage='dev'}", "{stage='x'}", "{version='1', stage='x'}"):
            await ask(s, cluster, lb)


@scenario(SUBSETS)
async def subset_of_weighted_clusters(s: Session) -> None:
    """The entry's criteria go over the route's."""
    for draw in range(5):
        await spread(s, f"entry {draw}", "/weighted", f"x-draw: {draw}", "x-cluster: both")
    await spread(s, "and the filter's", "/weighted", "x-draw: 0", "x-lb: {stage='dev'}")


@scenario(SUBSETS)
async def subset_stats(s: Session) -> None:
    """What is counted of the subsets themselves."""
    s.see("subsets", await s.counters(r"lb_subsets_(active|created|removed|single)"))
    s.see("members", await s.counters(r"^cluster\.(any|default)\.membership_(total|healthy|change)$"))
