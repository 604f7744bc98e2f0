# ruff: noqa: E501  (a case is a line of a table)
"""UDP listeners and their filters: what Envoy accepts is accepted, what it refuses refused, each tried on Envoy."""

from __future__ import annotations

from pathlib import Path

import pytest
from config_oracle import envoy_verdict

from sidecar.cli.main import main

pytestmark = pytest.mark.oracle

_TYPE = "type.googleapis.com/"
_UDP = f"{_TYPE}envoy.extensions.filters.udp.udp_proxy.v3"
_INPUT = f"{_TYPE}envoy.extensions.matching.common_inputs.network.v3."
_ACTION = f"{{action: {{name: route, typed_config: {{'@type': {_UDP}.Route, cluster: app}}}}}}"
_ROUTE = f"matcher: {{on_no_match: {_ACTION}}}"
_ADDRESS = "socket_address: {protocol: UDP, address: 127.0.0.1, port_value: 0}"
_TCP = "socket_address: {address: 127.0.0.1, port_value: 0}"
_CHAIN = f"[{{filters: [{{name: t, typed_config: {{'@type': {_TYPE}envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: t, cluster: app}}}}]}}]"
_INSPECTOR = f"{{name: tls, typed_config: {{'@type': {_TYPE}envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector}}}}"
_TUNNEL = "cluster: app, tunneling_config: {proxy_host: a.com, target_host: b.com, default_target_port: 3"
_SESSION = "envoy.extensions.filters.udp.udp_proxy.session"


def listener(address: str = _ADDRESS, **fields: str) -> str:
    lines = "".join(f"    {key}: {value}\n" for key, value in fields.items())
    return (
        f"static_resources:\n  listeners:\n  - name: l\n    address: {{{address}}}\n{lines}"
        "  clusters:\n  - {name: app, type: STATIC}\n"
    )


def udp(config: str = _ROUTE, entry: str = "") -> str:
    more = config and ", " + config
    return f"{{name: u, typed_config: {{'@type': {_UDP}.UdpProxyConfig, stat_prefix: foo{more}}}{entry and ', ' + entry}}}"


def proxy(config: str = _ROUTE, **fields: str) -> str:
    return listener(listener_filters=f"[{udp(config)}]", **fields)


def to_app(config: str) -> str:
    return proxy(f"cluster: app, {config}")


def tree(take: str) -> str:
    matched = f"{{matcher_tree: {{input: {{name: i, typed_config: {{'@type': {take}}}}}, exact_match_map: {{map: {{a: {_ACTION}}}}}}}}}"
    return proxy(f"matcher: {matched}")


def session(filter_: str) -> str:
    return f"session_filters: [{filter_}]"


def writer(kind: str) -> str:
    return f"{{udp_packet_packet_writer_config: {{name: w, typed_config: {{'@type': {_TYPE}{kind}}}}}}}"


_CAPSULE = session(f"{{name: a, typed_config: {{'@type': {_TYPE}{_SESSION}.http_capsule.v3.FilterConfig}}}}")
_SIZE = "max_rx_datagram_size"

