"""httpCall() of the Lua filter: what is sent, what comes back, and what becomes of failures."""

from __future__ import annotations

from ..client import get
from ..configuration import bootstrap, cluster
from ..lab import Session
from ..lua_routes import code, lua_listener, script_routes
from ..scenario import Setup, scenario
from ..upstream import Call, answers, ok
from ..wire import head

SUBJECT = "lua"

ASK = '{[":method"] = "GET", [":path"] = "/ask", [":authority"] = "auth.example"}'
SCRIPTS = {
    "sync": code(f"""
    function envoy_on_request(h)
      local headers, body = h:httpCall("auth", {ASK}, nil, 5000)
      h:headers():add("x-status", headers[":status"])
      h:headers():add("x-from", tostring(headers["x-from"]))
      h:headers():add("x-body", tostring(body))
    end"""),
    "post": code("""
    function envoy_on_request(h)
      local headers, body = h:httpCall("auth", {
        [":method"] = "POST", [":path"] = "/ask?a=b", [":authority"] = "auth.example",
        ["X-Many"] = {"a", 5}, ["content-length"] = "99",
      }, "a body", 5000, false)
      h:respond({[":status"] = headers[":status"]}, body)
    end"""),
    "empty": code(f"""
    function envoy_on_request(h)
      local headers, body = h:httpCall("auth", {ASK}, "", 5000)
      try(h, "body", function() return body, headers["content-length"] end)
    end"""),
    "repeated": code(f"""
    function envoy_on_request(h)
      local last = h:httpCall("auth", {ASK}, nil, 5000)
      local all = h:httpCall("auth", {ASK}, nil, {{timeout_ms = 5000, return_duplicate_headers = true}})
      try(h, "last", function() return last["set-cookie"] end)
      try(h, "all", function() return all["set-cookie"], all["x-one"] end)
    end"""),
    "options": code(f"""
    function envoy_on_request(h)
      h:httpCall("auth", {ASK}, nil, {{send_xff = false, trace_sampled = false}})
      h:httpCall("auth", {ASK}, nil, {{timeout_ms = "5000", send_xff = true}})
      try(h, "key", function() local x = h:httpCall("auth", {ASK}, nil, {{foo = 1}}) return x end)
      try(h, "number", function() local x = h:httpCall("auth", {ASK}, nil, {{1}}) return x end)
      try(h, "word", function() local x = h:httpCall("auth", {ASK}, nil, {{timeout_ms = "soon"}}) return x end)
      try(h, "negative", function() local x = h:httpCall("auth", {ASK}, nil, {{timeout_ms = -1}}) return x end)
    end"""),
    "arguments": code(f"""
    function envoy_on_request(h)
      try(h, "none", function() local x = h:httpCall() return x end)
      try(h, "cluster", function() local x = h:httpCall("nope", {ASK}, nil, 1) return x end)
      try(h, "headers", function() local x = h:httpCall("auth", "x", nil, 1) return x end)
      try(h, "timeout", function() local x = h:httpCall("auth", {ASK}, nil, -1) return x end)
      try(h, "no-timeout", function() local x = h:httpCall("auth", {ASK}, nil) return x end)
      try(h, "flag", function() local x = h:httpCall("auth", {ASK}, nil, 1, "x") return x end)
      try(h, "nil-flag", function() local x = h:httpCall("auth", {ASK}, nil, 1, nil) return x end)
      try(h, "path", function() local x = h:httpCall("auth", {{[":method"] = "GET", [":authority"] = "a"}}, nil, 1) return x end)
      try(h, "method", function() local x = h:httpCall("auth", {{[":path"] = "/", [":authority"] = "a"}}, nil, 1) return x end)
      try(h, "authority", function() local x = h:httpCall("auth", {{[":path"] = "/", [":method"] = "a"}}, nil, 1) return x end)
      try(h, "value", function()
        local x = h:httpCall("auth", {{[":path"] = "/", [":method"] = "a", [":authority"] = "a", x = true}}, nil, 1)
        return x
      end)
      try(h, "body", function() local x = h:httpCall("auth", {ASK}, {{}}, 1) return x end)
    end"""),
    "invalid": code("""
    function envoy_on_request(h)
      local headers, body = h:httpCall("auth", {
        [":method"] = "GET", [":path"] = "/", [":authority"] = "a", ["x-a"] = "1\\r\\nx-b: 2"}, nil, 5000)
      try(h, "value", function() return headers[":status"], body end)
      headers, body = h:httpCall("auth", {
        [":method"] = "GET", [":path"] = "/", [":authority"] = "a", ["x a"] = "1"}, nil, 5000)
      try(h, "name", function() return headers[":status"], body end)
    end"""),
    "failures": code(f"""
    function envoy_on_request(h)
      local headers, body = h:httpCall("dead", {ASK}, nil, 5000)
      try(h, "dead", function() return headers, body end)
      headers, body = h:httpCall("empty", {ASK}, nil, 5000)
      try(h, "empty", function() return headers, body end)
    end"""),
    "timeout": code(f"""
    function envoy_on_request(h)
      local headers, body = h:httpCall("auth", {ASK}, nil, 60)
      try(h, "late", function() return headers, body end)
    end"""),
    "broken": code(f"""
    function envoy_on_request(h)
      local headers, body = h:httpCall("auth", {ASK}, nil, 5000)
      try(h, "broken", function() return headers, body end)
    end"""),
    "async": code(f"""
    function envoy_on_request(h)
      try(h, "flag", function() return h:httpCall("auth", {ASK}, nil, 5000, true) end)
      try(h, "option", function() return h:httpCall("auth", {ASK}, "b", {{asynchronous = true}}) end)
    end"""),
    "in-response": code(f"""
    function envoy_on_response(h)
      local headers, body = h:httpCall("auth", {ASK}, nil, 5000)
      h:headers():add("x-status", headers[":status"])
      h:headers():replace("x-body", body)
    end"""),
    "between-chunks": code(f"""
    function envoy_on_request(h)
      for chunk in h:bodyChunks() do
        local headers, body = h:httpCall("auth", {ASK}, chunk:getBytes(0, chunk:length()), 5000)
        h:logInfo(headers[":status"])
      end
    end"""),
    "after-chunks": code(f"""
    function envoy_on_response(h)
      local size = 0
      for chunk in h:bodyChunks() do size = size + chunk:length() end
      local headers, body = h:httpCall("auth", {ASK}, tostring(size), 5000)
    end"""),
    "after-body": code(f"""
    function envoy_on_request(h)
      local body = h:body()
      local headers, said = h:httpCall("auth", {ASK}, body:getBytes(0, body:length()), 5000)
      h:headers():add("x-said", said)
      h:body():setBytes(said)
    end"""),
    "then-body": code(f"""
    function envoy_on_request(h)
      h:httpCall("auth", {ASK}, nil, 5000)
      try(h, "body", function() local b = h:body() return b:length() end)
    end"""),
    "lives": code(f"""
    function envoy_on_request(h)
      local hd, info, stats = h:headers(), h:streamInfo(), h:stats()
      local counter = stats:counter("lives")
      h:httpCall("auth", {ASK}, nil, 5000)
      try(h, "headers", function() local x = hd:get("host") return x end)
      try(h, "info", function() local x = info:protocol() return x end)
      try(h, "stats", function() local x = stats:counter("x") return x end)
      try(h, "counter", function() local x = counter:inc() return x end)
      try(h, "again", function() return h:headers():get("host"), h:streamInfo():protocol() end)
      h:httpCall("auth", {ASK}, nil, 5000)
      h:headers():add("x-done", "1")
    end"""),
    "deny": code(f"""
    function envoy_on_request(h)
      local headers, body = h:httpCall("auth", {ASK}, nil, 5000)
      if headers[":status"] ~= "200" then
        h:respond({{[":status"] = "403", ["x-why"] = headers[":status"]}}, "denied: " .. body)
      end
    end"""),
}  # fmt: skip
CALLS = Setup(
    "lua-calls",
    bootstrap(
        [
            lua_listener(
                "main", [*script_routes(SCRIPTS), {"match": {"prefix": "/"}, "route": {"cluster": "app"}}]
            )
        ],
        [
            cluster("app", "app"),
            cluster("auth", "auth"),
            cluster("dead", "dead"),
            {"name": "empty", "type": "STATIC", "connect_timeout": "1s"},
        ],
    ),
    {"app": "h1", "auth": "h1", "dead": "dead"},
)


