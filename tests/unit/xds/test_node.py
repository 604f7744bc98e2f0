"""What the proxy says of itself."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from sidecar.config.messages import message_class
from sidecar.xds.node import discovery_node


def _node() -> Any:
    cls: Any = message_class("envoy.config.core.v3.Node")
    return cls(id="a", cluster="b")


def test_what_the_bootstrap_leaves_out_is_filled_in() -> None:
    filter_ = SimpleNamespace(
        name="envoy.filters.http.router", category="envoy.filters.http", config_type="R"
    )
    node = discovery_node(_node(), [filter_])
    assert (node.id, node.cluster, node.user_agent_name) == ("a", "b", "envoy")
    version = node.user_agent_build_version
    assert (version.version.major_number, version.version.minor_number) == (1, 40)
    assert version.metadata["build.label"].startswith("sidecar/")
    told = [(each.name, each.category, list(each.type_urls)) for each in node.extensions]
    assert told == [("envoy.filters.http.router", "envoy.filters.http", ["R"])]


def test_what_the_bootstrap_says_stays() -> None:
    given = _node()
    given.user_agent_name, given.user_agent_version = "mine", "1"
    node = discovery_node(given, [])
    assert (node.user_agent_name, node.user_agent_version) == ("mine", "1")
    assert given.extensions == []
