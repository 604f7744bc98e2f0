# ruff: noqa: E501  (a case is a line of a table)
"""tcp_proxy and its neighbours: what Envoy accepts is accepted, what it refuses refused, each tried on Envoy."""

from __future__ import annotations

from pathlib import Path

import pytest
from config_oracle import envoy_verdict

from sidecar.cli.main import main

pytestmark = pytest.mark.oracle

_KIND = "type.googleapis.com/envoy.extensions.filters.network"
_BASE = """\
static_resources:
  listeners:
  - name: l
    address: {socket_address: {address: 127.0.0.1, port_value: 0}}
    filter_chains: [{filters: [FILTERS]}]
    LISTENER
  clusters:
  - {name: app, type: STATIC}
"""


def filters(*entries: str, listener: str = "") -> str:
    return _BASE.replace("FILTERS", ", ".join(entries)).replace("LISTENER", listener)


def entry(kind: str, config: str = "") -> str:
    return f"{{name: f, typed_config: {{'@type': {_KIND}.{kind}{config and ', ' + config}}}}}"


def tcp(config: str) -> str:
    return filters(entry("tcp_proxy.v3.TcpProxy", config))


def to_app(config: str) -> str:
    return tcp(f"stat_prefix: a, cluster: app, {config}")


ON_DEMAND = (
    "on_demand: {odcds_config: {resource_api_version: V3, api_config_source: {api_type: DELTA_GRPC, transport_api_version: V3, "
    "grpc_services: [{envoy_grpc: {cluster_name: app}}]}}}"
)


def tunnel(config: str, host: str = "a:80") -> str:
    return to_app(f"tunneling_config: {{hostname: '{host}'{config and ', ' + config}}}")


def state(config: str, text: str = "a") -> str:
    value = f"{{{config}, format_string: {{text_format_source: {{inline_string: '{text}'}}}}}}"
    return filters(entry("set_filter_state.v3.Config", f"on_new_connection: [{value}]"), TCP)


def rbac(config: str) -> str:
    return filters(entry("rbac.v3.RBAC", config), TCP)


def policy(permission: str, principal: str = "{any: true}") -> str:
    return rbac(
        f"stat_prefix: a, rules: {{policies: {{p: {{permissions: [{permission}], principals: [{principal}]}}}}}}"
    )