@scenario(CALLS)
async def lua_call(s: Session) -> None:
    """The request waits for the answer; the called cluster counts, and the async client."""
    s.upstream("auth").script = answers(ok(b"yes", "x-from: auth"))
    names = (
        "cluster.auth.upstream_rq_200",
        "cluster.auth.internal.upstream_rq_200",
        "http.async-client.rq_total",
    )
    async with s.counting(*names):
        await s.get("/sync")
    client = await s.connect_h2()
    await client.request(get("/sync"), label="over HTTP/2")


@scenario(CALLS)
async def lua_call_that_posts(s: Session) -> None:
    """A body and headers of every kind; the answer becomes the response."""
    s.upstream("auth").script = answers(ok(b"created").replace(b"200 OK", b"201 Created"))
    await s.get("/post")


@scenario(CALLS)
async def lua_call_without_bytes(s: Session) -> None:
    """An empty body is sent as such, one that comes is nil."""
    s.upstream("auth").script = answers(ok(b""))
    await s.get("/empty")


@scenario(CALLS)
async def lua_call_repeated_headers(s: Session) -> None:
    """return_duplicate_headers."""
    s.upstream("auth").script = answers(ok(b"", "set-cookie: a=1", "set-cookie: b=2", "x-one: 1"))
    await s.get("/repeated")


