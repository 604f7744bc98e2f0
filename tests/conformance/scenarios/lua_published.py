"""Scripts of the kinds that people publish, each written for here, run whole on both proxies."""

from __future__ import annotations

from ..configuration import bootstrap, cluster
from ..lab import Session
from ..lua_routes import code, lua_listener, script_routes
from ..scenario import Setup, scenario
from ..upstream import answers, ok
from ..wire import head

SUBJECT = "lua"


def plain(text: str) -> str:
    return code(text, helped=False)


SCRIPTS = {
    # a key that has to be known
    "api-key": plain("""
    local keys = { ["k-123"] = "alice", ["k-456"] = "bob" }
    function envoy_on_request(handle)
      local key = handle:headers():get("x-api-key")
      local user = key and keys[key]
      if not user then
        handle:respond({
          [":status"] = "401",
          ["www-authenticate"] = 'ApiKey realm="api"',
        }, '{"error":"unauthorized"}')
        return
      end
      handle:headers():remove("x-api-key")
      handle:headers():replace("x-user", user)
    end"""),
    # HTTP basic authentication
    "basic": plain("""
    local users = { alice = "wonderland" }
    function envoy_on_request(handle)
      local given = handle:headers():get("authorization") or ""
      local encoded = given:match("^[Bb]asic%s+(.+)$")
      local decoded = encoded and handle:base64Decode(encoded)
      local name, password = (decoded or ""):match("^([^:]*):(.*)$")
      if name and users[name] == password then
        handle:headers():add("x-authenticated-user", name)
        return
      end
      handle:respond({ [":status"] = "401", ["www-authenticate"] = 'Basic realm="site"' }, "who are you?")
    end"""),
    # asks an authorization service
    "authorize": plain("""
    function envoy_on_request(handle)
      local headers, body = handle:httpCall("auth", {
        [":method"] = "GET", [":path"] = "/check" .. handle:headers():get(":path"), [":authority"] = "auth.internal",
        ["authorization"] = handle:headers():get("authorization") or "none",
      }, nil, 2000)
      if headers[":status"] == "200" then
        for name, value in pairs(headers) do
          if name:sub(1, 7) == "x-auth-" then handle:headers():replace(name, value) end
        end
      else
        handle:respond({ [":status"] = headers[":status"], ["content-type"] = "application/json" }, body)
      end
    end"""),
    # rewrites an HTML page
    "html": plain("""
    function envoy_on_response(handle)
      local kind = handle:headers():get("content-type") or ""
      if not kind:find("text/html", 1, true) then return end
      local body = handle:body()
      if body == nil then return end
      local text = body:getBytes(0, body:length())
      text = text:gsub("http://internal%.example", "https://www.example.com")
      text = text:gsub("</head>", '<script src="/track.js"></script></head>', 1)
      local size = body:setBytes(text)
      handle:headers():replace("content-length", size)
    end"""),
    # sends part of the users to another version
    "split": plain("""
    local function cookie(handle, name)
      local all = handle:headers():get("cookie") or ""
      for key, value in all:gmatch("([^=;%s]+)=([^;]*)") do
        if key == name then return value end
      end
    end
    function envoy_on_request(handle)
      local bucket = cookie(handle, "ab")
      if bucket ~= "a" and bucket ~= "b" then
        local id = handle:headers():get("x-user-id") or ""
        local sum = 0
        for i = 1, #id do sum = (sum * 31 + id:byte(i)) % 100 end
        bucket = sum < 50 and "a" or "b"
        handle:streamInfo():dynamicMetadata():set("ab", "new", bucket)
      end
      handle:headers():replace("x-bucket", bucket)
    end
    function envoy_on_response(handle)
      local ab = handle:streamInfo():dynamicMetadata():get("ab")
      if ab and ab.new then
        handle:headers():add("set-cookie", "ab=" .. ab.new .. "; Path=/; Max-Age=3600")
      end
    end"""),
    # cross-origin requests
    "cors": plain("""
    local allowed = { ["https://app.example"] = true, ["https://www.example"] = true }
    function envoy_on_request(handle)
      local headers = handle:headers()
      local origin = headers:get("origin")
      if origin then handle:streamInfo():dynamicMetadata():set("cors", "origin", origin) end
      if headers:get(":method") == "OPTIONS" and headers:get("access-control-request-method") then
        if allowed[origin] then
          handle:respond({
            [":status"] = "204",
            ["access-control-allow-methods"] = "GET, POST, PUT",
          })
        else
          handle:respond({ [":status"] = "403" }, "origin not allowed")
        end
      end
    end
    function envoy_on_response(handle)
      local cors = handle:streamInfo():dynamicMetadata():get("cors")
      if cors and allowed[cors.origin] then
        handle:headers():replace("access-control-allow-origin", cors.origin)
        handle:headers():add("vary", "Origin")
      end
    end"""),
    # signs requests with a checksum of their own
    "sign": plain("""
    local bit = require("bit")
    local function fnv(text)
      local hash = 2166136261
      for i = 1, #text do
        hash = bit.bxor(hash, text:byte(i))
        local low, high = bit.band(hash, 0xffff), bit.rshift(hash, 16)
        hash = bit.tobit(low * 16777619 + bit.lshift(bit.band(high * 16777619, 0xffff), 16))
      end
      return bit.tohex(hash)
    end
    function envoy_on_request(handle)
      local body = handle:body()
      local text = body and body:getBytes(0, body:length()) or ""
      local headers = handle:headers()
      local signed = headers:get(":method") .. "\\n" .. headers:get(":path") .. "\\n" .. text
      headers:add("x-signature", handle:base64Escape(fnv(signed)))
    end"""),
    # a page made from a template
    "template": plain("""
    local page = [[<html><body><h1>{{title}}</h1><p>{{path}} is {{ state }}</p>{{missing}}</body></html>]]
    function envoy_on_request(handle)
      local values = { title = "Maintenance", path = handle:headers():get(":path"), state = "closed" }
      local out = page:gsub("{{%s*([%w_]+)%s*}}", function(name) return values[name] or "" end)
      handle:respond({ [":status"] = "503", ["content-type"] = "text/html" }, out)
    end"""),
    # one line of JSON for each request
    "json-log": plain("""
    local function quote(text)
      return '"' .. text:gsub('[%c"\\\\]', function(c) return string.format("\\\\u%04x", c:byte()) end) .. '"'
    end
    function envoy_on_response(handle)
      local parts = {}
      local function field(name, value) parts[#parts + 1] = quote(name) .. ":" .. quote(value) end
      field("status", handle:headers():get(":status"))
      field("path", handle:requestHeaders():get(":path"))
      field("route", handle:streamInfo():routeName())
      field("protocol", handle:streamInfo():protocol())
      local line = "{" .. table.concat(parts, ",") .. "}"
      handle:logInfo(line)
      handle:headers():add("x-line", line)
    end"""),
    # security headers
    "harden": plain("""
    function envoy_on_response(handle)
      local headers = handle:headers()
      headers:remove("x-powered-by")
      headers:remove("server")
      headers:replace("strict-transport-security", "max-age=63072000; includeSubDomains")
      headers:replace("x-content-type-options", "nosniff")
      if not headers:get("cache-control") then headers:add("cache-control", "no-store") end
      for name, value in pairs({ ["x-frame-options"] = "DENY" }) do headers:add(name, value) end
    end"""),
    # moves old paths
    "redirect": plain("""
    local moved = { ["/redirect/old"] = "/new", ["/redirect/older"] = "/newest" }
    function envoy_on_request(handle)
      local path = handle:headers():get(":path")
      local bare, query = path:match("^([^?]*)(.*)$")
      local target = moved[bare]
      if target then
        handle:respond({ [":status"] = "301", ["location"] = "https://" .. handle:headers():get(":authority") .. target .. query }, "")
      end
    end"""),
    # tenants by host name
    "tenant": plain("""
    function envoy_on_request(handle)
      local headers = handle:headers()
      local tenant = headers:get(":authority"):match("^([%w-]+)%.")
      headers:replace("x-tenant", tenant or "unknown")
      headers:replace(":path", (headers:get(":path"):gsub("^/tenant", "/" .. (tenant or "none"))))
      local values = {}
      for key, value in headers:get(":path"):gmatch("[?&]([^=&]+)=([^&]*)") do
        values[#values + 1] = key .. ":" .. value:gsub("%%(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end)
      end
      headers:add("x-query", table.concat(values, ","))
    end"""),
    # no more than so many at a time
    "limit": plain("""
    local seen, most = 0, 2
    function envoy_on_request(handle)
      if handle:headers():get("x-reset") then seen = 0 end
      seen = seen + 1
      if seen > most then
        handle:respond({ [":status"] = "429", ["retry-after"] = "1" }, "slow down")
      end
    end"""),
    # reads a token's claims
    "claims": plain("""
    function envoy_on_request(handle)
      local token = (handle:headers():get("authorization") or ""):match("^Bearer%s+(.+)$")
      local payload = token and token:match("^[^.]+%.([^.]+)%.")
      if not payload then return end
      local claims = handle:base64Decode((payload:gsub("-", "+"):gsub("_", "/")))
      if not claims then return end
      handle:headers():add("x-subject", claims:match('"sub"%s*:%s*"([^"]*)"') or "")
      handle:headers():add("x-admin", tostring(claims:find('"admin"%s*:%s*true') ~= nil))
    end"""),
    # counts what passes
    "count": plain("""
    function envoy_on_request(handle)
      local size = 0
      for chunk in handle:bodyChunks() do size = size + chunk:length() end
      handle:stats():counter("uploaded_bytes"):add(size)
    end
    function envoy_on_response(handle)
      local status = handle:headers():get(":status")
      handle:stats():counter("answers_" .. status:sub(1, 1) .. "xx"):inc()
    end"""),
    # changes a JSON body
    "json-body": plain("""
    function envoy_on_request(handle)
      local body = handle:body()
      if not body then return end
      local text = body:getBytes(0, body:length())
      text = text:gsub('("password"%s*:%s*)"[^"]*"', '%1"***"')
      text = text:gsub("}%s*$", ',"via":"proxy"}')
      handle:headers():replace("content-length", tostring(body:setBytes(text)))
    end"""),
    # answers a health check without the upstream
    "health": plain("""
    function envoy_on_request(handle)
      local dead = handle:httpCall("dead", { [":method"] = "GET", [":path"] = "/", [":authority"] = "x" }, nil, 500)
      local state = dead[":status"] == "200" and "up" or "down"
      handle:respond({ [":status"] = state == "up" and "200" or "503" }, "backend " .. state .. "\\n")
    end"""),
}  # fmt: skip
PUBLISHED = Setup(
    "lua-published",
    bootstrap(
        [
            lua_listener(
                "main", [*script_routes(SCRIPTS), {"match": {"prefix": "/"}, "route": {"cluster": "app"}}]
            )
        ],
        [cluster("app", "app"), cluster("auth", "auth"), cluster("dead", "dead")],
    ),
    {"app": "h1", "auth": "h1", "dead": "dead"},
)
HTML = b'<html><head></head><a href="http://internal.example/x">http://internal.example</a></html>'


