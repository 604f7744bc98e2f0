"""Filters and routes that change what frames a message: lengths that are wrong, codings that are not there.

Envoy sends what it is told, also where the next hop must take it for something else.
"""

from __future__ import annotations

import re

import trio

from ..configuration import bootstrap, cluster, listener
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import ok
from ..wire import Wire, head

SUBJECT = "filters"
LUA = """
- name: lua
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua
    default_source_code:
      inline_string: |
        function envoy_on_response(h)
          local status = h:headers():get("x-status")
          if status then h:headers():replace(":status", status) end
        end
"""


def _set(name: str, value: str, where: str = "request") -> str:
    entry = f"{{header: {{key: {name}, value: '{value}'}}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}}"
    return f"{where}_headers_to_add: [{entry}]"


EDITS = {
    "short": _set("content-length", "3"),
    "long": _set("content-length", "9"),
    "words": _set("content-length", "five"),
    "coded": _set("transfer-encoding", "chunked"),
    "odd": _set("transfer-encoding", "identity"),
    "response-short": _set("content-length", "3", "response"),
    "response-long": _set("content-length", "9", "response"),
    "response-words": _set("content-length", "five", "response"),
    "response-coded": _set("transfer-encoding", "chunked", "response"),
    "response-status": "name: status",
}
ROUTES = "\n".join(
    f"- {{match: {{path: /{name}}}, route: {{cluster: app}}, {edit}}}" for name, edit in EDITS.items()
)
FRAMED = Setup(
    "framing_edits",
    bootstrap([listener("main", routes=ROUTES, filters=LUA)], [cluster("app", "app")]),
    upstreams={"app": "raw"},
)
OK = head("HTTP/1.1 200 OK", "content-length: 0")
_FRAMES = re.compile(r"(?:[A-Z]+ /|HTTP/|content-length|transfer-encoding)[^\r]*")


def framing(data: bytes) -> list[str]:
    """The lines that frame a message, and what stands behind its head."""
    top, _, rest = data.decode("latin-1").partition("\r\n\r\n")
    return [*_FRAMES.findall(top), rest]


async def through(s: Session, request: list[bytes], ends: bytes, answer: bytes) -> tuple[bytes, bytes]:
    """One request, whose bytes end with ``ends`` at an upstream that then answers and closes: both wires.

    Of a request in pieces the next one is sent when the upstream has the head.
    """
    found = bytearray()
    has_head = trio.Event()

    async def script(wire: Wire) -> None:
        while data := await wire.some():
            found.extend(data)
            if b"\r\n\r\n" in found:
                has_head.set()
            if found.endswith(ends):
                break
        await wire.send(answer)

    s.upstream().raw_script = script
    client = await s.connect()
    await client.send(request[0])
    for piece in request[1:]:
        await has_head.wait()
        await client.send(piece)
    got, _ = await client.wire.rest()
    return bytes(found), got


@scenario(FRAMED, differs={"upstream": "framing-is-the-codecs"})
async def framing_of_requests(s: Session) -> None:
    """A length, or a coding, that a route gives to a request with a body, and without one."""
    seen, got = {}, {}
    for name in ("short", "long", "words", "coded", "odd"):
        post = head(f"POST /{name} HTTP/1.1", "host: a", "connection: close", "content-length: 5") + b"hello"
        get = head(f"GET /{name} HTTP/1.1", "host: a", "connection: close")
        for kind, request, ends in (("body", post, b"hello"), ("none", get, b"\r\n\r\n")):
            to_upstream, to_client = await through(s, [request], ends, OK)
            seen[f"{name} {kind}"] = framing(to_upstream)
            got[f"{name} {kind}"] = framing(to_client)
    s.see("upstream", seen)
    s.see("client", got)


@scenario(FRAMED, differs={"client": "framing-is-the-codecs"})
async def framing_of_requests_in_pieces(s: Session) -> None:
    """A body that is not as long as the head, which has gone out, says: the request fails."""
    got = {}
    for name in ("short", "long"):
        post = head(f"POST /{name} HTTP/1.1", "host: a", "connection: close", "transfer-encoding: chunked")
        _, to_client = await through(s, [post, b"5\r\nhello\r\n0\r\n\r\n"], b"hello", OK)
        got[name] = framing(to_client)[0]
    s.see("client", got)


@scenario(FRAMED, differs={"client": "framing-is-the-codecs"})
async def framing_of_responses(s: Session) -> None:
    """The same of a response, and a status without a body, as an HTTP/1 client has it on its wire."""
    got, same = {}, {}
    for name in ("short", "long", "words", "coded", "status"):
        request = head(f"GET /response-{name} HTTP/1.1", "host: a", "connection: close")
        line = "x-status: 204" if name == "status" else "x-a: 1"
        for kind, body in (("body", b"hello"), ("none", b"")):
            _, to_client = await through(s, [request], b"\r\n\r\n", ok(body, line))
            (same if name == "coded" else got)[f"{name} {kind}"] = framing(to_client)
    s.see("client", got)
    s.see("coded", same)
