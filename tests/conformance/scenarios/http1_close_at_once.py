"""Who closes an HTTP/1 connection behind its last answer, and when: the proxy at once, or the client."""

from __future__ import annotations

import json
from typing import Any

from ..configuration import bootstrap, cluster, listener
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import Call, answers, ok
from ..wire import head
from .access_log_every_operator import json_log

SUBJECT = "connections"

NAMES = ("DOWNSTREAM_DETECTED_CLOSE_TYPE", "DOWNSTREAM_LOCAL_CLOSE_REASON", "RESPONSE_FLAGS")
LUA = """
function envoy_on_request(handle)
  local path = handle:headers():get(":path")
  if path == "/lua-head" then
    handle:respond({[":status"] = "403"}, "no")
  elseif path == "/lua-body" then
    handle:body()
    handle:respond({[":status"] = "403"}, "no")
  elseif path == "/lua-call" then
    handle:httpCall("app", {[":method"] = "GET", [":path"] = "/", [":authority"] = "a"}, "", 1000)
    handle:respond({[":status"] = "403"}, "no")
  end
end
function envoy_on_response(handle)
  if handle:headers():get("x-replace") ~= nil then
    handle:respond({[":status"] = "403"}, "no")
  end
end
"""
FILTERS = f"""
- name: lua
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua
    default_source_code: {{inline_string: {json.dumps(LUA)}}}
"""
ROUTES = """
- {match: {path: /direct}, direct_response: {status: 200, body: {inline_string: here}}}
- {match: {path: /late}, route: {cluster: app, timeout: 0.05s}}
- {match: {path: /none}, route: {cluster: none}}
- {match: {path: /dead}, route: {cluster: dead}}
- {match: {prefix: /}, route: {cluster: app}}
"""


def logged(name: str, hcm: str = "") -> dict[str, Any]:
    made = listener(name, hcm, routes=ROUTES, filters=FILTERS)
    made["access_log"] = [json_log(f"FILE({name}.log)", {each: f"%{each}%" for each in NAMES})]
    return made


SETUP = Setup(
    "close-at-once",
    bootstrap(
        [
            logged("main", "http_protocol_options: {accept_http_10: true}"),
            logged("once", "common_http_protocol_options: {max_requests_per_connection: 1}"),
        ],
        [cluster("app", "app"), cluster("dead", "dead"), {"name": "none", "type": "STATIC"}],
    ),
    {"app": "h1", "dead": "dead"},
)
CLOSE = "connection: close"
COUNTERS = ("delayed_close_timeout", "destroy_local", "destroy_remote")
CHUNKED = head("HTTP/1.1 200 OK", "transfer-encoding: chunked") + b"2\r\nok\r\n0\r\n\r\n"


async def ask(s: Session, label: str, *pieces: bytes, to: str = "main") -> None:
    """Send the pieces and see the answer, how the connection ends, and what is counted and logged of it."""
    counters = [f"http.{to}.downstream_cx_{name}" for name in COUNTERS]
    async with s.counting(*counters), s.logging(2, to):
        client = await s.connect(to)
        for piece in pieces:
            await client.send(piece)
        await client.reply(label)
        await client.closed(f"{label}, then")


@scenario(SETUP)
async def close_at_once_behind_whole_requests(s: Session) -> None:
    """A client that says close has the end with the answer, if that came from the upstream."""
    s.upstream().script = answers(ok())
    for label, line in {
        "close": CLOSE,
        "list": "connection: x, close",
        "both": "connection: keep-alive, close",
        "proxy": "proxy-connection: close",
    }.items():
        await ask(s, label, head("GET / HTTP/1.1", "host: a", line))
    await ask(s, "POST", head("POST / HTTP/1.1", "host: a", CLOSE, "content-length: 2") + b"ab")
    await ask(s, "in two", head("POST / HTTP/1.1", "host: a", CLOSE, "content-length: 2"), b"ab")
    chunked = head("POST / HTTP/1.1", "host: a", CLOSE, "transfer-encoding: chunked")
    await ask(s, "chunked POST", chunked + b"2\r\nab\r\n0\r\n\r\n")
    expects = head("POST / HTTP/1.1", "host: a", CLOSE, "expect: 100-continue", "content-length: 2")
    await ask(s, "expects", expects + b"ab")
    s.upstream().script = answers(CHUNKED)
    await ask(s, "chunked", head("GET / HTTP/1.1", "host: a", CLOSE))
    s.upstream().script = answers(head("HTTP/1.1 200 OK", "content-length: 300000") + bytes(300000))
    await ask(s, "long", head("GET / HTTP/1.1", "host: a", CLOSE))


@scenario(SETUP)
async def close_at_once_behind_local_replies(s: Session) -> None:
    """The proxy's own answers: those given while the head was read, and later ones."""

    async def answer(call: Call) -> None:
        await call.body()
        if call.path == "/late":
            await call.gone()
        elif call.path == "/replaced":
            await call.send(head("HTTP/1.1 200 OK", "x-replace: 1", "content-length: 0"))
        else:
            await call.send(ok())

    s.upstream().script = answer
    for path in ("/direct", "/none", "/dead", "/late", "/lua-head", "/lua-call", "/replaced"):
        await ask(s, path, head(f"GET {path} HTTP/1.1", "host: a", CLOSE))
    for path in ("/direct", "/lua-body"):
        fields = ("host: a", CLOSE, "content-length: 2")
        await ask(s, f"POST {path}", head(f"POST {path} HTTP/1.1", *fields) + b"ab")
    await ask(s, "no host", head("GET / HTTP/1.1", CLOSE))
    await ask(s, "nonsense", head("GET / HTTP/1.1", "host: a", CLOSE, "nonsense"))


@scenario(SETUP)
async def close_at_once_behind_parts_of_requests(s: Session) -> None:
    """Requests that are answered before their end."""

    async def answer(call: Call) -> None:
        await call.send(ok())

    s.upstream().script = answer
    for label, line in (("close", CLOSE), ("keep", "x: y")):
        for path in ("/early", "/direct"):
            part = head(f"POST {path} HTTP/1.1", "host: a", line, "content-length: 9") + b"ab"
            await ask(s, f"{label} {path}", part)


@scenario(SETUP)
async def close_at_once_behind_the_last_request(s: Session) -> None:
    """max_requests_per_connection ends it as the client's own word does."""
    s.upstream().script = answers(ok())
    for path in ("/", "/direct"):
        await ask(s, path, head(f"GET {path} HTTP/1.1", "host: a"), to="once")


@scenario(SETUP)
async def close_at_once_behind_http_10(s: Session) -> None:
    """HTTP/1.0: what it does not keep, and answers without a length."""

    async def answer(call: Call) -> None:
        if call.path != "/early":
            await call.body()
        await call.send(CHUNKED if call.path == "/chunked" else ok())

    s.upstream().script = answer
    for path in ("/", "/direct", "/chunked"):
        await ask(s, path, head(f"GET {path} HTTP/1.0", "host: a"))
    await ask(s, "kept", head("GET /chunked HTTP/1.0", "host: a", "connection: keep-alive"))
    await ask(s, "early", head("POST /early HTTP/1.0", "host: a", "content-length: 9") + b"ab")
