# ruff: noqa: E501  (a line of configuration reads best unbroken)
"""local_reply_config where things go wrong: time-outs, limits, upstreams that break."""

from __future__ import annotations

from ..configuration import bootstrap, cluster, listener
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import Call, answers, ok

FORMAT = """
local_reply_config:
  mappers:
  - filter: {response_flag_filter: {flags: [UT, SI]}}
    status_code: 540
    headers_to_add: [{header: {key: x-late, value: "%RESPONSE_FLAGS%"}}]
  - filter: {response_flag_filter: {}}
    headers_to_add: [{header: {key: x-flags, value: "%RESPONSE_FLAGS%"}}]
  body_format: {text_format_source: {inline_string: "%LOCAL_REPLY_BODY%|%RESPONSE_CODE%|%RESPONSE_FLAGS%|%RESPONSE_CODE_DETAILS%|%UPSTREAM_CLUSTER%|%BYTES_RECEIVED%\\n"}}
"""
ROUTES = """
- {match: {path: /slow}, route: {cluster: app, timeout: 0.05s}}
- {match: {path: /idle}, route: {cluster: app, idle_timeout: 0.05s}}
- {match: {path: /full}, route: {cluster: full}}
- {match: {path: /empty}, route: {cluster: empty}}
- {match: {prefix: /app}, route: {cluster: app}}
"""
LOG = "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %BYTES_SENT%\n"
SEEING = """
- name: envoy.filters.http.lua
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua
    default_source_code:
      inline_string: |
        function envoy_on_response(handle)
          local headers = handle:headers()
          local body = handle:body()
          local text = body and body:getBytes(0, body:length()) or "none"
          headers:add("x-seen", headers:get(":status") .. " " .. (headers:get("content-type") or "-") .. " " .. (headers:get("x-flags") or "-") .. " " .. #text)
        end
"""
SETUP = Setup(
    "local-replies-failures",
    bootstrap(
        [
            listener("main", FORMAT, routes=ROUTES, log=LOG),
            listener("seen", FORMAT, routes=ROUTES, filters=SEEING, log=LOG),
            listener("hurry", FORMAT + "request_timeout: 0.05s\n", routes=ROUTES, log=LOG),
            listener("heads", FORMAT + "request_headers_timeout: 0.05s\n", routes=ROUTES, log=LOG),
            listener("small", FORMAT + "max_request_headers_kb: 1\n", routes=ROUTES, log=LOG),
            listener(
                "few",
                FORMAT + "common_http_protocol_options: {max_headers_count: 3}\n",
                routes=ROUTES,
                log=LOG,
            ),
            listener(
                "strict",
                FORMAT + "common_http_protocol_options: {headers_with_underscores_action: REJECT_REQUEST}\n",
                routes=ROUTES,
                log=LOG,
            ),
        ],
        [
            cluster("app", "app"),
            cluster(
                "full",
                "app",
                extra="circuit_breakers: {thresholds: [{max_connections: 0, max_pending_requests: 0}]}",
            ),
            {"name": "empty", "type": "STATIC", "load_assignment": {"cluster_name": "empty"}},
        ],
    ),
    {"app": "h1"},
)


async def never(call: Call) -> None:
    await call.body()
    await call.gone()


@scenario(SETUP)
async def local_reply_of_timeouts(s: Session) -> None:
    """Route timeout, idle timeout, a request that does not come."""
    s.upstream().script = never
    async with s.logging(2, "main"):
        await s.get("/slow", label="slow")
        await s.get("/idle", label="idle")
    async with s.logging(1, "hurry"):
        await s.http(
            "POST /app HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nhalf", "hurry", label="half a body"
        )
    async with s.logging(1, "heads"):
        await s.http("GET /app HTTP/1.1\r\nhost:", "heads", label="half a head")


@scenario(SETUP)
async def local_reply_of_limits(s: Session) -> None:
    """Heads that are too large, headers that are too many or refused, breakers that are open."""
    await s.http("GET /app HTTP/1.1\r\nhost: a\r\nx: " + "y" * 2000 + "\r\n\r\n", "small", label="large")
    await s.http("GET /app HTTP/1.1\r\nhost: a\r\na: 1\r\nb: 1\r\nc: 1\r\n\r\n", "few", label="many")
    await s.http("GET /app HTTP/1.1\r\nhost: a\r\na_b: 1\r\n\r\n", "strict", label="underscore")
    await s.get("/full", label="full")
    await s.get("/empty", label="empty")


@scenario(SETUP)
async def local_reply_of_upstreams(s: Session) -> None:
    """What an upstream breaks before its response."""

    async def closing(call: Call) -> None:
        await call.body()
        await call.close()

    async def resetting(call: Call) -> None:
        await call.body()
        await call.reset()

    async with s.logging(4, "main"):
        for label, script in (
            ("garbage", answers(b"garbage\r\n\r\n")),
            ("closed", closing),
            ("reset", resetting),
            ("bad length", answers(b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n")),
        ):
            s.upstream().script = script
            await s.get("/app", label=label)
    s.upstream().script = answers(ok(b"x"))


@scenario(SETUP)
async def local_reply_through_filters(s: Session) -> None:
    """Filters see the reply as it was mapped and formatted."""
    async with s.logging(5, "seen"):
        for path in ("/none", "/empty", "/full"):
            await s.get(path, to="seen", label=path)
        await s.get("/none", "content-type: application/grpc", to="seen", label="gRPC")
        await s.http("GET / HTTP/1.1\r\n\r\n", "seen", label="no host")
