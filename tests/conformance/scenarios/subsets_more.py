"""Subset load balancing: lists, single hosts, redundant keys, the extension, health, and more."""

from __future__ import annotations

import json
from typing import Any

from ..configuration import bootstrap, listener
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import answers, ok
from ..wire import read_response
from .lua import script
from .subsets import (
    BOTH,
    FROM_HEADER,
    HOSTS,
    TYPE,
    UPSTREAMS,
    VERSION,
    ask,
    by,
    by_extension,
    host,
    match,
    parted,
    spread,
    to,
)

SUBJECT = "upstream"
LISTS: dict[str, Any] = {
    "one": {"version": ["1", "2"], "stage": "prod"},
    "two": {"version": "2", "stage": ["prod", "dev"]},
    "three": {"version": [], "stage": "dev"},
    "four": {"version": [["1", "2"]], "stage": []},
}
LISTED = {
    "subset_selectors": [by("version"), by("version", "stage")],
    "fallback_policy": "DEFAULT_SUBSET",
    "default_subset": {"stage": "prod"},
}
SINGLE: dict[str, Any] = {"one": {"id": "a"}, "two": {"id": "b"}, "three": {"id": "b"}, "four": {"id": "b"}}
FALLBACK_LIST = {
    "subset_selectors": [by("version"), by("version", "stage")],
    "metadata_fallback_policy": "FALLBACK_LIST",
}


def extension_of(name: str) -> dict[str, Any]:
    return {"typed_extension_config": {"name": name, "typed_config": {"@type": f"{TYPE}.{name}"}}}


