# ruff: noqa: E501  (a case is a line of a table)
"""Upgrade configs that Envoy accepts are accepted and those that it refuses are refused, each tried on Envoy."""

from __future__ import annotations

from pathlib import Path

import pytest
from config_oracle import HCM, ROUTER, envoy_verdict, our_verdict

pytestmark = pytest.mark.oracle

_BASE = """\
static_resources:
  listeners:
  - name: l
    address: {socket_address: {address: 127.0.0.1, port_value: 0}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/HCM
          stat_prefix: s
          MANAGER
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - {match: {connect_matcher: {}}, route: {cluster: app ROUTE}}
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {"@type": type.googleapis.com/ROUTER}
  clusters:
  - name: app
    type: STATIC
    load_assignment: {cluster_name: app, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 1}}}}]}]}
"""
_ROUTER = '{name: r, typed_config: {"@type": type.googleapis.com/ROUTER}}'
_LUA = '{name: l, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua}}'
CASES = {
    "plain": ("upgrade_configs: [{upgrade_type: websocket}]", ""),
    "no type": ("upgrade_configs: [{enabled: true}]", ""),
    "twice": ("upgrade_configs: [{upgrade_type: a}, {upgrade_type: a}]", ""),
    "twice but for case": ("upgrade_configs: [{upgrade_type: a}, {upgrade_type: A}]", ""),
    "filters": (f"upgrade_configs: [{{upgrade_type: a, filters: [{_ROUTER}]}}]", ""),
    "filters without a router": (f"upgrade_configs: [{{upgrade_type: a, filters: [{_LUA}]}}]", ""),
    "filters behind a router": (f"upgrade_configs: [{{upgrade_type: a, filters: [{_ROUTER}, {_LUA}]}}]", ""),
    "filters of nothing": ("upgrade_configs: [{upgrade_type: a, filters: [{name: x}]}]", ""),
    "udp": ("upgrade_configs: [{upgrade_type: CONNECT-UDP}]", ""),
    "route": ("", ", upgrade_configs: [{upgrade_type: websocket}]"),
    "route, no type": ("", ", upgrade_configs: [{enabled: true}]"),
    "route, twice": ("", ", upgrade_configs: [{upgrade_type: a}, {upgrade_type: a}]"),
    "route, twice but for case": ("", ", upgrade_configs: [{upgrade_type: a}, {upgrade_type: A}]"),
    "connect": ("", ", upgrade_configs: [{upgrade_type: CONNECT, connect_config: {}}]"),
    "connect in small letters": ("", ", upgrade_configs: [{upgrade_type: connect, connect_config: {}}]"),
    "connect, disabled": (
        "",
        ", upgrade_configs: [{upgrade_type: CONNECT, enabled: false, connect_config: {}}]",
    ),
    "connect_config elsewhere": ("", ", upgrade_configs: [{upgrade_type: websocket, connect_config: {}}]"),
    "connect_config elsewhere, disabled": (
        "",
        ", upgrade_configs: [{upgrade_type: websocket, enabled: false, connect_config: {}}]",
    ),
    "connect_config for udp": ("", ", upgrade_configs: [{upgrade_type: CONNECT-UDP, connect_config: {}}]"),
    "connect_config for udp, small": (
        "",
        ", upgrade_configs: [{upgrade_type: connect-udp, connect_config: {}}]",
    ),
    "proxy protocol": (
        "",
        ", upgrade_configs: [{upgrade_type: CONNECT, connect_config: {proxy_protocol_config: {version: V2}}}]",
    ),
    "line feed in a type": (
        'upgrade_configs: [{upgrade_type: "a\\nb"}]',
        ', upgrade_configs: [{upgrade_type: "a\\nb"}]',
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_verdict_is_that_of_envoy(name: str, tmp_path: Path) -> None:
    manager, route = CASES[name]
    text = _BASE.replace("app ROUTE}", f"app{route}}}").replace("MANAGER", manager)
    path = tmp_path / "c.yaml"
    path.write_text(text.replace("ROUTER", ROUTER).replace("HCM", HCM))
    oracle, ours = envoy_verdict(path), our_verdict(path)
    assert ours.accepted == oracle.accepted, f"{oracle.text}\n---\n{ours.text}"