TCP = entry("tcp_proxy.v3.TcpProxy", "stat_prefix: a, cluster: app")
CASES = {
    "plain": filters(TCP),
    "without prefix": tcp("cluster: app"),
    "without cluster": tcp("stat_prefix: a"),
    "empty cluster": tcp("stat_prefix: a, cluster: ''"),
    "unknown cluster": tcp("stat_prefix: a, cluster: nope"),
    "weighted": tcp("stat_prefix: a, weighted_clusters: {clusters: [{name: app, weight: 1}]}"),
    "weighted by nothing": tcp("stat_prefix: a, weighted_clusters: {}"),
    "weighted with zero": tcp("stat_prefix: a, weighted_clusters: {clusters: [{name: app, weight: 0}]}"),
    "weighted unknown": tcp("stat_prefix: a, weighted_clusters: {clusters: [{name: nope, weight: 1}]}"),
    "weighted beyond": tcp(
        "stat_prefix: a, weighted_clusters: {clusters: [{name: app, weight: 4294967295}, {name: app, weight: 1}]}"
    ),
    "both": tcp("stat_prefix: a, cluster: app, weighted_clusters: {clusters: [{name: app, weight: 1}]}"),
    "idle 0": to_app("idle_timeout: 0s"),
    "negative idle": to_app("idle_timeout: -1s"),
    "duration": to_app("max_downstream_connection_duration: 1s"),
    "duration 0": to_app("max_downstream_connection_duration: 0s"),
    "duration too short": to_app("max_downstream_connection_duration: 0.0001s"),
    "jitter": to_app(
        "max_downstream_connection_duration: 1s, max_downstream_connection_duration_jitter_percentage: {value: 100}"
    ),
    "jitter beyond": to_app(
        "max_downstream_connection_duration: 1s, max_downstream_connection_duration_jitter_percentage: {value: 101}"
    ),
    "attempts 0": to_app("max_connect_attempts: 0"),
    "attempts": to_app("max_connect_attempts: 7"),
    "backoff": to_app("backoff_options: {base_interval: 0.1s}"),
    "backoff of nothing": to_app("backoff_options: {}"),
    "backoff of zero": to_app("backoff_options: {base_interval: 0s}"),
    "backoff below its base": to_app("backoff_options: {base_interval: 0.2s, max_interval: 0.1s}"),
    "hash": to_app("hash_policy: [{source_ip: {}}]"),
    "hash twice": to_app("hash_policy: [{source_ip: {}}, {source_ip: {}}]"),
    "hash of nothing": to_app("hash_policy: [{}]"),
    "hash of filter state": to_app("hash_policy: [{filter_state: {key: a}}]"),
    "hash of filter state without key": to_app("hash_policy: [{filter_state: {}}]"),
    "log options twice": to_app(
        "access_log_flush_interval: 1s, access_log_options: {access_log_flush_interval: 1s}"
    ),
    "log options and the old flush": to_app("flush_access_log_on_connected: true, access_log_options: {}"),
    "log interval": to_app("access_log_options: {access_log_flush_interval: 0.001s}"),
    "log interval too short": to_app("access_log_options: {access_log_flush_interval: 0.0001s}"),
    "old log interval": to_app("access_log_flush_interval: 1s"),
    "old log interval too short": to_app("access_log_flush_interval: 0.0001s"),
    "tunnel": to_app("tunneling_config: {hostname: 'a:80'}"),
    "tunnel without host": to_app("tunneling_config: {}"),
    "tunnel, formatted": tunnel("", host="%REQUESTED_SERVER_NAME%:443"),
    "tunnel, unknown operator": tunnel("", host="%NO_SUCH%"),
    "tunnel, broken operator": tunnel("", host="%REQ(a"),
    "tunnel by post": tunnel("use_post: true, post_path: /a"),
    "tunnel, path without post": tunnel("post_path: /a"),
    "tunnel, path without slash": tunnel("use_post: true, post_path: a"),
    "tunnel, headers": tunnel("headers_to_add: [{header: {key: a, value: '%PROTOCOL%'}}]"),
    "tunnel, host header": tunnel("headers_to_add: [{header: {key: Host, value: a}}]"),
    "tunnel, pseudo header": tunnel("headers_to_add: [{header: {key: ':path', value: a}}]"),
    "tunnel, header without key": tunnel("headers_to_add: [{header: {value: a}}]"),
    "tunnel, header of an unknown operator": tunnel("headers_to_add: [{header: {key: a, value: '%NO%'}}]"),
    "tunnel, append twice": tunnel(
        "headers_to_add: [{header: {key: a, value: b}, append: true, append_action: ADD_IF_ABSENT}]"
    ),
    "tunnel, propagate": tunnel("propagate_response_headers: true, propagate_response_trailers: true"),
    "tunnel, ids": tunnel(
        "request_id_extension: {typed_config: {'@type': type.googleapis.com/envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig}}"
    ),
    "tunnel, ids of an unknown kind": tunnel(
        "request_id_extension: {typed_config: {'@type': type.googleapis.com/no.such.Ids}}"
    ),
    "tunnel, ids of another kind": tunnel(
        "request_id_extension: {typed_config: {'@type': type.googleapis.com/google.protobuf.StringValue}}"
    ),
    "tunnel, ids of nothing": tunnel("request_id_extension: {}"),
    "tunnel, header of ids alone": tunnel("request_id_header: a, request_id_metadata_key: b"),
    "tunnel, header of ids that is none": tunnel("request_id_header: 'a b'"),
    "tunnel, formatters": tunnel(
        "formatters: [{name: a, typed_config: {'@type': type.googleapis.com/envoy.extensions.formatter.metadata.v3.Metadata}}]"
    ),
    "tunnel, formatters of another kind": tunnel(
        "formatters: [{name: a, typed_config: {'@type': type.googleapis.com/google.protobuf.StringValue}}]"
    ),
    "tunnel, formatter used": tunnel(
        "formatters: [{name: a, typed_config: {'@type': type.googleapis.com/envoy.extensions.formatter.req_without_query.v3.ReqWithoutQuery}}], headers_to_add: [{header: {key: a, value: '%REQ_WITHOUT_QUERY(a)%'}}]"
    ),
    "tunnel, formatter used by the host": tunnel(
        "formatters: [{name: a, typed_config: {'@type': type.googleapis.com/envoy.extensions.formatter.req_without_query.v3.ReqWithoutQuery}}]",
        host="%REQ_WITHOUT_QUERY(a)%",
    ),
    "early data": to_app("max_early_data_bytes: 1048576"),
    "early data beyond": to_app("max_early_data_bytes: 1048577"),
    "on data": to_app("upstream_connect_mode: ON_DOWNSTREAM_DATA, max_early_data_bytes: 0"),
    "on data without early data": to_app("upstream_connect_mode: ON_DOWNSTREAM_DATA"),
    "on handshake": to_app("upstream_connect_mode: ON_DOWNSTREAM_TLS_HANDSHAKE, max_early_data_bytes: 1"),
    "on handshake without early data": to_app("upstream_connect_mode: ON_DOWNSTREAM_TLS_HANDSHAKE"),
    "on something": to_app("upstream_connect_mode: 7, max_early_data_bytes: 1"),
    "immediate without early data": to_app("upstream_connect_mode: IMMEDIATE"),
    "drain close": to_app("check_drain_close: true"),
    "tlvs": to_app("proxy_protocol_tlvs: [{type: 1, value: YQ==}]"),
    "tlvs of nothing": to_app("proxy_protocol_tlvs: [{type: 1}]"),
    "tlvs of both": to_app(
        "proxy_protocol_tlvs: [{type: 1, value: YQ==, format_string: {text_format_source: {inline_string: a}}}]"
    ),
    "tlvs of an unknown operator": to_app(
        "proxy_protocol_tlvs: [{type: 1, format_string: {text_format_source: {inline_string: '%NO%'}}}]"
    ),
    "tlvs of a wide type": to_app("proxy_protocol_tlvs: [{type: 256, value: YQ==}]"),
    "state": state("object_key: envoy.string"),
    "state, own key": state("object_key: a, factory_key: envoy.hashable_string"),
    "state, unknown": state("object_key: a"),
    "state, unknown factory": state("object_key: envoy.string, factory_key: a"),
    "state, without key": state("factory_key: envoy.string"),
    "state, unknown operator": state("object_key: envoy.string", "%NO%"),
    "state, for others": state("object_key: envoy.network.upstream_server_name"),
    "state, boolean": state("object_key: envoy.tcp_proxy.disable_tunneling", "maybe"),
    "state, shared": state("object_key: envoy.string, shared_with_upstream: ONCE"),
    "state, last": filters(entry("set_filter_state.v3.Config")),
    "state of nothing": filters(entry("set_filter_state.v3.Config"), TCP),
    "state, without value": filters(
        entry("set_filter_state.v3.Config", "on_new_connection: [{object_key: envoy.string}]"), TCP
    ),
    "on demand, with a source": to_app(ON_DEMAND),
    "on demand, of a named node": "node: {id: a, cluster: b}\n" + to_app(ON_DEMAND),
    "on demand, with a source of nothing": to_app("on_demand: {odcds_config: {}}"),
    "on demand": to_app("on_demand: {}"),
    "not last": filters(TCP, TCP),
    "rbac": policy("{any: true}"),
    "rbac without prefix": rbac("rules: {}"),
    "rbac without rules": rbac("stat_prefix: a"),
    "rbac, any false": policy("{any: false}"),
    "rbac without permissions": policy(""),
    "rbac without principals": policy("{any: true}", ""),
    "rbac of nothing": policy("{}"),
    "rbac of a header": policy("{header: {name: a}}"),
    "rbac of a header deeper": policy("{not_rule: {or_rules: {rules: [{header: {name: a}}]}}}"),
    "rbac of a principal's header": policy("{any: true}", "{header: {name: a}}"),
    "rbac of a path": policy("{url_path: {path: {prefix: /}}}"),
    "rbac of a port beyond": policy("{destination_port: 65536}"),
    "rbac of a wrong range": policy("{destination_ip: {address_prefix: a, prefix_len: 1}}"),
    "rbac of a wrong source": policy("{any: true}", "{remote_ip: {address_prefix: a, prefix_len: 1}}"),
    "rbac, empty set": policy("{and_rules: {rules: []}}"),
    "rbac, authenticated": policy("{any: true}", "{authenticated: {principal_name: {exact: a}}}"),
    "rbac, delay": rbac("stat_prefix: a, rules: {}, delay_deny: 0s"),
    "rbac, unknown action": rbac("stat_prefix: a, rules: {action: X}"),
    "rbac last": filters(entry("rbac.v3.RBAC", "stat_prefix: a, rules: {}")),
    "sni_cluster": filters(entry("sni_cluster.v3.SniCluster"), TCP),
    "sni_cluster last": filters(entry("sni_cluster.v3.SniCluster")),
    "echo": filters(entry("echo.v3.Echo")),
    "echo not last": filters(entry("echo.v3.Echo"), TCP),
    "direct response": filters(entry("direct_response.v3.Config", "response: {inline_string: a}")),
    "direct response of nothing": filters(entry("direct_response.v3.Config")),
    "direct response from nowhere": filters(
        entry("direct_response.v3.Config", "response: {filename: /nowhere}")
    ),
    "limit": filters(entry("connection_limit.v3.ConnectionLimit", "stat_prefix: a, max_connections: 1"), TCP),
    "limit 0": filters(
        entry("connection_limit.v3.ConnectionLimit", "stat_prefix: a, max_connections: 0"), TCP
    ),
    "limit of nothing": filters(entry("connection_limit.v3.ConnectionLimit", "stat_prefix: a"), TCP),
    "limit without prefix": filters(entry("connection_limit.v3.ConnectionLimit", "max_connections: 1"), TCP),
    "limit last": filters(entry("connection_limit.v3.ConnectionLimit", "stat_prefix: a, max_connections: 1")),
    "rate": filters(
        entry(
            "local_ratelimit.v3.LocalRateLimit",
            "stat_prefix: a, token_bucket: {max_tokens: 1, fill_interval: 1s}",
        ),
        TCP,
    ),
    "rate too fast": filters(
        entry(
            "local_ratelimit.v3.LocalRateLimit",
            "stat_prefix: a, token_bucket: {max_tokens: 1, fill_interval: 0.01s}",
        ),
        TCP,
    ),
    "rate without bucket": filters(entry("local_ratelimit.v3.LocalRateLimit", "stat_prefix: a"), TCP),
    "log of the listener": filters(
        TCP,
        listener="access_log: [{name: a, typed_config: {'@type': type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog}}]",
    ),
    "log of the listener that is unknown": filters(
        TCP, listener="access_log: [{name: a, typed_config: {'@type': type.googleapis.com/no.such.Log}}]"
    ),
}


@pytest.mark.parametrize("text", CASES.values(), ids=CASES.keys())
def test_network_filters_get_envoys_verdict(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(text)
    theirs = envoy_verdict(file)
    accepted = main(["--mode", "validate", "-c", str(file)]) == 0
    assert accepted is theirs.accepted, f"Envoy: {theirs.text}\nours: {capsys.readouterr().err}"