RING = extension_of("ring_hash.v3.RingHash")
NESTED = {
    "typed_extension_config": {
        "name": "inner",
        "typed_config": {
            "@type": f"{TYPE}.subset.v3.Subset",
            "subset_selectors": [by("version", "stage")],
            "fallback_policy": "ANY_ENDPOINT",
            "subset_lb_policy": {"policies": [extension_of("round_robin.v3.RoundRobin")]},
        },
    }
}
WELL = [
    host("one", {"version": "1"}, health_status="UNHEALTHY"),
    host("two", {"version": "1"}),
    host("three", {"version": "2"}, health_status="UNHEALTHY"),
    host("four", {"version": "3"}, health_status="DEGRADED"),
]
PRIORITIES = [
    {
        "priority": 0,
        "lb_endpoints": [host("one", {"id": "a"}), host("two", {"id": "b"}, health_status="UNHEALTHY")],
    },
    {"priority": 1, "lb_endpoints": [host("three", {"id": "a"}), host("four", {"id": "b"})]},
]
OF_LOCALITY = [
    {
        "locality": {"zone": "z"},
        "metadata": match({"version": "1"}),
        "lb_endpoints": [host("one", None), host("two", {"version": "2"})],
    }
]
CLUSTERS = [
    parted("lists", {**LISTED, "list_as_any": True}, LISTS),
    parted("plain", LISTED, LISTS),
    parted("single", {"subset_selectors": [by("id", single_host_per_subset=True)]}, SINGLE),
    parted("twice", {"subset_selectors": [by("id", single_host_per_subset=True), by("id")]}, SINGLE),
    parted(
        "singles",
        {"subset_selectors": [by("id", single_host_per_subset=True)], "fallback_policy": "ANY_ENDPOINT"},
        localities=PRIORITIES,
    ),
    parted("priorities", {"subset_selectors": [by("id")]}, localities=PRIORITIES),
    parted("list", FALLBACK_LIST),
    parted("listany", {**FALLBACK_LIST, "fallback_policy": "ANY_ENDPOINT"}),
    parted("unlist", VERSION),
    by_extension(
        "redundant",
        {
            "subset_selectors": [
                by("stage", fallback_policy="ANY_ENDPOINT"),
                by("version"),
                by("version", "stage"),
            ],
            "allow_redundant_keys": True,
        },
    ),
    by_extension("unselected", {"fallback_policy": "ANY_ENDPOINT"}),
    by_extension("nested", {"subset_selectors": [by("version")], "allow_redundant_keys": True}, child=NESTED),
    by_extension("unknown", {"subset_selectors": [by("version", fallback_policy=9)]}),
    by_extension(
        "ring",
        {**VERSION, "fallback_policy": "ANY_ENDPOINT"},
        {name: {"version": "1" if name != "two" else "2", "hash_key": f"host-{name}"} for name in HOSTS},
        child=RING,
    ),
    parted("well", {**VERSION, "fallback_policy": "ANY_ENDPOINT"}, localities=[{"lb_endpoints": WELL}]),
    parted(
        "calm",
        {**VERSION, "fallback_policy": "ANY_ENDPOINT"},
        localities=[{"lb_endpoints": WELL}],
        common_lb_config={"healthy_panic_threshold": {"value": 0}},
    ),
    parted("located", VERSION, localities=OF_LOCALITY),
    parted("retried", VERSION),
    parted("both", BOTH),
]
TWO = {"version": "2"}
ROUTES = [
    to("/none", "retried", {"version": "1"}, retry_policy={"retry_on": "5xx", "num_retries": 3}),
    to("/mirrored", "both", TWO, request_mirror_policies=[{"cluster": "mirror"}]),
    {
        "match": {"path": "/mirroredplain"},
        "route": {"cluster": "mirror", "request_mirror_policies": [{"cluster": "mirror"}]},
    },
    {
        "match": {"path": "/mirroredweighted"},
        "route": {
            "weighted_clusters": {"clusters": [{"name": "both", "weight": 1, "metadata_match": match(TWO)}]},
            "request_mirror_policies": [{"cluster": "mirror"}],
        },
    },
    to("/redirected", "retried", TWO, internal_redirect_policy={}),
    to("/next", "both", {"version": "1", "stage": "dev"}),
    {
        "match": {"path": "/hashed"},
        "route": {
            "cluster": "ring",
            "metadata_match": match({"version": "1"}),
            "hash_policy": [{"header": {"header_name": "x-key"}}],
        },
    },
    to(
        "/list",
        "list",
        {
            "version": "9",
            "fallback_list": [{"version": "8"}, {"stage": "dev", "version": "1"}, {"version": "2"}],
        },
    ),
    to("/listlast", "list", {"version": "9", "fallback_list": [{"version": "8"}]}),
    to("/listfirst", "list", {"version": "1", "fallback_list": [{"version": "8"}]}),
    to("/listempty", "list", {"version": "1", "fallback_list": []}),
    to("/listtext", "list", {"version": "1", "fallback_list": "x"}),
    to("/liststrings", "list", {"version": "1", "fallback_list": ["x"]}),
    to("/listany", "listany", {"version": "9", "fallback_list": [{"version": "8"}, {"version": "2"}]}),
    to("/unlist", "unlist", {"version": "1", "fallback_list": [{"version": "2"}]}),
    {"match": {"prefix": "/"}, "route": {"cluster_header": "x-cluster"}},
]
MORE = Setup(
    "subsets_more",
    bootstrap(
        [listener("main", routes=json.dumps(ROUTES), filters=script(FROM_HEADER))],
        [
            *CLUSTERS,
            {
                **parted(
                    "mirror",
                    {
                        **VERSION,
                        "fallback_policy": "DEFAULT_SUBSET",
                        "default_subset": {"version": "1", "stage": "dev"},
                    },
                )
            },
        ],
    ),
    UPSTREAMS,
)


@scenario(MORE)
async def subset_list_as_any(s: Session) -> None:
    """A host that has a list is in the subset of each of its values, if the cluster says so."""
    for name in ("lists", "plain"):
        for lb in (
            "{version='1'}",
            "{version='2'}",
            "{version={'1', '2'}}",
            "{version='1', stage='dev'}",
            "{version='2', stage='dev'}",
            "{version='9'}",
            "{stage='dev'}",
        ):
            await ask(s, name, lb)
    s.see("subsets", await s.counters(r"^cluster\.(lists|plain)\.lb_subsets_(active|created|removed)"))


@scenario(MORE)
async def subset_single_host(s: Session) -> None:
    """The first host that comes for a subset is its only one, whatever its health and its priority."""
    for name in ("single", "twice", "singles", "priorities"):
        for lb in ("{id='a'}", "{id='b'}"):
            await ask(s, name, lb)
    await ask(s, "single", "{id='c'}")
    s.see(
        "subsets", await s.counters(r"^cluster\.(single|twice|singles)\.lb_subsets_(active|created|single)")
    )


