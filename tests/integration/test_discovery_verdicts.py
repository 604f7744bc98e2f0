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
