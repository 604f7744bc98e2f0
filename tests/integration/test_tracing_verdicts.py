# ruff: noqa: E501  (a case is a line of a table)
"""Configurations of tracing: what Envoy accepts and refuses, each case tried on Envoy."""

from __future__ import annotations

from pathlib import Path

import pytest
from config_oracle import envoy_verdict
from test_config_verdicts import any_of, conf

from sidecar.cli.main import main

pytestmark = pytest.mark.oracle
OTEL = "envoy.config.trace.v3.OpenTelemetryConfig"
GRPC = "grpc_service: {envoy_grpc: {cluster_name: app}}"
SAMPLERS = "envoy.extensions.tracers.opentelemetry.samplers.v3"
DETECTORS = "envoy.extensions.tracers.opentelemetry.resource_detectors.v3"
RATIO = f"{SAMPLERS}.TraceIdRatioBasedSamplerConfig"


def traced(more: str = "", otel: str = GRPC, route: str = "") -> str:
    provider = f"provider: {{name: o, typed_config: {any_of(OTEL, otel)}}}"
    return conf(hcm=f"tracing: {{{', '.join(part for part in (more, provider) if part)}}}", routes=route)


def sampler(kind: str, config: str = "") -> str:
    return f"{GRPC}, sampler: {{name: s, typed_config: {any_of(kind, config)}}}"


def tag(config: str) -> str:
    return traced(f"custom_tags: [{{{config}}}]")


CASES = {
    "plain": traced(),
    "empty": conf(hcm="tracing: {}"),
    "empty otel": traced(otel=""),
    "no such cluster": traced(otel="grpc_service: {envoy_grpc: {cluster_name: nowhere}}"),
    "google grpc": traced(otel="grpc_service: {google_grpc: {target_uri: 'a:1', stat_prefix: a}}"),
    "both services": traced(otel=f"{GRPC}, http_service: {{http_uri: {{uri: 'http://a/b', cluster: app, timeout: 1s}}}}"),
    "http": traced(otel="http_service: {http_uri: {uri: 'http://a/b', cluster: app, timeout: 1s}}"),
    "http without timeout": traced(otel="http_service: {http_uri: {uri: 'http://a/b', cluster: app}}"),
    "http without uri": traced(otel="http_service: {http_uri: {cluster: app, timeout: 1s}}"),
    "http to nowhere": traced(otel="http_service: {http_uri: {uri: 'http://a/b', cluster: nowhere, timeout: 1s}}"),
    "http with a header": traced(otel="http_service: {http_uri: {uri: 'http://a/b', cluster: app, timeout: 1s}, request_headers_to_add: [{header: {key: a, value: b}}]}"),
    **{f"random {value}": traced(f"random_sampling: {{value: {value}}}") for value in (-1, 0, 0.005, 100, 101)},
    "overall 101": traced("overall_sampling: {value: 101}"),
    "client nothing": traced("client_sampling: {}"),
    "path length 0": traced("max_path_tag_length: 0"),
    "cache 0": traced(otel=f"{GRPC}, max_cache_size: 0"),
    "operation": traced("operation: '%REQ(a)%'"),
    "bad operation": traced("operation: '%REQ(a)'"),
    "unknown operation": traced("operation: '%NOTHING%'"),
    "bad upstream operation": traced("upstream_operation: '%NOTHING%'"),
    "tag without name": tag("literal: {value: a}"),
    "tag without type": tag("tag: a"),
    "empty literal": tag("tag: a, literal: {}"),
    "environment without name": tag("tag: a, environment: {default_value: b}"),
    "header without name": tag("tag: a, request_header: {}"),
    "bad header": tag("tag: a, request_header: {name: 'a b'}"),
    "metadata without key": tag("tag: a, metadata: {kind: {request: {}}}"),
    "metadata without kind": tag("tag: a, metadata: {metadata_key: {key: a, path: [{key: b}]}}"),
    "metadata without path": tag("tag: a, metadata: {kind: {route: {}}, metadata_key: {key: a}}"),
    "tag format": tag("tag: a, value: '%REQ(a)%'"),
    "bad tag format": tag("tag: a, value: '%REQ(a)'"),
    "same tag twice": traced("custom_tags: [{tag: a, literal: {value: a}}, {tag: a, literal: {value: b}}]"),
    "always on": traced(otel=sampler(f"{SAMPLERS}.AlwaysOnSamplerConfig")),
    "ratio": traced(otel=sampler(RATIO, "sampling_percentage: {numerator: 5}")),
    "ratio without a share": traced(otel=sampler(RATIO)),
    "ratio above all": traced(otel=sampler(RATIO, "sampling_percentage: {numerator: 101}")),
    "parent based": traced(otel=sampler(f"{SAMPLERS}.ParentBasedSamplerConfig", f"wrapped_sampler: {{name: w, typed_config: {any_of(RATIO)}}}")),
    "parent based on nothing": traced(otel=sampler(f"{SAMPLERS}.ParentBasedSamplerConfig")),
    "static detector": traced(otel=f"{GRPC}, resource_detectors: [{{name: d, typed_config: {any_of(f'{DETECTORS}.StaticConfigResourceDetectorConfig', 'attributes: {a: b}')}}}]"),
    "empty static detector": traced(otel=f"{GRPC}, resource_detectors: [{{name: d, typed_config: {any_of(f'{DETECTORS}.StaticConfigResourceDetectorConfig')}}}]"),
    "environment detector": traced(otel=f"{GRPC}, resource_detectors: [{{name: d, typed_config: {any_of(f'{DETECTORS}.EnvironmentResourceDetectorConfig')}}}]"),
    "decorator": traced(route="decorator: {operation: a}"),
    "decorator of nothing": traced(route="decorator: {}"),
    "route share": traced(route="tracing: {random_sampling: {numerator: 5, denominator: MILLION}}"),
    "route operation": traced(route="tracing: {operation: '%NOTHING%'}"),
    "route tag": traced(route="tracing: {custom_tags: [{tag: a}]}"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_tracing_gets_envoys_verdict(case: str, tmp_path: Path) -> None:
    file = tmp_path / "bootstrap.yaml"
    file.write_text(CASES[case], encoding="utf-8")
    theirs = envoy_verdict(file)
    status = main(["--mode", "validate", "-c", str(file)])
    assert (status == 0) is theirs.accepted, theirs.text
