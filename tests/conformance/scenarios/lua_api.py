"""The objects of the Lua filter, method by method: what they give, when they fail and how long they live."""

from __future__ import annotations

import json

from ..client import get
from ..configuration import bootstrap, cluster
from ..lab import Session
from ..lua_routes import code, lua_listener, per_route, script_routes
from ..scenario import Setup, scenario
from ..upstream import answers, ok
from ..wire import head

SUBJECT = "lua"

SCRIPTS = {
    "header-errors": code("""
    function envoy_on_request(h)
      local hd = h:headers()
      try(h, "get-none", function() local x = hd:get() return x end)
      try(h, "get-table", function() local x = hd:get({}) return x end)
      try(h, "get-number", function() local x = hd:get(5) return x end)
      try(h, "add-nil", function() local x = hd:add("x-a", nil) return x end)
      try(h, "add-bool", function() local x = hd:add("x-a", true) return x end)
      try(h, "add-number", function() local x = hd:add("x-number", 12.5) return x end)
      try(h, "replace-table", function() local x = hd:replace("x-a", {}) return x end)
      try(h, "remove-none", function() local x = hd:remove() return x end)
      try(h, "index-string", function() local x = hd:getAtIndex("x-a", "one") return x end)
      try(h, "index-none", function() local x = hd:getAtIndex("x-a") return x end)
      try(h, "unknown", function() local x = hd:nonsense() return x end)
      try(h, "reason", function() local x = hd:setHttp1ReasonPhrase("x") return x end)
    end"""),
    "header-values": code("""
    function envoy_on_request(h)
      local hd = h:headers()
      try(h, "many", function() return hd:getNumValues("x-many"), hd:getNumValues("X-Many"), hd:getNumValues("none") end)
      try(h, "indexed", function()
        return hd:getAtIndex("x-many", 0), hd:getAtIndex("x-many", 1), hd:getAtIndex("x-many", 2), hd:getAtIndex("x-many", -1)
      end)
      try(h, "pseudo", function() return hd:get(":method"), hd:get(":scheme"), hd:get(":authority"), hd:get("host") end)
      try(h, "pseudo-count", function() return hd:getNumValues(":path"), hd:getAtIndex(":path", 0), hd:getNumValues("host") end)
      hd:add("x-many", "three")
      try(h, "after", function() return hd:get("x-many"), hd:getNumValues("x-many") end)
      hd:replace("x-many", "only")
      try(h, "replaced", function() return hd:get("x-many"), hd:getNumValues("x-many") end)
      hd:add("x-empty", "")
      try(h, "empty", function() return hd:get("x-empty") end)
      hd:remove("x-never")
      hd:add("X-Upper-Case", "lower")
    end"""),
    "header-loops": code("""
    function envoy_on_request(h)
      local hd = h:headers()
      try(h, "add-in-loop", function() for k, v in pairs(hd) do hd:add("x-a", "1") end end)
    end"""),
    "header-loops-two": code("""
    function envoy_on_request(h)
      local hd = h:headers()
      local found = {}
      for k, v in pairs(hd) do
        if k == "x-first" then
          local ok, problem = pcall(function() hd:replace("x-first", "2") end)
          found[1] = tostring(problem)
          ok, problem = pcall(function() hd:remove("x-first") end)
          found[2] = tostring(problem)
          ok, problem = pcall(function() for a, b in pairs(hd) do end end)
          found[3] = tostring(problem)
          found[4] = tostring(hd:get("x-first"))
        end
      end
      hd:add("x-found", table.concat(found, "/"))
    end"""),
    "reason": code("""
    function envoy_on_response(h)
      h:headers():setHttp1ReasonPhrase("Slightly Modified")
    end"""),
    "bytes": code("""
    function envoy_on_request(h)
      local body = h:body()
      try(h, "all", function() return body:length(), body:getBytes(0, body:length()) end)
      try(h, "some", function() return body:getBytes(1, 3) end)
      try(h, "none", function() return body:getBytes(0, 0), body:getBytes(5, 0) end)
      try(h, "beyond", function() local x = body:getBytes(3, 3) return x end)
      try(h, "before", function() local x = body:getBytes(-1, 2) return x end)
      try(h, "negative", function() local x = body:getBytes(1, -1) return x end)
      try(h, "strings", function() local x = body:getBytes("a", 1) return x end)
      try(h, "one", function() local x = body:getBytes(1) return x end)
      try(h, "digits", function() local x = body:getBytes("1", "2") return x end)
      try(h, "set", function() return body:setBytes("longer than before"), body:length() end)
      try(h, "set-number", function() return body:setBytes(17), body:getBytes(0, 2) end)
      try(h, "set-nothing", function() local x = body:setBytes() return x end)
      try(h, "set-empty", function() return body:setBytes(""), body:length() end)
      try(h, "again", function() return h:body():length() end)
      h:body():setBytes("the end")
    end"""),
    "no-body": code("""
    function envoy_on_request(h)
      try(h, "body", function() return h:body() end)
      try(h, "chunks", function() local n = 0 for c in h:bodyChunks() do n = n + 1 end return n end)
      try(h, "trailers", function() return h:trailers() end)
      try(h, "wrapped", function() local b = h:body(true) return b:length() end)
      try(h, "wrong", function() local b = h:body(1) return b end)
      h:body(true):setBytes("made by lua")
    end"""),
    "no-response-body": code("""
    function envoy_on_response(h)
      try(h, "body", function() return h:body() end)
      h:body(true):setBytes("made by lua")
      h:headers():replace("content-length", "11")
    end"""),
    "empty-body": code("""
    function envoy_on_request(h)
      local body = h:body()
      try(h, "body", function() return body and body:length() end)
    end"""),
    "after-chunks": code("""
    function envoy_on_request(h)
      local n = 0
      for chunk in h:bodyChunks() do n = n + chunk:length() end
      local function note(name, f)
        local ok, problem = pcall(f)
        h:streamInfo():dynamicMetadata():set("lua", name, tostring(problem))
      end
      note("body", function() h:body() end)
      note("chunks", function() h:bodyChunks() end)
      note("add", function() h:headers():add("x-late", "1") end)
      note("respond", function() h:respond({[":status"] = "403"}, "late") end)
      note("get", function() return h:headers():get("x-first") end)
      note("trailers", function() return h:trailers() end)
      note("n", function() return n end)
    end
    function envoy_on_response(h)
      local noted = h:streamInfo():dynamicMetadata():get("lua")
      for _, k in ipairs{"body", "chunks", "add", "respond", "get", "trailers", "n"} do h:headers():add("x-" .. k, noted[k]) end
    end"""),
    "chunk-bytes": code("""
    function envoy_on_response(h)
      h:headers():remove("content-length")
      for chunk in h:bodyChunks() do
        if chunk:length() > 0 then chunk:setBytes(chunk:getBytes(0, chunk:length()):upper()) end
      end
    end"""),
    "trailers": code("""
    function envoy_on_request(h)
      local trailers = h:trailers()
      if trailers == nil then return end
      trailers:add("x-added", tostring(trailers:get("x-trailer")))
      trailers:replace("x-trailer", "replaced")
      trailers:remove("x-removed")
      trailers:add("x-count", tostring(trailers:getNumValues("x-many")) .. tostring(trailers:getAtIndex("x-many", 1)))
      for k, v in pairs(trailers) do
        if k == "x-many" then h:logInfo(v) end
      end
    end
    function envoy_on_response(h)
      for chunk in h:bodyChunks() do end
      local trailers = h:trailers()
      if trailers then trailers:add("x-of-response", tostring(trailers:get("x-trailer"))) end
    end"""),
    "body-then-trailers": code("""
    function envoy_on_request(h)
      local body = h:body()
      local trailers = h:trailers()
      h:headers():add("x-body", tostring(body and body:getBytes(0, body:length())))
      h:headers():add("x-trailer", tostring(trailers and trailers:get("x-trailer")))
    end"""),
    "info": code("""
    function envoy_on_request(h)
      local info = h:streamInfo()
      try(h, "protocol", function() return info:protocol() end)
      try(h, "route", function() return info:routeName() end)
      try(h, "virtual-cluster", function() return info:virtualClusterName() end)
      try(h, "local", function() return info:downstreamLocalAddress() == info:downstreamDirectLocalAddress() end)
      try(h, "remote", function() return info:downstreamRemoteAddress() == info:downstreamDirectRemoteAddress() end)
      try(h, "logical", function() return (info:downstreamRemoteAddress():gsub(":%d+$", "")) end)
      try(h, "direct", function() return (info:downstreamDirectRemoteAddress():gsub(":%d+$", "")) end)
      try(h, "ssl", function() return info:downstreamSslConnection(), h:connection():ssl() end)
      try(h, "name", function() return info:requestedServerName() end)
      try(h, "typed", function() return info:dynamicTypedMetadata("none") end)
      try(h, "typed-none", function() local x = info:dynamicTypedMetadata() return x end)
    end
    function envoy_on_response(h)
      try(h, "protocol", function() return h:streamInfo():protocol() end)
      try(h, "route", function() return h:streamInfo():routeName() end)
    end"""),
    "dynamic": code("""
    function envoy_on_request(h)
      local map = h:streamInfo():dynamicMetadata()
      map:set("lua", "text", "a")
      map:set("lua", "number", 1.5)
      map:set("lua", "flag", true)
      map:set("lua", "list", {"a", 2, false})
      map:set("lua", "map", {a = {b = "c"}, d = {}})
      map:set("lua", "gone", nil)
      map:set("lua", "text", "b")
      map:set("other", "key", "value")
      try(h, "lua", function() return map:get("lua") end)
      try(h, "missing", function() return map:get("missing") end)
      try(h, "names", function()
        local names = {}
        for name, values in pairs(map) do names[#names + 1] = name .. type(values) end
        table.sort(names)
        return table.concat(names, " ")
      end)
      try(h, "function", function() map:set("lua", "f", function() end) end)
      try(h, "object", function() map:set("lua", "o", h) end)
      try(h, "keys", function() map:set("lua", "k", {[true] = 1}) end)
      try(h, "mixed", function() map:set("lua", "m", {1, 2, a = 3}) return map:get("lua").m end)
      try(h, "holes", function() map:set("lua", "holes", {1, nil, 3}) return map:get("lua").holes end)
      try(h, "loop", function() for n, v in pairs(map) do map:set("lua", "x", "y") end end)
      try(h, "none", function() local x = map:get() return x end)
      try(h, "few", function() local x = map:set("lua", "key") return map:get("lua").key end)
    end
    function envoy_on_response(h)
      try(h, "text", function() return h:streamInfo():dynamicMetadata():get("lua").text end)
    end"""),
    "state": code("""
    function envoy_on_request(h)
      local state = h:streamInfo():filterState()
      try(h, "missing", function() return state:get("none") end)
      try(h, "set", function() return state:set("mine", "envoy.string", "one") end)
      try(h, "get", function() return state:get("mine") end)
      try(h, "field", function() return state:get("mine", "part") end)
      try(h, "again", function() state:set("mine", "envoy.string", "two") return state:get("mine") end)
      try(h, "hashable", function() state:set("hash", "envoy.hashable_string", "h") return state:get("hash") end)
      try(h, "bool", function() state:set("bool", "envoy.bool", "true") return state:get("bool") end)
      try(h, "ip", function() state:set("ip", "envoy.network.ip", "10.0.0.1") return state:get("ip") end)
      try(h, "unknown", function() state:set("x", "nonsense", "1") end)
      try(h, "number", function() state:set("number", "envoy.string", 5) return state:get("number") end)
      try(h, "none", function() local x = state:get() return x end)
      try(h, "few", function() local x = state:set("a") return x end)
    end
    function envoy_on_response(h)
      try(h, "later", function() return h:streamInfo():filterState():get("mine") end)
    end"""),
    "drain": code("""
    function envoy_on_response(h) h:streamInfo():drainConnectionUponCompletion() end"""),
    "stats": code("""
    function envoy_on_request(h)
      local stats = h:stats()
      local c = stats:counter("things")
      local before = c:value()
      c:inc() c:add(4)
      try(h, "counter", function() return c:value() - before end)
      local g = stats:gauge("level")
      g:set(10) g:inc() g:dec() g:add(5) g:sub(3)
      try(h, "gauge", function() return g:value() end)
      g:set(7)
      stats:histogram("sizes", "bytes"):recordValue(100)
      stats:histogram("times", "ms"):recordValue(5)
      stats:histogram("plain"):recordValue(1)
      try(h, "negative", function() c:add(-1) end)
      try(h, "gauge-negative", function() g:set(-1) end)
      try(h, "gauge-add", function() g:add(-1) end)
      try(h, "histogram-negative", function() stats:histogram("plain"):recordValue(-1) end)
      try(h, "unit", function() stats:histogram("odd", "furlongs") end)
      try(h, "none", function() local x = stats:counter() return x end)
      try(h, "word", function() local x = c:add("many") return x end)
      try(h, "nothing", function() local x = c:add() return x end)
      try(h, "text", function() c:add("2") return c:value() - before end)
    end"""),
    "time": code("""
    function envoy_on_request(h)
      try(h, "kinds", function() return type(h:timestamp()), type(h:timestampString()) end)
      try(h, "digits", function() return #h:timestampString(), #h:timestampString(EnvoyTimestampResolution.MICROSECOND) end)
      try(h, "same", function() return math.abs(h:timestamp() - tonumber(h:timestampString())) < 1000 end)
      try(h, "micro", function() h:timestamp(EnvoyTimestampResolution.MICROSECOND) end)
      try(h, "word", function() h:timestamp("ms") end)
      try(h, "string-bad", function() h:timestampString(9) end)
      try(h, "constants", function() return EnvoyTimestampResolution.MILLISECOND, EnvoyTimestampResolution.MICROSECOND end)
    end"""),
    "base64": code("""
    function envoy_on_request(h)
      try(h, "escape", function() return h:base64Escape("any carnal pleas"), h:base64Escape(""), h:base64Escape("\\255\\254") end)
      try(h, "number", function() return h:base64Escape(12) end)
      try(h, "decode", function() return h:base64Decode("bHVhIQ=="), h:base64Decode("bHVhIQ"), h:base64Decode("") end)
      try(h, "url", function() return h:base64Decode("_-8=") end)
      try(h, "blank", function() return h:base64Decode("bHVh IQ==\\n") end)
      try(h, "bad", function() return h:base64Decode("!!"), h:base64Decode("a"), h:base64Decode("aa=") end)
      try(h, "loose", function() return h:base64Decode("bHVhIR==") end)
      try(h, "none", function() local x = h:base64Escape() return x end)
      try(h, "decode-none", function() local x = h:base64Decode() return x end)
    end"""),
    "request-headers": code("""
    function envoy_on_request(h)
      h:headers():add("x-in", "1")
      try(h, "own", function() return h:requestHeaders():get(":path"), h:requestHeaders():get("x-in") end)
    end
    function envoy_on_response(h)
      local r = h:requestHeaders()
      try(h, "path", function() return r:get(":path"), r:get(":method"), r:get("host") end)
      try(h, "in", function() return r:get("x-in"), r:getAtIndex("x-in", 0), r:getNumValues("x-in") end)
      try(h, "loop", function()
        local names = {}
        for k, v in pairs(r) do if k:sub(1, 4) == "x-in" then names[#names + 1] = k end end
        return table.concat(names, " ")
      end)
      try(h, "add", function() r:add("x-late", "1") return r:get("x-late") end)
      try(h, "reason", function() local x = r:setHttp1ReasonPhrase("x") return x end)
    end"""),
    "arguments": code("""
    function envoy_on_request(h)
      try(h, "log-none", function() local x = h:logInfo() return x end)
      try(h, "log-table", function() local x = h:logWarn({}) return x end)
      try(h, "log-number", function() local x = h:logErr(5) return x end)
      try(h, "cluster", function() local x = h:httpCall("nope", {}, nil, 1) return x end)
      try(h, "timeout", function() local x = h:httpCall("app", {}, nil) return x end)
      try(h, "key", function() local x = h:importPublicKey() return x end)
      try(h, "size", function() local x = h:importPublicKey("abc") return x end)
      try(h, "signature", function() local x = h:verifySignature("sha256", "abc", "s", 1, "d", 1) return x end)
      try(h, "host", function() local x = h:setUpstreamOverrideHost() return x end)
      try(h, "host-name", function() local x = h:setUpstreamOverrideHost("localhost:80") return x end)
      try(h, "host-port", function() local x = h:setUpstreamOverrideHost("1.2.3.4:99999") return x end)
      try(h, "host-strict", function() local x = h:setUpstreamOverrideHost("1.2.3.4:80", 1) return x end)
      try(h, "host-v6", function() local x = h:setUpstreamOverrideHost("::1") return x end)
      try(h, "unknown", function() local x = h:nonsense() return x end)
      try(h, "kinds", function() return type(h), type(h:headers()), type(h:streamInfo()) end)
    end"""),
    "logs": code("""
    function envoy_on_request(h)
      for _, object in ipairs{h, h:headers(), h:streamInfo(), h:streamInfo():dynamicMetadata(), h:streamInfo():filterState(),
          h:connection(), h:connectionStreamInfo(), h:metadata(), h:filterContext(), h:virtualHost(), h:route(), h:stats(),
          h:stats():counter("logged"), h:requestHeaders()} do
        object:logTrace("t") object:logDebug("d") object:logInfo("i")
        object:logWarn("w") object:logErr("e") object:logCritical("c")
      end
      h:headers():add("x-logged", "all")
    end"""),
    "respond-errors": code("""
    function envoy_on_request(h)
      try(h, "none", function() local x = h:respond() return x end)
      try(h, "no-status", function() local x = h:respond({}, "x") return x end)
      try(h, "low", function() local x = h:respond({[":status"] = "199"}, "x") return x end)
      try(h, "high", function() local x = h:respond({[":status"] = "600"}, "x") return x end)
      try(h, "word", function() local x = h:respond({[":status"] = "ok"}, "x") return x end)
      try(h, "value", function() local x = h:respond({[":status"] = "200", ["x-a"] = true}, "x") return x end)
      try(h, "body", function() local x = h:respond({[":status"] = "200"}, {}) return x end)
    end
    function envoy_on_response(h)
      try(h, "response", function() local x = h:respond({[":status"] = "403"}, "x") return x end)
    end"""),
    "respond-number": code("""
    function envoy_on_request(h) h:respond({[":status"] = 201, ["x-number"] = 5}, 17) end"""),
    "respond-after-body": code("""
    function envoy_on_request(h)
      local body = h:body()
      h:respond({[":status"] = "200"}, "got " .. body:getBytes(0, body:length()))
      h:headers():add("x-never", "1")
    end"""),
    "yields": code("""
    function envoy_on_request(h)
      h:headers():add("x-before", "1")
      coroutine.yield()
      h:headers():add("x-after", "1")
    end"""),
    "coroutines": code("""
    function envoy_on_request(h)
      local co = coroutine.wrap(function(a) local b = coroutine.yield(a + 1) return b * 2 end)
      try(h, "wrap", function() return co(1), co(5) end)
      local thread = coroutine.create(function() error("inside") end)
      try(h, "resume", function() return coroutine.resume(thread) end)
      try(h, "dead", function() return coroutine.resume(thread) end)
      try(h, "status", function() return coroutine.status(thread) end)
    end"""),
    "saved": code("""
    function envoy_on_request(h)
      if saved and not h:headers():get("x-first") then
        try(h, "handle", function() local x = saved:headers() return x end)
        try(h, "headers", function() local x = saved_headers:get("host") return x end)
        try(h, "info", function() local x = saved_info:protocol() return x end)
        try(h, "counter", function() local x = saved_counter:inc() return x end)
      end
      saved, saved_headers, saved_info = h, h:headers(), h:streamInfo()
      saved_counter = h:stats():counter("saved")
    end"""),
    "tables": code("""
    function envoy_on_request(h)
      h:respond({[":status"] = "200", ["x-list"] = {"b", "a"}, ["x-empty"] = {}}, "")
    end"""),
}  # fmt: skip

