"""The Lua filter against what Envoy 1.40 did with the same scripts."""

from __future__ import annotations

import inspect
import logging
import re
import sys
from collections.abc import Callable
from typing import Any

import pytest
from stream_fakes import FakeHcm, FakeRoute, ScriptedBody, read_all

from sidecar.api.message import FixedBody, LocalReply
from sidecar.api.stream import Flag, Stream
from sidecar.core.errors import LuaError, StreamAborted
from sidecar.core.headers import HeaderMap
from sidecar.extensions.http.lua import LuaFilter, LuaRoute, LuaStats, PerRoute
from sidecar.extensions.http.lua_script import Source
from sidecar.observability.stats import Store


class Lua:
    """A filter with one script, its stats and its log."""

    def __init__(self, code: str, caplog: pytest.LogCaptureFixture, **options: Any) -> None:
        self.store = Store()
        self.caplog = caplog
        caplog.set_level(5, "sidecar.lua")
        scope = self.store.scope("http.ingress").scope("lua")
        self.source = Source(code.encode())
        stats = LuaStats(scope.counter("errors"), scope.counter("executions"))
        self.filter = LuaFilter(
            self.source, {}, stats, scope=scope, find_cluster={"up": object()}.get, **options
        )

    async def request(self, stream: Stream) -> LocalReply | None:
        result: Any = self.filter.decode_headers(stream)
        return await result if inspect.isawaitable(result) else result

    async def response(self, stream: Stream) -> LocalReply | None:
        result: Any = self.filter.encode_headers(stream)
        return await result if inspect.isawaitable(result) else result

    @property
    def log(self) -> list[str]:
        return [record.getMessage().removeprefix("script log: ") for record in self.caplog.records]

    @property
    def errors(self) -> int:
        return self.store.counters["http.ingress.lua.errors"].value

    @property
    def error(self) -> str:
        """The last error without Envoy's ``[string "…"]``."""
        return re.sub(r'^\[string ".*?"\]', "", self.log[-1])


@pytest.fixture
def on_request(caplog: pytest.LogCaptureFixture) -> Callable[[str], Lua]:
    return lambda body: Lua(f"function envoy_on_request(h) {body} end", caplog)


@pytest.fixture
def on_response(caplog: pytest.LogCaptureFixture) -> Callable[[str], Lua]:
    return lambda body: Lua(f"function envoy_on_response(h) {body} end", caplog)


ITERATING = "header map cannot be modified while iterating"
FIELDS = ((b"x-a", b"1"), (b"x-d", b"a"), (b"x-d", b"b"))


# -- headers ----------------------------------------------------------------------------------


async def test_headers_reading_gives_what_envoy_gives(on_request, make_stream):
    lua = on_request(
        """local x = h:headers()
        for _, v in ipairs{x:get("X-D"), x:getAtIndex("x-d", 1), x:getNumValues("x-d"), x:get("host"),
          x:get(":path"), tostring(x:getNumValues("no")), select("#", x:get("no")),
          select("#", x:getAtIndex("x-d", 5))}
        do h:logInfo(v) end"""
    )
    assert await lua.request(make_stream(*FIELDS)) is None
    assert lua.log == ["a,b", "b", "2", "example.com", "/", "0", "0", "0"]
    assert lua.errors == 0


async def test_headers_changes_reach_the_message(on_request, make_stream):
    stream = make_stream(*FIELDS, (b"content-type", b"a"))
    lua = on_request(
        """local x = h:headers()
        x:add("x-new", 1.5) x:add("x-a", "2") x:add("content-type", "b") x:replace("X-D", "n")
        x:replace("host", "other") x:add(":path", "/z") x:remove("x-none")"""
    )
    assert await lua.request(stream) is None
    assert stream.request.headers.fields == [
        (b"x-a", b"1"),
        (b"content-type", b"a,b"),
        (b"x-new", b"1.5"),
        (b"x-a", b"2"),
        (b"x-d", b"n"),
    ]
    assert stream.request.headers.authority == b"other"
    assert stream.request.headers.path == b"/,/z"


