# ruff: noqa: E501  (a case is a line of a table)
"""Configurations of HTTP filters: what Envoy accepts and refuses, wholly compiled, each case tried on Envoy."""

from __future__ import annotations

from pathlib import Path

import pytest
from config_oracle import envoy_verdict
from test_config_verdicts import any_of, conf

from sidecar.cli.main import main

pytestmark = pytest.mark.oracle
EXT = "envoy.extensions.filters.http"


def chain(kind: str, config: str = "") -> str:
    return conf(filters=f"- {{name: x, typed_config: {any_of(f'{EXT}.{kind}', config)}}}")


def route(filter_kind: str, kind: str, config: str = "", filter_config: str = "") -> str:
    return conf(
        filters=f"- {{name: x, typed_config: {any_of(f'{EXT}.{filter_kind}', filter_config)}}}",
        routes=f"typed_per_filter_config: {{x: {any_of(f'{EXT}.{kind}', config)}}}",
    )


ALWAYS = "{default_value: {numerator: 100}}"
CASES = {
    "cors": chain("cors.v3.Cors"),
    "cors policy": route("cors.v3.Cors", "cors.v3.CorsPolicy", "allow_origin_string_match: [{exact: a}]"),
    "cors policy in the chain": chain("cors.v3.CorsPolicy"),
    "cors filter in a route": route("cors.v3.Cors", "cors.v3.Cors"),
    "cors regex": route(
        "cors.v3.Cors", "cors.v3.CorsPolicy", "allow_origin_string_match: [{safe_regex: {regex: '('}}]"
    ),
    "cors empty matcher": route("cors.v3.Cors", "cors.v3.CorsPolicy", "allow_origin_string_match: [{}]"),
    "cors enabled without a value": route(
        "cors.v3.Cors", "cors.v3.CorsPolicy", "filter_enabled: {runtime_key: a}"
    ),
    "cors of a route": conf(routes="cors: {allow_methods: GET}"),
    "csrf without filter_enabled": chain("csrf.v3.CsrfPolicy"),
    "csrf": chain("csrf.v3.CsrfPolicy", f"filter_enabled: {ALWAYS}"),
    "csrf without a default": chain("csrf.v3.CsrfPolicy", "filter_enabled: {}"),
    "csrf of a route without filter_enabled": route(
        "csrf.v3.CsrfPolicy", "csrf.v3.CsrfPolicy", "", f"filter_enabled: {ALWAYS}"
    ),
    "buffer without a limit": chain("buffer.v3.Buffer"),
    "buffer of nothing": chain("buffer.v3.Buffer", "max_request_bytes: 0"),
    "buffer": chain("buffer.v3.Buffer", "max_request_bytes: 1"),
    "buffer off": route(
        "buffer.v3.Buffer", "buffer.v3.BufferPerRoute", "disabled: true", "max_request_bytes: 1"
    ),
    "buffer not off": route(
        "buffer.v3.Buffer", "buffer.v3.BufferPerRoute", "disabled: false", "max_request_bytes: 1"
    ),
    "buffer that says nothing": route(
        "buffer.v3.Buffer", "buffer.v3.BufferPerRoute", "", "max_request_bytes: 1"
    ),
    "buffer of a route": route(
        "buffer.v3.Buffer", "buffer.v3.Buffer", "max_request_bytes: 1", "max_request_bytes: 1"
    ),
    "header mutation of a chain in a route": route(
        "header_mutation.v3.HeaderMutation", "header_mutation.v3.HeaderMutation"
    ),
    "lua of a chain in a route": route("lua.v3.Lua", "lua.v3.Lua", "inline_code: 'x = 1'"),
    "nothing of a chain in a route": route("lua.v3.Lua", "lua.v3.Lua"),
    "fault of nothing": chain("fault.v3.HTTPFault"),
    "fault with an empty delay": chain("fault.v3.HTTPFault", "delay: {}"),
    "fault without a percentage": chain("fault.v3.HTTPFault", "delay: {fixed_delay: 1s}"),
    "fault with no delay": chain("fault.v3.HTTPFault", "delay: {fixed_delay: 0s}"),
    "fault with an empty abort": chain("fault.v3.HTTPFault", "abort: {}"),
    "fault with status 199": chain("fault.v3.HTTPFault", "abort: {http_status: 199}"),
    "fault with status 600": chain("fault.v3.HTTPFault", "abort: {http_status: 600}"),
    "fault with any gRPC status": chain("fault.v3.HTTPFault", "abort: {grpc_status: 99}"),
    "fault with an empty rate": chain("fault.v3.HTTPFault", "response_rate_limit: {}"),
    "fault with no rate": chain("fault.v3.HTTPFault", "response_rate_limit: {fixed_limit: {limit_kbps: 0}}"),
    "fault of a route": route("fault.v3.HTTPFault", "fault.v3.HTTPFault", "abort: {http_status: 500}"),
}


