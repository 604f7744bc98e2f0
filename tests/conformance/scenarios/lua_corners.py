"""Corners of the Lua filter: LuaJIT's dialect as Envoy builds it, and what scripts may do to heads and bodies."""

from __future__ import annotations

from ..client import get
from ..configuration import bootstrap, cluster
from ..lab import Session
from ..lua_routes import code, lua_filter, lua_listener, script_routes
from ..scenario import Setup, scenario
from ..upstream import answers, ok
from ..wire import head

SUBJECT = "lua"

SCRIPTS = {
    "dialect": code("""
    function envoy_on_request(h)
      try(h, "rep", function() return ("x"):rep(3, ","), ("ab"):rep(0), ("ab"):rep(-1) end)
      try(h, "log", function() return math.log(8, 2) end)
      try(h, "pack", function() local t = table.pack(1, nil, 3) return t.n, t[3], table.unpack({1, 2, 3}, 2) end)
      try(h, "load", function() return load("return x", "n", "t", {x = 5})() end)
      try(h, "load-function", function() local n = 0 return load(function() n = n + 1 return ({"return ", "7"})[n] end)() end)
      try(h, "load-bad", function() return load("x x") end)
      try(h, "loadstring", function() return loadstring("return 1 + 1")(), loadstring("x x") end)
      try(h, "xpcall", function() return xpcall(function(a, b) return a + b end, print, 1, 2) end)
      try(h, "xpcall-bad", function() return xpcall(function() error("deep") end, function(m) return "handled " .. m end) end)
      try(h, "pcall", function() return pcall(error, {1}), select("#", pcall(error)) end)
      try(h, "format", function() return ("%q|%5.1f|%x|%s"):format("a\\nb", 3.14159, 255, true) end)
      try(h, "graph", function() return ("a b"):find("%g+") end)
      try(h, "move", function() return table.concat(table.move({1, 2, 3}, 1, 3, 2), ",") end)
      try(h, "escapes", function() return "\\x41\\z
        B\\u{43}" end)
      try(h, "goto", function() local n = 0 ::top:: n = n + 1 if n < 3 then goto top end return n end)
      try(h, "integers", function() return 7 / 2, 2 ^ 53, 10 % 3, -7 % 3, 1e15, 1e100, 0x10 end)
      try(h, "bits", function() local bit = require("bit") return bit.band(12, 10), bit.tohex(255), bit.lshift(1, 31) end)
      try(h, "tostring", function() return tostring(1.5), tostring(10), tostring(-0.0), tostring(1/0) end)
      try(h, "tonumber", function() return tonumber("0x1f"), tonumber("z", 36), tonumber("1e2"), tonumber("") end)
      try(h, "dates", function() return os.date("!%Y-%m-%d", 0), type(os.time()), type(os.clock()) end)
      try(h, "env", function() local f = function() return y end setfenv(f, {y = 9}) return f() end)
      try(h, "gsub", function() return ("hello world"):gsub("o", {o = "0"}), ("abc"):gsub("%w", "%0%0"), ("abc"):gsub("", "-") end)
      try(h, "find", function() return ("a.b"):find(".", 1, true), ("abc"):find("b", -1), ("abc"):find("", 10) end)
      try(h, "frontier", function() return ("THE (quick) fox"):gsub("%f[%a]%a+", "x"), ("f(a(b)c)d"):match("%b()") end)
      try(h, "sort", function() local t = {3, 1, 2} table.sort(t, function(a, b) return a > b end) return table.concat(t) end)
      try(h, "sort-bad", function() local t = {3, "a"} table.sort(t) end)
      try(h, "concat-bad", function() return table.concat({1, {}, 2}) end)
      try(h, "running", function() return type(coroutine.running()), coroutine.isyieldable() end)
      try(h, "raw", function() return rawlen({1, 2}), rawequal("a", "a"), rawget({a = 1}, "a") end)
      try(h, "meta", function() local t = setmetatable({}, {__pairs = function() return next, {a = 1}, nil end}) for k in pairs(t) do return k end end)
      try(h, "unpack", function() return unpack({1, 2}), unpack({}, 1, 3) end)
      try(h, "version", function() return _VERSION, type(jit.version), jit.arch, jit.os end)
    end"""),
    "uncaught-table": code("""
    function envoy_on_request(h) h:headers():add("x-before", "1") error({}) end"""),
    "uncaught-nil": code("""
    function envoy_on_request(h) h:headers():add("x-before", "1") error() end"""),
    "break": code("""
    function envoy_on_request(h)
      for k, v in pairs(h:headers()) do if k == "x-first" then break end end
      try(h, "again", function() for k in pairs(h:headers()) do return k end end)
    end"""),
    "break-two": code("""
    function envoy_on_request(h)
      for k, v in pairs(h:headers()) do if k == "x-first" then break end end
      local ok, problem = pcall(function() h:headers():add("x-a", "1") end)
      h:streamInfo():dynamicMetadata():set("lua", "problem", tostring(problem))
    end
    function envoy_on_response(h) h:headers():add("x-problem", h:streamInfo():dynamicMetadata():get("lua").problem) end"""),
    "pseudo": code("""
    function envoy_on_request(h)
      local hd = h:headers()
      hd:add(":path", "/more")
      try(h, "path", function() return hd:get(":path"), hd:getNumValues(":path") end)
      hd:add(":authority", "b.example")
      try(h, "authority", function() return hd:get(":authority") end)
      hd:replace("host", "c.example")
      try(h, "host", function() return hd:get(":authority"), hd:get("Host") end)
      hd:remove("host")
      try(h, "gone", function() return hd:get(":authority"), hd:get("host") end)
      hd:replace(":authority", "d.example")
      hd:replace(":path", "/pseudo/new?a=b")
      hd:replace(":method", "PUT")
      hd:add(":other", "x")
      try(h, "other", function() return hd:get(":other"), hd:getNumValues(":other") end)
      hd:remove(":other")
      try(h, "no-other", function() return hd:get(":other") end)
    end"""),
    "unknown-pseudo": code("""
    function envoy_on_request(h) h:headers():add(":other", "x") end"""),
    "unknown-pseudo-response": code("""
    function envoy_on_response(h) h:headers():add(":other", "x") h:headers():add(":path", "/x") end"""),
    "forbidden": code("""
    function envoy_on_request(h)
      local name = h:headers():get("x-name")
      h:headers():add(name, h:headers():get("x-value"))
    end
    function envoy_on_response(h)
      local r = h:requestHeaders()
      h:headers():add(r:get("x-name"), r:get("x-value"))
    end"""),
    "no-method": code("""
    function envoy_on_request(h) h:headers():remove(":method") end"""),
    "no-path": code("""
    function envoy_on_request(h) h:headers():remove(":path") end"""),
    "no-authority": code("""
    function envoy_on_request(h) h:headers():remove(":authority") end"""),
    "bad-status": code("""
    function envoy_on_response(h) h:headers():replace(":status", h:requestHeaders():get("x-status")) end"""),
    "hop": code("""
    function envoy_on_request(h)
      local hd = h:headers()
      hd:add("te", "trailers") hd:add("keep-alive", "1") hd:add("x-ok", "1") hd:add("accept-encoding", "gzip")
    end
    function envoy_on_response(h)
      h:headers():add("keep-alive", "1") h:headers():add("x-ok", "1") h:headers():add("trailer", "x")
    end"""),
    "cookies": code("""
    function envoy_on_response(h)
      local hd = h:headers()
      hd:add("set-cookie", "c=3")
      try(h, "cookies", function() return hd:get("set-cookie"), hd:getNumValues("set-cookie"), hd:getAtIndex("set-cookie", 1) end)
      hd:replace("set-cookie", "only=1")
      hd:add("content-type", "a")
      hd:add("content-type", "b")
      try(h, "type", function() return hd:get("content-type"), hd:getNumValues("content-type") end)
    end"""),
    "texts": code("""
    function envoy_on_request(h)
      local hd = h:headers()
      hd:add("x-latin", "caf\\233")
      hd:add("x-utf8", "caf\\195\\169")
      hd:add("x-spaces", "  a  b  ")
      hd:add("x-tab", "a\\tb")
      hd:add("x-long", ("y"):rep(5000))
      hd:add("x_under", "1")
      try(h, "spaces", function() return "<" .. hd:get("x-spaces") .. ">" end)
    end"""),
    "respond-odd": code("""
    function envoy_on_request(h)
      local kind = h:headers():get("x-kind")
      local headers = {[":status"] = "200"}
      if kind == "length" then headers["content-length"] = "99" end
      if kind == "type" then headers["content-type"] = "application/json" end
      if kind == "connection" then headers["connection"] = "close" end
      if kind == "chunked" then headers["transfer-encoding"] = "chunked" end
      if kind == "upgrade" then headers["upgrade"] = "websocket" end
      if kind == "keep-alive" then headers["keep-alive"] = "timeout=5" end
      if kind == "status" then headers[":status"] = "204" end
      if kind == "not-modified" then headers[":status"] = "304" end
      if kind == "upper" then headers["X-Upper"] = "1" end
      if kind == "server" then headers["server"] = "mine" end
      if kind == "date" then headers["date"] = "today" end
      if kind == "path" then headers[":path"] = "/x" end
      if kind == "no-body" then h:respond(headers) end
      h:respond(headers, kind == "binary" and "\\0\\1\\255" or "body")
    end"""),
    "lengths": code("""
    function envoy_on_request(h)
      local kind = h:headers():get("x-kind")
      if kind == "set" then h:body():setBytes("four") end
      if kind == "remove" then h:headers():remove("content-length") end
      if kind == "both" then h:headers():remove("content-length") h:body():setBytes("a longer body than before") end
      if kind == "empty" then h:body():setBytes("") end
    end
    function envoy_on_response(h)
      local kind = h:requestHeaders():get("x-kind")
      if kind == "set" then h:body():setBytes("four") end
      if kind == "remove" then h:headers():remove("content-length") end
      if kind == "empty" then h:body():setBytes("") end
    end"""),
    "early-hints": code("""
    function envoy_on_response(h) h:headers():add("x-status-was", h:headers():get(":status")) end"""),
    "loop-values": code("""
    function envoy_on_request(h)
      local out = {}
      for k, v in pairs(h:headers()) do
        if k == "x-many" or k == "host" then out[#out + 1] = k .. "=" .. v end
      end
      h:headers():add("x-out", table.concat(out, " "))
    end
    function envoy_on_response(h)
      local out = {}
      for k, v in pairs(h:headers()) do if k ~= "x-envoy-upstream-service-time" then out[#out + 1] = k .. "=" .. v end end
      h:headers():add("x-out", table.concat(out, " "))
    end"""),
    "one-way": code("""
    function envoy_on_response(h) h:headers():add("x-only", "response") end"""),
    "typed": code("""
    function envoy_on_request(h)
      local info = h:streamInfo()
      for _, name in ipairs{"struct", "string", "node", "number", "lua", "twice", "over", "none"} do
        try(h, name, function() return info:dynamicTypedMetadata(name) end)
      end
      try(h, "untyped", function() return info:dynamicMetadata():get("struct") end)
    end"""),
    "throws-in-loop": code("""
    function envoy_on_request(h)
      local n = 0
      for chunk in h:bodyChunks() do n = n + 1 error("in a chunk") end
    end
    function envoy_on_response(h) h:headers():add("x-response", "still") end"""),
}  # fmt: skip
GOOGLE = "type.googleapis.com/google.protobuf"
TYPED = {
    "struct": {"@type": f"{GOOGLE}.Struct", "value": {"a": 1, "b": ["x", True, None], "c": {"d": "e"}}},
    "string": {"@type": f"{GOOGLE}.StringValue", "value": "hello"},
    "node": {
        "@type": "type.googleapis.com/envoy.config.core.v3.Node",
        "id": "node-1",
        "locality": {"region": "r"},
        "client_features": ["a", "b"],
    },
    "number": {
        "@type": "type.googleapis.com/envoy.config.core.v3.SocketAddress",
        "port_value": 80,
        "protocol": "UDP",
        "address": "a",
    },
    "lua": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua",
        "source_codes": {"k": {"inline_string": "z"}},
        "clear_route_cache": False,
    },
}
ENTRIES = [
    *({"metadata_namespace": name, "typed_value": value} for name, value in TYPED.items()),
    *(
        {"metadata_namespace": "twice", "typed_value": {"@type": f"{GOOGLE}.StringValue", "value": v}}
        for v in "12"
    ),
    *(
        {
            "metadata_namespace": "over",
            "allow_overwrite": True,
            "typed_value": {"@type": f"{GOOGLE}.StringValue", "value": v},
        }
        for v in "12"
    ),
]
SET_METADATA = {
    "name": "metadata",
    "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.set_metadata.v3.Config",
        "metadata": ENTRIES,
    },
}
ROUTES = [*script_routes(SCRIPTS), {"match": {"prefix": "/"}, "route": {"cluster": "app"}}]
CORNERS = Setup(
    "lua-corners",
    bootstrap(
        [lua_listener("main", ROUTES), lua_listener("typed", ROUTES, SET_METADATA, lua_filter())],
        [cluster("app", "app")],
    ),
    {"app": "h1"},
)


