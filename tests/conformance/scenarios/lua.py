"""The Lua filter: what scripts can read and change, on both sides, and what their errors do."""

from __future__ import annotations

import textwrap
from typing import Any

from ..client import get
from ..configuration import bootstrap, cluster, listener
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import answers, ok
from ..wire import head

SUBJECT = "lua"

LUA = "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua"
PER_ROUTE = "type.googleapis.com/envoy.extensions.filters.http.lua.v3.LuaPerRoute"
ROUTES = """
- match: {path: /direct}
  direct_response: {status: 201, body: {inline_string: direct}}
- {match: {path: /rerouted}, route: {cluster: app, prefix_rewrite: /was-rerouted}}
- {match: {prefix: /}, route: {cluster: app}}
"""

ROUTES_WITH_MORE = f"""
- match: {{path: /meta}}
  route: {{cluster: app}}
  metadata:
    filter_metadata:
      lua: {{text: hello, number: 7, flag: true, list: [a, b], map: {{k: v}}}}
- match: {{path: /disabled}}
  route: {{cluster: app}}
  typed_per_filter_config: {{lua: {{"@type": {PER_ROUTE}, disabled: true}}}}
- match: {{path: /other}}
  route: {{cluster: app}}
  typed_per_filter_config: {{lua: {{"@type": {PER_ROUTE}, name: other.lua}}}}
- {{match: {{prefix: /}}, route: {{cluster: app}}}}
"""


def script(code: str, name: str = "lua", other: str = "") -> str:
    """A Lua filter as YAML; other: a second script under the name other.lua."""
    code, other = (textwrap.indent(textwrap.dedent(text).strip(), " " * 6) for text in (code, other))
    out = f'- name: {name}\n  typed_config:\n    "@type": {LUA}\n    default_source_code:\n'
    out += f"     inline_string: |\n{code}\n"
    if other:
        out += f"    source_codes:\n     other.lua:\n      inline_string: |\n{textwrap.indent(other, '  ')}\n"
    return out


def lua(name: str, code: str) -> dict[str, Any]:
    return listener(name, routes=ROUTES, filters=script(code))


