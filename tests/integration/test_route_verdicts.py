# ruff: noqa: E501  (a case is a line of a table)
"""Routes that Envoy accepts are accepted and those that it refuses are refused, each tried on Envoy."""

from __future__ import annotations

from pathlib import Path

import pytest
from config_oracle import HCM, ROUTER, envoy_verdict, our_verdict

pytestmark = pytest.mark.oracle

_BASE = """\
static_resources:
  listeners:
  - name: l
    address: {socket_address: {address: 127.0.0.1, port_value: 0}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/HCM
          stat_prefix: s
          route_config:
            CONFIG
            virtual_hosts:
            - name: all
              domains: ["*"]
              HOST
              routes:
              - {match: {prefix: /}, ROUTE}
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {"@type": type.googleapis.com/ROUTER}
  clusters:
  - name: app
    type: STATIC
    load_assignment: {cluster_name: app, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 1}}}}]}]}
"""
_PLAIN = "route: {cluster: app}"


def text(route: str = _PLAIN, host: str = "", config: str = "") -> str:
    parts = {"HCM": HCM, "ROUTER": ROUTER, "CONFIG": config, "HOST": host, "ROUTE": route}
    base = _BASE
    for name, part in parts.items():
        base = base.replace(name, part)
    return base


def to_app(fields: str) -> str:
    return text(f"route: {{cluster: app, {fields}}}")


def direct(fields: str, limit: int | None = None) -> str:
    config = "" if limit is None else f"max_direct_response_body_size_bytes: {limit}"
    return text(f"direct_response: {{status: 200, {fields}}}", config=config)


_REGEX = "{pattern: {regex: a}, substitution: b}"
CASES = {
    "prefix and regex": to_app(f"prefix_rewrite: /a, regex_rewrite: {_REGEX}"),
    "prefix and format": to_app('prefix_rewrite: /a, path_rewrite: "/x"'),
    "regex and format": to_app(f'regex_rewrite: {_REGEX}, path_rewrite: "/x"'),
    "regex alone": to_app(f"regex_rewrite: {_REGEX}"),
    "group that is not there": to_app('regex_rewrite: {pattern: {regex: a}, substitution: "\\\\9"}'),
    "bad regex": to_app('regex_rewrite: {pattern: {regex: "(a"}, substitution: b}'),
    "port beyond the last": text("redirect: {port_redirect: 70000}"),
    "path and prefix of a redirect": text("redirect: {path_redirect: /a, prefix_rewrite: /b}"),
    "directory": direct("body: {filename: /tmp}"),
    "long body": direct(f"body: {{inline_string: {'x' * 4097}}}"),
    "longest body": direct(f"body: {{inline_string: {'x' * 4096}}}"),
    "long body in the environment": direct("body: {environment_variable: SIDECAR_TEST_LONG}"),
    "own limit": direct("body: {inline_string: abcd}", limit=3),
    "no limit": direct("body: {inline_string: abcd}", limit=0),
    "format without a body": direct('body_format: {text_format: ""}'),
}


@pytest.mark.parametrize("name", CASES)
def test_route_gets_the_verdict_of_envoy(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIDECAR_TEST_LONG", "x" * 5000)
    path = tmp_path / "c.yaml"
    path.write_text(CASES[name])
    oracle, ours = envoy_verdict(path), our_verdict(path)
    assert ours.accepted == oracle.accepted, f"{oracle.text}\n---\n{ours.text}"
