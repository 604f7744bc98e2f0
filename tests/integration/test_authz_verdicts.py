# ruff: noqa: E501  (a case is a line of a table)
"""Configurations of external authorization: what Envoy accepts and refuses, each case tried on Envoy."""

from __future__ import annotations

from pathlib import Path

import pytest
from config_oracle import envoy_verdict
from test_config_verdicts import conf
from test_filter_verdicts import chain, route

from sidecar.cli.main import main

pytestmark = pytest.mark.oracle
AUTHZ = "ext_authz.v3.ExtAuthz"
PER_ROUTE = "ext_authz.v3.ExtAuthzPerRoute"
V3 = "transport_api_version: V3"
GRPC = f"{V3}, grpc_service: {{envoy_grpc: {{cluster_name: backend}}}}"
URI = "server_uri: {uri: 'http://a/b', cluster: backend, timeout: 1s}"


def service(fields: str) -> str:
    return chain(AUTHZ, f"{V3}, grpc_service: {{{fields}}}")


def http(fields: str, more: str = "") -> str:
    return chain(AUTHZ, f"{V3}, http_service: {{{fields}}}, {more}")


def of_route(settings: str) -> str:
    return route(AUTHZ, PER_ROUTE, settings, GRPC)


NAMED = "envoy_grpc: {cluster_name: backend}"
CASES = {
    "nothing": chain(AUTHZ),
    "no service": chain(AUTHZ, V3),
    "gRPC": chain(AUTHZ, GRPC),
    "version by default": chain(AUTHZ, f"grpc_service: {{{NAMED}}}"),
    "version 2": chain(AUTHZ, f"transport_api_version: V2, grpc_service: {{{NAMED}}}"),
    "unknown cluster": service("envoy_grpc: {cluster_name: nobody}"),
    "empty service": service(""),
    "empty name": service("envoy_grpc: {cluster_name: ''}"),
    "odd authority": service("envoy_grpc: {cluster_name: backend, authority: 'a b'}"),
    "broken authority": service('envoy_grpc: {cluster_name: backend, authority: "a\\r\\nb"}'),
    "negative timeout": service(f"{NAMED}, timeout: -1s"),
    "no timeout": service(f"{NAMED}, timeout: 0s"),
    "metadata without a name": service(f"{NAMED}, initial_metadata: [{{key: '', value: a}}]"),
    "metadata that is a path": service(f"{NAMED}, initial_metadata: [{{key: ':path', value: a}}]"),
    "metadata of no format": service(f"{NAMED}, initial_metadata: [{{key: x, value: '%NOTHING%'}}]"),
    "metadata with a line break": service(f'{NAMED}, initial_metadata: [{{key: x, value: "a\\nb"}}]'),
    "no limit": service("envoy_grpc: {cluster_name: backend, max_receive_message_length: 0}"),
    "retries": service(f"{NAMED}, retry_policy: {{retry_on: 5xx}}"),
    "retries of a stream": service(
        "envoy_grpc: {cluster_name: backend, retry_policy: {retry_back_off: {base_interval: 1s, max_interval: 0.5s}}}"
    ),
    "HTTP": http(URI),
    "HTTP without a URI": http("path_prefix: /a"),
    "HTTP without a timeout": http("server_uri: {uri: a, cluster: backend}"),
    "HTTP without a cluster": http("server_uri: {uri: a, timeout: 1s}"),
    "HTTP with no URI": http("server_uri: {uri: '', cluster: backend, timeout: 1s}"),
    "HTTP with a negative timeout": http("server_uri: {uri: a, cluster: backend, timeout: -1s}"),
    "HTTP to nobody": http("server_uri: {uri: a, cluster: nobody, timeout: 1s}"),
    "prefix without a slash": http(f"{URI}, path_prefix: a"),
    "prefix": http(f"{URI}, path_prefix: /a"),
    "fixed path": http(f"{URI}, path_override: /a"),
    "fixed path without a slash": http(f"{URI}, path_override: a"),
    "fixed path and prefix": http(f"{URI}, path_override: /a, path_prefix: /b"),
    "headers for HTTP": http(
        f"{URI}, authorization_request: {{headers_to_add: [{{key: ':path', value: a}}]}}"
    ),
    "headers of no format": http(
        f"{URI}, authorization_request: {{headers_to_add: [{{key: a, value: '%NOTHING%'}}]}}"
    ),
    "headers allowed twice": http(
        f"{URI}, authorization_request: {{allowed_headers: {{patterns: [{{exact: a}}]}}}}",
        "allowed_headers: {patterns: [{exact: a}]}",
    ),
    "headers allowed of old": http(
        f"{URI}, authorization_request: {{allowed_headers: {{patterns: [{{exact: a}}]}}}}"
    ),
    "empty list": chain(AUTHZ, f"{GRPC}, allowed_headers: {{}}"),
    "empty matcher": chain(AUTHZ, f"{GRPC}, disallowed_headers: {{patterns: [{{}}]}}"),
    "wrong regex": chain(AUTHZ, f"{GRPC}, allowed_headers: {{patterns: [{{safe_regex: {{regex: '('}}}}]}}"),
    "retries of HTTP": http(
        f"{URI}, retry_policy: {{retry_back_off: {{base_interval: 1s, max_interval: 0.5s}}}}"
    ),
    "retries of HTTP without time": http(f"{URI}, retry_policy: {{retry_back_off: {{base_interval: 0s}}}}"),
    "body of nothing": chain(AUTHZ, f"{GRPC}, with_request_body: {{max_request_bytes: 0}}"),
    "body without a limit": chain(AUTHZ, f"{GRPC}, with_request_body: {{}}"),
    "status of nothing": chain(AUTHZ, f"{GRPC}, status_on_error: {{}}"),
    "status 418": chain(AUTHZ, f"{GRPC}, status_on_error: {{code: 418}}"),
    "status of a name": chain(AUTHZ, f"{GRPC}, status_on_error: {{code: NotFound}}"),
    "enabled without a value": chain(AUTHZ, f"{GRPC}, filter_enabled: {{runtime_key: a}}"),
    "enabled by metadata": chain(
        AUTHZ,
        f"{GRPC}, filter_enabled_metadata: {{filter: a, path: [{{key: b}}], value: {{present_match: true}}}}",
    ),
    "enabled by no metadata": chain(
        AUTHZ, f"{GRPC}, filter_enabled_metadata: {{filter: a, value: {{present_match: true}}}}"
    ),
    "denied without a value": chain(AUTHZ, f"{GRPC}, deny_at_disable: {{runtime_key: a}}"),
    "denied without a key": chain(AUTHZ, f"{GRPC}, deny_at_disable: {{default_value: true}}"),
    "rules with a wrong regex": chain(
        AUTHZ, f"{GRPC}, decoder_header_mutation_rules: {{allow_expression: {{regex: '('}}}}"
    ),
    "rules": chain(AUTHZ, f"{GRPC}, decoder_header_mutation_rules: {{disallow_all: true}}"),
    "route": of_route("check_settings: {context_extensions: {a: b}}"),
    "route that says nothing": of_route(""),
    "route off": of_route("disabled: true"),
    "route not off": of_route("disabled: false"),
    "route with two of body": of_route(
        "check_settings: {disable_request_body_buffering: true, with_request_body: {max_request_bytes: 1}}"
    ),
    "route with a body of nothing": of_route("check_settings: {with_request_body: {}}"),
    "route with a service": of_route(f"check_settings: {{grpc_service: {{{NAMED}}}}}"),
    "route with an empty service": of_route("check_settings: {grpc_service: {}}"),
    "route with HTTP": of_route(f"check_settings: {{http_service: {{{URI}}}}}"),
    "route with HTTP without a slash": of_route(
        f"check_settings: {{http_service: {{{URI}, path_prefix: a}}}}"
    ),
    "route with headers of no format": of_route(
        f"check_settings: {{http_service: {{{URI}, authorization_request: {{headers_to_add: [{{key: a, value: '%NOTHING%'}}]}}}}}}"
    ),
    "headers for HTTP that are the host": http(
        f"{URI}, authorization_request: {{headers_to_add: [{{key: Host, value: a}}]}}"
    ),
    "filter's message in a route": route(AUTHZ, AUTHZ, GRPC, GRPC),
}