CASES = {
    "plain": proxy(),
    "cluster": proxy("cluster: app"),
    "no filters": listener(),
    "no filters but config": listener(udp_listener_config="{}"),
    "config": proxy(udp_listener_config="{}"),
    "filter chains": proxy(filter_chains=_CHAIN),
    "chains alone": listener(filter_chains=_CHAIN),
    "empty chain": proxy(filter_chains="[{}]"),
    "default chain": proxy(default_filter_chain=_CHAIN[1:-1]),
    "tls inspector": listener(listener_filters=f"[{_INSPECTOR}]"),
    "tls inspector and proxy": listener(listener_filters=f"[{_INSPECTOR}, {udp()}]"),
    "two": listener(listener_filters=f"[{udp()}, {udp()}]"),
    "tcp with the filter": listener(_TCP, listener_filters=f"[{udp()}]", filter_chains=_CHAIN),
    "tcp with config": listener(_TCP, udp_listener_config="{}", filter_chains=_CHAIN),
    "tcp with config alone": listener(_TCP, udp_listener_config="{}"),
    "quic": listener(udp_listener_config="{quic_options: {}}", filter_chains=_CHAIN),
    "quic without chains": listener(udp_listener_config="{quic_options: {}}"),
    "quic with the filter": proxy(udp_listener_config="{quic_options: {}}"),
    "pipe": listener("pipe: {path: ./x}", listener_filters=f"[{udp()}]", udp_listener_config="{}"),
    "without route": proxy(""),
    "unknown cluster": proxy("cluster: nope"),
    "both": proxy(f"cluster: app, {_ROUTE}"),
    "empty cluster": proxy("cluster: ''"),
    "empty matcher": proxy("matcher: {}"),
    "without prefix": proxy("cluster: app").replace("stat_prefix: foo", "stat_prefix: ''"),
    "idle 0": to_app("idle_timeout: 0s"),
    "negative idle": to_app("idle_timeout: -1s"),
    "short idle": to_app("idle_timeout: 0.0001s"),
    "original source": to_app("use_original_src_ip: true"),
    "hash": to_app("hash_policies: [{source_ip: true}]"),
    "hash of no source": to_app("hash_policies: [{source_ip: false}]"),
    "hash of a key": to_app("hash_policies: [{key: a}]"),
    "hash of an empty key": to_app("hash_policies: [{key: ''}]"),
    "hash of nothing": to_app("hash_policies: [{}]"),
    "two hashes": to_app("hash_policies: [{key: a}, {source_ip: true}]"),
    "upstream socket": to_app(f"upstream_socket_config: {{{_SIZE}: 9000, prefer_gro: false}}"),
    "upstream size 0": to_app(f"upstream_socket_config: {{{_SIZE}: 0}}"),
    "upstream size beyond": to_app(f"upstream_socket_config: {{{_SIZE}: 65536}}"),
    "upstream size most": to_app(f"upstream_socket_config: {{{_SIZE}: 65535}}"),
    "downstream socket": proxy(
        udp_listener_config=f"{{downstream_socket_config: {{{_SIZE}: 9000, prefer_gro: true}}}}"
    ),
    "downstream size 0": proxy(udp_listener_config=f"{{downstream_socket_config: {{{_SIZE}: 0}}}}"),
    "writer": proxy(
        udp_listener_config=writer("envoy.extensions.udp_packet_writer.v3.UdpDefaultWriterFactory")
    ),
    "gso writer": proxy(
        udp_listener_config=writer("envoy.extensions.udp_packet_writer.v3.UdpGsoBatchWriterFactory")
    ),
    "wrong writer": proxy(udp_listener_config=writer("google.protobuf.Struct")),
    "writer of no type": proxy(udp_listener_config="{udp_packet_packet_writer_config: {name: w}}"),
    "per packet": to_app("use_per_packet_load_balancing: true"),
    "tunnel": proxy(f"{_TUNNEL}}}"),
    "tunnel of nothing": to_app("tunneling_config: {}"),
    "tunnel with a path": proxy(f"{_TUNNEL}, post_path: /a}}"),
    "tunnel with a relative path": proxy(f"{_TUNNEL}, use_post: true, post_path: a}}"),
    "tunnel to a port beyond": proxy(f"{_TUNNEL}, proxy_port: 70000}}"),
    "tunnel with a format": proxy(f"{_TUNNEL}}}".replace("a.com", "'%REQ(a)%'")),
    "tunnel with a wrong format": proxy(f"{_TUNNEL}}}".replace("a.com", "'%NOPE%'")),
    "tunnel with a wrong target": proxy(f"{_TUNNEL}}}".replace("b.com", "'%NOPE%'")),
    "tunnel per packet": proxy(f"{_TUNNEL}}}, use_per_packet_load_balancing: true"),
    "capsule": to_app(_CAPSULE),
    "capsule per packet": to_app(f"use_per_packet_load_balancing: true, {_CAPSULE}"),
    "session filter of no type": to_app(session("{name: a}")),
    "session filter that is none": to_app(
        session(f"{{name: a, typed_config: {{'@type': {_TYPE}google.protobuf.Struct}}}}")
    ),
    "session filter without name": to_app(_CAPSULE.replace("name: a, ", "")),
    "session filter of listeners": to_app(session(_INSPECTOR)),
    "log options": to_app(
        "access_log_options: {access_log_flush_interval: 0.05s, flush_access_log_on_tunnel_connected: true}"
    ),
    "log interval too short": to_app("access_log_options: {access_log_flush_interval: 0.0001s}"),
    "balance": proxy(connection_balance_config="{exact_balance: {}}"),
    "additional": proxy(additional_addresses=f"[{{address: {{{_ADDRESS}}}}}]"),
    "additional of tcp": proxy(additional_addresses=f"[{{address: {{{_TCP}}}}}]"),
    "additional of udp": listener(
        _TCP, filter_chains=_CHAIN, additional_addresses=f"[{{address: {{{_ADDRESS}}}}}]"
    ),
    "additional pipe": proxy(additional_addresses="[{address: {pipe: {path: ./x}}}]"),
    "original destination": proxy(use_original_dst="true"),
    "transparent": proxy(transparent="true"),
    "freebind": proxy(freebind="true"),
    "fast open": proxy(tcp_fast_open_queue_length="5"),
    "mptcp": proxy(enable_mptcp="true"),
    "not bound": proxy(bind_to_port="false"),
    "socket options": proxy(socket_options="[{level: 1, name: 8, int_value: 100000, state: STATE_PREBIND}]"),
    "access log": proxy(
        access_log=f"[{{name: a, typed_config: {{'@type': {_TYPE}envoy.extensions.access_loggers.stream.v3.StdoutAccessLog}}}}]"
    ),
    "proxy log": to_app(
        f"proxy_access_log: [{{name: a, typed_config: {{'@type': {_TYPE}envoy.extensions.access_loggers.stream.v3.StdoutAccessLog}}}}]"
    ),
    "unknown log": to_app(
        f"proxy_access_log: [{{name: a, typed_config: {{'@type': {_TYPE}google.protobuf.Struct}}}}]"
    ),
    "dns filter": listener(
        listener_filters=f"[{{name: d, typed_config: {{'@type': {_TYPE}envoy.extensions.filters.udp.dns_filter.v3.DnsFilterConfig, stat_prefix: x, server_config: {{inline_dns_table: {{virtual_domains: [{{name: a.com, endpoint: {{address_list: {{address: [1.2.3.4]}}}}}}]}}}}}}}}]"
    ),
    "filter of no type": listener(listener_filters="[{name: envoy.filters.udp_listener.udp_proxy}]"),
    "disabled": listener(listener_filters=f"[{udp(entry='filter_disabled: {any_match: true}')}]"),
    "discovered": listener(
        listener_filters=f"[{{name: x, config_discovery: {{config_source: {{path_config_source: {{path: ./x}}}}, type_urls: ['{_UDP}.UdpProxyConfig']}}}}]"
    ),
    **{
        name: tree(_INPUT + name)
        for name in (
            "DestinationIPInput",
            "DestinationPortInput",
            "SourceIPInput",
            "SourcePortInput",
            "DirectSourceIPInput",
            "SourceTypeInput",
            "ServerNameInput",
            "TransportProtocolInput",
            "ApplicationProtocolInput",
            "NetworkNamespaceInput",
            "FilterStateInput, key: a",
        )
    },
    "environment": tree(
        f"{_TYPE}envoy.extensions.matching.common_inputs.environment_variable.v3.Config, name: A"
    ),
    "input of http": tree(f"{_TYPE}envoy.type.matcher.v3.HttpRequestHeaderMatchInput, header_name: a"),
    "wrong action": proxy(
        f"matcher: {{on_no_match: {{action: {{name: route, typed_config: {{'@type': {_TYPE}google.protobuf.StringValue, value: app}}}}}}}}"
    ),
    "action without cluster": proxy(_ROUTE.replace(", cluster: app", "")),
    "keep matching": proxy(_ROUTE.replace("{action:", "{keep_matching: true, action:")),
}


@pytest.mark.parametrize("text", CASES.values(), ids=CASES.keys())
def test_udp_listeners_get_envoys_verdict(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(text)
    theirs = envoy_verdict(file)
    accepted = main(["--mode", "validate", "-c", str(file)]) == 0
    assert accepted is theirs.accepted, f"Envoy: {theirs.text}\nours: {capsys.readouterr().err}"


def test_what_is_not_served_is_told_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, words in (
        ("tunnel", "tunneling_config"),
        ("capsule", "http_capsule"),
        ("dns filter", "dns_filter"),
    ):
        file = tmp_path / "c.yaml"
        file.write_text(CASES[name])
        assert main(["--mode", "validate", "-c", str(file)]) == 0
        assert words in capsys.readouterr().err
