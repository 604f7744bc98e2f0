"""Subset load balancing by configurations that chance made: selectors, fallbacks, hosts and requests."""

from __future__ import annotations

import json
from random import Random
from typing import Any

from ..configuration import bootstrap, listener
from ..lab import Session
from ..scenario import Setup, scenario
from .subsets import UPSTREAMS, by_extension, match, parted, spread

SUBJECT = "upstream"
SEED, CLUSTERS, REQUESTS = 3, 6, 5
#: So many that every host of a subset has its turn as often as the others.
TURNS = 12
KEYS = "abc"
VALUES: list[Any] = ["1", "2", 1, True, ["1", "2"], [], {"x": 1}, [1, ["1"]]]


def metadata(chance: Random, part: float) -> dict[str, Any]:
    return {key: chance.choice(VALUES) for key in KEYS if chance.random() < part}


def selector(chance: Random) -> dict[str, Any]:
    keys = chance.sample(KEYS, chance.randrange(4))
    made: dict[str, Any] = {"keys": keys, "single_host_per_subset": chance.random() < 0.2}
    fallbacks = ["NOT_DEFINED", "NO_FALLBACK", "ANY_ENDPOINT", "DEFAULT_SUBSET"]
    made["fallback_policy"] = chance.choice(fallbacks)
    if len(keys) > 1 and chance.random() < 0.3:
        made["fallback_policy"] = "KEYS_SUBSET"
        made["fallback_keys_subset"] = chance.sample(keys, chance.randrange(1, len(keys)))
    return made


def subsets(chance: Random) -> dict[str, Any]:
    made: dict[str, Any] = {
        "subset_selectors": [selector(chance) for _ in range(chance.randrange(1, 4))],
        "fallback_policy": chance.choice(["NO_FALLBACK", "ANY_ENDPOINT", "DEFAULT_SUBSET"]),
        "default_subset": metadata(chance, 0.3),
        "panic_mode_any": chance.random() < 0.4,
        "list_as_any": chance.random() < 0.4,
    }
    if chance.random() < 0.3:
        made["metadata_fallback_policy"] = "FALLBACK_LIST"
    return made


def criteria(chance: Random, settings: dict[str, Any], hosts: dict[str, Any]) -> dict[str, Any]:
    """Mostly what leads to a host by one of the selectors."""
    has = chance.choice(list(hosts.values())) or {}
    made: dict[str, Any] = {}
    for key in chance.choice(settings["subset_selectors"])["keys"]:
        value = has.get(key, "1")
        if isinstance(value, list) and value and chance.random() < 0.6:
            value = chance.choice(value)
        made[key] = value if chance.random() < 0.85 else chance.choice(VALUES)
    if chance.random() < 0.2:
        made.update(metadata(chance, 0.3))
    if chance.random() < 0.2:
        made["fallback_list"] = chance.choice([[metadata(chance, 0.5), dict(has)], [], "x", [1]])
    return made


def setup(chance: Random) -> Setup:
    clusters, routes = [], []
    for number in range(CLUSTERS):
        name = f"c{number}"
        hosts = {each: metadata(chance, 0.8) if chance.random() < 0.9 else None for each in UPSTREAMS}
        settings = subsets(chance)
        if chance.random() < 0.5:
            settings["allow_redundant_keys"] = chance.random() < 0.6
            clusters.append(by_extension(name, settings, hosts))
        else:
            clusters.append(parted(name, settings, hosts))
        for turn in range(REQUESTS):
            route: dict[str, Any] = {"cluster": name}
            if chance.random() < 0.2:
                entry = {
                    "name": name,
                    "weight": 1,
                    "metadata_match": match(criteria(chance, settings, hosts)),
                }
                route = {"weighted_clusters": {"clusters": [entry]}}
            route["metadata_match"] = match(criteria(chance, settings, hosts))
            routes.append({"match": {"path": f"/{number}/{turn}"}, "route": route})
    return Setup("subsets_any", bootstrap([listener("main", routes=json.dumps(routes))], clusters), UPSTREAMS)


@scenario(setup(Random(SEED)))
async def subset_by_any_configuration(s: Session) -> None:
    """Every request goes to the same hosts, and is counted in the same way."""
    s.proxy.is_spent = True  # for the stats
    for number in range(CLUSTERS):
        for turn in range(REQUESTS):
            await spread(s, f"{number}, {turn}", f"/{number}/{turn}", requests=TURNS)
    await s.quiet()
    s.see("stats", await s.counters(r"\.lb_(subsets_|healthy_panic)"))