def network(fields: str) -> str:
    """The network filter, in front of the connection manager."""
    kind = "type.googleapis.com/envoy.extensions.filters.network.ext_authz.v3.ExtAuthz"
    entry = f'- {{name: a, typed_config: {{"@type": {kind}, {fields}}}}}'
    text: str = conf()
    head, mark, rest = text.partition("    - filters:\n")
    assert mark
    indent = rest[: len(rest) - len(rest.lstrip(" "))]
    return f"{head}{mark}{indent}{entry}\n{rest}"


CASES |= {
    "network": network(f"stat_prefix: a, {GRPC}"),
    "network without a prefix": network(GRPC),
    "network without a service": network(f"stat_prefix: a, {V3}"),
    "network of version 2": network(f"stat_prefix: a, transport_api_version: V2, grpc_service: {{{NAMED}}}"),
    "network of nothing": network("stat_prefix: a"),
    "network with no path": network(
        f"stat_prefix: a, {GRPC}, filter_enabled_metadata: {{filter: a, value: {{present_match: true}}}}"
    ),
    "network with an alert": network(f"stat_prefix: a, {GRPC}, send_tls_alert_on_denial: true"),
}


@pytest.mark.parametrize("text", CASES.values(), ids=CASES.keys())
def test_verdict_is_envoys(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    theirs = envoy_verdict(path)
    ours = main(["--mode", "validate", "-c", str(path)]) == 0
    assert ours == theirs.accepted, f"{theirs.text}\n{capsys.readouterr()}"
