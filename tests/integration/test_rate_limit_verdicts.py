"""Configurations of local_ratelimit and of ``rate_limits``: Envoy's verdict on each, tried on Envoy."""

from __future__ import annotations

from pathlib import Path

import pytest
from config_oracle import envoy_verdict
from test_config_verdicts import any_of, conf
from test_filter_verdicts import EXT, chain, route

from sidecar.cli.main import main

pytestmark = pytest.mark.oracle
LIMIT = "local_ratelimit.v3.LocalRateLimit"
BUCKET = "token_bucket: {max_tokens: 1, fill_interval: 1s}"
PLAIN = f"stat_prefix: p, {BUCKET}"
GENERIC = "generic_key: {descriptor_value: v}"


def limits(more: str = "", base: str = PLAIN) -> str:
    return chain(LIMIT, f"{base}, {more}" if more else base)


def descriptor(bucket: str = "max_tokens: 1, fill_interval: 1s", entries: str = "{key: a, value: b}") -> str:
    return f"{{entries: [{entries}], token_bucket: {{{bucket}}}}}"


def of_route(actions: str = GENERIC, more: str = "") -> str:
    filters = f"- {{name: x, typed_config: {any_of(f'{EXT}.{LIMIT}', PLAIN)}}}"
    extra = f"{{actions: [{{{actions}}}]{more}}}"
    text = conf(filters=filters)
    return text.replace(
        "route: {cluster: backend}", f"route: {{cluster: backend, rate_limits: [{extra}]}}", 1
    )


KEY = "metadata_key: {key: a, path: [{key: b}]}"
INPUT = "type.googleapis.com/envoy.type.matcher.v3.HttpRequestHeaderMatchInput"
ACTIONS = {
    "source": "source_cluster: {}",
    "destination": "destination_cluster: {}",
    "headers": "request_headers: {header_name: a, descriptor_key: k}",
    "headers without key": "request_headers: {header_name: a}",
    "headers of a bad name": "request_headers: {header_name: 'a b', descriptor_key: k}",
    "query": "query_parameters: {query_parameter_name: a, descriptor_key: k}",
    "remote": "remote_address: {}",
    "generic": GENERIC,
    "generic of nothing": "generic_key: {}",
    "generic of a format": "generic_key: {descriptor_value: '%BAD%'}",
    "match": "header_value_match: {descriptor_value: v, headers: [{name: a}]}",
    "match of nothing": "header_value_match: {descriptor_value: v}",
    "metadata": f"metadata: {{descriptor_key: k, {KEY}, source: ROUTE_ENTRY}}",
    "metadata of a cluster": f"metadata: {{descriptor_key: k, {KEY}, source: CLUSTER_ENTRY}}",
    "metadata of before": f"dynamic_metadata: {{descriptor_key: k, {KEY}}}",
    "masked": "masked_remote_address: {}",
    "masked too long": "masked_remote_address: {v4_prefix_mask_len: 33}",
    "query match": "query_parameter_value_match: {descriptor_value: v, query_parameters: [{name: a}]}",
    "address": (
        "remote_address_match: {descriptor_value: v, "
        "address_matcher: {ranges: [{address_prefix: 127.0.0.0, prefix_len: 8}]}}"
    ),
    "input": f"extension: {{name: x, typed_config: {{'@type': {INPUT}, header_name: a}}}}",
    "no extension": "extension: {name: x, typed_config: {'@type': "
    "type.googleapis.com/envoy.config.core.v3.Node}}",
    "nothing": "",
}
HITS = (
    "{}",
    "{number: 1}",
    "{format: '%REQ(x)%'}",
    "{number: 1, format: '%REQ(x)%'}",
    "{format: 'a%REQ(x)%'}",
    "{format: '5'}",
    "{number: 1000000001}",
    "{number: 5, is_negative_hits: true}",
)
CASES = {
    "plain": limits(),
    "without a prefix": limits(base=BUCKET),
    "without a bucket": limits(base="stat_prefix: p"),
    "route without a bucket": route(LIMIT, LIMIT, "stat_prefix: p", PLAIN),
    "route": route(LIMIT, LIMIT, PLAIN, PLAIN),
    **{
        f"bucket {bucket}": limits(base=f"stat_prefix: p, token_bucket: {{{bucket}}}")
        for bucket in (
            "max_tokens: 1, fill_interval: 0.049s",
            "max_tokens: 1",
            "max_tokens: 0, fill_interval: 1s",
            "max_tokens: 0, fill_interval: 0.01s",
            "max_tokens: 1, fill_interval: 1s, tokens_per_fill: 0",
            "max_tokens: 1, fill_interval: 0s",
        )
    },
    **{
        f"descriptors {each}": limits(f"descriptors: [{each}]")
        for each in (
            descriptor(),
            f"{descriptor()}, {descriptor()}",
            descriptor("max_tokens: 1, fill_interval: 1.5s"),
            descriptor("max_tokens: 1, fill_interval: 0.01s"),
            descriptor("max_tokens: 0, fill_interval: 0.01s"),
            descriptor(entries=""),
            descriptor(entries="{value: b}"),
            descriptor(entries="{key: a}"),
            f"{descriptor(entries='{key: a}')}, {descriptor(entries='{key: a}')}",
        )
    },
    **{
        f"with {more}": limits(more)
        for more in (
            "stage: 10",
            "stage: 11",
            "filter_enabled: {}",
            "status: {code: 200}",
            "status: {code: 777}",
            "response_headers_to_add: [{header: {key: ':path', value: x}}]",
            "response_headers_to_add: [{header: {key: x, value: '%BAD%'}}]",
            "local_cluster_rate_limit: {}, local_rate_limit_per_downstream_connection: true",
            "max_dynamic_descriptors: 0",
            "enable_x_ratelimit_headers: DRAFT_VERSION_03",
            f"rate_limits: [{{actions: [{{{GENERIC}}}], stage: 1}}]",
            f"rate_limits: [{{actions: [{{{GENERIC}}}], disable_key: x}}]",
            f"rate_limits: [{{actions: [{{{GENERIC}}}], limit: {{dynamic_metadata: {{{KEY}}}}}}}]",
            "rate_limits: [{actions: []}]",
        )
    },
    **{f"route action {name}": of_route(action) for name, action in ACTIONS.items()},
    **{
        f"own action {name}": limits(f"rate_limits: [{{actions: [{{{action}}}]}}]")
        for name, action in ACTIONS.items()
    },
    **{f"route hits {hits}": of_route(more=f", hits_addend: {hits}") for hits in HITS},
    **{
        f"own hits {hits}": limits(f"rate_limits: [{{actions: [{{{GENERIC}}}], hits_addend: {hits}}}]")
        for hits in HITS
    },
    **{
        f"route limit {limit}": of_route(more=f", limit: {limit}")
        for limit in ("{}", "{rate_limit: {requests_per_unit: 1, unit: SECOND}}")
    },
}


@pytest.mark.parametrize("case", CASES)
def test_rate_limits_get_envoys_verdict(case: str, tmp_path: Path) -> None:
    file = tmp_path / "bootstrap.yaml"
    file.write_text(CASES[case], encoding="utf-8")
    theirs = envoy_verdict(file)
    status = main(["--mode", "validate", "-c", str(file)])
    assert (status == 0) is theirs.accepted, theirs.text
