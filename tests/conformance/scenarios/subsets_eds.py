"""Subset load balancing while the endpoints change."""

from __future__ import annotations

import json
from typing import Any

from ..configuration import bootstrap, listener
from ..endpoints import assign, eds_cluster
from ..lab import Session
from ..scenario import Setup, scenario
from .lua import script
from .subsets import FROM_HEADER, UPSTREAMS, by, host, spread

SUBJECT = "upstream"
SUBSETS: dict[str, Any] = {
    "subset_selectors": [by("version"), by("id", single_host_per_subset=True)],
    "fallback_policy": "DEFAULT_SUBSET",
    "default_subset": {"version": "1"},
    "panic_mode_any": True,
}


def assignment(number: int, *localities: list[dict[str, Any]]) -> str:
    """What a file says: the hosts of each priority."""
    resource = {
        "@type": "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
        "cluster_name": "eds",
        "endpoints": [
            {"priority": priority, "lb_endpoints": hosts} for priority, hosts in enumerate(localities)
        ],
    }
    return (
        json.dumps({"version_info": str(number), "resources": [resource]})
        .replace('"PORT(', "PORT(")
        .replace(')"', ")")
    )


def one(name: str, version: str, **fields: Any) -> dict[str, Any]:
    return host(name, {"version": version, "id": "x"}, **fields)


STEPS = [
    ("begins", [one("one", "1"), one("two", "2")]),
    ("metadata changes", [one("one", "2"), one("two", "2")]),
    ("a host comes", [one("one", "2"), one("two", "2"), one("three", "3")]),
    ("a host is ill", [one("one", "2", health_status="UNHEALTHY"), one("two", "2"), one("three", "3")]),
    ("a host goes", [one("two", "2"), one("three", "1")]),
    ("a host moves", [one("two", "2")], [one("three", "1"), one("four", "2")]),
    ("all move", [], [one("two", "1"), one("four", "2")]),
    ("all go", []),
    ("they are back", [one("one", "1"), one("two", "2")]),
]
EDS = Setup(
    "subsets_eds",
    bootstrap(
        [
            listener(
                "main",
                routes=json.dumps([{"match": {"prefix": "/"}, "route": {"cluster": "eds"}}]),
                filters=script(FROM_HEADER),
            )
        ],
        [{**eds_cluster("eds"), "lb_subset_config": SUBSETS}],
        extra="node: {id: node1, cluster: cluster1}",
    ),
    UPSTREAMS,
    {"eds.yaml": assignment(0, *STEPS[0][1:]).encode()},
)


@scenario(EDS)
async def subset_while_endpoints_change(s: Session) -> None:
    """Subsets come and go with the hosts, and are counted."""
    s.proxy.is_spent = True
    for number, (label, *localities) in enumerate(STEPS):
        if number:
            await assign(s, "eds", assignment(number, *localities))
        for lb in ("{version='1'}", "{version='2'}", "{version='3'}", "{id='x'}"):
            await spread(s, f"{label}: {lb}", "/", f"x-lb: {lb}", requests=12)
        s.see(
            f"{label}: subsets",
            await s.counters(r"^cluster\.eds\.lb_subsets_(active|created|removed|single)"),
        )