MORE_ROUTES = [
    {
        "match": {"path": "/filter-context"},
        "route": {"cluster": "app"},
        "typed_per_filter_config": per_route(
            source_code={
                "inline_string": code("""
                function envoy_on_request(h)
                  local context = h:filterContext()
                  try(h, "text", function() return context:get("text"), context:get("none") end)
                  try(h, "number", function() return context:get("number") end)
                  try(h, "map", function() return context:get("map") end)
                  try(h, "names", function()
                    local names = {}
                    for k, v in pairs(context) do names[#names + 1] = k end
                    table.sort(names)
                    return table.concat(names, " ")
                  end)
                end""")
            },
            filter_context={"text": "a", "number": 2, "map": {"b": ["c", True]}},
        ),
    },
    {
        "match": {"path": "/route-metadata"},
        "name": "with-metadata",
        "route": {"cluster": "app"},
        "metadata": {"filter_metadata": {"lua": {"where": "route"}, "envoy.filters.http.lua": {"where": "fallback"}}},
        "typed_per_filter_config": per_route(
            source_code={
                "inline_string": code("""
                function envoy_on_request(h)
                  try(h, "metadata", function() return h:metadata():get("where"), h:metadata():get("none") end)
                  try(h, "route", function() return h:route():metadata():get("where") end)
                  try(h, "host", function() return h:virtualHost():metadata():get("where") end)
                  try(h, "loop", function()
                    local out = {}
                    for k, v in pairs(h:route():metadata()) do out[#out + 1] = k .. "=" .. tostring(v) end
                    return table.concat(out)
                  end)
                end""")
            }
        ),
    },
    {
        "match": {"path": "/fallback-metadata"},
        "route": {"cluster": "app"},
        "metadata": {"filter_metadata": {"envoy.filters.http.lua": {"where": "fallback"}}},
        "typed_per_filter_config": per_route(
            source_code={
                "inline_string": code("""
                function envoy_on_request(h)
                  try(h, "metadata", function() return h:metadata():get("where") end)
                  try(h, "route", function() return h:route():metadata():get("where") end)
                end""")
            }
        ),
    },
]  # fmt: skip
VIRTUAL_HOST = {
    "virtual_hosts": [
        {
            "name": "all",
            "domains": ["*"],
            "metadata": {"filter_metadata": {"lua": {"where": "host"}}},
            "virtual_clusters": [
                {"name": "vc", "headers": [{"name": ":path", "string_match": {"prefix": "/info"}}]}
            ],
            "routes": [
                *script_routes(SCRIPTS),
                *MORE_ROUTES,
                {"match": {"prefix": "/"}, "route": {"cluster": "app"}},
            ],
        }
    ]
}
API = Setup(
    "lua-api",
    bootstrap(
        [lua_listener("main", [], hcm=json.dumps({"route_config": VIRTUAL_HOST}))],
        [cluster("app", "app")],
    ),
    {"app": "h1"},
)


