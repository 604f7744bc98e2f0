"""Which health checks and outlier detections Envoy takes and refuses, and so do we."""

from __future__ import annotations

from pathlib import Path

import pytest
from config_oracle import Verdict, envoy_verdict
from test_config_verdicts import conf

from sidecar.config.errors import ConfigErrors
from sidecar.config.load import load_bootstrap
from sidecar.core.options import Options
from sidecar.extensions.catalog import make_registry
from sidecar.server.main import compile_only

pytestmark = pytest.mark.oracle

_TIMES = "timeout: 1s, interval: 1s, unhealthy_threshold: 1, healthy_threshold: 1"
_MONITOR = (
    "type.googleapis.com/envoy.extensions.outlier_detection_monitors.consecutive_errors.v3.ConsecutiveErrors"
)
_BUCKETS = (
    "name: x, threshold: 3, enforcing: 100, error_buckets: {http_errors: [{range: {start: 500, end: 600}}]}"
)
_DURATION = "{'@type': type.googleapis.com/google.protobuf.Duration, value: 1s}"
_SINK = "type.googleapis.com/envoy.extensions.health_check.event_sinks.file.v3.HealthCheckEventFileSink"


def verdict(file: Path) -> Verdict:
    """What loading says, and what making everything says besides."""
    try:
        loaded = load_bootstrap(str(file), None, registry=make_registry())
        compile_only(Options(), loaded)
    except ConfigErrors as errors:
        return Verdict(False, "\n".join(map(str, errors.problems)))
    return Verdict(True, "\n".join(map(str, loaded.warnings)))


def checks(*each: str) -> str:
    return f"health_checks: [{', '.join(f'{{{_TIMES}, {one}}}' for one in each)}]"


HTTP, TCP = "http_health_check: {path: /}", "tcp_health_check: {}"
CASES = {
    "several without names": checks(HTTP, TCP),
    "several, one without a name": checks(f"name: a, {HTTP}", TCP),
    "several of one name": checks(f"name: a, {HTTP}", f"name: a, {TCP}"),
    "several": checks(f"name: a, {HTTP}", f"name: b.c, {TCP}"),
    "eight": checks(*(f"name: a{number}, {HTTP}" for number in range(8))),
    "nine": checks(*(f"name: a{number}, {HTTP}" for number in range(9))),
    "name of the only one": checks(f"name: a, {HTTP}"),
    "file sink": checks(
        f"{HTTP}, event_logger: [{{name: x, typed_config: {{'@type': {_SINK}, event_log_path: /dev/null}}}}]"
    ),
    "file sink without a path": checks(
        f"{HTTP}, event_logger: [{{name: x, typed_config: {{'@type': {_SINK}}}}}]"
    ),
    "file sink that cannot be opened": checks(
        f"{HTTP}, event_logger: [{{name: x, typed_config: {{'@type': {_SINK}, event_log_path: /no/such}}}}]"
    ),
    "sink without configuration": checks(
        f"{HTTP}, event_logger: [{{name: envoy.health_check.event_sink.file}}]"
    ),
    "event log that cannot be opened": checks(f"{HTTP}, event_log_path: /no/such/file"),
}


def http(fields: str) -> str:
    return checks(f"http_health_check: {{path: /, {fields}}}")


def outliers(fields: str) -> str:
    return f"outlier_detection: {{{fields}}}"


