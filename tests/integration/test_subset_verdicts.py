# ruff: noqa: E501  (a case is a line of a table)
"""Which subset configurations, and lists of policies, Envoy takes and refuses, and so do we."""

from __future__ import annotations

from pathlib import Path

import pytest
from config_oracle import envoy_verdict, load, our_verdict
from test_config_verdicts import conf

from sidecar.config.load import Loaded

pytestmark = pytest.mark.oracle

_LB = "type.googleapis.com/envoy.extensions.load_balancing_policies"


def lb(name: str, fields: str = "") -> str:
    return f"{{typed_extension_config: {{name: x, typed_config: {{'@type': {_LB}.{name}, {fields}}}}}}}"


_ROUND_ROBIN = lb("round_robin.v3.RoundRobin")


def old(fields: str, more: str = "") -> str:
    return f"lb_subset_config: {{{fields}}}\n{more}"


def new(fields: str, child: str = _ROUND_ROBIN) -> str:
    inner = f"{fields}, subset_lb_policy: {{policies: [{child}]}}" if child else fields
    return f"load_balancing_policy: {{policies: [{lb('subset.v3.Subset', inner)}]}}"


_BY_A = "subset_selectors: [{keys: [a]}]"
_KEYS = "fallback_policy: KEYS_SUBSET"
_AWARE = f"{_BY_A}, locality_weight_aware: true"
_BAD_RING = "{minimum_ring_size: 100, maximum_ring_size: 10}"
CASES = {
    "default_subset without a policy": old(f"{_BY_A}, default_subset: {{a: b}}"),
    "DEFAULT_SUBSET without default_subset": old(f"{_BY_A}, fallback_policy: DEFAULT_SUBSET"),
    "no selectors": old("fallback_policy: ANY_ENDPOINT"),
    "nothing": old(""),
    "selector without keys": old("subset_selectors: [{}]"),
    "KEYS_SUBSET without keys": old(f"subset_selectors: [{{keys: [a, b], {_KEYS}}}]"),
    "KEYS_SUBSET of all keys": old(
        f"subset_selectors: [{{keys: [a, b], {_KEYS}, fallback_keys_subset: [b, a]}}]"
    ),
    "KEYS_SUBSET of another key": old(
        f"subset_selectors: [{{keys: [a, b], {_KEYS}, fallback_keys_subset: [c]}}]"
    ),
    "KEYS_SUBSET of a key twice": old(
        f"subset_selectors: [{{keys: [a, b], {_KEYS}, fallback_keys_subset: [a, a]}}]"
    ),
    "KEYS_SUBSET": old(f"subset_selectors: [{{keys: [a, b], {_KEYS}, fallback_keys_subset: [a]}}]"),
    "KEYS_SUBSET of nothing": old(f"subset_selectors: [{{{_KEYS}}}]"),
    "fallback keys for ANY_ENDPOINT": old(
        "subset_selectors: [{keys: [a, b], fallback_policy: ANY_ENDPOINT, fallback_keys_subset: [a]}]"
    ),
    "fallback keys for no policy": old("subset_selectors: [{keys: [a, b], fallback_keys_subset: [a]}]"),
    "fallback keys of no keys": old("subset_selectors: [{fallback_keys_subset: [a]}]"),
    "fallback keys in the second": old(
        "subset_selectors: [{keys: [b]}, {keys: [a], fallback_keys_subset: [a]}]"
    ),
    "selector twice": old("subset_selectors: [{keys: [a]}, {keys: [a]}]"),
    "key twice": old("subset_selectors: [{keys: [a, a]}]"),
    "empty key": old("subset_selectors: [{keys: ['']}]"),
    "single host of two keys": old("subset_selectors: [{keys: [a, b], single_host_per_subset: true}]"),
    "unknown policy": old(f"{_BY_A}, fallback_policy: 7"),
    "unknown policy of a selector": old("subset_selectors: [{keys: [a], fallback_policy: 9}]"),
    "unknown metadata policy": old(f"{_BY_A}, metadata_fallback_policy: 4"),
    "default_subset is a text": old(f"{_BY_A}, default_subset: a"),
    "cluster provided": old(_BY_A, "lb_policy: CLUSTER_PROVIDED"),
    "cluster provided without selectors": old("fallback_policy: ANY_ENDPOINT", "lb_policy: CLUSTER_PROVIDED"),
    "ring hash": old(_BY_A, "lb_policy: RING_HASH"),
    "ring hash with wrong sizes": old(_BY_A, f"lb_policy: RING_HASH\nring_hash_lb_config: {_BAD_RING}"),
    "ring hash with wrong sizes, no selectors": old(
        "", f"lb_policy: RING_HASH\nring_hash_lb_config: {_BAD_RING}"
    ),
    "maglev with a wrong size": old(_BY_A, "lb_policy: MAGLEV\nmaglev_lb_config: {table_size: 10}"),
    "aware of localities that have no weights": old(_AWARE),
    "aware, without selectors": old("locality_weight_aware: true"),
    "aware, by zone": old(_AWARE, "common_lb_config: {zone_aware_lb_config: {}}"),
    "aware": old(
        f"{_AWARE}, scale_locality_weight: true", "common_lb_config: {locality_weighted_lb_config: {}}"
    ),
    "scaled, not aware": old(f"{_BY_A}, scale_locality_weight: true"),
    "extension": new(_BY_A),
    "extension without a child": new(_BY_A, child=""),
    "extension with an unknown child": new(
        _BY_A,
        "{typed_extension_config: {name: x, typed_config: {'@type': type.googleapis.com/envoy.config.core.v3.Node}}}",
    ),
    "extension without selectors": new("fallback_policy: ANY_ENDPOINT"),
    "extension with fallback keys": new("subset_selectors: [{keys: [a], fallback_keys_subset: [a]}]"),
    "extension with an unknown policy": new(f"{_BY_A}, fallback_policy: 7"),
    "extension with an unknown policy of a selector": new(
        "subset_selectors: [{keys: [a], fallback_policy: 9}]"
    ),
    "extension with a wrong maglev": new(_BY_A, lb("maglev.v3.Maglev", "table_size: 10")),
    "extension with a wrong ring": new(_BY_A, lb("ring_hash.v3.RingHash", _BAD_RING[1:-1])),
    "extension in an extension": new(
        _BY_A, lb("subset.v3.Subset", f"{_BY_A}, subset_lb_policy: {{policies: [{_ROUND_ROBIN}]}}")
    ),
    "wrong extension in an extension": new(
        _BY_A,
        lb(
            "subset.v3.Subset",
            f"subset_selectors: [{{keys: [a], {_KEYS}}}], subset_lb_policy: {{policies: [{_ROUND_ROBIN}]}}",
        ),
    ),
    "extension that asks the cluster": new(_BY_A, lb("cluster_provided.v3.ClusterProvided")),
    "both": old(_BY_A, new(_BY_A)),
    "other extension and subsets": old(_BY_A, f"load_balancing_policy: {{policies: [{_ROUND_ROBIN}]}}"),
    "other extension and nothing": old("", f"load_balancing_policy: {{policies: [{_ROUND_ROBIN}]}}"),
}
_NO_POLICY = "{typed_extension_config: {name: u, typed_config: {'@type': type.googleapis.com/envoy.config.core.v3.Node}}}"
_RING = lb("ring_hash.v3.RingHash", _BAD_RING[1:-1])


