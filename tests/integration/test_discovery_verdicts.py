"""Sources of hosts that Envoy refuses or takes, each tried on Envoy."""

from __future__ import annotations

from pathlib import Path

import pytest
from config_oracle import envoy_verdict

from sidecar.cli.main import main

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
_RESOLVER = "type.googleapis.com/envoy.extensions.network.dns_resolver"
_DNS = "type.googleapis.com/envoy.extensions.clusters.dns.v3.DnsCluster"


def host(address: str = "socket_address: {address: x.example, port_value: 1}", more: str = "") -> str:
    return (
        "load_assignment: {cluster_name: c, endpoints: [{"
        f"{more} lb_endpoints: [{{endpoint: {{address: {{{address}}}}}}}]}}]}}"
    )


def cares(fields: str) -> tuple[str, ...]:
    packed = f'{{"@type": {_RESOLVER}.cares.v3.CaresDnsResolverConfig, {fields}}}'
    return ("type: STRICT_DNS", host(), f"typed_dns_resolver_config: {{name: x, typed_config: {packed}}}")


def dns(fields: str = "", *more: str, name: str = "envoy.cluster.dns") -> tuple[str, ...]:
    packed = f'{{"@type": {_DNS}, {fields}}}'
    return (f"cluster_type: {{name: {name}, typed_config: {packed}}}", *(more or (host(),)))


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
    "c-ares": cares(
        "udp_max_queries: 5, query_timeout_seconds: 1, query_tries: 2, rotate_nameservers: true, "
        "edns0_max_payload_size: 1232, reinit_channel_on_timeout: true, max_udp_channel_duration: 60s, "
        "qcache_max_ttl: 5, filter_unroutable_families: true, use_resolvers_as_fallback: true"
    ),
    "c-ares against its rules": cares(
        "query_timeout_seconds: 0, query_tries: 0, edns0_max_payload_size: 5, max_udp_channel_duration: 0s"
    ),
    "c-ares asks a name": cares("resolvers: [{socket_address: {address: dns.example, port_value: 53}}]"),
    "c-ares asks a pipe": cares("resolvers: [{pipe: {path: /x}}]"),
    "getaddrinfo": (
        "type: STRICT_DNS",
        host(),
        f'typed_dns_resolver_config: {{name: x, typed_config: {{"@type": {_RESOLVER}.getaddrinfo.v3.'
        "GetAddrInfoDnsResolverConfig, num_retries: 0, num_resolver_threads: 0}}",
    ),
    "apple": (
        "type: STRICT_DNS",
        host(),
        f'typed_dns_resolver_config: {{name: x, typed_config: {{"@type": {_RESOLVER}.apple.v3.'
        "AppleDnsResolverConfig}}",
    ),
    "DNS": dns("dns_min_refresh_rate: 3s, respect_dns_ttl: true"),
    "DNS with too little": dns("dns_min_refresh_rate: 0.5s"),
    "DNS with least above rate": dns("dns_min_refresh_rate: 10s, dns_refresh_rate: 5s"),
    "DNS without a pause": dns("dns_refresh_rate: 0s"),
    "DNS with jitter below 0": dns("dns_jitter: -1s"),
    "DNS by another name": dns(name="envoy.clusters.dns"),
    "DNS by the name of strict": dns(name="envoy.cluster.strict_dns"),
    "DNS by name alone": ("cluster_type: {name: envoy.cluster.dns}", host()),
    "DNS by the other name alone": ("cluster_type: {name: envoy.clusters.dns}", host()),
    "type that nobody has": ("cluster_type: {name: envoy.cluster.nothing}",),
    "type that nobody has, of DNS": dns(name="whatever"),
    "DNS of one endpoint": dns("all_addresses_in_single_endpoint: true"),
    "DNS of no endpoint": dns("all_addresses_in_single_endpoint: true", "load_assignment: {cluster_name: c}"),
    "DNS without endpoints": dns("", "load_assignment: {cluster_name: c}"),
    "DNS with fields of the cluster": dns("", host(), "dns_refresh_rate: 1s", "dns_lookup_family: V4_ONLY"),
    "logical of priority 1": ("type: LOGICAL_DNS", host(more="priority: 1,")),
    "logical pipe": ("type: LOGICAL_DNS", host("pipe: {path: /x}")),
    "strict pipe": ("type: STRICT_DNS", host("pipe: {path: /x}")),
    "strict with resolver": (
        "type: STRICT_DNS",
        host("socket_address: {address: x, port_value: 1, resolver_name: r}"),
    ),
    "logical with resolver": (
        "type: LOGICAL_DNS",
        host("socket_address: {address: x, port_value: 1, resolver_name: r}"),
    ),
    "back-off that ends too early": (
        "type: STRICT_DNS",
        host(),
        "dns_failure_refresh_rate: {base_interval: 2s, max_interval: 1s}",
    ),
    "back-off of nothing": ("type: STRICT_DNS", host(), "dns_failure_refresh_rate: {}"),
    "two kinds of resolvers": (
        *cares("resolvers: []"),
        "dns_resolvers: [{socket_address: {address: 127.0.0.1, port_value: 53}}]",
    ),
}