HEADERS = """
function envoy_on_request(h)
  local headers = h:headers()
  headers:add("x-added", "1")
  headers:add("x-added", "2")
  headers:replace("x-replaced", "new")
  headers:replace("x-made", "new")
  headers:remove("x-removed")
  local got, none, upper = headers:get("x-in"), headers:get("x-none"), headers:get("X-In")
  headers:add("x-got", tostring(got) .. " " .. tostring(none) .. " " .. tostring(upper))
  local first, third = headers:getAtIndex("x-twice", 0), headers:getAtIndex("x-twice", 2)
  headers:add("x-twice-got", headers:getNumValues("x-twice") .. tostring(first) .. tostring(third))
  headers:add("x-joined", headers:get("x-twice"))
  headers:add("x-line", headers:get(":method") .. headers:get(":path") .. headers:get(":authority"))
end
function envoy_on_response(h)
  h:headers():add("x-status", h:headers():get(":status"))
  h:headers():replace(":status", "202")
  h:headers():remove("x-up-gone")
  h:headers():add("x-response", "lua")
end
"""
PAIRS = """
function envoy_on_request(h)
  local seen = {}
  for key, value in pairs(h:headers()) do
    if string.sub(key, 1, 2) == "x-" and key ~= "x-request-id" then
      table.insert(seen, key .. "=" .. value)
    end
  end
  h:headers():add("x-pairs", table.concat(seen, ";"))
end
"""
REWRITE = """
function envoy_on_request(h)
  h:headers():replace(":path", "/rerouted")
  h:headers():replace(":authority", "lua.example")
  h:headers():replace(":method", "PUT")
end
"""
# one header besides :status, since the order of a Lua table's keys is not fixed
RESPOND = """
function envoy_on_request(h)
  local path = h:headers():get(":path")
  if path == "/403" then
    h:respond({[":status"] = "403", ["x-lua"] = "no"}, "denied")
  elseif path == "/typed" then
    h:respond({[":status"] = "200", ["content-type"] = "text/html"}, "typed")
  elseif path == "/204" then
    h:respond({[":status"] = "204"}, nil)
  elseif path == "/many" then
    h:respond({[":status"] = "200", ["set-cookie"] = {"a=1", "b=2"}}, "cookies")
  elseif path == "/plain" then
    h:respond({[":status"] = "418"}, "tea")
  end
end
function envoy_on_response(h)
  h:headers():add("x-seen-by-response", h:headers():get(":status"))
end
"""
BODY = """
function envoy_on_request(h)
  local body = h:body()
  if body == nil then
    h:headers():add("x-body", "nil")
  else
    h:headers():add("x-body", body:length() .. ":" .. body:getBytes(0, body:length()))
    body:setBytes("request set by lua")
    h:headers():replace("x-after", "set")
  end
end
function envoy_on_response(h)
  local body = h:body()
  if body ~= nil then
    local size = body:setBytes("[" .. body:getBytes(0, body:length()) .. "]")
    h:headers():replace("content-length", size)
    h:headers():add("x-size", tostring(size))
  end
end
"""
CHUNKS = """
function envoy_on_request(h)
  local total = 0
  for chunk in h:bodyChunks() do total = total + chunk:length() end
  local trailers = h:trailers()
  h:logInfo("chunks " .. total)
end
function envoy_on_response(h)
  local total = 0
  for chunk in h:bodyChunks() do total = total + chunk:length() end
end
"""
STREAM_INFO = """
function envoy_on_request(h)
  local info = h:streamInfo()
  h:headers():add("x-protocol", tostring(info:protocol()))
  h:headers():add("x-route", tostring(info:routeName()))
  h:headers():add("x-local", string.match(info:downstreamLocalAddress(), "^127.0.0.1:") or "no")
  h:headers():add("x-remote", string.match(info:downstreamDirectRemoteAddress(), "^127.0.0.1:") or "no")
  h:headers():add("x-ssl", tostring(h:connection():ssl()))
  info:dynamicMetadata():set("scope", "key", "value")
  h:headers():add("x-dynamic", info:dynamicMetadata():get("scope")["key"])
  h:headers():add("x-base64", h:base64Escape("lua!"))
  h:headers():add("x-time", tostring(h:timestamp() > 1000000000000))
end
"""
METADATA = """
function envoy_on_request(h)
  local meta = h:metadata()
  local text, number, flag = meta:get("text"), meta:get("number"), meta:get("flag")
  h:headers():add("x-text", tostring(text) .. tostring(number) .. tostring(flag))
  local none = meta:get("none")
  h:headers():add("x-none", tostring(none))
  local list, map = meta:get("list"), meta:get("map")
  if list then h:headers():add("x-list", list[1] .. list[2]) end
  if map then h:headers():add("x-map", map["k"]) end
end
"""
ERRORS = """
function envoy_on_request(h)
  h:headers():add("x-before", "1")
  local path = h:headers():get(":path")
  if path == "/nil" then local nothing = nil; nothing.field = 1 end
  if path == "/error" then error("on purpose") end
  if path == "/late" then h:body(); h:headers():add("x-late", "ok") end
  if path == "/no-value" then tostring(h:headers():get("x-none")) end
  if path == "/unknown" then h:nonsense() end
  if path == "/respond-late" then h:respond({[":status"] = "50"}, "bad status") end
  if path == "/no-status" then h:respond({["x"] = "y"}, "no status") end
  h:headers():add("x-after", "1")
end
function envoy_on_response(h)
  h:headers():add("x-response", "1")
  if h:headers():get("x-fail") then error("on purpose") end
  h:headers():add("x-response-after", "1")
end
"""
LOGGING = """
function envoy_on_request(h)
  h:logTrace("t") h:logDebug("d") h:logInfo("i") h:logWarn("w") h:logErr("e") h:logCritical("c")
  h:headers():add("x-logged", "yes")
end
"""
GLOBALS = """
count = 0
function envoy_on_request(h)
  count = count + 1
  h:headers():add("x-jit", tostring(jit ~= nil))
  h:headers():add("x-version", _VERSION)
  h:headers():add("x-grows", tostring(count > 0))
  h:headers():add("x-gsub", (string.gsub("hello", "l", "L")))
  h:headers():add("x-format", string.format("%05.1f", 3.14159))
end
"""
PATHS_OF_ERRORS = ["/fine", "/nil", "/error", "/late", "/no-value", "/unknown", "/respond-late", "/no-status"]
SECOND = 'function envoy_on_response(h) h:headers():add("x-behind", h:headers():get(":status")) end'
LUA_SETUP = Setup(
    "lua",
    bootstrap(
        [
            lua("headers", HEADERS),
            lua("pairs", PAIRS),
            lua("rewrite", REWRITE),
            lua("respond", RESPOND),
            lua("body", BODY),
            lua("chunks", CHUNKS),
            lua("info", STREAM_INFO),
            lua("errors", ERRORS),
            lua("logging", LOGGING),
            lua("globals", GLOBALS),
            listener("behind", routes=ROUTES, filters=script(RESPOND, "first") + script(SECOND, "second")),
        ],
        [cluster("app", "app")],
    ),
    {"app": "h1"},
)