@scenario(CORNERS)
async def lua_corners_dialect(s: Session) -> None:
    """LuaJIT with the compatibility to 5.2 that Envoy builds it with."""
    await s.get("/dialect")


@scenario(CORNERS)
async def lua_corners_odd_errors(s: Session) -> None:
    """Errors that are no text."""
    async with s.counting("http.main.lua.errors"):
        await s.get("/uncaught-table")
        await s.get("/uncaught-nil")


@scenario(CORNERS)
async def lua_corners_broken_loops(s: Session) -> None:
    """A loop over headers that was left early is still going on."""
    await s.get("/break", "x-first: 1")
    await s.get("/break-two", "x-first: 1")


@scenario(CORNERS)
async def lua_corners_pseudo_headers(s: Session) -> None:
    """Pseudo headers that are added, replaced, removed or unknown."""
    await s.get("/pseudo")


@scenario(CORNERS)
async def lua_corners_heads_that_lack(s: Session) -> None:
    """Heads without what a head needs, and with what it may not have."""
    for path in ("no-authority", "unknown-pseudo-response", "unknown-pseudo", "no-method", "no-path"):
        await s.get(f"/{path}", label=path)


@scenario(CORNERS)
async def lua_corners_framing(s: Session) -> None:
    """Headers that frame a message or belong to a connection, added by a script."""
    for name, value in (
        ("connection", "close"),
        ("upgrade", "websocket"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "close"),
        ("date", "today"),
        ("via", "mine"),
    ):
        await s.get("/forbidden", f"x-name: {name}", f"x-value: {value}", label=f"{name} {value}")


