# ruff: noqa: E501  (a line of configuration reads best unbroken)
"""A 400 of the proxy's own ends a connection of HTTP/1, whoever says it."""

from __future__ import annotations

from ..client import get
from ..configuration import bootstrap, cluster, listener
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import answers, ok

SUBJECT = "filters"

EXT = "type.googleapis.com/envoy.extensions.filters.http"
LUA = f"""
- name: lua
  typed_config:
    "@type": {EXT}.lua.v3.Lua
    default_source_code:
      inline_string: |
        function envoy_on_request(handle)
          local path = handle:headers():get(":path")
          local status = path:match("^/lua/(%d+)")
          if status then handle:respond({{[":status"] = status}}, "no") end
        end
        function envoy_on_response(handle)
          local status = handle:headers():get("x-become")
          if status then handle:headers():replace(":status", status) end
        end
- name: fault
  typed_config:
    "@type": {EXT}.fault.v3.HTTPFault
    abort: {{header_abort: {{}}, percentage: {{numerator: 100}}}}
"""
ROUTES = """
- {match: {path: /direct/400}, direct_response: {status: 400, body: {inline_string: refused}}}
- {match: {path: /direct/408}, direct_response: {status: 408}}
- {match: {path: /direct/414}, direct_response: {status: 414}}
- {match: {path: /direct/become}, direct_response: {status: 404}, response_headers_to_add: [{header: {key: x-become, value: "400"}}]}
- {match: {path: /none}, route: {cluster_header: x-none, cluster_not_found_response_code: NOT_FOUND}}
- {match: {prefix: /}, route: {cluster: app}}
"""
MAPPED = """
local_reply_config:
  mappers:
  - filter: {status_code_filter: {comparison: {op: EQ, value: {default_value: 400, runtime_key: a}}}}
    status_code: 422
  - filter: {status_code_filter: {comparison: {op: EQ, value: {default_value: 404, runtime_key: a}}}}
    status_code: 400
"""
SETUP = Setup(
    "local_replies_bad",
    bootstrap(
        [
            listener("main", routes=ROUTES, filters=LUA),
            listener("mapped", MAPPED, routes=ROUTES, filters=LUA),
            listener(
                "lenient",
                "http_protocol_options: {}\nstream_error_on_invalid_http_message: true",
                routes=ROUTES,
                filters=LUA,
            ),
        ],
        [cluster("app", "app")],
    ),
    {"app": "h1"},
)
PATHS = (
    "/direct/400",
    "/direct/408",
    "/direct/414",
    "/lua/400",
    "/lua/431",
    "/lua/404",
    "/none",
    "/direct/become",
)


@scenario(SETUP)
async def local_replies_bad_request(s: Session) -> None:
    """Direct responses, scripts, faults; mapped to and from 400."""
    for to in ("main", "mapped", "lenient"):
        for path in PATHS:
            await s.get(path, to=to, label=f"{to} {path}")
        await s.get("/fault", "x-envoy-fault-abort-request: 400", to=to, label=f"{to} fault")
    s.upstream().script = answers(*(ok(b"", f"x-become: {each}") for each in ("400", "404")))
    await s.get("/changed", label="changed")


@scenario(SETUP)
async def local_replies_bad_request_over_h2(s: Session) -> None:
    """A connection of HTTP/2 goes on."""
    client = await s.connect_h2()
    for path in ("/direct/400", "/lua/400"):
        await client.request(get(path), label=path)