def lib(name: str, config: str = "", way: str = "compressor") -> str:
    kind = f"envoy.extensions.compression.{name}.{way}.v3.{name.title()}"
    return f"{way}_library: {{name: a, typed_config: {any_of(kind, config)}}}"


COMPRESSOR, DECOMPRESSOR = "compressor.v3.Compressor", "decompressor.v3.Decompressor"
TYPES = "content_type: [a], content_type_matcher: [{exact: a}]"
CASES |= {
    "compressor without a library": chain(COMPRESSOR),
    "compressor": chain(COMPRESSOR, lib("gzip")),
    "compressor with a decompressor": chain(COMPRESSOR, lib("gzip", way="decompressor")),
    "compressor with both kinds of types": chain(
        COMPRESSOR, f"{lib('gzip')}, response_direction_config: {{common_config: {{{TYPES}}}}}"
    ),
    "compressor with an empty matcher": chain(
        COMPRESSOR,
        f"{lib('gzip')}, response_direction_config: {{common_config: {{content_type_matcher: [{{}}]}}}}",
    ),
    "compressor with a code twice": chain(
        COMPRESSOR, f"{lib('gzip')}, response_direction_config: {{uncompressible_response_codes: [206, 206]}}"
    ),
    "compressor with code 199": chain(
        COMPRESSOR, f"{lib('gzip')}, response_direction_config: {{uncompressible_response_codes: [199]}}"
    ),
    "compressor with code 600": chain(
        COMPRESSOR, f"{lib('gzip')}, response_direction_config: {{uncompressible_response_codes: [600]}}"
    ),
    "compressor with old fields": chain(
        COMPRESSOR, f"{lib('gzip')}, content_length: 30, content_type: [a], disable_on_etag_header: true"
    ),
    "compressor with old fields and new ones": chain(
        COMPRESSOR, f"{lib('gzip')}, content_length: 30, response_direction_config: {{}}"
    ),
    **{
        f"gzip {config}": chain(COMPRESSOR, lib("gzip", config))
        for config in (
            "memory_level: 0",
            "memory_level: 10",
            "window_bits: 8",
            "window_bits: 9",
            "window_bits: 16",
            "chunk_size: 4095",
            "compression_level: COMPRESSION_LEVEL_5",
            "compression_level: 10",
            "compression_strategy: FIXED",
        )
    },
    **{
        f"brotli {config}": chain(COMPRESSOR, lib("brotli", config))
        for config in (
            "quality: 12",
            "window_bits: 9",
            "window_bits: 25",
            "input_block_bits: 15",
            "input_block_bits: 25",
            "encoder_mode: FONT",
        )
    },
    **{
        f"zstd {config}": chain(COMPRESSOR, lib("zstd", config))
        for config in (
            "compression_level: 0",
            "compression_level: 22",
            "compression_level: 23",
            "strategy: BTULTRA2",
            "dictionary: {inline_string: abc}",
            "dictionary: {filename: /nowhere}",
            "chunk_size: 1",
        )
    },
    "compressor of a route that says nothing": route(
        COMPRESSOR, "compressor.v3.CompressorPerRoute", "", lib("gzip")
    ),
    "compressor of a route off": route(
        COMPRESSOR, "compressor.v3.CompressorPerRoute", "disabled: true", lib("gzip")
    ),
    "compressor of a route not off": route(
        COMPRESSOR, "compressor.v3.CompressorPerRoute", "disabled: false", lib("gzip")
    ),
    "compressor of a route, empty": route(
        COMPRESSOR, "compressor.v3.CompressorPerRoute", "overrides: {}", lib("gzip")
    ),
    "compressor of a route, library": route(
        COMPRESSOR, "compressor.v3.CompressorPerRoute", f"overrides: {{{lib('zstd')}}}", lib("gzip")
    ),
    "decompressor without a library": chain(DECOMPRESSOR),
    "decompressor": chain(DECOMPRESSOR, lib("gzip", way="decompressor")),
    "decompressor with a compressor": chain(DECOMPRESSOR, lib("gzip")),
    "decompressor of zstd": chain(DECOMPRESSOR, lib("zstd", way="decompressor")),
    **{
        f"decompressor {config}": chain(DECOMPRESSOR, lib("gzip", config, way="decompressor"))
        for config in (
            "window_bits: 8",
            "window_bits: 9",
            "max_inflate_ratio: 0",
            "max_inflate_ratio: 1",
            "max_inflate_ratio: 1039",
            "chunk_size: 65537",
        )
    },
}