async def test_headers_iteration_yields_pseudo_headers_first(on_request, make_stream):
    lua = on_request(
        'for k, v in pairs(h:headers()) do h:logInfo(k .. "=" .. v) end h:headers():add("ok", "1")'
    )
    stream = make_stream(*FIELDS)
    await lua.request(stream)
    pseudo = [":authority=example.com", ":path=/", ":method=GET", ":scheme=http"]
    assert lua.log == [*pseudo, "x-a=1", "x-d=a", "x-d=b"]
    assert stream.request.headers.get(b"ok") == b"1"


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ('for k in pairs(h:headers()) do h:headers():add("a", "b") end', ITERATING),
        ('for k in pairs(h:headers()) do break end h:headers():remove("a")', ITERATING),
        (
            "for k in pairs(h:headers()) do for j in pairs(h:headers()) do end end",
            "cannot create a second iterator before completing the first",
        ),
        ('error("boom")', "boom"),
        ("local x = nil; x.y = 1", "attempt to index local 'x' (a nil value)"),
        ('h:headers():add("k")', "bad argument #2 to 'add' (string expected, got no value)"),
        ('h:headers():add(nil, "v")', "bad argument #1 to 'add' (string expected, got nil)"),
        ("h:headers():get()", "bad argument #1 to 'get' (string expected, got no value)"),
        ("h:headers():get({})", "bad argument #1 to 'get' (string expected, got table)"),
        ('h:headers():add("k", true)', "bad argument #2 to 'add' (string expected, got boolean)"),
        ("h:nope()", "attempt to call method 'nope' (a nil value)"),
        ('for k in h:headers():pairs() do end', "attempt to call method 'pairs' (a nil value)"),
        ('h:respond({a = "403"}, "x")', ":status must be between 200-599"),
        ('h:respond({[":status"] = "100"}, "x")', ":status must be between 200-599"),
        ('h:respond("x")', "bad argument #1 to 'respond' (table expected, got string)"),
        ('h:respond({[":status"] = "200", a = true})',
         "bad argument #5 to 'respond' (string expected, got boolean)"),
        ("h:body(1)", "bad argument #1 to 'body' (boolean expected, got number)"),
        ("h:logInfo(nil)", "bad argument #1 to 'logInfo' (string expected, got nil)"),
        ('h:streamInfo():dynamicMetadata():set("my", "k", print)',
         "unexpected type 'function' in dynamicMetadata"),
        (
            'h:streamInfo():dynamicMetadata():set("my", "k", {1, 2, x = 3})',
            "unexpected type number in table key (only string keys are supported)",
        ),
        ("h:timestamp(EnvoyTimestampResolution.MICROSECOND)", "timestamp format must be MILLISECOND."),
        ('h:httpCall("nope", {}, nil, 1)', "http call cluster invalid. Must be configured"),
        (
            'h:httpCall("up", {}, nil, 1)',
            "http call headers must include ':path', ':method', and ':authority'",
        ),
        ("h:verifySignature()", "bad argument #1 to 'verifySignature' (string expected, got no value)"),
        ('h:headers():get("a"); saved = h:headers(); h:trailers(); h:body(); error("end")', "end"),
    ],
)  # fmt: skip
async def test_script_error_is_counted_and_the_request_goes_on(on_request, make_stream, code, text):
    lua = on_request(code)
    assert await lua.request(make_stream(*FIELDS)) is None
    assert lua.error == f":1: {text}"
    assert lua.errors == 1


async def test_script_error_keeps_what_was_changed_before(on_request, make_stream):
    lua = on_request('h:headers():add("x-before", "1")\n error("boom")')
    stream = make_stream()
    await lua.request(stream)
    assert stream.request.headers.get(b"x-before") == b"1"
    assert lua.log == ['[string "function envoy_on_request(h) h:headers():add(..."]:2: boom']


@pytest.mark.parametrize(
    ("code", "text"),
    [("error({})", "unspecified lua error"), ("coroutine.yield()", "script performed an unexpected yield")],
)
async def test_script_error_without_text_gets_envoys(on_request, make_stream, code, text):
    lua = on_request(code)
    await lua.request(make_stream())
    assert lua.log == [text]
    assert lua.errors == 1


async def test_handle_of_an_earlier_invocation_is_refused(make_stream, respond, caplog):
    lua = Lua(
        """function envoy_on_request(h) saved = h old = h:headers() end
        function envoy_on_response(h) if pcall(old.get, old, "a") then return end saved:headers() end""",
        caplog,
    )
    stream = make_stream()
    await lua.request(stream)
    respond(stream)
    await lua.response(stream)
    assert lua.error == ":2: object used outside of proper scope"