def policies(*entries: str, more: str = "") -> str:
    return f"load_balancing_policy: {{policies: [{', '.join(entries)}]}}\n{more}"


CASES |= {
    "policy to be set": "lb_policy: LOAD_BALANCING_POLICY_CONFIG",
    "policy that is set": policies(_ROUND_ROBIN, more="lb_policy: LOAD_BALANCING_POLICY_CONFIG"),
    "no policy": policies(_NO_POLICY),
    "no policy, then one": policies(_NO_POLICY, _ROUND_ROBIN),
    "policy, then none": policies(_ROUND_ROBIN, _NO_POLICY),
    "unknown type": policies(_NO_POLICY.replace("config.core", "nothing.such"), _ROUND_ROBIN),
    "empty list": policies(),
    "empty entry": policies("{}"),
    "empty entry, then one": policies("{}", _ROUND_ROBIN),
    "name alone": policies(
        "{typed_extension_config: {name: envoy.load_balancing_policies.random}}", _ROUND_ROBIN
    ),
    "wrong ring": policies(_RING),
    "policy, then a wrong ring": policies(_ROUND_ROBIN, _RING),
}


@pytest.mark.parametrize("name", CASES)
def test_subset_configuration_gets_envoys_verdict(name: str, tmp_path: Path) -> None:
    file = tmp_path / "bootstrap.yaml"
    file.write_text(conf(cluster=CASES[name]))
    theirs = envoy_verdict(file)
    ours = our_verdict(file)
    assert ours.accepted is theirs.accepted, f"Envoy: {theirs.text}\nours: {ours.text}"


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("KEYS_SUBSET of another key", "subset_selectors[0].fallback_keys_subset"),
        ("fallback keys in the second", "subset_selectors[1].fallback_keys_subset"),
        ("extension without a child", "subset_lb_policy"),
        ("aware", None),
        ("both", "lb_subset_config"),
    ],
)
def test_wrong_subset_configuration_is_told_with_its_field(
    name: str, field: str | None, tmp_path: Path
) -> None:
    file = tmp_path / "bootstrap.yaml"
    file.write_text(conf(cluster=CASES[name]))
    verdict = our_verdict(file)
    assert verdict.accepted is (field is None)
    assert field is None or f"{field}: " in verdict.text


@pytest.mark.parametrize(
    "name", ["maglev with a wrong size", "extension with a wrong ring", "extension that asks the cluster"]
)
def test_subset_that_ends_envoy_is_not_served(name: str, tmp_path: Path) -> None:
    file = tmp_path / "bootstrap.yaml"
    file.write_text(conf(cluster=CASES[name]))
    result = load(file)
    assert isinstance(result, Loaded)
    assert any("Envoy ends" in str(problem) for problem in result.refusals)
