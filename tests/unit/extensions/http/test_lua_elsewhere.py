"""Lua that chooses clusters and matches text: what ends badly, and what is refused."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from google.protobuf.json_format import ParseDict

from sidecar.config.compile.matchers import compile_string_matcher
from sidecar.config.messages import message_class
from sidecar.core.errors import ConfigError
from sidecar.core.headers import RequestHeaders
from sidecar.extensions.catalog import make_registry
from sidecar.extensions.http.lua_matcher import LUA_MATCHER
from sidecar.extensions.http.lua_specifier import LuaSpecifier, LuaSpecifierFactory

LOOP = "while true do end"


def specifier(body: str, find: Any = lambda name: None) -> LuaSpecifier:
    cls: Any = message_class(LuaSpecifierFactory.config_type)
    message = ParseDict({"source_code": {"inline_string": body}, "default_cluster": "other"}, cls())
    context: Any = SimpleNamespace(
        find_cluster=find, read_data_source=lambda source, path: source.inline_string.encode()
    )
    return LuaSpecifierFactory().compile(message, context)


def matcher(code: str) -> Any:
    make_registry()
    message_class(LUA_MATCHER)
    cls: Any = message_class("envoy.type.matcher.v3.StringMatcher")
    config = {
        "@type": "type.googleapis.com/envoy.extensions.string_matcher.lua.v3.Lua",
        "sourceCode": {"inline_string": code},
    }
    return compile_string_matcher(ParseDict({"custom": {"name": "m", "typedConfig": config}}, cls()), "at")


def test_cluster_is_what_the_script_says_and_the_default_where_it_fails():
    headers = RequestHeaders(b"GET", b"/a", b"host", b"http", [(b"x-to", b"one")])
    chosen = specifier('function envoy_on_route(h) return h:headers():get("x-to") end')
    assert chosen.match((headers, None)) == "one"
    assert chosen.match((RequestHeaders(), None)) == "other"
    assert specifier("function envoy_on_route(h) coroutine.yield('a') end").match((headers, None)) == "other"


def test_script_that_loops_or_takes_all_memory_takes_the_default_and_the_next_goes_on(caplog):
    text = f"""
    function envoy_on_route(h)
      if h:headers():get("x-to") then {LOOP} end
      if h:headers():get("x-big") then all = {{}} while true do all[#all + 1] = ("x"):rep(1e6) end end
      return "fine"
    end"""
    chosen = specifier(text)
    for name in (b"x-to", b"x-big"):
        assert chosen.match((RequestHeaders(fields=[(name, b"1")]), None)) == "other"
        assert chosen.match((RequestHeaders(), None)) == "fine"
    assert len(caplog.records) == 2


def test_use_of_a_cluster_is_that_of_both_priorities():
    uses = [
        SimpleNamespace(connections=2, requests=3, pending=1),
        SimpleNamespace(connections=1, requests=1, pending=0),
    ]
    cluster = SimpleNamespace(resources=uses)
    code = """
    function envoy_on_route(h)
      local c = h:getCluster("app")
      return c:numConnections() .. c:numRequests() .. c:numPendingRequests()
    end"""
    assert specifier(code, {"app": cluster}.get).match((RequestHeaders(), None)) == "341"


@pytest.mark.parametrize(
    ("body", "is_match"),
    [
        ("return v == 'a'", True),
        ("return 1", False),
        ("error('x')", False),
        (LOOP, False),
        ("return false", False),
    ],
)
def test_text_matches_where_the_script_says_true(body, is_match):
    assert matcher(f"function envoy_match(v) {body} end")(b"a") is is_match


@pytest.mark.parametrize("code", ["function", "x = 1", "error('at the start')"])
def test_script_that_cannot_be_used_is_refused(code):
    with pytest.raises(ConfigError):
        matcher(code)
    with pytest.raises(ConfigError):
        specifier(code)