@scenario(API)
async def lua_api_header_errors(s: Session) -> None:
    """What header methods say of wrong arguments."""
    await s.get("/header-errors")


@scenario(API)
async def lua_api_header_values(s: Session) -> None:
    """Several values, pseudo headers, empty names and values, and what host is."""
    await s.get("/header-values", "x-many: one", "X-Many: two")


@scenario(API)
async def lua_api_header_loops(s: Session) -> None:
    """Headers are not changed while they are gone through, nor gone through twice at once."""
    await s.get("/header-loops", "x-first: 1")
    await s.get("/header-loops-two", "x-first: 1", label="nested")


@scenario(API)
async def lua_api_reason_phrase(s: Session) -> None:
    """setHttp1ReasonPhrase."""
    await s.get("/reason")
    client = await s.connect_h2()
    await client.request(get("/reason"))


@scenario(API)
async def lua_api_bytes(s: Session) -> None:
    """The buffer object: lengths, parts, replacement and their errors."""
    await s.http(head("POST /bytes HTTP/1.1", "host: a", "content-length: 5") + b"hello")


@scenario(API)
async def lua_api_without_a_body(s: Session) -> None:
    """body() gives nil unless asked for an object, which can be filled."""
    await s.get("/no-body")
    client = await s.connect_h2()
    await client.request(get("/no-body"), label="over HTTP/2")


