"""HTTP/1 options beside filters and routes that change headers, and trailers at their edges."""

from __future__ import annotations

from ..configuration import TO_APP, bootstrap, cluster, listener
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import answers
from ..wire import head
from .http1_options import PRESERVE, peer

LUA = """
- name: envoy.filters.http.lua
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua
    default_source_code:
      inline_string: |
        function envoy_on_request(h)
          h:headers():add("X-Lua-Req", "1")
          h:headers():replace("x-foo", "new")
          if h:headers():get("x-answer") then
            h:respond({[":status"] = "299", ["X-Own"] = "1"}, "lua")
          end
        end
        function envoy_on_response(h)
          h:headers():add("X-Lua-Resp", "1")
          h:headers():replace("x-up", "new")
        end
"""
ROUTE = """
- match: {prefix: /}
  route: {cluster: case, prefix_rewrite: /x}
  request_headers_to_add: [{header: {key: X-Added, value: a}}]
  response_headers_to_add:
  - {header: {key: X-Up, value: b}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}
  response_headers_to_remove: [x-gone]
"""
TRAILERS = "enable_trailers: true"
KEEPING = f"{TRAILERS}, {PRESERVE % 'forward_reason_phrase: true'}"
FILTERED = Setup(
    "http1-filtered",
    bootstrap(
        [
            listener("main", f"{{http_protocol_options: {{{KEEPING}}}}}", routes=ROUTE, filters=LUA),
            listener("plain", f"{{http_protocol_options: {{{TRAILERS}}}}}", routes=TO_APP, filters=LUA),
            listener(
                "trail",
                f"{{http_protocol_options: {{{TRAILERS}}}}}",
                routes="- {match: {prefix: /}, route: {cluster: trail}}",
            ),
        ],
        [cluster("app", "app"), peer("trail", TRAILERS), peer("case", KEEPING)],
    ),
    {"app": "h1"},
)
CHUNKED = "transfer-encoding: chunked"
TRAILED = b"2\r\nok\r\n0\r\nX-T: 1\r\n\r\n"


@scenario(FILTERED)
async def h1_preserve_case_with_filters(s: Session) -> None:
    """Names that a filter or a route adds are lower; those that came keep their case, changed or not."""
    s.upstream().script = answers(
        head("HTTP/1.1 200 My Reason", "X-UP: 1", "X-Gone: 1", "CONTENT-length: 2") + b"ok"
    )
    await s.http(head("GET /a HTTP/1.1", "HOST: a", "X-FOO: old", "Content-TYPE: b"))
    await s.http(head("GET /a HTTP/1.1", "HOST: a", "X-Answer: old"), label="own answer")
    s.upstream().script = answers(head("HTTP/1.1 404 Gone Fishing", "Transfer-Encoding: chunked") + TRAILED)
    for to in ("main", "plain"):
        await s.http(head("GET /a HTTP/1.1", "HOST: a"), to, label=f"trailers, {to}")


@scenario(FILTERED)
async def h1_trailers_at_their_edges(s: Session) -> None:
    """What trailers may hold, what is behind them, and what HEAD makes of them."""
    for label, trailer in {
        "underscore": b"x_y: 1",
        "announced": b"x-announced: 1",
        "of Envoy": b"x-envoy-internal: 1\r\nx-forwarded-for: 2",
        "blanks": b"x:\t a \t",
        "high byte": b"x: \xff",
    }.items():
        request = head("POST / HTTP/1.1", "host: a", CHUNKED, "trailer: x-announced")
        await s.http(request + b"1\r\nx\r\n0\r\n" + trailer + b"\r\n\r\n", "trail", label=label)
    client = await s.connect("trail")
    request = head("POST / HTTP/1.1", "host: a", CHUNKED) + b"1\r\nx\r\n0\r\nx: 1\r\n\r\n"
    await client.send(request + head("GET /2 HTTP/1.1", "host: a"))
    await client.reply("first")
    await client.reply("second")
    s.upstream().script = answers(head("HTTP/1.1 200 OK", CHUNKED) + TRAILED)
    await s.http(head("HEAD / HTTP/1.1", "host: a"), "trail", label="HEAD", has_body=False)
