"""Cluster specifiers compiled: what Envoy cannot show."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from google.protobuf import json_format

from sidecar.config.compile.cluster_specifiers import ClusterSpecifiers
from sidecar.config.messages import message_class
from sidecar.config.registry import Registry
from sidecar.core.headers import RequestHeaders

PLUGIN = "envoy.extensions.router.cluster_specifiers.matcher.v3"
INPUT = "envoy.type.matcher.v3.HttpRequestHeaderMatchInput"


def _any(name: str, **fields: Any) -> dict[str, Any]:
    assert message_class(name) is not None
    return {"@type": f"type.googleapis.com/{name}", **fields}


def _to(cluster: str) -> dict[str, Any]:
    return {"name": "c", "typed_config": _any(f"{PLUGIN}.ClusterAction", cluster=cluster)}


def _entry(value: str, cluster: str, **more: bool) -> dict[str, Any]:
    taken = {"name": "i", "typed_config": _any(INPUT, header_name="x-to")}
    predicate = {"single_predicate": {"input": taken, "value_match": {"exact": value}}}
    return {"predicate": predicate, "on_match": {"action": _to(cluster), **more}}


def test_keep_matching_lets_the_search_go_on() -> None:
    entries = [_entry("a", "first", keep_matching=True), _entry("a", "second")]
    matcher = {"matcher_list": {"matchers": entries}}
    specifier = _any(f"{PLUGIN}.MatcherClusterSpecifier", cluster_matcher=matcher)
    plugin = {"extension": {"name": "by-tree", "typed_config": specifier}}
    route_action: Any = message_class("envoy.config.route.v3.RouteAction")
    configuration: Any = message_class("envoy.config.route.v3.RouteConfiguration")
    action = json_format.ParseDict({"inline_cluster_specifier_plugin": plugin}, route_action())
    context: Any = SimpleNamespace(path="route_config")
    tree = ClusterSpecifiers(configuration(), context, Registry()).compile(action, "route")
    assert tree is not None
    headers = RequestHeaders(b"GET", b"/", b"h", b"http", [(b"x-to", b"a")])
    assert tree.match((headers, None)) == "second"
