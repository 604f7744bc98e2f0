# ruff: noqa: E501  (a case is a line of a table)
"""Scripts that choose clusters and match text: what Envoy accepts and refuses, each case tried on Envoy."""

from __future__ import annotations

from pathlib import Path

import pytest
from config_oracle import envoy_verdict
from test_config_verdicts import any_of, conf

from sidecar.cli.main import main

pytestmark = pytest.mark.oracle
SPECIFIER = "envoy.extensions.router.cluster_specifiers.lua.v3.LuaConfig"
MATCHER = "envoy.extensions.string_matcher.lua.v3.Lua"


def specifier(config: str) -> str:
    plugin = f"{{extension: {{name: p, typed_config: {any_of(SPECIFIER, config)}}}}}"
    return conf(routes=f"  - {{match: {{prefix: /b}}, route: {{inline_cluster_specifier_plugin: {plugin}}}}}")


def matcher(config: str, more: str = "") -> str:
    custom = f"{{name: m, typed_config: {any_of(MATCHER, config)}}}"
    return conf(
        routes=f"  - {{match: {{prefix: /b, headers: [{{name: a, string_match: {{custom: {custom}{more}}}}}]}}, route: {{cluster: backend}}}}"
    )


def inline(code: str) -> str:
    return f"source_code: {{inline_string: '{code}'}}"


ROUTE = "function envoy_on_route(h) end"
MATCH = "function envoy_match(v) end"
CASES = {
    "specifier": specifier(f"{inline(ROUTE)}, default_cluster: a"),
    "specifier without a default": specifier(inline(ROUTE)),
    "specifier without code": specifier("default_cluster: a"),
    "specifier of empty code": specifier("source_code: {inline_string: ''}"),
    "specifier without its function": specifier(inline("x = 1")),
    "specifier whose function is none": specifier(inline("envoy_on_route = 1")),
    "specifier that does not load": specifier(inline("function")),
    "specifier that fails": specifier(inline("error(1)")),
    "specifier of no file": specifier("source_code: {filename: /nowhere.lua}"),
    "matcher": matcher(inline(MATCH)),
    "matcher that ignores case": matcher(inline(MATCH), ", ignore_case: true"),
    "matcher without code": matcher(""),
    "matcher of empty code": matcher("source_code: {inline_string: ''}"),
    "matcher without its function": matcher(inline("x = 1")),
    "matcher whose function is none": matcher(inline("envoy_match = 1")),
    "matcher that does not load": matcher(inline("function")),
    "matcher that fails": matcher(inline("error(1)")),
}


@pytest.mark.parametrize("name", CASES)
def test_verdict_is_envoys(name: str, tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(CASES[name])
    assert (main(["--mode", "validate", "-c", str(file)]) == 0) is envoy_verdict(file).accepted
