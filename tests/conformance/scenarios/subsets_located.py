"""Subset load balancing with the weights of localities."""

from __future__ import annotations

import json
from typing import Any

from ..configuration import bootstrap, listener
from ..lab import Session
from ..scenario import Setup, scenario
from .lua import script
from .subsets import FROM_HEADER, TYPE, UPSTREAMS, ask, by, by_extension, host, parted

SUBJECT = "upstream"


def localities(*weights: int) -> list[dict[str, Any]]:
    hosts = [
        [host("one", {"version": "1"}), host("two", {"version": "1"})],
        [host("three", {"version": "1"}), host("four", {"version": "2"})],
    ]
    return [
        {"locality": {"zone": f"zone-{number}"}, "load_balancing_weight": weight, "lb_endpoints": endpoints}
        for number, (weight, endpoints) in enumerate(zip(weights, hosts, strict=True))
    ]


LOCATED = {"common_lb_config": {"locality_weighted_lb_config": {}}}
BY_WEIGHT = {
    "typed_extension_config": {
        "name": "weighted",
        "typed_config": {
            "@type": f"{TYPE}.round_robin.v3.RoundRobin",
            "locality_lb_config": {"locality_weighted_lb_config": {}},
        },
    }
}
BASE = {
    "subset_selectors": [by("version")],
    "fallback_policy": "DEFAULT_SUBSET",
    "default_subset": {"version": "1"},
    "panic_mode_any": True,
}
AWARE = {**BASE, "locality_weight_aware": True}
SCALED = {**AWARE, "scale_locality_weight": True}
ANY = {**AWARE, "fallback_policy": "ANY_ENDPOINT"}


def of_extension(name: str, subsets: dict[str, Any]) -> dict[str, Any]:
    made = by_extension(name, subsets, {}, child=BY_WEIGHT)
    made["load_assignment"]["endpoints"] = localities(1, 3)
    return made


def located(name: str, subsets: dict[str, Any], *weights: int, **fields: Any) -> dict[str, Any]:
    return parted(name, subsets, localities=localities(*weights), **{**LOCATED, **fields})


CLUSTERS = [
    located("unaware", BASE, 1, 3),
    located("aware", AWARE, 1, 3),
    located("scaled", SCALED, 1, 3),
    located("odd", SCALED, 2, 5),
    located("anyaware", ANY, 1, 3),
    located("anyscaled", {**SCALED, "fallback_policy": "ANY_ENDPOINT"}, 1, 3),
    located("random", SCALED, 1, 3, lb_policy="LEAST_REQUEST"),
    of_extension("extension", SCALED),
    of_extension("extunaware", BASE),
    located("least", {**BASE, "scale_locality_weight": True}, 1, 3),
]
ROUTES = [{"match": {"prefix": "/"}, "route": {"cluster_header": "x-cluster"}}]
SETUP = Setup(
    "subsets_located",
    bootstrap([listener("main", routes=json.dumps(ROUTES), filters=script(FROM_HEADER))], CLUSTERS),
    UPSTREAMS,
)


@scenario(SETUP)
async def subset_weighs_localities(s: Session) -> None:
    """Localities get shares by their weight, if subsets are aware of it."""
    for name in ("unaware", "aware", "anyaware", "extunaware", "least"):
        await ask(s, name, "{version='1'}", requests=24)
        await ask(s, name, "{version='2'}", requests=4)
        await ask(s, name, "{version='9'}", requests=24)


@scenario(SETUP)
async def subset_scales_weights_of_localities(s: Session) -> None:
    """A locality weighs less where some of its hosts are not in the subset."""
    for name in ("scaled", "anyscaled", "extension"):
        await ask(s, name, "{version='1'}", requests=24)
        await ask(s, name, "{version='2'}", requests=4)
        await ask(s, name, "{version='9'}", requests=24)
    await ask(s, "odd", "{version='1'}", requests=40)