OTHER = 'function envoy_on_request(h) h:headers():add("x-other", "1") end'
PER_ROUTE_SETUP = Setup(
    "lua-per-route",
    bootstrap(
        [listener("meta", routes=ROUTES_WITH_MORE, filters=script(METADATA, other=OTHER))],
        [cluster("app", "app")],
    ),
    {"app": "h1"},
)


@scenario(LUA_SETUP)
async def lua_headers(s: Session) -> None:
    """add, replace, remove, get, getAtIndex, getNumValues on requests, and edits of the response."""
    s.upstream().script = answers(ok(b"ok", "x-up-gone: 1", "x-up: 2"))
    await s.get(
        "/p", "x-in: value", "x-replaced: old", "x-removed: 1", "x-twice: a", "x-twice: b", to="headers"
    )


@scenario(LUA_SETUP)
async def lua_pairs(s: Session) -> None:
    """Iterating over headers gives all of them in order."""
    await s.get("/", "x-b: 1", "x-a: 2", "x-b: 3", "X-Upper: 4", to="pairs")


@scenario(LUA_SETUP)
async def lua_rewrites_the_request(s: Session) -> None:
    """Changing :path, :authority and :method; the route is chosen again."""
    await s.get("/before", to="rewrite")


@scenario(LUA_SETUP)
async def lua_respond(s: Session) -> None:
    """respond() answers for the upstream; the response half of the same script sees the answer."""
    async with s.logging(6, "respond"):
        for path in ("/403", "/typed", "/204", "/many", "/plain", "/pass"):
            await s.get(path, to="respond", label=path)


@scenario(LUA_SETUP)
async def lua_respond_to_a_post(s: Session) -> None:
    """respond() before the body has come: the connection closes; after it has come, it does not."""
    client = await s.connect("respond")
    await client.send(head("POST /403 HTTP/1.1", "host: a", "content-length: 5"))
    await client.reply()
    await client.closed()


@scenario(LUA_SETUP)
async def lua_respond_over_http2(s: Session) -> None:
    """respond() over HTTP/2, and to HEAD."""
    client = await s.connect_h2("respond")
    await client.request(get("/403"))
    await client.request(get("/403", method="HEAD"))


@scenario(LUA_SETUP)
async def lua_body(s: Session) -> None:
    """body() of requests and responses, read and replaced, with their new lengths."""
    s.upstream().script = answers(ok(b"response"))
    await s.http(head("POST / HTTP/1.1", "host: a", "content-length: 5") + b"hello", "body")
    await s.http(
        head("POST / HTTP/1.1", "host: a", "transfer-encoding: chunked")
        + b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
        "body",
    )
    await s.get(to="body", label="no body")


@scenario(LUA_SETUP)
async def lua_body_chunks(s: Session) -> None:
    """bodyChunks() streams; the bodies pass unchanged."""
    s.upstream().script = answers(ok(b"x" * 100000))
    body = b"y" * 100000
    await s.http(head("POST / HTTP/1.1", "host: a", f"content-length: {len(body)}") + body, "chunks")


@scenario(LUA_SETUP)
async def lua_stream_info(s: Session) -> None:
    """streamInfo, connection, dynamic metadata, base64Escape and timestamp."""
    await s.get(to="info")
    client = await s.connect_h2("info")
    await client.request(get("/"))


@scenario(PER_ROUTE_SETUP)
async def lua_route_metadata(s: Session) -> None:
    """metadata() of the route, and of one that has none; disabled and replaced per route."""
    for path in ("/meta", "/", "/disabled", "/other"):
        await s.get(path, to="meta")


@scenario(LUA_SETUP)
async def lua_errors(s: Session) -> None:
    """A script error ends the script, not the request: what was done before it stays."""
    s.upstream().script = answers(ok(b"ok"))
    names = ("http.errors.lua.errors", "http.errors.lua.executions")
    async with s.counting(*names):
        for path in PATHS_OF_ERRORS:
            await s.get(path, to="errors", label=path)


@scenario(LUA_SETUP)
async def lua_errors_in_the_response(s: Session) -> None:
    """The same for the response half."""
    s.upstream().script = answers(ok(b"ok", "x-fail: 1"))
    await s.get(to="errors")


@scenario(LUA_SETUP)
async def lua_logging(s: Session) -> None:
    """Log calls of every level do nothing to the request."""
    await s.get(to="logging")


@scenario(LUA_SETUP)
async def lua_dialect(s: Session) -> None:
    """LuaJIT, the 5.1 libraries, and globals that live as long as the worker."""
    await s.get(to="globals")


@scenario(LUA_SETUP)
async def lua_behind_a_local_reply(s: Session) -> None:
    """A local reply passes the encoder half of every filter, also of one behind the filter that answered."""
    await s.get("/403", to="behind")
    await s.get("/direct", to="behind", label="direct response")
    await s.get("/pass", to="behind", label="upstream")
