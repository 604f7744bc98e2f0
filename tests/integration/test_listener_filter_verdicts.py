# ruff: noqa: E501  (a case is a line of a table)
"""Listener filters: what Envoy accepts is accepted, what it refuses refused, each case tried on Envoy."""

from __future__ import annotations

from pathlib import Path

import pytest
from config_oracle import envoy_verdict

from sidecar.cli.main import main

pytestmark = pytest.mark.oracle

_KIND = "type.googleapis.com/envoy.extensions.filters.listener"
_BASE = """\
static_resources:
  listeners:
  - name: l
    address: {socket_address: {address: 127.0.0.1, port_value: 0}}
    filter_chains: [{}]
    FIELDS
"""


def fields(text: str) -> str:
    return _BASE.replace("FIELDS", text)


def filters(*entries: str) -> str:
    return fields(f"listener_filters: [{', '.join(entries)}]")


def entry(kind: str, config: str = "", more: str = "") -> str:
    return f"{{name: f, typed_config: {{'@type': {_KIND}.{kind}{config and ', ' + config}}}{more and ', ' + more}}}"


def tls(config: str) -> str:
    return filters(entry("tls_inspector.v3.TlsInspector", config))


def proxy(config: str) -> str:
    return filters(entry("proxy_protocol.v3.ProxyProtocol", config))


def rate(config: str) -> str:
    return filters(entry("local_ratelimit.v3.LocalRateLimit", config))


def disabled(text: str) -> str:
    return filters(entry("http_inspector.v3.HttpInspector", more=f"filter_disabled: {{{text}}}"))