async def test_request_header_value_with_line_break_is_answered_with_503(on_request, make_stream):
    lua = on_request('h:headers():add("K", "a\\r\\nx-inj: 1")')
    stream = make_stream()
    reply = await lua.request(stream)
    assert reply is not None
    assert (reply.status, reply.body) == (503, b"invalid header value for: k")
    assert reply.details == "filter_removed_required_request_headers{invalid_header_value_for:_k}"
    assert reply.flag == Flag.DOWNSTREAM_PROTOCOL_ERROR
    assert stream.request.headers.fields == []


async def test_response_header_value_with_line_break_is_a_script_error(on_response, make_stream, respond):
    lua = on_response('h:headers():replace("k", "a\\nb")')
    stream = make_stream()
    response = respond(stream)
    assert await lua.response(stream) is None
    assert response.headers.fields == []
    assert lua.error == ":1: invalid header value for: k"


@pytest.mark.parametrize("code", ['h:headers():remove(":status")', 'h:headers():replace(":status", "abc")'])
async def test_response_without_status_is_answered_with_502(on_response, make_stream, respond, code):
    stream = make_stream()
    respond(stream)
    reply = await on_response(code).response(stream)
    assert reply is not None
    assert (reply.status, reply.body) == (502, b"missing required header: :status")


async def test_response_status_and_reason_can_be_changed(on_response, make_stream, respond):
    stream = make_stream()
    response = respond(stream)
    lua = on_response('local x = h:headers() x:replace(":status", 201) x:setHttp1ReasonPhrase("Fine")')
    assert await lua.response(stream) is None
    assert (response.headers.status, response.reason) == (201, b"Fine")


# -- respond ----------------------------------------------------------------------------------


async def test_respond_ends_the_script_and_the_request(on_request, make_stream):
    lua = on_request(
        """h:respond({[":status"] = 403, ["X-A"] = {"1", "2"}, ["content-length"] = "99"}, "no")
        h:logInfo("after")"""
    )
    reply = await lua.request(make_stream())
    assert reply is not None
    assert (reply.status, reply.body, reply.details) == (403, b"no", "lua_response")
    assert sorted(reply.headers) == [(b"content-length", b"2"), (b"x-a", b"1"), (b"x-a", b"2")]
    assert lua.log == []


async def test_respond_leaves_out_a_header_that_would_break_the_framing(on_request, make_stream):
    lua = on_request('h:respond({[":status"] = "403", a = "b\\r\\nc: d"}, "no")')
    reply = await lua.request(make_stream())
    assert reply is not None
    assert (reply.status, reply.headers) == (403, [(b"content-length", b"2")])


async def test_respond_inside_pcall_still_answers(on_request, make_stream):
    lua = on_request('pcall(function() h:respond({[":status"] = "200"}, "x") end)')
    reply = await lua.request(make_stream())
    assert reply is not None
    assert reply.body == b"x"


async def test_respond_on_the_response_is_an_error(on_response, make_stream, respond):
    lua = on_response('h:respond({[":status"] = "403"}, "x")')
    stream = make_stream()
    respond(stream)
    assert await lua.response(stream) is None
    assert lua.error == ":1: respond not currently supported in the response path"


# -- bodies -----------------------------------------------------------------------------------


async def test_body_of_a_message_without_one_is_no_value(on_request, make_stream):
    lua = on_request('h:logInfo(select("#", h:body()))')
    stream = make_stream()
    await lua.request(stream)
    assert lua.log == ["0"]
    assert stream.request.body is None


async def test_body_always_wrapped_gives_the_message_a_body(on_request, make_stream):
    lua = on_request("local b = h:body(true) h:logInfo(b:length()) b:setBytes('new')")
    stream = make_stream()
    await lua.request(stream)
    assert await read_all(stream.request.body) == [b"new"]
    assert stream.request.headers.get(b"content-length") == b"3"


