"""What ``--mode validate`` finds beyond loading: the verdict is Envoy's, whatever is still to come."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from sidecar.config.errors import ConfigErrors
from sidecar.config.load import Loaded, load_bootstrap
from sidecar.core.options import Options
from sidecar.extensions.catalog import make_registry
from sidecar.server.main import compile_only

TYPE = '"@type": type.googleapis.com/envoy.extensions'
BASE = f"""\
static_resources:
  listeners:
  - name: l
    address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}
    filter_chains:
    - filters:
      - name: hcm
        typed_config:
          {TYPE}.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: s
          route_config: {{}}
          http_filters:
          FILTER
          - name: router
            typed_config:
              {TYPE}.filters.http.router.v3.Router
"""
TO_COME = f"""- name: x
            typed_config:
              {TYPE}.filters.http.oauth2.v3.OAuth2"""
NO_MODULE = f"""- name: x
            typed_config:
              {TYPE}.filters.http.wasm.v3.Wasm
              config: {{vm_config: {{code: {{local: {{inline_string: none}}}}}}}}"""
LUA = f"""- name: x
            typed_config:
              {TYPE}.filters.http.lua.v3.Lua
              inline_code: "function ("
          - name: oauth2
            typed_config:
              {TYPE}.filters.http.oauth2.v3.OAuth2"""


def load(tmp_path: Path, text: str) -> Loaded:
    file = tmp_path / "bootstrap.yaml"
    file.write_text(text)
    return load_bootstrap(str(file), registry=make_registry())


def test_filter_that_is_still_to_come_is_left_out(tmp_path: Path) -> None:
    loaded = load(tmp_path, BASE.replace("FILTER", TO_COME))
    compile_only(Options(), loaded)
    assert [problem.path.rpartition(".")[2] for problem in loaded.refusals] == ["typed_config"]


def test_error_of_what_will_not_be_served_is_no_verdict(tmp_path: Path) -> None:
    loaded = load(tmp_path, BASE.replace("FILTER", NO_MODULE))
    with pytest.raises(ConfigErrors) as caught:
        compile_only(Options(), loaded)
    (error,) = [problem for problem in caught.value.problems if problem.severity == "error"]
    # As if something in the same message were still to come.
    part = error.path.removesuffix(".code")
    loaded.refusals.append(replace(error, severity="warning", path=part))
    compile_only(Options(), loaded)


def test_error_beside_what_will_not_be_served_stands(tmp_path: Path) -> None:
    loaded = load(tmp_path, BASE.replace("FILTER", LUA))
    assert len(loaded.refusals) == 1
    with pytest.raises(ConfigErrors) as caught:
        compile_only(Options(), loaded)
    (error,) = [problem for problem in caught.value.problems if problem.severity == "error"]
    assert error.path.endswith("http_filters[0].typed_config.inline_code")
    assert error.mark is not None
    assert error.mark.line == BASE[: BASE.index("FILTER")].count("\n") + 4


def test_filter_chain_without_filters_is_accepted(tmp_path: Path) -> None:
    text = BASE[: BASE.index("    - filters:")] + "    - name: empty\n"
    compile_only(Options(), load(tmp_path, text))


@pytest.mark.parametrize(
    "config",
    [
        "stats_config: {stats_matcher: {exclusion_list: {patterns: [{safe_regex: {regex: '('}}]}}}\n",
        "stats_config: {stats_tags: [{tag_name: t, regex: '('}]}\n",
    ],
)
def test_broken_expression_in_stats_config_is_refused(tmp_path: Path, config: str) -> None:
    with pytest.raises(ConfigErrors) as caught:
        compile_only(Options(), load(tmp_path, config))
    (error,) = [problem for problem in caught.value.problems if problem.severity == "error"]
    assert error.path.startswith("stats_config.")
    assert error.mark is not None