@scenario(API)
async def lua_api_without_a_response_body(s: Session) -> None:
    """The same of a response."""
    s.upstream().script = answers(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
    await s.get("/no-response-body")


@scenario(API)
async def lua_api_empty_body(s: Session) -> None:
    """Bodies without a byte: of known length, chunked, and over HTTP/2 in an empty frame."""
    await s.http(head("POST /empty-body HTTP/1.1", "host: a", "content-length: 0"))
    await s.http(head("POST /empty-body HTTP/1.1", "host: a", "transfer-encoding: chunked") + b"0\r\n\r\n")
    client = await s.connect_h2()
    stream = await client.start(get("/empty-body", method="POST"), end=False)
    await client.peer.data(stream, b"", end=True)
    await client.reply(stream, "empty frame")


@scenario(API)
async def lua_api_after_chunks(s: Session) -> None:
    """What can no longer be done once the body has been streamed."""
    await s.http(head("POST /after-chunks HTTP/1.1", "host: a", "content-length: 5", "x-first: 1") + b"hello")


@scenario(API)
async def lua_api_chunks_that_change(s: Session) -> None:
    """setBytes of a chunk.

    Of a response: in a request Envoy sets a content-length, which counts if nothing was sent upstream yet.
    """
    s.upstream().script = answers(ok(b"response"))
    await s.get("/chunk-bytes")


@scenario(API)
async def lua_api_trailers(s: Session) -> None:
    """Trailers are read and changed; where there are none, trailers() is nil."""
    client = await s.connect_h2()
    trailers = [("x-trailer", "1"), ("x-removed", "1"), ("x-many", "a"), ("x-many", "b")]
    await client.request(get("/trailers", method="POST"), b"hello", trailers)
    await client.request(get("/trailers", method="POST"), b"hello", label="without")
    await client.request(get("/trailers"), label="no body")


@scenario(API)
async def lua_api_body_then_trailers(s: Session) -> None:
    """trailers() behind body(): the headers are still held."""
    client = await s.connect_h2()
    await client.request(get("/body-then-trailers", method="POST"), b"hello", [("x-trailer", "1")])
    await client.request(get("/body-then-trailers", method="POST"), b"hello", label="without")


@scenario(API)
async def lua_api_stream_info(s: Session) -> None:
    """streamInfo() over HTTP/1.0, 1.1 and 2."""
    await s.get("/info")
    await s.http("GET /info HTTP/1.0\r\nhost: a\r\n\r\n", label="HTTP/1.0")
    client = await s.connect_h2()
    await client.request(get("/info"), label="HTTP/2")


@scenario(API)
async def lua_api_dynamic_metadata(s: Session) -> None:
    """dynamicMetadata(): every type there and back, iteration, and what cannot be kept."""
    await s.get("/dynamic")


@scenario(API)
async def lua_api_filter_state(s: Session) -> None:
    """filterState(): objects made by factories, and what is read of them."""
    await s.get("/state")


@scenario(API)
async def lua_api_drain(s: Session) -> None:
    """drainConnectionUponCompletion() on both protocols."""
    client = await s.connect()
    await client.send(head("GET /drain HTTP/1.1", "host: a"))
    await client.reply()
    await client.closed()
    client2 = await s.connect_h2()
    await client2.request(get("/drain"), label="HTTP/2")
    await client2.closed("HTTP/2 then")


@scenario(API)
async def lua_api_stats(s: Session) -> None:
    """stats(): counters, gauges and histograms of a script."""
    names = ("http.main.lua.things", "http.main.lua.errors", "http.main.lua.executions")
    async with s.counting(*names):
        await s.get("/stats")


@scenario(API)
async def lua_api_timestamps(s: Session) -> None:
    """timestamp() and timestampString()."""
    await s.get("/time")


@scenario(API)
async def lua_api_base64(s: Session) -> None:
    """base64Escape() and base64Decode()."""
    await s.get("/base64")


@scenario(API)
async def lua_api_request_headers(s: Session) -> None:
    """requestHeaders(), in the response as well."""
    await s.get("/request-headers", "x-in-client: 1")


@scenario(API)
async def lua_api_arguments(s: Session) -> None:
    """What the handle's methods say of wrong arguments."""
    await s.get("/arguments")


@scenario(API)
async def lua_api_logs_of_all_objects(s: Session) -> None:
    """Every object has the log methods."""
    await s.get("/logs")


@scenario(API)
async def lua_api_respond_errors(s: Session) -> None:
    """What respond() refuses, and that it is not there in a response."""
    await s.get("/respond-errors")
    await s.get("/respond-number", label="numbers")
    await s.get("/tables", label="tables")


@scenario(API)
async def lua_api_respond_after_body(s: Session) -> None:
    """respond() is allowed as long as headers are held, and ends the script."""
    await s.http(head("POST /respond-after-body HTTP/1.1", "host: a", "content-length: 5") + b"hello")


@scenario(API)
async def lua_api_yields(s: Session) -> None:
    """A yield of the script's own is an error; coroutines inside of it are not."""
    async with s.counting("http.main.lua.errors"):
        await s.get("/yields")
        await s.get("/coroutines")


@scenario(API)
async def lua_api_use_after_the_end(s: Session) -> None:
    """Objects that were kept are dead in the next request."""
    await s.get("/saved", "x-first: 1")
    await s.get("/saved")


@scenario(API)
async def lua_api_filter_context(s: Session) -> None:
    """filterContext()."""
    await s.get("/filter-context")


@scenario(API)
async def lua_api_metadata_of_route_and_host(s: Session) -> None:
    """metadata(), route():metadata() and virtualHost():metadata()."""
    await s.get("/route-metadata")
    await s.get("/fallback-metadata")
