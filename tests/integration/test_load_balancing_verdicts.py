# ruff: noqa: E501  (a case is a line of a table)
"""Policies, their settings and the weights of hosts that Envoy refuses or takes, each tried on Envoy."""

from __future__ import annotations

from pathlib import Path

import pytest
from config_oracle import envoy_verdict, our_verdict
from test_config_verdicts import conf, swap

pytestmark = pytest.mark.oracle

_LB = "type.googleapis.com/envoy.extensions.load_balancing_policies"
_HOST = "endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 1}}}"
_HEAVY = f"load_balancing_weight: 4294967295, {_HOST}"
_ENDPOINTS = """\
      endpoints:
      - lb_endpoints:
        - endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 1}}}
"""


def policy(name: str, kind: str, fields: str = "") -> str:
    typed = f"{{'@type': {_LB}.{name}.v3.{kind}, {fields}}}"
    return f"load_balancing_policy: {{policies: [{{typed_extension_config: {{name: a, typed_config: {typed}}}}}]}}"


def picking(name: str, kind: str) -> str:
    return f"endpoint_picking_policy: {policy(name, kind).removeprefix('load_balancing_policy: ')}"


def assigned(*localities: str, policy: str = "", lines: str = "", kind: str = "STATIC") -> str:
    """A cluster with these entries in its assignment, and lines of its own."""
    text = swap(_ENDPOINTS, f"      endpoints: [{', '.join(localities)}]\n      policy: {{{policy}}}\n")
    return text.replace("    type: STATIC\n", f"    type: {kind}\n    {lines}\n")