@pytest.mark.parametrize("body", [FixedBody(b"hello"), ScriptedBody(b"hel", b"lo")])
async def test_body_is_read_whole_and_kept(on_request, make_stream, body):
    lua = on_request(
        """local old = h:headers() local b = h:body()
        h:headers():add("b", b:length() .. b:getBytes(1, 2) .. h:body():getBytes(0, b:length()))
        old:add("x", "y")"""
    )
    stream = make_stream(body=body)
    assert await lua.request(stream) is None
    assert stream.request.headers.get(b"b") == b"5elhello"
    assert b"".join(await read_all(stream.request.body)) == b"hello"
    assert lua.error == ":3: object used outside of proper scope"


async def test_body_at_hand_does_not_make_the_hook_wait(on_request, make_stream):
    lua = on_request('h:headers():add("n", h:body():length())')
    assert lua.filter.decode_headers(make_stream(body=FixedBody(b"abc"))) is None


async def test_body_set_bytes_brings_content_length_along(on_request, make_stream):
    stream = make_stream((b"content-length", b"5"), body=ScriptedBody(b"hel", b"lo"))
    lua = on_request('h:logInfo(h:body():setBytes("hello world"))')
    await lua.request(stream)
    assert lua.log == ["11"]
    assert stream.request.headers.get_all(b"content-length") == [b"11"]
    assert await read_all(stream.request.body) == [b"hello world"]


@pytest.mark.parametrize("arguments", ["3, 9", "-1, 2", "0, -1"])
async def test_body_get_bytes_out_of_range_is_an_error(on_request, make_stream, arguments):
    lua = on_request(f"h:body():getBytes({arguments})")
    await lua.request(make_stream(body=FixedBody(b"hello")))
    assert lua.error == ":1: index/length must be >= 0 and (index + length) must be <= buffer size"


async def test_request_body_over_the_limit_is_answered_with_413(on_request, make_stream):
    lua = on_request("h:body()")
    with pytest.raises(StreamAborted) as caught:
        await lua.request(make_stream(body=FixedBody(b"x" * 65)))
    assert caught.value.reply.status == 413
    assert caught.value.reply.details == "request_payload_too_large"


async def test_response_body_over_the_limit_is_answered_with_500(on_response, make_stream, respond):
    stream = make_stream()
    respond(stream, body=ScriptedBody(b"x" * 40, b"x" * 40))
    with pytest.raises(StreamAborted) as caught:
        await on_response("h:body()").response(stream)
    assert caught.value.reply.status == 500
    assert caught.value.reply.details == "response_payload_too_large"


async def test_respond_after_body_is_allowed(on_request, make_stream):
    lua = on_request('local b = h:body() h:respond({[":status"] = "200"}, "got " .. b:length())')
    reply = await lua.request(make_stream(body=ScriptedBody(b"hel", b"lo")))
    assert reply is not None
    assert reply.body == b"got 5"


async def test_trailers_after_body_can_be_changed(on_request, make_stream):
    trailers = HeaderMap([(b"x-t", b"tv")])
    stream = make_stream(body=ScriptedBody(b"abc", b"de", trailers=trailers))
    lua = on_request('local b = h:body() local t = h:trailers() t:add("x-u", t:get("x-t") .. b:length())')
    await lua.request(stream)
    assert await read_all(stream.request.body) == [b"abcde"]
    assert stream.request.body.trailers.fields == [(b"x-t", b"tv"), (b"x-u", b"tv5")]


# -- streaming ----------------------------------------------------------------------------------


async def test_chunks_are_seen_and_changed_one_by_one(on_request, make_stream):
    trailers = HeaderMap([(b"x-t", b"tv")])
    stream = make_stream(body=ScriptedBody(b"abc", b"de", trailers=trailers))
    lua = on_request(
        """for c in h:bodyChunks() do h:logInfo("chunk " .. c:length()) c:setBytes("XY") end
        h:logInfo("end") h:logInfo(h:trailers():get("x-t"))"""
    )
    assert await lua.request(stream) is None
    assert lua.log == []
    assert await read_all(stream.request.body) == [b"XY", b"XY"]
    assert stream.request.body.trailers is trailers
    assert lua.log == ["chunk 3", "chunk 2", "end", "tv"]


