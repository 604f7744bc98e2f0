"""Wasm filters: the same hand-written modules in both proxies (Envoy runs them on V8)."""

from __future__ import annotations

from typing import Any

from .. import guests
from ..client import get
from ..configuration import bootstrap, cluster, listener
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import H2Call, answers, ok
from ..wire import head
from .lua import SECOND, script

WASM = "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm"
STRING = "type.googleapis.com/google.protobuf.StringValue"
ROUTES = """
- {match: {path: /direct}, direct_response: {status: 201, body: {inline_string: direct}}}
- {match: {path: /h2}, route: {cluster: h2app}}
- {match: {prefix: /}, name: the-route, route: {cluster: app}}
"""


def wasm(module: str, extra: str = "") -> str:
    """A Wasm filter as YAML."""
    return f"""
- name: {module}
  typed_config:
    "@type": {WASM}
    config:
      name: {module}-plugin
      root_id: {module}-root
      configuration: {{"@type": {STRING}, value: "configured {module}"}}
      vm_config:
        vm_id: {module}
        runtime: envoy.wasm.runtime.v8
        code: {{local: {{filename: FILE({module}.wasm)}}}}
      {extra}
"""


def with_guest(module: str, extra: str = "") -> dict[str, Any]:
    return listener(module, routes=ROUTES, filters=wasm(module, extra))


MODULES = {
    "edits": guests.header_edits(),
    "deny": guests.deny_admin(),
    "bodies": guests.replace_bodies(),
    "append": guests.append_to_bodies(),
    "properties": guests.properties(),
    "config": guests.configuration(),
    "trap": guests.trap(),
    "trapopen": guests.trap(),
    "trapnext": guests.trap(),
    "trailers": guests.trailers(),
}
WASM_SETUP = Setup(
    "wasm",
    bootstrap(
        [
            *(with_guest(module) for module in MODULES if module not in ("trapopen", "trapnext")),
            with_guest("trapopen", "fail_open: true"),
            with_guest("trapnext", "failure_policy: FAIL_OPEN"),
            listener("behind", routes=ROUTES, filters=wasm("deny") + "\n" + script(SECOND, "second")),
            listener("ahead", routes=ROUTES, filters=script(SECOND, "first") + wasm("deny")),
        ],
        [cluster("app", "app"), cluster("h2app", "h2app", http2=True)],
        "node: {id: node-1, cluster: cluster-1}",
    ),
    {"app": "h1", "h2app": "h2"},
    {f"{name}.wasm": code for name, code in MODULES.items()},
)


@scenario(WASM_SETUP)
async def wasm_header_edits(s: Session) -> None:
    """A guest adds, replaces and removes headers of the request and of the response."""
    s.upstream().script = answers(ok(b"ok", "x-up: old", "x-gone: 1"))
    await s.get("/", "x-replaced: old", "x-secret: 1", to="edits")
    await s.get("/direct", to="edits", label="direct response")


@scenario(WASM_SETUP)
async def wasm_local_response(s: Session) -> None:
    """A guest answers 403 under /admin, with its own body and headers; others pass."""
    async with s.logging(3, "deny"):
        await s.get("/admin/x", to="deny", label="denied")
        await s.get("/other", to="deny", label="passed")
        await s.http(head("HEAD /admin HTTP/1.1", "host: a"), "deny", has_body=False, label="HEAD")


@scenario(WASM_SETUP)
async def wasm_local_response_over_http2(s: Session) -> None:
    """The same over HTTP/2, and for a request whose body is still to come."""
    client = await s.connect_h2("deny")
    await client.request(get("/admin"))
    posting = await s.connect("deny")
    await posting.send(head("POST /admin HTTP/1.1", "host: a", "content-length: 5"))
    await posting.reply()
    await posting.closed()


@scenario(WASM_SETUP)
async def wasm_local_response_to_a_response(s: Session) -> None:
    """A guest that answers in place of the upstream's response."""
    s.upstream().script = answers(ok(b"secret", "x-deny: yes"))
    async with s.logging(1, "deny"):
        await s.get(to="deny")


@scenario(WASM_SETUP)
async def wasm_and_lua(s: Session) -> None:
    """A local response of the guest passes the Lua filter's response half, behind it as well as ahead."""
    for to in ("behind", "ahead"):
        await s.get("/admin", to=to, label=f"{to} denied")
        await s.get("/", to=to, label=f"{to} passed")


@scenario(WASM_SETUP)
async def wasm_replaces_bodies(s: Session) -> None:
    """A guest that holds both bodies and replaces them."""
    s.upstream().script = answers(ok(b"x" * 70000))
    body = b"y" * 70000
    await s.http(head("POST / HTTP/1.1", "host: a", f"content-length: {len(body)}") + body, "bodies")
    await s.get(to="bodies", label="no request body")


@scenario(WASM_SETUP)
async def wasm_adds_to_bodies(s: Session) -> None:
    """A guest that puts something before and behind a body."""
    s.upstream().script = answers(ok(b"response"))
    await s.http(head("POST / HTTP/1.1", "host: a", "content-length: 7") + b"request", "append")


@scenario(WASM_SETUP)
async def wasm_trailers(s: Session) -> None:
    """A guest that adds to trailers, where there are any."""

    async def script(call: H2Call) -> None:
        await call.body()
        await call.answer([(":status", "200")], b"ok", [("x-trailer", "1")])

    s.upstream("h2app").h2_script = script
    client = await s.connect_h2("trailers")
    await client.request(get("/h2", method="POST"), b"hello", [("x-trailer", "1")])
    await client.request(get("/"))


@scenario(WASM_SETUP)
async def wasm_properties(s: Session) -> None:
    """Properties of the request, the response, the connection and the plugin."""
    s.upstream().script = answers(ok(b"ok", "x-up: 1"))
    await s.get("/a/b?q=1", "x-in: in", "user-agent: agent", "referer: http://r/", to="properties")
    client = await s.connect_h2("properties")
    await client.request(get("/"))


@scenario(WASM_SETUP)
async def wasm_configuration(s: Session) -> None:
    """The plugin's configuration, the clock, and a log call."""
    await s.get(to="config")


@scenario(WASM_SETUP)
async def wasm_trap(s: Session) -> None:
    """A trap fails the request; with fail_open it does not, with FAIL_OPEN only later ones do not."""
    await s.get(to="trap", label="closed")
    await s.get(to="trapopen", label="open")
    for number in range(2):
        await s.get(to="trapnext", label=f"open for the next, {number}")
    s.proxy.is_spent = True
    await s.get("/direct", to="trap", label="closed, direct response")