def post(path: str, body: bytes, *headers: str) -> bytes:
    return head(f"POST {path} HTTP/1.1", "host: a", f"content-length: {len(body)}", *headers) + body


@scenario(PUBLISHED)
async def lua_published_api_key(s: Session) -> None:
    """Authentication by a key in a header."""
    await s.get("/api-key")
    await s.get("/api-key", "x-api-key: wrong")
    await s.get("/api-key", "x-api-key: k-456")


@scenario(PUBLISHED)
async def lua_published_basic_auth(s: Session) -> None:
    """Basic authentication."""
    await s.get("/basic")
    await s.get("/basic", "authorization: Basic YWxpY2U6d29uZGVybGFuZA==")
    await s.get("/basic", "authorization: Basic YWxpY2U6d3Jvbmc=")


@scenario(PUBLISHED)
async def lua_published_authorization_service(s: Session) -> None:
    """An authorization service is asked."""
    s.upstream("auth").script = answers(
        ok(b"", "x-auth-roles: a, b"),
        ok(b'{"no":1}').replace(b"200 OK", b"403 Forbidden"),
    )
    await s.get("/authorize/a", "authorization: Bearer t")
    await s.get("/authorize/b")


@scenario(PUBLISHED)
async def lua_published_html_rewrite(s: Session) -> None:
    """A page is rewritten, other answers pass."""
    s.upstream().script = answers(
        ok(HTML, "content-type: text/html; charset=utf-8"), ok(b"http://internal.example")
    )
    await s.get("/html")
    await s.get("/html")