H2M = "header_to_metadata.v3.Config"
CASES |= {
    f"header_to_metadata {rule}": chain(H2M, f"request_rules: [{rule}]")
    for rule in (
        "{}",
        "{header: a}",
        "{header: a, cookie: b, on_header_present: {key: k}}",
        "{on_header_present: {key: k}}",
        "{header: a, on_header_present: {}}",
        "{header: a, on_header_present: {key: k, value: v, regex_value_rewrite: {pattern: {regex: a}}}}",
        "{header: a, on_header_present: {key: k, regex_value_rewrite: {pattern: {regex: '('}}}}",
        "{cookie: a, on_header_present: {key: k}, remove: true}",
        "{header: a, on_header_missing: {key: k}}",
        "{header: a, on_header_missing: {key: k, value: v}}",
        "{header: a, on_header_present: {key: k, type: NUMBER, encode: BASE64}}",
        "{header: 'a b', on_header_present: {key: k}}",
        "{header: a, on_header_present: {key: k, metadata_namespace: ''}}",
    )
}
CASES |= {
    "header_to_metadata of nothing": chain(H2M),
    "header_to_metadata of a route of nothing": route(H2M, H2M, "response_rules: []"),
    "header_to_metadata of a route": route(
        H2M, H2M, "response_rules: [{header: a, on_header_present: {key: k}}]"
    ),
    "set_metadata of nothing": chain("set_metadata.v3.Config"),
    "set_metadata without namespace": chain("set_metadata.v3.Config", "metadata: [{value: {a: 1}}]"),
    "set_metadata without value": chain("set_metadata.v3.Config", "metadata: [{metadata_namespace: a}]"),
    "set_metadata of before without namespace": chain("set_metadata.v3.Config", "value: {a: 1}"),
    "set_metadata in a route": route(
        "set_metadata.v3.Config", "set_metadata.v3.Config", "metadata: [{metadata_namespace: a}]"
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_filter_gets_envoys_verdict(case: str, tmp_path: Path) -> None:
    file = tmp_path / "bootstrap.yaml"
    file.write_text(CASES[case], encoding="utf-8")
    theirs = envoy_verdict(file)
    status = main(["--mode", "validate", "-c", str(file)])
    assert (status == 0) is theirs.accepted, theirs.text