@scenario(CALLS)
async def lua_call_options(s: Session) -> None:
    """The table of options, and what is refused in it."""
    await s.get("/options")


@scenario(CALLS)
async def lua_call_arguments(s: Session) -> None:
    """What is said of wrong arguments."""
    await s.get("/arguments")


@scenario(CALLS)
async def lua_call_with_invalid_headers(s: Session) -> None:
    """Headers that cannot be sent make an answer with 503."""
    await s.get("/invalid")


@scenario(CALLS)
async def lua_call_failures(s: Session) -> None:
    """Nobody listens, and nobody is there: answers with 503."""
    await s.get("/failures")


@scenario(CALLS)
async def lua_call_timeout(s: Session) -> None:
    """No answer in time: 504."""

    async def never(call: Call) -> None:
        await call.gone()

    s.upstream("auth").script = never
    await s.get("/timeout")


@scenario(CALLS)
async def lua_call_broken_off(s: Session) -> None:
    """An answer that breaks off: 503 and upstream failure."""

    async def broken(call: Call) -> None:
        await call.send(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf")
        await call.close()

    s.upstream("auth").script = broken
    await s.get("/broken")


@scenario(CALLS)
async def lua_call_refused(s: Session) -> None:
    """A connection that is closed without an answer."""

    async def closed(call: Call) -> None:
        await call.close()

    s.upstream("auth").script = closed
    await s.get("/broken")


@scenario(CALLS)
async def lua_call_asynchronous(s: Session) -> None:
    """Calls that nobody waits for."""
    await s.get("/async")
    await s.upstream("auth").arrivals(2)


@scenario(CALLS)
async def lua_call_in_the_response(s: Session) -> None:
    """The response waits."""
    s.upstream("auth").script = answers(ok(b"yes"))
    await s.get("/in-response")


@scenario(CALLS)
async def lua_call_between_chunks(s: Session) -> None:
    """A call for a chunk of the request; what comes meanwhile waits."""
    await s.http(head("POST /between-chunks HTTP/1.1", "host: a", "content-length: 5") + b"hello")


@scenario(CALLS)
async def lua_call_after_chunks_of_the_response(s: Session) -> None:
    """A call behind the chunks of a response is sent."""
    s.upstream().script = answers(ok(b"response"))
    await s.get("/after-chunks")


@scenario(CALLS)
async def lua_call_after_body(s: Session) -> None:
    """A call that carries the request's body, and an answer that becomes the body."""
    s.upstream("auth").script = answers(ok(b"rewritten"))
    await s.http(head("POST /after-body HTTP/1.1", "host: a", "content-length: 5") + b"hello")


@scenario(CALLS, differs={"upstream app": "lua-body-after-call"})
async def lua_call_then_body(s: Session) -> None:
    """body() behind a call: in Envoy what came meanwhile is lost to the script."""
    await s.http(head("POST /then-body HTTP/1.1", "host: a", "content-length: 5") + b"hello")


@scenario(CALLS)
async def lua_call_ends_objects(s: Session) -> None:
    """Objects that were got before a call are dead behind it, all but counters."""
    await s.get("/lives")


@scenario(CALLS)
async def lua_call_that_denies(s: Session) -> None:
    """The answer decides: respond() behind a call."""
    s.upstream("auth").script = answers(ok(b"no").replace(b"200 OK", b"401 Unauthorized"), ok(b"yes"))
    await s.get("/deny")
    await s.get("/deny")
    await s.http(head("POST /deny HTTP/1.1", "host: a", "content-length: 5") + b"hello", label="post")