@scenario(CORNERS, differs=dict.fromkeys(("204",), "framing-is-the-codecs"))
async def lua_corners_statuses(s: Session) -> None:
    """A response's status that is replaced by something odd."""
    for status in ("404", "204", "99", "abc"):
        await s.get("/bad-status", f"x-status: {status}", label=status)


@scenario(CORNERS)
async def lua_corners_hop_headers(s: Session) -> None:
    """Headers of a single hop."""
    await s.get("/hop")
    client = await s.connect_h2()
    await client.request(get("/hop"), label="over HTTP/2")


@scenario(CORNERS)
async def lua_corners_cookies(s: Session) -> None:
    """Headers that stand several times, and those that stand once."""
    s.upstream().script = answers(ok(b"ok", "set-cookie: a=1", "set-cookie: b=2"))
    await s.get("/cookies")


@scenario(CORNERS)
async def lua_corners_texts(s: Session) -> None:
    """Values that are no ASCII, blanks, and long ones."""
    await s.get("/texts")


@scenario(CORNERS, differs=dict.fromkeys(("status",), "framing-is-the-codecs"))
async def lua_corners_answers(s: Session) -> None:
    """respond() with headers that mean something to HTTP."""
    for kind in (
        "length",
        "type",
        "connection",
        "status",
        "not-modified",
        "upper",
        "server",
        "date",
        "path",
        "chunked",
        "upgrade",
        "keep-alive",
        "no-body",
        "binary",
    ):
        await s.get("/respond-odd", f"x-kind: {kind}", label=kind)