@scenario(MORE)
async def subset_fallback_list(s: Session) -> None:
    """FALLBACK_LIST tries one override after another; elsewhere the list is a key like any other."""
    for path in (
        "/list",
        "/listlast",
        "/listfirst",
        "/listempty",
        "/listtext",
        "/liststrings",
        "/listany",
        "/unlist",
    ):
        await spread(s, path, path)
    await ask(s, "list", "{fallback_list={{version='2'}}, stage='prod'}")


@scenario(MORE)
async def subset_redundant_keys(s: Session) -> None:
    """Keys that no selector has do not matter, if the extension says so; the longest selector counts."""
    for lb in (
        "{more='x', version='1', stage='dev'}",
        "{more='x', version='2'}",
        "{more='x'}",
        "{more='x', version='9', stage='prod'}",
        "{more='x', stage='9'}",
    ):
        await ask(s, "redundant", lb)
    for lb in ("", "{version='1'}"):
        await ask(s, "unselected", lb)
    for lb in ("{version='1'}", "{version='1', stage='dev'}", "{version='1', stage='x'}"):
        await ask(s, "nested", lb)
    await ask(s, "unknown", "{version='9'}")


@scenario(MORE)
async def subset_health(s: Session) -> None:
    """Health and panic are looked at inside of a subset."""
    for name in ("well", "calm"):
        for lb in ("{version='1'}", "{version='2'}", "{version='3'}"):
            async with s.counting(
                f"cluster.{name}.lb_healthy_panic", f"cluster.{name}.upstream_cx_none_healthy"
            ):
                await spread(s, f"{name} {lb}", "/", f"x-cluster: {name}", f"x-lb: {lb}")


@scenario(MORE)
async def subset_of_a_locality(s: Session) -> None:
    """The metadata of a locality is not that of its hosts."""
    for lb in ("{version='1'}", "{version='2'}"):
        await ask(s, "located", lb)


@scenario(MORE)
async def subset_of_a_hash(s: Session) -> None:
    """A ring of the subset's hosts alone."""
    for key in range(8):
        await spread(s, f"key {key}", "/hashed", f"x-key: {key}", requests=2)
    await spread(s, "without", "/hashed", "x-key: 1", "x-lb: {version='9'}", requests=2)


@scenario(MORE)
async def subset_of_a_retry(s: Session) -> None:
    """Every try stays in the subset."""
    for name in ("one", "three"):
        s.upstream(name).script = answers(b"HTTP/1.1 503 X\r\ncontent-length: 0\r\n\r\n")
    async with s.counting("cluster.retried.lb_subsets_selected", "cluster.retried.upstream_rq_retry"):
        await spread(s, "tries", "/none", requests=1)


@scenario(MORE)
async def subset_of_a_mirror(s: Session) -> None:
    """A copy has the criteria of the request: of the route, the weighted cluster and the filters."""
    total = "cluster.mirror.upstream_rq_total"
    for path, lb in (
        ("/mirrored", ""),
        ("/mirrored", "x-lb: {version='1', stage='prod'}"),
        ("/mirroredplain", ""),
        ("/mirroredplain", "x-lb: {version='2'}"),
        ("/mirroredweighted", ""),
    ):
        async with s.counting("cluster.mirror.lb_subsets_fallback", "cluster.mirror.lb_subsets_selected"):
            before = (await s.counters(total))[total]
            client = await s.connect()
            await client.send(f"GET {path} HTTP/1.1\r\nhost: a\r\n{lb}\r\n".replace("}", "}\r\n").encode())
            await read_response(client.wire)
            await s.until_stats(lambda stats, n=before: stats[total] > n, total)  # type: ignore[misc]
        s.see(f"{path} {lb}", {name: len(each.seen) for name, each in s.upstreams.items() if each.seen})
        for upstream in s.upstreams.values():
            upstream.seen.clear()


@scenario(MORE)
async def subset_of_an_internal_redirect(s: Session) -> None:
    """The request that follows has the criteria of its own route, and filters speak anew."""
    s.upstream("two").script = answers(
        b"HTTP/1.1 302 X\r\nlocation: http://example.com/v\r\ncontent-length: 0\r\n\r\n"
    )
    await s.get("/redirected", "x-cluster: retried", "x-lb: {version='2'}")
    s.upstream("two").script = answers(
        b"HTTP/1.1 302 X\r\nlocation: http://example.com/next\r\ncontent-length: 0\r\n\r\n", ok()
    )
    await s.get("/redirected")