@scenario(PUBLISHED)
async def lua_published_ab_cookie(s: Session) -> None:
    """A/B test by cookie."""
    await s.get("/split", "x-user-id: alice")
    await s.get("/split", "x-user-id: bob")
    await s.get("/split", "cookie: other=1; ab=b; more=2")


@scenario(PUBLISHED)
async def lua_published_cors(s: Session) -> None:
    """Cross-origin requests and their preflights."""
    await s.get("/cors", "origin: https://app.example")
    await s.get("/cors", "origin: https://evil.example")
    for origin in ("https://app.example", "https://evil.example"):
        preflight = head(
            "OPTIONS /cors HTTP/1.1", "host: a", f"origin: {origin}", "access-control-request-method: PUT"
        )
        await s.http(preflight, label=origin)


@scenario(PUBLISHED)
async def lua_published_signing(s: Session) -> None:
    """A request is signed over its body."""
    await s.get("/sign/a?b=c")
    await s.http(post("/sign/a", b"a body to sign"))


@scenario(PUBLISHED)
async def lua_published_template(s: Session) -> None:
    """An answer from a template."""
    await s.get("/template/page")


@scenario(PUBLISHED)
async def lua_published_json_log(s: Session) -> None:
    """A line of JSON."""
    await s.get('/json-log/"quoted"')