CASES = {
    "all": filters(
        entry("tls_inspector.v3.TlsInspector"),
        entry("http_inspector.v3.HttpInspector"),
        entry("original_dst.v3.OriginalDst"),
        entry("proxy_protocol.v3.ProxyProtocol"),
    ),
    "without typed_config": filters("{name: envoy.filters.listener.tls_inspector}"),
    "without name": filters(f"{{typed_config: {{'@type': {_KIND}.http_inspector.v3.HttpInspector}}}}"),
    "unknown": filters("{name: a, typed_config: {'@type': type.googleapis.com/no.such.Filter}}"),
    "of another kind": filters(
        "{name: a, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.network.echo.v3.Echo}}"
    ),
    "twice": filters(entry("http_inspector.v3.HttpInspector"), entry("http_inspector.v3.HttpInspector")),
    "fingerprints": tls("enable_ja3_fingerprinting: true, enable_ja4_fingerprinting: true"),
    "initial 0": tls("initial_read_buffer_size: 0"),
    "initial 255": tls("initial_read_buffer_size: 255"),
    "initial 256": tls("initial_read_buffer_size: 256"),
    "initial beyond": tls("initial_read_buffer_size: 65537"),
    "size 255": tls("max_client_hello_size: 255"),
    "size 256": tls("max_client_hello_size: 256"),
    "size 16384": tls("max_client_hello_size: 16384"),
    "size 16385": tls("max_client_hello_size: 16385"),
    "close on errors": tls("close_connection_on_client_hello_parsing_errors: true"),
    "versions": proxy("disallowed_versions: [V1]"),
    "a version twice": proxy("disallowed_versions: [V1, V1]"),
    "all versions": proxy("disallowed_versions: [V1, V2]"),
    "unknown version": proxy("disallowed_versions: [V3]"),
    "rules": proxy("rules: [{tlv_type: 1, on_tlv_present: {key: a}}]"),
    "rule without key": proxy("rules: [{tlv_type: 1, on_tlv_present: {}}]"),
    "rule of nothing": proxy("rules: [{tlv_type: 1}]"),
    "rule beyond": proxy("rules: [{tlv_type: 256, on_tlv_present: {key: a}}]"),
    "rule twice": proxy(
        "rules: [{tlv_type: 1, on_tlv_present: {key: a}}, {tlv_type: 1, on_tlv_present: {key: b}}]"
    ),
    "encoding": proxy("rules: [{tlv_type: 1, on_tlv_present: {key: a, value_string_encoding: BASE64}}]"),
    "unknown encoding": proxy("rules: [{tlv_type: 1, on_tlv_present: {key: a, value_string_encoding: 9}}]"),
    "pass": proxy("pass_through_tlvs: {match_type: INCLUDE, tlv_type: [1, 255]}"),
    "pass all": proxy("pass_through_tlvs: {}"),
    "pass beyond": proxy("pass_through_tlvs: {match_type: INCLUDE, tlv_type: [256]}"),
    "location": proxy("tlv_location: FILTER_STATE"),
    "unknown location": proxy("tlv_location: 7"),
    "rate": rate("stat_prefix: a, token_bucket: {max_tokens: 1, fill_interval: 1s}"),
    "rate without prefix": rate("token_bucket: {max_tokens: 1, fill_interval: 1s}"),
    "rate without bucket": rate("stat_prefix: a"),
    "rate too fast": rate("stat_prefix: a, token_bucket: {max_tokens: 1, fill_interval: 0.01s}"),
    "rate of none": rate("stat_prefix: a, token_bucket: {max_tokens: 0, fill_interval: 1s}"),
    "rate of no refill": rate(
        "stat_prefix: a, token_bucket: {max_tokens: 1, tokens_per_fill: 0, fill_interval: 1s}"
    ),
    "disabled": disabled("any_match: true"),
    "disabled by port": disabled("destination_port_range: {start: 1, end: 2}"),
    "disabled by no port": disabled("destination_port_range: {start: 2, end: 2}"),
    "disabled by a reversed range": disabled("destination_port_range: {start: 3, end: 2}"),
    "disabled by both": disabled("and_match: {rules: [{any_match: true}, {not_match: {any_match: true}}]}"),
    "disabled by one": disabled("or_match: {rules: [{any_match: true}]}"),
    "disabled by nothing": disabled(""),
    "disabled any false": disabled("any_match: false"),
    "timeout": fields("listener_filters_timeout: 0s"),
    "negative timeout": fields("listener_filters_timeout: -1s"),
    "continue": fields("continue_on_listener_filters_timeout: true"),
    "original destination": fields("use_original_dst: true"),
    "socket options": fields(
        "socket_options: [{level: 1, name: 9, int_value: 1, state: STATE_PREBIND}, {level: 1, name: 9, buf_value: AQAAAA==, state: STATE_LISTENING}]"
    ),
    "socket option without value": fields("socket_options: [{level: 1, name: 9, state: STATE_PREBIND}]"),
    "socket option of an unknown state": fields(
        "socket_options: [{level: 1, name: 9, int_value: 1, state: STATE_X}]"
    ),
    "not bound": fields("bind_to_port: false"),
    "transparent and freebind": fields("transparent: true\n    freebind: true"),
    "fast open": fields("tcp_fast_open_queue_length: 0"),
    "accepts 0": fields("max_connections_to_accept_per_socket_event: 0"),
    "accepts 1": fields("max_connections_to_accept_per_socket_event: 1"),
    "balance": fields("connection_balance_config: {exact_balance: {}}"),
    "balance of nothing": fields("connection_balance_config: {}"),
    "drain type": fields("drain_type: MODIFY_ONLY"),
    "drain type unknown": fields("drain_type: NEVER"),
    "additional address with options": fields(
        "additional_addresses: [{address: {socket_address: {address: 127.0.0.1, port_value: 0}}, socket_options: {socket_options: [{level: 1, name: 9, int_value: 1}]}}]"
    ),
    "backlog 0": fields("tcp_backlog_size: 0"),
    "old chain option": fields("filter_chains: []")
    .replace("filter_chains: [{}]", "filter_chains: [{use_proxy_proto: true}]")
    .replace("    filter_chains: []\n", ""),
    "original source": filters(entry("original_src.v3.OriginalSrc")),
}


@pytest.mark.parametrize("text", CASES.values(), ids=CASES.keys())
def test_listener_filters_get_envoys_verdict(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(text)
    theirs = envoy_verdict(file)
    accepted = main(["--mode", "validate", "-c", str(file)]) == 0
    assert accepted is theirs.accepted, f"Envoy: {theirs.text}\nours: {capsys.readouterr().err}"
