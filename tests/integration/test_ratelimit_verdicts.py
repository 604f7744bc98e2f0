# ruff: noqa: E501  (a case is a line of a table)
"""Configurations of rate limits by a service: what Envoy accepts and refuses, each case tried on Envoy."""

from __future__ import annotations

from pathlib import Path

import pytest
from config_oracle import envoy_verdict
from test_config_verdicts import conf
from test_filter_verdicts import chain, route

from sidecar.cli.main import main

pytestmark = pytest.mark.oracle
LIMIT = "ratelimit.v3.RateLimit"
PER_ROUTE = "ratelimit.v3.RateLimitPerRoute"
SERVICE = (
    "rate_limit_service: {transport_api_version: V3, grpc_service: {envoy_grpc: {cluster_name: backend}}}"
)
GOOD = f"domain: a, {SERVICE}"
KEY = "{generic_key: {descriptor_value: a}}"


def limit(fields: str) -> str:
    return chain(LIMIT, f"{GOOD}, {fields}")


def own(entry: str) -> str:
    return limit(f"rate_limits: [{entry}]")


def of_route(settings: str) -> str:
    return route(LIMIT, PER_ROUTE, settings, GOOD)


def routed(entry: str) -> str:
    return conf(routes="").replace("cluster: backend}", f"cluster: backend, rate_limits: [{entry}]}}", 1)


CASES = {
    "good": chain(LIMIT, GOOD),
    "nothing": chain(LIMIT),
    "without a domain": chain(LIMIT, SERVICE),
    "without a service": chain(LIMIT, "domain: a"),
    "with an empty service": chain(LIMIT, "domain: a, rate_limit_service: {}"),
    "of version 2": chain(LIMIT, f"domain: a, {SERVICE.replace('V3', 'V2')}"),
    "of no version": chain(LIMIT, f"domain: a, {SERVICE.replace('transport_api_version: V3, ', '')}"),
    "stage 10": limit("stage: 10"),
    "stage 11": limit("stage: 11"),
    "kind of request": limit("request_type: internal"),
    "odd kind of request": limit("request_type: odd"),
    "negative timeout": limit("timeout: -1s"),
    "status 200": limit("rate_limited_status: {code: 200}"),
    "status 418": limit("rate_limited_status: {code: 418}"),
    "headers": limit("response_headers_to_add: [{header: {key: a, value: b}}]"),
    "headers that are the host": limit("response_headers_to_add: [{header: {key: host, value: b}}]"),
    "eleven headers": limit(
        "response_headers_to_add: [" + ", ".join(["{header: {key: a, value: b}}"] * 11) + "]"
    ),
    "headers of no format": limit("response_headers_to_add: [{header: {key: a, value: '%NOTHING%'}}]"),
    "percent": limit("failure_mode_deny_percent: {default_value: {numerator: 1}}"),
    "own limits": own(f"{{actions: [{KEY}]}}"),
    "own limits of no action": own("{actions: []}"),
    "own limits of an empty action": own("{actions: [{}]}"),
    "own limits with a stage": own(f"{{actions: [{KEY}], stage: 1}}"),
    "own limits with a key": own(f"{{actions: [{KEY}], disable_key: a}}"),
    "own limits with an override": own(
        f"{{actions: [{KEY}], limit: {{rate_limit: {{requests_per_unit: 1, unit: HOUR}}}}}}"
    ),
    "own limits at the end": own(f"{{actions: [{KEY}], apply_on_stream_done: true}}"),
    "hits of a wrong format": own(f"{{actions: [{KEY}], hits_addend: {{format: '%NOTHING%'}}}}"),
    "hits of a text": own(f"{{actions: [{KEY}], hits_addend: {{format: 'abc'}}}}"),
    "hits of both": own(f"{{actions: [{KEY}], hits_addend: {{number: 1, format: '%PROTOCOL%'}}}}"),
    "too many hits": own(f"{{actions: [{KEY}], hits_addend: {{number: 1000000001}}}}"),
    "hits of nothing": own(f"{{actions: [{KEY}], hits_addend: {{}}}}"),
    "mask of 33": own("{actions: [{masked_remote_address: {v4_prefix_mask_len: 33}}]}"),
    "value that is a wrong format": own("{actions: [{generic_key: {descriptor_value: '%NOTHING%'}}]}"),
    "empty value": own("{actions: [{generic_key: {descriptor_value: ''}}]}"),
    "match of nothing": own("{actions: [{header_value_match: {descriptor_value: a}}]}"),
    "match of a wrong regex": own(
        "{actions: [{header_value_match: {descriptor_value: a, headers: [{name: a, string_match: {safe_regex: {regex: '('}}}]}}]}"
    ),
    "query of nothing": own("{actions: [{query_parameter_value_match: {descriptor_value: a}}]}"),
    "address of nothing": own("{actions: [{remote_address_match: {descriptor_value: a}}]}"),
    "address of a wrong range": own(
        "{actions: [{remote_address_match: {descriptor_value: a, address_matcher: {ranges: [{address_prefix: x, prefix_len: 1}]}}}]}"
    ),
    "old metadata": own(
        "{actions: [{dynamic_metadata: {descriptor_key: a, metadata_key: {key: a, path: [{key: b}]}}}]}"
    ),
    "metadata": own("{actions: [{metadata: {descriptor_key: a, metadata_key: {key: a, path: [{key: b}]}}}]}"),
    "metadata without a path": own("{actions: [{metadata: {descriptor_key: a, metadata_key: {key: a}}}]}"),
    "route": routed(f"{{actions: [{KEY}]}}"),
    "route with a stage": routed(f"{{actions: [{KEY}], stage: 10}}"),
    "route with stage 11": routed(f"{{actions: [{KEY}], stage: 11}}"),
    "route with hits": routed(f"{{actions: [{KEY}], hits_addend: {{number: 1}}}}"),
    "route with a wrong format": routed(f"{{actions: [{KEY}], hits_addend: {{format: '%NOTHING%'}}}}"),
    "per route": of_route("vh_rate_limits: INCLUDE"),
    "per route of nothing": of_route(""),
    "per route with limits": of_route(f"rate_limits: [{{actions: [{KEY}]}}]"),
    "per route with a stage": of_route(f"rate_limits: [{{actions: [{KEY}], stage: 1}}]"),
    "per route with an override": of_route(
        f"rate_limits: [{{actions: [{KEY}], limit: {{rate_limit: {{requests_per_unit: 1, unit: HOUR}}}}}}]"
    ),
}


@pytest.mark.parametrize("text", CASES.values(), ids=CASES.keys())
def test_verdict_is_envoys(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    theirs = envoy_verdict(path)
    ours = main(["--mode", "validate", "-c", str(path)]) == 0
    assert ours == theirs.accepted, f"{theirs.text}\n{capsys.readouterr()}"