_H2 = (
    "typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: "
    "{'@type': type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, "
    "explicit_http_config: {http2_protocol_options: {}}}}\n"
)
CASES |= {
    "payload of a GET": http("send: {text: '00'}"),
    "payload of an OPTIONS": http("send: {text: '00'}, method: OPTIONS"),
    "payload that is binary": http("send: {binary: AA==}, method: PUT"),
    "payload without text": http("send: {}, method: PUT"),
    "payload of odd digits": http("send: {text: '000'}, method: PUT"),
    "payload of no digits": http("receive: [{text: 'ok'}]"),
    "receive longer than its buffer": http("receive: [{text: '000000'}], response_buffer_size: 2"),
    "receive without a limit": http("receive: [{text: '000000'}], response_buffer_size: 0"),
    "receive nothing": http("receive: [{binary: ''}]"),
    "method CONNECT": http("method: CONNECT"),
    "method TRACE": http("method: TRACE"),
    "statuses below 100": http("expected_statuses: [{start: 99, end: 101}]"),
    "statuses above 600": http("expected_statuses: [{start: 200, end: 601}]"),
    "statuses to 600": http("retriable_statuses: [{start: 100, end: 600}]"),
    "statuses backwards": http("retriable_statuses: [{start: 200, end: 200}]"),
    "no path": checks("http_health_check: {}"),
    "path with a line break": checks('http_health_check: {path: "/a\\nb"}'),
    "host with a line break": http('host: "a\\nb"'),
    "header that is a pseudo header": http("request_headers_to_add: [{header: {key: ':path', value: a}}]"),
    "header host": http("request_headers_to_add: [{header: {key: host, value: a}}]"),
    "header to remove host": http("request_headers_to_remove: [host]"),
    "header to remove :path": http("request_headers_to_remove: [':path']"),
    "header with an unknown command": http("request_headers_to_add: [{header: {key: a, value: '%WHAT%'}}]"),
    "service name by regex": http("service_name_matcher: {safe_regex: {regex: '('}}"),
    "HTTP/2": http("codec_client_type: HTTP2"),
    "ALPN": http("use_alpn_protocol: true"),
    "grpc without HTTP/2": checks("grpc_health_check: {}"),
    "grpc": _H2 + checks("grpc_health_check: {}"),
    "grpc metadata": _H2 + checks("grpc_health_check: {initial_metadata: [{header: {key: ':a', value: b}}]}"),
    "grpc authority": _H2 + checks('grpc_health_check: {authority: "a\\nb"}'),
    "no checker": checks("reuse_connection: true"),
    "no thresholds": "health_checks: [{timeout: 1s, interval: 1s, tcp_health_check: {}}]",
    "threshold 0": "health_checks: [{timeout: 1s, interval: 1s, healthy_threshold: 0, "
    "unhealthy_threshold: 0, tcp_health_check: {}}]",
    "timeout 0": "health_checks: [{timeout: 0s, interval: 1s, healthy_threshold: 1, "
    "unhealthy_threshold: 1, tcp_health_check: {}}]",
    "interval 0": "health_checks: [{timeout: 1s, interval: 0s, healthy_threshold: 1, "
    "unhealthy_threshold: 1, tcp_health_check: {}}]",
    "intervals of 0": checks(
        f"{HTTP}, no_traffic_interval: 0s",
    ),
    "edge intervals of 0": checks(f"{HTTP}, unhealthy_edge_interval: 0s"),
    "jitter of 0": checks(f"{HTTP}, interval_jitter: 0s, initial_jitter: 0s"),
    "jitter percent": checks(f"{HTTP}, interval_jitter_percent: 1000"),
    "alt port": checks(f"{HTTP}, alt_port: 8080"),
    "alt port too large": checks(f"{HTTP}, alt_port: 65536"),
    "tls options": checks(f"{HTTP}, tls_options: {{alpn_protocols: [h2]}}"),
    "match criteria": checks(f"{HTTP}, transport_socket_match_criteria: {{a: b}}"),
    "tcp receive of nothing": checks("tcp_health_check: {receive: [{}]}"),
    "tcp proxy protocol": checks("tcp_health_check: {proxy_protocol_config: {version: V2}}"),
    "tcp proxy protocol with TLVs": checks(
        "tcp_health_check: {proxy_protocol_config: {version: V2, added_tlvs: [{type: 224, value: YQ==}]}}"
    ),
    "unknown custom check": checks("custom_health_check: {name: what}"),
    "custom check of an unknown type": checks(
        f"custom_health_check: {{name: what, typed_config: {_DURATION}}}"
    ),
    "outliers": outliers(""),
    "outlier times of 0": outliers("interval: 0s"),
    "outlier base time of 0": outliers("base_ejection_time: 0s"),
    "outlier maximum time of 0": outliers("max_ejection_time: 0s"),
    "outlier maximum below the base": outliers("max_ejection_time: 1s, base_ejection_time: 2s"),
    "outlier base above the default maximum": outliers("base_ejection_time: 400s"),
    "outlier percent 101": outliers("max_ejection_percent: 101"),
    "outlier enforcing 101": outliers("enforcing_consecutive_5xx: 101"),
    "outlier enforcing percentage 101": outliers("enforcing_failure_percentage_local_origin: 101"),
    "outlier threshold 101": outliers("failure_percentage_threshold: 101"),
    "outlier jitter of 0": outliers("max_ejection_time_jitter: 0s"),
    "outlier consecutive 0": outliers("consecutive_5xx: 0"),
    "outlier degraded": outliers("detect_degraded_hosts: true"),
    "outlier monitors": outliers(
        f"monitors: [{{name: m, typed_config: {{'@type': {_MONITOR}, {_BUCKETS}}}}}]"
    ),
    "outlier monitor without buckets": outliers(
        f"monitors: [{{name: m, typed_config: {{'@type': {_MONITOR}, name: x, threshold: 1}}}}]"
    ),
    "outlier monitor of an unknown type": outliers(f"monitors: [{{name: m, typed_config: {_DURATION}}}]"),
}


@pytest.mark.parametrize("name", CASES)
def test_health_checks_get_envoys_verdict(name: str, tmp_path: Path) -> None:
    file = tmp_path / "bootstrap.yaml"
    file.write_text(conf(cluster=CASES[name]))
    theirs = envoy_verdict(file)
    ours = verdict(file)
    assert ours.accepted is theirs.accepted, f"Envoy: {theirs.text}\nours: {ours.text}"


FILTER = "type.googleapis.com/envoy.extensions.filters.http.health_check.v3.HealthCheck"
FILTERS = {
    "plain": "pass_through_mode: false",
    "no mode": "headers: []",
    "cache": "pass_through_mode: true, cache_time: 1s",
    "cache of no time": "pass_through_mode: false, cache_time: 0s",
    "cache without passing through": "pass_through_mode: false, cache_time: 1s",
    "percentages": "pass_through_mode: false, cluster_min_healthy_percentages: {nobody: {value: 100}}",
    "percentages when passing through": "pass_through_mode: true, "
    "cluster_min_healthy_percentages: {nobody: {value: 50}}",
    "101 per cent": "pass_through_mode: false, cluster_min_healthy_percentages: {a: {value: 101}}",
    "no number": "pass_through_mode: false, cluster_min_healthy_percentages: {a: {value: NaN}}",
}


@pytest.mark.parametrize("name", FILTERS)
def test_filter_gets_envoys_verdict(name: str, tmp_path: Path) -> None:
    file = tmp_path / "bootstrap.yaml"
    file.write_text(conf(filters=f"- {{name: h, typed_config: {{'@type': {FILTER}, {FILTERS[name]}}}}}"))
    theirs = envoy_verdict(file)
    ours = verdict(file)
    assert ours.accepted is theirs.accepted, f"Envoy: {theirs.text}\nours: {ours.text}"