@scenario(CORNERS)
async def lua_corners_lengths(s: Session) -> None:
    """Bodies whose length changes, and lengths that go."""
    s.upstream().script = answers(ok(b"a response"))
    for kind in ("set", "remove", "both", "empty"):
        await s.http(
            head("POST /lengths HTTP/1.1", "host: a", "content-length: 5", f"x-kind: {kind}") + b"hello",
            label=kind,
        )


@scenario(CORNERS)
async def lua_corners_loops(s: Session) -> None:
    """The order of headers in a loop, pseudo headers among them."""
    s.upstream().script = answers(ok(b"ok", "x-b: 1", "x-a: 2", "set-cookie: a=1", "set-cookie: b=2"))
    await s.get("/loop-values", "x-many: a", "x-many: b")
    client = await s.connect_h2()
    await client.request(get("/loop-values"), label="over HTTP/2")


@scenario(CORNERS)
async def lua_corners_one_direction(s: Session) -> None:
    """A script with one function."""
    await s.get("/one-way")


@scenario(CORNERS)
async def lua_corners_error_in_a_chunk(s: Session) -> None:
    """An error in a loop over chunks lets the body pass; the response has its own run."""
    async with s.counting("http.main.lua.errors", "http.main.lua.executions"):
        await s.http(head("POST /throws-in-loop HTTP/1.1", "host: a", "content-length: 5") + b"hello")


@scenario(CORNERS)
async def lua_corners_typed_metadata(s: Session) -> None:
    """dynamicTypedMetadata(): messages that set_metadata put there, as tables of the fields that are set."""
    async with s.counting("http.typed.set_metadata.overwrite_denied"):
        await s.get("/typed", to="typed")