async def test_chunks_on_http1_end_with_an_empty_one(on_request, make_stream):
    stream = make_stream(body=ScriptedBody(b"hel", b"lo"))
    lua = on_request('for c in h:bodyChunks() do h:logInfo("chunk " .. c:length()) end h:logInfo("end")')
    await lua.request(stream)
    assert b"".join(await read_all(stream.request.body)) == b"hello"
    assert lua.log == ["chunk 3", "chunk 2", "chunk 0", "end"]


async def test_chunks_on_http2_end_with_the_last_bytes(on_request, make_stream):
    stream = make_stream(body=ScriptedBody(b"hel", b"lo"))
    stream.protocol = "HTTP/2"
    lua = on_request('for c in h:bodyChunks() do h:logInfo("chunk " .. c:length()) end')
    await lua.request(stream)
    await read_all(stream.request.body)
    assert lua.log == ["chunk 3", "chunk 2"]


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ('h:headers():add("a", "b")', "header map can no longer be modified"),
        ('h:respond({[":status"] = "200"})', "respond() cannot be called if headers have been continued"),
        ("h:body()", "cannot call body() after body streaming has started"),
        ("if old then old:length() end old = c", "object used outside of proper scope"),
        ('error("mid")', "mid"),
    ],
)
async def test_error_between_chunks_lets_the_body_pass(on_request, make_stream, code, text):
    stream = make_stream(body=ScriptedBody(b"abc", b"de"))
    lua = on_request(f"local old for c in h:bodyChunks() do {code} end")
    await lua.request(stream)
    assert b"".join(await read_all(stream.request.body)) == b"abcde"
    assert (lua.error, lua.errors) == (f":1: {text}", 1)


async def test_trailers_first_are_waited_for_while_the_body_passes(on_request, make_stream):
    stream = make_stream(body=ScriptedBody(b"abc", b"de", trailers=HeaderMap([(b"x-t", b"tv")])))
    lua = on_request('local t = h:trailers() h:logInfo(t:get("x-t")) h:body()')
    await lua.request(stream)
    assert await read_all(stream.request.body) == [b"abc", b"de"]
    assert lua.log[0] == "tv"
    assert lua.error == ":1: cannot call body() after body has been streamed"


async def test_trailers_that_do_not_come_are_nil(on_request, make_stream):
    stream = make_stream(body=ScriptedBody(b"abc"))
    lua = on_request("local t = h:trailers() h:logInfo(tostring(t))")
    await lua.request(stream)
    await read_all(stream.request.body)
    assert lua.log == ["nil"]


async def test_waiting_script_does_not_see_another_stream(on_request, make_stream):
    lua = on_request('local b = h:body() h:headers():add("mine", b:getBytes(0, b:length()))')
    first = make_stream(body=ScriptedBody(b"one"))
    second = make_stream(body=ScriptedBody(b"two"))
    waiting: Any = lua.filter.decode_headers(first)
    assert await lua.request(second) is None
    assert await waiting is None
    assert first.request.headers.get(b"mine") == b"one"
    assert second.request.headers.get(b"mine") == b"two"


async def test_waiting_script_does_not_answer_for_another_streams_field(on_request, make_stream):
    lua = on_request('if h:headers():get("x-d") then h:body() else h:headers():add("K", "a\\nb") end')
    first = make_stream(*FIELDS, body=ScriptedBody(b"one"))
    waiting: Any = lua.filter.decode_headers(first)
    reply = await lua.request(make_stream())
    assert reply is not None
    assert reply.status == 503
    assert await waiting is None


# -- the rest of the handle -----------------------------------------------------------------------


async def test_stream_info_answers(on_request, make_stream):
    lua = on_request(
        """local i = h:streamInfo()
        h:logInfo(table.concat({i:protocol(), i:routeName(), i:virtualClusterName(),
          i:downstreamLocalAddress(), i:downstreamRemoteAddress(), i:downstreamDirectRemoteAddress(),
          i:requestedServerName(), tostring(h:connection():ssl()),
          tostring(i:downstreamSslConnection())}, "|"))"""
    )
    await lua.request(make_stream())
    assert lua.log == ["HTTP/1.1|main||127.0.0.1:80|192.0.2.1:1111|192.0.2.2:2222|sni.example|nil|nil"]


