"""``sidecar lint``: what it finds in scripts, and what it leaves alone."""

from __future__ import annotations

import re

import pytest

from sidecar.cli.main import main
from sidecar.extensions.http.lua_api import lua_file
from sidecar.extensions.http.lua_lint import METHODS, lint_script

IN_REQUEST = "function envoy_on_request(h)\n%s\nend"
IN_RESPONSE = "function envoy_on_response(h)\n%s\nend"


def texts(code: str) -> list[str]:
    return [found.text for found in lint_script(code)]


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("h:header()", "a handle object has no method header(): did you mean headers()?"),
        ("h:headers():append('a', 'b')", "a headers object has no method append()"),
        ("local x = h:streamInfo():dynamicMetadata() x:gett('a')", "a dynamic metadata object has no method gett(): did you mean get()?"),
        ("h:add('a', 'b')", "a handle object has no method add(): a counter object has it"),
        ("h.headers()", "headers() of a handle object is called with a dot: write :headers()"),
        ("h:logWarning('x')", "a handle object has no method logWarning(): did you mean logWarn()?"),
        ("for c in h:bodyChunks() do c:size() end", "a buffer object has no method size()"),
        ("if x then h:body() h:bodyChunks() end", "bodyChunks() cannot work behind body(): the body has been read whole"),
        ("for c in h:bodyChunks() do end h:body()", "body() cannot work behind bodyChunks(): the body has gone on"),
        ("for c in h:bodyChunks() do end h:headers():add('a', 'b')", "add() cannot work behind bodyChunks(): the headers have gone on"),
        ("for c in h:bodyChunks() do end h:respond({}, '')", "respond() cannot work behind bodyChunks(): the headers have gone on"),
        ("h:httpCall('a', {})", "httpCall() needs a cluster, headers, a body or nil, and a timeout or options"),
        ("local hd = h:headers() h:httpCall('a', {}, nil, 1) hd:get('a')", "this headers object was got before httpCall(), which ended it: get it again"),
        ("h:headers():setHttp1ReasonPhrase('x')", "setHttp1ReasonPhrase() does nothing in a request"),
        ("local f = function() h:nothing() end", "a handle object has no method nothing()"),
    ],
)  # fmt: skip
def test_mistake_in_a_request_is_named(code, text):
    assert texts(IN_REQUEST % code) == [text]


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("h:respond({[':status'] = '200'}, '')", "respond() cannot be called in envoy_on_response()"),
        ("h:clearRouteCache()", "clearRouteCache() does nothing in envoy_on_response(): the request is gone"),
        ("h:setUpstreamOverrideHost('1.2.3.4')", "setUpstreamOverrideHost() does nothing in envoy_on_response(): the request is gone"),
    ],
)  # fmt: skip
def test_call_that_cannot_work_in_a_response_is_named(code, text):
    assert texts(IN_RESPONSE % code) == [text]
    assert text not in texts(IN_REQUEST % code)


@pytest.mark.parametrize(
    "code",
    [
        "if a then h:body() else for c in h:bodyChunks() do c:length() end end",
        "local hd = h:headers() hd = other() hd:anything()",
        "local hd = h:headers() h:httpCall('a', {}, nil, 1) hd = h:headers() hd:get('a')",
        "local c = h:stats():counter('x') h:httpCall('a', {}, nil, 1) c:inc()",
        "local function f(h) h:anything() end",
        "local s = h:headers():get('a') s:upper() local t = s:match('x') t:len()",
        "x.h:anything() other:h()",
        "local text = [[ h:anything() ]] -- h:anything()\n--[[ h:anything() ]]",
        "h:httpCall(unpack(arguments)) h:httpCall(table.unpack(x))",
        "h:body() local t = h:trailers() if t then t:add('a', 'b') end",
        "local x = h:headers():get('a') or h:headers():get('b') x:sub(1)",
        "for k, v in pairs(h:headers()) do v:sub(1) end",
        "while true do h:logInfo('x') break end repeat h:logInfo('x') until true",
        "goto top ::top:: local n = 0x1F .. 1e-3",
    ],
)
def test_script_that_works_is_left_alone(code):
    assert texts(IN_REQUEST % code) == []


def test_syntax_and_missing_functions_are_named():
    [found] = lint_script("x = 1\nfunction y(")
    assert (found.line, found.severity) == (2, "error")
    assert "expected near" in found.text
    assert texts("x = 1") == ["the script defines neither envoy_on_request() nor envoy_on_response()"]
    assert texts("function envoy_on_reqest(h) end") == [
        "envoy_on_reqest() is never called: did you mean envoy_on_request()?"
    ]
    assert texts("envoy_on_request = function(h) h:nothing() end") == [
        "a handle object has no method nothing()"
    ]


def test_methods_are_those_that_objects_have():
    prelude = lua_file("lua_prelude.lua").decode()
    for kind, methods in METHODS.items():
        for method in methods:
            assert re.search(rf"\b{method}\b", prelude), (kind, method)
    assert {name for name in re.findall(r"function Handle\.(\w+)", prelude) if name != "keep"} <= METHODS[
        "handle"
    ]
    assert set(re.findall(r"function StreamInfo\.(\w+)", prelude)) <= METHODS["stream info"]


def test_command_names_lines_of_the_file(tmp_path, capsys):
    script = tmp_path / "a.lua"
    script.write_text(IN_REQUEST % "h:header()")
    assert main(["lint", str(script)]) == 1
    assert capsys.readouterr().out == (
        f"{script}:2:3: error: a handle object has no method header(): did you mean headers()?\n"
    )
    script.write_text(IN_REQUEST % "h:headers()")
    assert main(["lint", str(script)]) == 0


def test_command_finds_scripts_in_a_configuration(tmp_path, capsys):
    lua = "type.googleapis.com/envoy.extensions.filters.http.lua.v3"
    hcm = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
    router = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
    file = tmp_path / "envoy.yaml"
    file.write_text(f"""
static_resources:
  listeners:
  - address: {{socket_address: {{address: 127.0.0.1, port_value: 10000}}}}
    filter_chains:
    - filters:
      - name: hcm
        typed_config:
          "@type": {hcm}
          stat_prefix: a
          route_config:
            virtual_hosts:
            - name: a
              domains: ["*"]
              routes:
              - match: {{prefix: /}}
                direct_response: {{status: 200}}
                typed_per_filter_config:
                  lua:
                    "@type": {lua}.LuaPerRoute
                    source_code:
                      inline_string: |
                        function envoy_on_response(handle)
                          handle:respond({{}}, "")
                        end
          http_filters:
          - name: lua
            typed_config:
              "@type": {lua}.Lua
              default_source_code:
                inline_string: |
                  function envoy_on_request(handle)
                    handle:headerz()
                  end
          - name: router
            typed_config: {{"@type": {router}}}
""")
    assert main(["lint", str(file)]) == 1
    assert sorted(capsys.readouterr().out.splitlines()) == [
        f"{file}:24:34: error: respond() cannot be called in envoy_on_response()",
        f"{file}:33:28: error: a handle object has no method headerz(): did you mean headers()?",
    ]
    file.write_text("static_resources: {}")
    assert main(["lint", str(file)]) == 0
    assert main(["lint", str(tmp_path / "none.yaml")]) == 1
    assert main(["lint"]) == 1
