"""From ``Lua`` and ``LuaPerRoute`` messages to filters."""

from __future__ import annotations

import pytest
from envoy.extensions.filters.http.lua.v3.lua_pb2 import Lua, LuaPerRoute
from factory_fakes import Recorder
from google.protobuf.json_format import ParseDict
from stream_fakes import FakeRoute

from sidecar.core.errors import ConfigError
from sidecar.extensions.http.lua_config import LuaFactory

ADD = 'function envoy_on_request(h) h:headers():add("x-script", "%s") end'


def inline(name: str) -> dict[str, str]:
    return {"inline_string": ADD % name}


def test_every_source_of_scripts_is_compiled_and_chosen(make_stream):
    recorder = Recorder()
    factory = LuaFactory()
    message = ParseDict(
        {
            "default_source_code": inline("default"),
            "source_codes": {"a": inline("a")},
            "stat_prefix": "mine.",
        },
        Lua(),
    )
    lua = factory.compile(message, recorder.context)
    on_route = [
        factory.compile_route(ParseDict(config, LuaPerRoute()), recorder.context)
        for config in ({"name": "a"}, {"source_code": inline("route")}, {"disabled": True})
    ]
    seen = []
    for config in (None, *on_route):
        stream = make_stream(route=FakeRoute(per_filter_config={lua.config_name: config} if config else {}))
        lua.decode_headers(stream)
        seen.append(stream.request.headers.get(b"x-script"))
    assert seen == [b"default", b"a", b"route", None]
    assert recorder.store.counters["http.ingress.lua.mine.executions"].value == 3
    assert recorder.store.gauges["lua.lua_vm_count"].value == 3
    for close in recorder.closers:
        close()
    assert recorder.store.gauges["lua.lua_vm_count"].value == 0


def test_inline_code_is_the_default_script(make_stream):
    lua = LuaFactory().compile(Lua(inline_code=ADD % "old"), Recorder().context)
    stream = make_stream()
    lua.decode_headers(stream)
    assert stream.request.headers.get(b"x-script") == b"old"


def test_filter_without_a_script_does_nothing(make_stream):
    assert LuaFactory().compile(Lua(), Recorder().context).decode_headers(make_stream()) is None


def test_inline_code_beside_default_source_code_is_refused():
    message = ParseDict({"inline_code": "x = 1", "default_source_code": {"inline_string": "x = 1"}}, Lua())
    with pytest.raises(ConfigError, match="Only one of `inline_code` or `default_source_code`"):
        LuaFactory().compile(message, Recorder().context)


def test_syntax_error_names_field_and_line():
    message = ParseDict({"source_codes": {"a": {"inline_string": "x = 1\nfunction y("}}}, Lua())
    with pytest.raises(ConfigError) as caught:
        LuaFactory().compile(message, Recorder().context)
    assert caught.value.path == "source_codes[a].inline_string"
    assert caught.value.line_in_text == 2
    assert caught.value.reason.startswith('script load error: [string "x = 1..."]:2: ')


def test_places_with_the_same_text_share_one_state():
    recorder = Recorder()
    factory = LuaFactory()
    routes = [
        factory.compile_route(ParseDict({"source_code": inline("route")}, LuaPerRoute()), recorder.context)
        for _ in range(100)
    ]
    assert len({id(route.source) for route in routes}) == 1
    assert recorder.store.gauges["lua.lua_vm_count"].value == 1
    for close in recorder.closers:
        close()
    assert recorder.store.gauges["lua.lua_vm_count"].value == 0


def test_filter_context_of_the_route_is_plain_data():
    route = LuaFactory().compile_route(
        ParseDict({"filter_context": {"a": [1, {"b": None}], "c": "d", "e": True}}, LuaPerRoute()),
        Recorder().context,
    )
    assert route.filter_context == {"a": [1, {"b": None}], "c": "d", "e": True}