async def test_dynamic_metadata_is_kept_on_the_stream(on_request, make_stream):
    lua = on_request(
        """local d = h:streamInfo():dynamicMetadata()
        d:set("my", "k", "v") d:set("my", "t", {a = 1.5, b = {1, 2}, c = true, e = {}}) d:set("my", "n", nil)
        d:set("my", "f", {[1] = "a", [3] = "c"})
        local g = d:get("my") h:logInfo(g.k .. g.t.b[2] .. tostring(g.t.c) .. select("#", d:get("none")))
        for k in pairs(d) do h:logInfo(k) end"""
    )
    stream = make_stream()
    await lua.request(stream)
    assert stream.dynamic_metadata == {
        "my": {"k": "v", "t": {"a": 1.5, "b": [1, 2], "c": True, "e": {}}, "n": None, "f": ["a", None, "c"]}
    }
    assert lua.log == ["v2true0", "my"]


async def test_metadata_of_route_and_virtual_host_is_read(make_stream, caplog):
    lua = Lua(
        """function envoy_on_request(h) h:logInfo(h:metadata():get("s") .. h:route():metadata():get("s")
          .. h:virtualHost():metadata():get("v") .. h:filterContext():get("c").list[2])
          for k in pairs(h:metadata()) do h:logInfo(k) end end""",
        caplog,
        per_route=PerRoute(seen=True),
        config_name="lua",
    )
    route = FakeRoute(
        metadata={"lua": {"s": "str"}},
        virtual_host_metadata={"lua": {"v": "host"}},
        per_filter_config={"lua": LuaRoute(filter_context={"c": {"list": [1, 2]}})},
    )
    await lua.request(make_stream(route=route))
    assert lua.log == ["strstrhost2", "s"]


async def test_filter_state_stats_and_texts_answer(on_request, make_stream):
    lua = on_request(
        """local f = h:streamInfo():filterState() f:set("k", "envoy.string", "val")
        h:logInfo(f:get("k") .. select("#", f:get("none")) .. h:base64Escape("a\\0b\\255"))
        h:stats():counter("a"):add(3) h:stats():gauge("g"):set(7) h:stats():gauge("g"):dec()
        h:logInfo(type(h:timestamp()) .. #h:timestampString()
          .. #h:timestampString(EnvoyTimestampResolution.MICROSECOND))
        h:streamInfo():drainConnectionUponCompletion()"""
    )
    stream = make_stream()
    await lua.request(stream)
    assert lua.log == ["val0YQBi/w==", "number1316"]
    assert lua.store.counters["http.ingress.lua.a"].value == 3
    assert lua.store.gauges["http.ingress.lua.g"].value == 6
    assert stream.drain_connection


async def test_logging_uses_the_scripts_levels(on_request, make_stream, caplog):
    lua = on_request('h:logTrace("t") h:logErr("e") h:headers():logCritical("c") h:streamInfo():logWarn(12)')
    await lua.request(make_stream())
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (5, "script log: t"),
        (logging.ERROR, "script log: e"),
        (logging.CRITICAL, "script log: c"),
        (logging.WARNING, "script log: 12"),
    ]


# -- choosing and loading ---------------------------------------------------------------------------


async def test_route_configuration_chooses_the_script(make_stream, caplog):
    lua = Lua('function envoy_on_request(h) h:logInfo("default") end', caplog, per_route=PerRoute(seen=True))
    other = Source(b'function envoy_on_request(h) h:logInfo("other") end')
    lua.filter._named["other"] = other
    name = lua.filter.config_name
    for config in (
        LuaRoute(disabled=True),
        LuaRoute(name="other"),
        LuaRoute(name="none"),
        LuaRoute(source=other),
        LuaRoute(),
        None,
    ):
        route = FakeRoute(per_filter_config={name: config} if config else {})
        await lua.request(make_stream(route=route))
    assert lua.log == ["other", "other", "default", "default"]


async def test_route_is_looked_up_where_a_script_sees_it_and_it_is_not_yet(on_request, make_stream):
    stream = make_stream()
    lua = on_request("h:streamInfo():routeName()")
    await lua.request(stream)
    await lua.request(stream)
    assert isinstance(stream.hcm, FakeHcm)
    assert stream.hcm.lookups == 1