@scenario(PUBLISHED)
async def lua_published_security_headers(s: Session) -> None:
    """Headers of security."""
    s.upstream().script = answers(
        ok(b"", "x-powered-by: php", "server: apache", "x-frame-options: SAMEORIGIN")
    )
    await s.get("/harden")


@scenario(PUBLISHED)
async def lua_published_redirects(s: Session) -> None:
    """Old paths move."""
    await s.get("/redirect/old?a=b")
    await s.get("/redirect/other")


@scenario(PUBLISHED)
async def lua_published_tenants(s: Session) -> None:
    """The host decides the path; a query is taken apart."""
    await s.http("GET /tenant/list?a=1&name=J%C3%BCrgen&c= HTTP/1.1\r\nhost: acme.example.com\r\n\r\n")
    await s.http("GET /tenant HTTP/1.1\r\nhost: localhost\r\n\r\n")


@scenario(PUBLISHED)
async def lua_published_limit(s: Session) -> None:
    """A count in a global."""
    await s.get("/limit", "x-reset: 1")
    await s.get("/limit")
    await s.get("/limit")


@scenario(PUBLISHED)
async def lua_published_claims(s: Session) -> None:
    """Claims of a token become headers."""
    payload = "eyJzdWIiOiJhbGljZSIsICJhZG1pbiIgOiB0cnVlfQ"
    await s.get("/claims", f"authorization: Bearer eyJhbGciOiJub25lIn0.{payload}.sig")
    await s.get("/claims", "authorization: Bearer nonsense")


@scenario(PUBLISHED)
async def lua_published_counters(s: Session) -> None:
    """Counters of bytes and answers."""
    async with s.counting("http.main.lua.uploaded_bytes", "http.main.lua.answers_2xx"):
        await s.http(post("/count", b"12345"))


@scenario(PUBLISHED)
async def lua_published_json_body(s: Session) -> None:
    """A JSON body loses its password."""
    await s.http(post("/json-body", b'{"user":"a", "password" : "secret"} '))


@scenario(PUBLISHED)
async def lua_published_health(s: Session) -> None:
    """A check of a backend that is down."""
    await s.get("/health")
