"""What random requests showed: many options at once, and requests that meet several of them."""

from __future__ import annotations

from ..client import get
from ..configuration import bootstrap, cluster, listener
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import Call, ok
from ..wire import head

ROUTES = """
- match: {prefix: /weighted}
  route:
    weighted_clusters:
      clusters:
      - name: app
        weight: 1
        host_rewrite_literal: entry.example
        request_headers_to_add: [{header: {key: x-entry, value: "%REQ(x-envoy-attempt-count)%"}}]
- {match: {prefix: /direct}, direct_response: {status: 200}}
- {match: {prefix: /}, route: {cluster: app}}
"""
HCM = """
route_config:
  response_headers_to_add: [{header: {key: x-answer, value: "%RESPONSE_CODE%"}}]
  request_headers_to_add: [{header: {key: x-asked, value: "%REQ(x-entry)%"}}]
  virtual_hosts:
  - name: all
    domains: ["*"]
    include_request_attempt_count: true
    routes: ROUTES
"""
EDGE = """
normalize_path: true
path_with_escaped_slashes_action: REJECT_REQUEST
add_user_agent: true
local_reply_config: {body_format: {text_format_source: {inline_string: "%REQ(:path)%"}}}
"""
LUA = """
- name: lua
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua
    default_source_code:
      inline_string: |
        function envoy_on_request(handle)
          if handle:headers():get("x-deny") then handle:respond({[":status"] = "403"}, "no") end
        end
"""


def indented(routes: str) -> str:
    return "".join(f"\n    {line}" for line in routes.splitlines())


TRAILERS = """
http_protocol_options: {enable_trailers: true}
proxy_100_continue: true
always_set_request_id_in_response: true
"""
ODD = Setup(
    "odd_requests",
    bootstrap(
        [
            listener("main", HCM.replace("ROUTES", indented(ROUTES)), filters=LUA),
            listener("trailers", TRAILERS, routes=ROUTES),
            listener("edge", EDGE, routes="- {match: {prefix: /}, route: {cluster: app}}"),
        ],
        [cluster("app", "app")],
    ),
    {"app": "h1"},
)


@scenario(ODD)
async def odd_weighted_entry_counts_first(s: Session) -> None:
    """The attempt count stands before what an entry of weighted clusters adds."""
    await s.get("/weighted")


@scenario(ODD)
async def odd_cookie_comes_last(s: Session) -> None:
    """A single cookie of HTTP/2 moves behind the other headers, as several do."""
    client = await s.connect_h2()
    await client.request([*get("/"), ("cookie", "a=1"), ("x-after", "1")])
    await client.request([*get("/"), ("x-before", "1"), ("cookie", "a=1")])
    await client.request([*get("/"), ("cookie", "a=1"), ("x-after", "1"), ("cookie", "b=2")])


@scenario(ODD)
async def odd_paths_with_raw_bytes(s: Session) -> None:
    """Bytes above ASCII, which HTTP/2 can carry, are escaped when the path is normalised."""
    client = await s.connect_h2("edge")
    for path in ("/é", "/\xff/../b", "/a\xc3\xa9|", "/a?é"):
        await client.request(get(path))


@scenario(ODD)
async def odd_rejected_slashes_are_shown_unescaped(s: Session) -> None:
    """What a reply says of a path that was refused for its escaped slashes."""
    for path in ("/a%2fb", "/a%5Cb?c%2f"):
        await s.get(path, to="edge")


@scenario(ODD)
async def odd_user_agent_of_nobody(s: Session) -> None:
    """`add_user_agent` of a proxy without a name adds empty headers."""
    await s.get("/", to="edge")
    await s.get("/", "user-agent: curl", to="edge")
    await s.get("/", "user-agent:", to="edge")


@scenario(ODD)
async def odd_hosts_of_absolute_urls(s: Session) -> None:
    """An underscore is refused in an absolute URL, not in the Host header."""
    for url in ("http://a_b/", "http://_/", "http://a-b/", "http://a.b_c:80/"):
        await s.http(head(f"GET {url} HTTP/1.1", "host: a"), label=url)
    await s.http(head("GET / HTTP/1.1", "host: a_b"), label="host")


@scenario(ODD)
async def odd_replies_with_headers_of_the_route(s: Session) -> None:
    """Refused upgrades, and what a filter answers, carry the response headers of a route to a cluster."""
    upgrade = ("connection: upgrade", "upgrade: websocket")
    for path in ("/", "/weighted", "/direct"):
        await s.http(head(f"GET {path} HTTP/1.1", "host: a", *upgrade), label=f"upgrade {path}")
        await s.http(head(f"GET {path} HTTP/1.1", "host: a", "x-deny: 1"), label=f"denied {path}")


@scenario(ODD)
async def odd_early_answer_with_trailers(s: Session) -> None:
    """An answer that no upstream gave ends the connection of a request with a body, and with trailers."""
    body = b"3\r\nabc\r\n0\r\n"
    for label, data in (("trailers", body + b"x-t: 1\r\n\r\n"), ("none", body + b"\r\n")):
        request = head("POST /direct HTTP/1.1", "host: a", "transfer-encoding: chunked") + data
        for to in ("trailers", "main"):
            await s.http(request, to=to, label=f"{label}, {to}")


@scenario(ODD)
async def odd_request_id_of_interim_answers(s: Session) -> None:
    """`always_set_request_id_in_response` holds for 1xx, too."""

    async def script(call: Call) -> None:
        await call.body()
        await call.send(b"HTTP/1.1 103 Early\r\nlink: x\r\n\r\n")
        await call.send(ok(b"ok"))

    s.upstream().script = script
    await s.get("/", "x-request-id: given", to="trailers")
    client = await s.connect_h2("trailers")
    await client.request([*get("/"), ("x-request-id", "given")])
