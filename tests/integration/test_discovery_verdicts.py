"""Sources of hosts that Envoy refuses or takes, each tried on Envoy."""

from __future__ import annotations

from pathlib import Path

import pytest
from config_oracle import envoy_verdict, our_verdict

pytestmark = pytest.mark.oracle

_HEAD = """
node: {id: node1, cluster: cluster1}
admin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}}
static_resources:
  clusters:
  - name: c
    connect_timeout: 1s
"""
_EDS = "type: EDS"
_FILE = "path_config_source: {path: DIR/eds.yaml}"


def eds(source: str, *more: str) -> tuple[str, ...]:
    return (_EDS, f"eds_cluster_config: {{eds_config: {{{source}}}}}", *more)


def original(*more: str) -> tuple[str, ...]:
    return ("type: ORIGINAL_DST", *more)


def policy(name: str) -> str:
    lb = f"type.googleapis.com/envoy.extensions.load_balancing_policies.{name}"
    return (
        "load_balancing_policy: {policies: [{typed_extension_config: "
        f'{{name: x, typed_config: {{"@type": {lb}}}}}}}]}}'
    )


_PROVIDED = "lb_policy: CLUSTER_PROVIDED"
_EXTENSION = policy("cluster_provided.v3.ClusterProvided")
_CUSTOM = "cluster_type: {name: envoy.cluster.original_dst}"
CASES: dict[str, tuple[str, ...]] = {
    "file": eds(_FILE),
    "deprecated path": eds("path: DIR/eds.yaml"),
    "deprecated version": eds(f"{_FILE}, resource_api_version: V2"),
    "no wait": eds(f"{_FILE}, initial_fetch_timeout: 0s"),
    "no file": eds("path_config_source: {path: DIR/missing.yaml}"),
    "no path": eds("path_config_source: {path: ''}"),
    "no deprecated path": eds("path: ''"),
    "directory as file": eds("path_config_source: {path: DIR}"),
    "path without a directory": eds("path: pyproject.toml"),
    "watched": eds("path_config_source: {path: DIR/eds.yaml, watched_directory: {path: DIR}}"),
    "watched file": eds("path_config_source: {path: DIR/eds.yaml, watched_directory: {path: DIR/eds.yaml}}"),
    "watched nothing": eds("path_config_source: {path: DIR/eds.yaml, watched_directory: {path: DIR/x}}"),
    "watched empty": eds("path_config_source: {path: DIR/eds.yaml, watched_directory: {path: ''}}"),
    "wrong file": eds("path_config_source: {path: DIR/wrong.yaml}"),
    "wrong JSON": eds("path_config_source: {path: DIR/wrong.json}"),
    "no config": (_EDS,),
    "no source": (_EDS, "eds_cluster_config: {service_name: x}"),
    "empty source": eds(""),
    "ads": eds("ads: {}"),
    "self": eds("self: {}"),
    "name of xdstp": (
        _EDS,
        "eds_cluster_config: {service_name: 'xdstp://a/envoy.config.endpoint.v3.ClusterLoadAssignment/x', "
        f"eds_config: {{{_FILE}}}}}",
    ),
    "endpoints besides": eds(_FILE, "load_assignment: {cluster_name: c}"),
    "static": ("type: STATIC", f"eds_cluster_config: {{eds_config: {{{_FILE}}}}}"),
    "by DNS": ("type: STRICT_DNS", f"eds_cluster_config: {{eds_config: {{{_FILE}}}}}"),
    "cluster type": (
        "cluster_type: {name: envoy.cluster.eds}",
        f"eds_cluster_config: {{eds_config: {{{_FILE}}}}}",
    ),
    "original": original(_PROVIDED),
    "original without policy": original(),
    "original with another policy": original("lb_policy: RANDOM"),
    "original with extension alone": original(_EXTENSION),
    "original with both": original(_PROVIDED, _EXTENSION),
    "original with another extension": original(_PROVIDED, policy("round_robin.v3.RoundRobin")),
    "original with endpoints": original(_PROVIDED, "load_assignment: {cluster_name: c}"),
    "original with name alone": original(_PROVIDED, "original_dst_lb_config: {http_header_name: x}"),
    "original with odd name": original(
        _PROVIDED, "original_dst_lb_config: {use_http_header: true, http_header_name: 'x y'}"
    ),
    "original with empty key": original(_PROVIDED, "original_dst_lb_config: {metadata_key: {key: ''}}"),
    "original with key alone": original(_PROVIDED, "original_dst_lb_config: {metadata_key: {key: a}}"),
    "original with port": original(_PROVIDED, "original_dst_lb_config: {upstream_port_override: 65535}"),
    "original with wrong port": original(
        _PROVIDED, "original_dst_lb_config: {upstream_port_override: 65536}"
    ),
    "original without a pause": original(_PROVIDED, "cleanup_interval: 0s"),
    "original by name": (_CUSTOM, _PROVIDED),
    "original by name without policy": (_CUSTOM,),
    "static with settings": ("type: STATIC", "original_dst_lb_config: {use_http_header: true}"),
    "static provides nothing": ("type: STATIC", _PROVIDED),
    "static provides no extension": ("type: STATIC", _EXTENSION),
    "static by name provides nothing": ("cluster_type: {name: envoy.cluster.static}", _PROVIDED),
    "EDS provides nothing": eds(_FILE, _PROVIDED),
}


@pytest.mark.parametrize("name", CASES)
def test_source_of_hosts_gets_envoys_verdict(name: str, tmp_path: Path) -> None:
    (tmp_path / "eds.yaml").write_text("resources: []\n")
    (tmp_path / "wrong.yaml").write_text("a: [\n")
    (tmp_path / "wrong.json").write_text('{"resources": 5}')
    file = tmp_path / "c.yaml"
    lines = "".join(f"    {line}\n" for line in CASES[name])
    file.write_text((_HEAD + lines).replace("DIR", str(tmp_path)))
    assert our_verdict(file).accepted == envoy_verdict(file).accepted
