"""local_reply_config: answers of the proxy itself, mapped and formatted."""

from __future__ import annotations

from ..configuration import bootstrap, cluster, listener
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import answers, ok

LUA = """
- name: envoy.filters.http.lua
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua
    default_source_code:
      inline_string: |
        function envoy_on_request(handle)
          if handle:headers():get("x-lua") then
            handle:respond({[":status"] = "418", ["content-type"] = "text/lua"}, "from lua")
          end
        end
"""
ROUTES = """
- match: {path: /direct}
  direct_response: {status: 200, body: {inline_string: direct}}
  response_headers_to_add: [{header: {key: x-route, value: "%RESPONSE_CODE%"}}]
- {match: {path: /empty}, direct_response: {status: 204}}
- {match: {path: /redirect}, redirect: {path_redirect: /elsewhere}}
- {match: {path: /dead}, route: {cluster: dead}}
- {match: {path: /nobody}, route: {cluster_header: x-none}}
- {match: {prefix: /app}, route: {cluster: app}}
"""
MAPPERS = r"""
local_reply_config:
  mappers:
  - filter: {header_filter: {header: {name: x-case, string_match: {exact: json}}}}
    status_code: 422
    body: {inline_string: 'said "so"'}
    body_format_override:
      json_format:
        code: "%RESPONSE_CODE%"
        body: "%LOCAL_REPLY_BODY%"
        details: "%RESPONSE_CODE_DETAILS%"
        flags: "%RESPONSE_FLAGS%"
        inner: {path: "%REQ(:PATH)%", unset: "%REQ(x-none)%", seen: "%RESP(x-set)% of %RESP(:STATUS)%"}
    headers_to_add:
    - header: {key: x-set, value: "%RESPONSE_CODE% %REQ(:METHOD)%"}
      append_action: OVERWRITE_IF_EXISTS_OR_ADD
    - {header: {key: x-own, value: more}}
  - filter: {header_filter: {header: {name: x-case, string_match: {exact: typed}}}}
    headers_to_add:
    - {header: {key: content-type, value: text/mine}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}
    body: {inline_string: replaced}
  - filter: {header_filter: {header: {name: x-case, string_match: {exact: plain}}}}
    body: {inline_string: ""}
    body_format_override:
      text_format_source: {inline_string: "<%LOCAL_REPLY_BODY%>"}
      content_type: text/html
  - filter: {header_filter: {header: {name: x-case, string_match: {exact: void}}}}
    body_format_override: {text_format: "%REQ(x-none)%", omit_empty_values: true}
  - filter:
      and_filter:
        filters:
        - response_flag_filter: {flags: [UF, NC]}
        - status_code_filter: {comparison: {op: GE, value: {default_value: 500, runtime_key: r}}}
    status_code: 599
    headers_to_add: [{header: {key: x-flagged, value: "%RESPONSE_FLAGS%"}}]
  - filter: {status_code_filter: {comparison: {op: EQ, value: {default_value: 404, runtime_key: r}}}}
    status_code: 410
    body: {inline_string: gone}
  - filter: {grpc_status_filter: {statuses: [UNKNOWN]}}
    headers_to_add: [{header: {key: x-grpc, value: unknown}}]
  - filter: {duration_filter: {comparison: {op: GE, value: {default_value: 60000, runtime_key: r}}}}
    status_code: 500
  - filter:
      runtime_filter:
        runtime_key: r
        percent_sampled: {numerator: 0, denominator: HUNDRED}
    status_code: 500
"""
TEXT = """
  body_format:
    text_format_source:
      inline_string: "%LOCAL_REPLY_BODY%|%RESPONSE_CODE%|%RESPONSE_CODE_DETAILS%|%ROUTE_NAME%|%PROTOCOL%\\n"
"""
STRIPPED = """
local_reply_config:
  mappers:
  - filter: {header_filter: {header: {name: x-case, string_match: {exact: lines}}}}
    body_format_override:
      text_format_source: {inline_string: "[%LOCAL_REPLY_BODY%] \\n"}
      content_type: application/json
  - filter: {header_filter: {header: {name: x-case, string_match: {exact: other}}}}
    body_format_override: {json_format: {a: "%LOCAL_REPLY_BODY%"}, content_type: text/other}
  - filter: {header_filter: {header: {name: x-case, string_match: {exact: twice}}}}
    headers_to_add: [{header: {key: content-type, value: text/twice}}]
  body_format:
    text_format_source: {inline_string: "[%LOCAL_REPLY_BODY%]"}
    content_type: application/json
"""
JSON = """
local_reply_config:
  body_format: {json_format: {status: "%RESPONSE_CODE%", message: "%LOCAL_REPLY_BODY%"}}
"""
FLAGS = """
local_reply_config:
  body_format: {text_format_source: {inline_string: "%RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%"}}
"""
LOG = (
    "%PROTOCOL% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% body=%LOCAL_REPLY_BODY% "
    "%BYTES_SENT%\n"
)
SETUP = Setup(
    "local-replies",
    bootstrap(
        [
            listener("mapped", MAPPERS, routes=ROUTES, filters=LUA, log=LOG),
            listener("both", MAPPERS + TEXT, routes=ROUTES, filters=LUA, log=LOG),
            listener("stripped", STRIPPED, routes=ROUTES),
            listener("flags", FLAGS, routes=ROUTES, log=LOG),
            listener("json", JSON, routes=ROUTES, filters=LUA, log=LOG),
        ],
        [cluster("app", "app"), cluster("dead", "dead")],
    ),
    {"app": "h1", "dead": "dead"},
)
PATHS = ("/none", "/direct", "/empty", "/redirect", "/dead", "/nobody")