ROUND_ROBIN = policy("round_robin", "RoundRobin")
ONE = f"{{lb_endpoints: [{{{_HOST}}}]}}"
SLOW = "slow_start_config: {slow_start_window: %s}"
ZONE = "locality_lb_config: {zone_aware_lb_config: {%s}}"
COMMON = "common_lb_config: {%s: {}}"
PARTIAL = ("zone_aware_lb_config", "locality_weighted_lb_config", "consistent_hashing_lb_config")
HASHING = {
    "ring hash": "lb_policy: RING_HASH",
    "maglev": "lb_policy: MAGLEV",
    "ring hash extension": policy("ring_hash", "RingHash"),
    "weighted": "common_lb_config: {locality_weighted_lb_config: {}}",
}
SUMS = {
    "of hosts": (f"{{lb_endpoints: [{{{_HEAVY}}}, {{{_HEAVY}}}]}}",),
    "of hosts in two localities": tuple(
        f"{{locality: {{zone: {zone}}}, lb_endpoints: [{{{_HEAVY}}}]}}" for zone in "ab"
    ),
    "of localities": tuple(
        f"{{locality: {{zone: {zone}}}, load_balancing_weight: 4294967295, lb_endpoints: [{{{_HOST}}}]}}"
        for zone in "ab"
    ),
    "of localities said twice": tuple(
        f"{{locality: {{zone: a}}, load_balancing_weight: 4294967295, lb_endpoints: [{{{_HOST}}}]}}"
        for _ in "ab"
    ),
    "of localities without hosts": tuple(
        f"{{locality: {{zone: {zone}}}, load_balancing_weight: 4294967295}}" for zone in "ab"
    ),
    "of priorities": tuple(f"{{priority: {number}, lb_endpoints: [{{{_HEAVY}}}]}}" for number in (0, 1)),
}
FALLBACK = policy("round_robin", "RoundRobin").replace("load_balancing_policy", "fallback_policy", 1)
NAMED = "override_host_sources: [{header: x-host}], "
OVERRIDES = {
    "": NAMED + FALLBACK,
    "without a fallback": NAMED,
    "with an empty fallback": NAMED + "fallback_policy: {}",
    "with a fallback of no policy": NAMED
    + "fallback_policy: {policies: [{typed_extension_config: {name: a, typed_config: {'@type': type.googleapis.com/google.protobuf.Struct}}}]}",
    "with a ring": NAMED
    + policy("ring_hash", "RingHash", "minimum_ring_size: 9, maximum_ring_size: 3").replace(
        "load_balancing_policy", "fallback_policy", 1
    ),
    "without sources": FALLBACK,
    "with an empty source": "override_host_sources: [{}], " + FALLBACK,
    "with two in one source": "override_host_sources: [{header: x, metadata: {key: a, path: [{key: b}]}}], "
    + FALLBACK,
    "with metadata": "override_host_sources: [{metadata: {key: a, path: [{key: b}]}}], " + FALLBACK,
    "with metadata of nobody": "override_host_sources: [{metadata: {path: [{key: b}]}}], " + FALLBACK,
    "with metadata of no path": "override_host_sources: [{metadata: {key: a}}], " + FALLBACK,
    "told": NAMED + "selected_host_key: {key: a, path: [{key: b}]}, " + FALLBACK,
}
CASES = {
    **{f"extension beside {name}": conf(cluster=f"{ROUND_ROBIN}\n{COMMON % name}") for name in PARTIAL},
    "extension beside panic threshold": conf(
        cluster=f"{ROUND_ROBIN}\ncommon_lb_config: {{healthy_panic_threshold: {{value: 3}}}}"
    ),
    "extension beside lb_policy": conf(
        cluster=f"{ROUND_ROBIN}\nlb_policy: RANDOM\nleast_request_lb_config: {{}}"
    ),
    "no extension for the enum": conf(cluster="lb_policy: LOAD_BALANCING_POLICY_CONFIG"),
    "no policies": conf(cluster="load_balancing_policy: {policies: []}"),
    "cluster_provided": conf(cluster=policy("cluster_provided", "ClusterProvided")),
    "wrr_locality of round_robin": conf(
        cluster=policy("wrr_locality", "WrrLocality", picking("round_robin", "RoundRobin"))
    ),
    "wrr_locality of nothing": conf(cluster=policy("wrr_locality", "WrrLocality")),
    "wrr_locality": conf(
        cluster=policy(
            "wrr_locality",
            "WrrLocality",
            picking("client_side_weighted_round_robin", "ClientSideWeightedRoundRobin"),
        )
    ),
    "client_side_weighted_round_robin": conf(
        cluster=policy("client_side_weighted_round_robin", "ClientSideWeightedRoundRobin")
    ),
    **{
        f"override_host {name}": conf(cluster=policy("override_host", "OverrideHost", fields))
        for name, fields in OVERRIDES.items()
    },
    "weight update period": conf(
        cluster=policy(
            "client_side_weighted_round_robin", "ClientSideWeightedRoundRobin", "weight_update_period: -1s"
        )
    ),
    "slow start window": conf(cluster=f"round_robin_lb_config: {{{SLOW % '-1s'}}}"),
    "slow start window of an extension": conf(cluster=policy("round_robin", "RoundRobin", SLOW % "-1s")),
    "slow start without a window": conf(cluster="round_robin_lb_config: {slow_start_config: {}}"),
    "slow start aggression": conf(
        cluster="round_robin_lb_config: {slow_start_config: {slow_start_window: 1s, aggression: {default_value: -1}}}"
    ),
    "slow start percent": conf(
        cluster="round_robin_lb_config: {slow_start_config: {slow_start_window: 1s, min_weight_percent: {value: 101}}}"
    ),
    "slow start percent of an extension": conf(
        cluster=policy(
            "round_robin",
            "RoundRobin",
            "slow_start_config: {slow_start_window: 1s, min_weight_percent: {value: 101}}",
        )
    ),
    "routing percent": conf(
        cluster="common_lb_config: {zone_aware_lb_config: {routing_enabled: {value: 101}}}"
    ),
    "routing percent of an extension": conf(
        cluster=policy("random", "Random", ZONE % "routing_enabled: {value: 101}")
    ),
    "choice count": conf(cluster="lb_policy: LEAST_REQUEST\nleast_request_lb_config: {choice_count: 1}"),
    "choice count of an extension": conf(cluster=policy("least_request", "LeastRequest", "choice_count: 0")),
    "two ways to scan": conf(
        cluster=policy(
            "least_request", "LeastRequest", "enable_full_scan: false, selection_method: FULL_SCAN"
        )
    ),
    "local cluster of two priorities": assigned(f"{{priority: 1, lb_endpoints: [{{{_HOST}}}]}}")
    + "\ncluster_manager: {local_cluster_name: backend}",
    "other cluster of two priorities": assigned(f"{{priority: 1, lb_endpoints: [{{{_HOST}}}]}}")
    + "\ncluster_manager: {outlier_detection: {}}",
    "priority 128": assigned(f"{{priority: 128, lb_endpoints: [{{{_HOST}}}]}}"),
    "priority 129": assigned(f"{{priority: 129, lb_endpoints: [{{{_HOST}}}]}}"),
    "weight 0 of a locality": assigned(f"{{load_balancing_weight: 0, lb_endpoints: [{{{_HOST}}}]}}"),
    "proximity": assigned(f"{{proximity: 3, lb_endpoints: [{{{_HOST}}}]}}"),
    **{
        f"sum {name}, {how}": assigned(*localities, lines=lines)
        for name, localities in SUMS.items()
        for how, lines in HASHING.items()
    },
    "sum of hosts, of names": assigned(*SUMS["of hosts"], lines="lb_policy: RING_HASH", kind="STRICT_DNS"),
    "drop two": assigned(ONE, policy="drop_overloads: [{category: a}, {category: b}]"),
    "drop more than all": assigned(
        ONE, policy="drop_overloads: [{category: a, drop_percentage: {numerator: 101}}]"
    ),
    "drop a ten-thousandth too many": assigned(
        ONE,
        policy="drop_overloads: [{category: a, drop_percentage: {numerator: 10001, denominator: TEN_THOUSAND}}]",
    ),
    "drop all": assigned(
        ONE,
        policy="drop_overloads: [{category: a, drop_percentage: {numerator: 1000000, denominator: MILLION}}]",
    ),
    "drop without a category": assigned(ONE, policy="drop_overloads: [{drop_percentage: {numerator: 1}}]"),
    "overprovisioning of 0": assigned(ONE, policy="overprovisioning_factor: 0"),
    "list of endpoints": assigned(f"{{load_balancer_endpoints: {{lb_endpoints: [{{{_HOST}}}]}}}}"),
    "leds": assigned(
        "{leds_cluster_locality_config: {leds_config: {path_config_source: {path: /tmp/x}}, leds_collection_name: a}}"
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_way_to_choose_hosts_gets_envoys_verdict(name: str, tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(CASES[name])
    ours, theirs = our_verdict(file), envoy_verdict(file)
    assert ours.accepted == theirs.accepted, f"Envoy: {theirs.text}\nours: {ours.text}"