_LAYER = "layered_runtime: {layers: [{name: a, rtds_layer: {name: b, rtds_config: {SOURCE}}}]}"
#: Sources of other resources than hosts; listeners are asked for later than what needs its file at start.
SOURCES = {
    "clusters": "dynamic_resources: {cds_config: {SOURCE}}",
    "listeners": "dynamic_resources: {lds_config: {SOURCE}}",
    "runtime": _LAYER,
}
FILES = {
    "file": _FILE,
    "no file": "path_config_source: {path: DIR/missing.yaml}",
    "no deprecated file": "path: DIR/missing.yaml",
    "watched": "path_config_source: {path: DIR/eds.yaml, watched_directory: {path: DIR}}",
    "watched nothing": "path_config_source: {path: DIR/eds.yaml, watched_directory: {path: DIR/x}}",
}


@pytest.mark.parametrize("source", FILES)
@pytest.mark.parametrize("kind", SOURCES)
def test_file_of_resources_gets_envoys_verdict(kind: str, source: str, tmp_path: Path) -> None:
    (tmp_path / "eds.yaml").write_text("resources: []\n")
    file = tmp_path / "c.yaml"
    text = f"node: {{id: node1, cluster: cluster1}}\n{SOURCES[kind]}\n"
    file.write_text(text.replace("SOURCE", FILES[source]).replace("DIR", str(tmp_path)))
    ours = main(["-c", str(file), "--mode", "validate", "-l", "off"]) == 0
    assert ours == envoy_verdict(file).accepted


def test_missing_file_of_listeners_ends_the_start_and_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(
        "node: {id: node1, cluster: cluster1}\n"
        "dynamic_resources:\n"
        "  lds_config:\n"
        f"    path_config_source: {{path: {tmp_path}/missing.yaml}}\n"
    )
    assert main(["-c", str(file), "-l", "off", "--disable-hot-restart"]) == 1
    shown = capsys.readouterr().err
    reason = f"paths must refer to an existing path in the system: '{tmp_path}/missing.yaml' does not exist"
    assert f"{file}:4:26 dynamic_resources.lds_config.path_config_source.path: {reason}" in shown
    assert "Traceback" not in shown


@pytest.mark.parametrize("name", CASES)
def test_source_of_hosts_gets_envoys_verdict(name: str, tmp_path: Path) -> None:
    (tmp_path / "eds.yaml").write_text("resources: []\n")
    (tmp_path / "wrong.yaml").write_text("a: [\n")
    (tmp_path / "wrong.json").write_text('{"resources": 5}')
    file = tmp_path / "c.yaml"
    lines = "".join(f"    {line}\n" for line in CASES[name])
    file.write_text((_HEAD + lines).replace("DIR", str(tmp_path)))
    ours = main(["-c", str(file), "--mode", "validate", "-l", "off"]) == 0
    assert ours == envoy_verdict(file).accepted