async def everywhere(s: Session, *headers: str, to: str) -> None:
    for path in PATHS:
        await s.get(path, *headers, to=to, label=path)
    await s.get("/app", "x-lua: 1", *headers, to=to, label="lua")


@scenario(SETUP)
async def local_reply_mappers(s: Session) -> None:
    """The first mapper that matches: by status, flags, gRPC status; without a format the body stays."""
    async with s.logging(7, "mapped"):
        await everywhere(s, to="mapped")


@scenario(
    SETUP,
    differs=dict.fromkeys(
        (
            "/empty",
            "log both",
        ),
        "framing-is-the-codecs",
    ),
)
async def local_reply_body_format(s: Session) -> None:
    """A text format for all, after the mappers."""
    async with s.logging(7, "both"):
        await everywhere(s, to="both")


@scenario(
    SETUP,
    differs=dict.fromkeys(
        (
            "/empty",
            "log json",
        ),
        "framing-is-the-codecs",
    ),
)
async def local_reply_json(s: Session) -> None:
    """A JSON format for all; a type of the reply's own does not outlive its body."""
    async with s.logging(7, "json"):
        await everywhere(s, to="json")


@scenario(SETUP)
async def local_reply_mapper_overrides(s: Session) -> None:
    """Mappers with a format, a status, headers and a body of their own."""
    for case in ("json", "typed", "plain", "void"):
        for path in ("/none", "/direct", "/redirect"):
            await s.get(path, f"x-case: {case}", to="both", label=f"{case} {path}")
        await s.get("/app", "x-lua: 1", f"x-case: {case}", to="both", label=f"{case} lua")


@scenario(SETUP)
async def local_reply_head_and_grpc(s: Session) -> None:
    """HEAD says the length of a body that it does not send; a gRPC request gets status and message."""
    for case in ("lines", "other", "twice", "none"):
        for kind in ("application/grpc", "text/plain"):
            headers = (f"x-case: {case}", f"content-type: {kind}")
            await s.get("/direct", *headers, to="stripped", label=f"{case} {kind}")
    for to in ("mapped", "both", "json"):
        for path in ("/none", "/direct", "/empty"):
            head = f"HEAD {path} HTTP/1.1\r\nhost: a\r\n\r\n"
            await s.http(head, to, label=f"{to} HEAD {path}", has_body=False)
        for path in ("/none", "/direct", "/dead", "/redirect"):
            await s.get(path, "content-type: application/grpc", to=to, label=f"{to} grpc {path}")
        await s.get("/app", "x-lua: 1", "content-type: application/grpc", to=to, label=f"{to} grpc lua")
        await s.get("/none", "x-case: json", "content-type: application/grpc", to=to, label=f"{to} grpc json")
        await s.http(
            "HEAD /none HTTP/1.1\r\nhost: a\r\ncontent-type: application/grpc\r\n\r\n",
            to,
            label=f"{to} HEAD grpc",
            has_body=False,
        )


@scenario(SETUP)
async def local_reply_broken_requests(s: Session) -> None:
    """Requests that no filter ever saw."""
    for to in ("mapped", "both", "json", "flags"):
        for label, text in (
            ("no host", "GET / HTTP/1.1\r\n\r\n"),
            ("garbage", "what is this\r\n\r\n"),
            ("old", "GET / HTTP/1.0\r\nhost: a\r\n\r\n"),
            ("fragment", "GET /a#b HTTP/1.1\r\nhost: a\r\n\r\n"),
            ("json", "GET / HTTP/1.1\r\nx-case: json\r\n\r\n"),
        ):
            await s.http(text, to, label=f"{to} {label}")
    async with s.logging(2, "both"):
        await s.http("what is this\r\n\r\n", "both", label="logged")
        await s.http("GET / HTTP/1.0\r\nhost: a\r\n\r\n", "both", label="logged old")


@scenario(SETUP)
async def local_reply_leaves_the_upstreams_alone(s: Session) -> None:
    """What the upstream answers is no local reply."""
    s.upstream().script = answers(ok(b"up"), b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")
    await s.get("/app", to="both")
    await s.get("/app", to="both")


@scenario(SETUP)
async def local_reply_over_http2(s: Session) -> None:
    """The same over HTTP/2."""
    client = await s.connect_h2("both")
    for path, extra in (("/none", ()), ("/direct", (("x-case", "json"),)), ("/dead", ())):
        fields = [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", path), *extra]
        await client.request(fields, label=path)


@scenario(SETUP)
async def local_reply_stats(s: Session) -> None:
    """The status that is sent is counted."""
    names = [f"http.mapped.downstream_rq_{n}xx" for n in range(1, 6)]
    async with s.counting(*names, "http.mapped.no_route", "http.mapped.rq_direct_response"):
        for path in PATHS:
            await s.get(path, "x-case: json", to="mapped", label=path)