@pytest.mark.parametrize(
    ("code", "lookups"),
    [
        ("h:headers()", 0),
        ('h:headers():add("x-new", "1")', 0),
        ('h:headers():add("x-new", "1") h:streamInfo():routeName()', 1),
        ('h:headers():replace(":path", "/b")', 1),
        ('h:streamInfo():dynamicMetadata():set("a", "b", "c")', 1),
        ("h:body()", 1),
    ],
)
async def test_route_is_the_one_before_the_scripts_edits(on_request, make_stream, code, lookups):
    stream = make_stream(body=ScriptedBody(b"x"))
    await on_request(code).request(stream)
    assert stream.hcm.lookups == lookups


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ('a("x-one", "1") a("X-Two", "2") a("x-one", "3")', b"x-one=1 x-two=2 x-one=3"),
        ('a("x-one", "1") m:replace("x-one", "2") a("x-one", "3")', b"x-one=2 x-one=3"),
        ('a("x-one", "1") m:remove("X-One")', b""),
        (
            'a("x-one", "1") a("x-n", m:get("x-one")) a("x-one", "2") a("x-n", m:getNumValues("x-one"))',
            b"x-one=1 x-n=1 x-one=2 x-n=2",
        ),
        ('for i = 1, 50 do a("x-" .. i, "v") end for i = 1, 49 do m:remove("x-" .. i) end', b"x-50=v"),
        ('a("x-one", "1") error("here")', b"x-one=1"),
        ('a("x-one", ("v"):rep(5000)) m:replace("x-one", "short")', b"x-one=short"),
        ('a("user-agent", "1") m:replace("user-agent", "2") a("x-one", "1")', b"user-agent=2 x-one=1"),
        (
            'a("x-one", "1") for k, v in pairs(m) do if k == "x-one" then a2 = v end end a("x-two", a2)',
            b"x-one=1 x-two=1",
        ),
    ],
)
async def test_edits_are_done_in_their_order(on_request, make_stream, code, found):
    stream = make_stream()
    lua = on_request(f"local m = h:headers() local function a(...) m:add(...) end {code}")
    await lua.request(stream)
    assert b" ".join(b"=".join(field) for field in stream.request.headers.fields) == found


@pytest.mark.parametrize("clear", [True, False])
async def test_header_change_clears_the_route_when_asked_to(make_stream, caplog, clear):
    code = 'function envoy_on_request(h) h:headers():replace(":path", "/b") end'
    lua = Lua(code, caplog, clear_route_cache=clear)
    stream = make_stream()
    stream.find_route()
    await lua.request(stream)
    assert bool(stream.resolve_route) is clear


async def test_globals_are_shared_by_the_streams_of_a_script(on_request, make_stream):
    lua = on_request("n = (n or 0) + 1 h:logInfo(n)")
    await lua.request(make_stream())
    await lua.request(make_stream())
    assert lua.log == ["1", "2"]
    assert lua.store.counters["http.ingress.lua.executions"].value == 2


def test_installation_without_luajit_is_refused(caplog, monkeypatch):
    monkeypatch.setitem(sys.modules, "lupa.luajit21", None)
    with pytest.raises(LuaError, match="comes without LuaJIT"):
        Lua("", caplog)


def test_libraries_of_luajit_are_there(caplog):
    Lua('assert(jit and require("bit") and io and os and debug)', caplog)


@pytest.mark.parametrize(
    ("code", "text", "line"),
    [
        ("function x(\n  end", "<name> or '...' expected near 'end'", 2),
        ('\nerror("top")', "top", 2),
        ("error({})", "unspecified lua error", None),
    ],
)
def test_script_that_does_not_load_names_the_line(caplog, code, text, line):
    with pytest.raises(LuaError, match="script load error: ") as caught:
        Lua(code, caplog)
    assert str(caught.value).endswith(text)
    assert caught.value.line == line


async def test_framing_is_not_a_scripts(on_request, make_stream):
    lua = on_request("""
        h:headers():add("transfer-encoding", "chunked")
        h:headers():add(":other", "x")
        h:headers():replace("x-other", #setmetatable({}, {__len = function() return 5 end}))""")
    stream = make_stream()
    await lua.request(stream)
    assert stream.request.headers.get(b"transfer-encoding") is None
    assert all(name[:1] != b":" for name, _ in stream.request.headers.fields)
    assert stream.request.headers.get(b"x-other") == b"0"
