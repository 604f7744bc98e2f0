"""Single points that were open: a filter that denies with the body at hand, padding, a peer on ::1."""

from __future__ import annotations

import trio

from tests.support.h2_frames import DATA, END_HEADERS, END_STREAM, frame, request

from ..client import get
from ..configuration import bootstrap, cluster, listener
from ..frames import conversation
from ..lab import Session
from ..scenario import Setup, scenario
from ..wire import Wire, head, read_response

ROUTES = """
- {match: {path: /probe}, direct_response: {status: 200, body: {inline_string: here}}}
- {match: {prefix: /}, route: {cluster: app}}
"""
DENY = """
- name: envoy.filters.http.lua
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua
    default_source_code:
      inline_string: |
        function envoy_on_request(handle)
          local body = handle:body()
          local size = body and body:length() or 0
          handle:respond({[":status"] = "403"}, "denied " .. size)
        end
"""
POINTS = Setup(
    "points",
    bootstrap(
        [
            listener("main", routes=ROUTES),
            listener("deny", routes=ROUTES, filters=DENY),
            listener(
                "six",
                "use_remote_address: true",
                routes=ROUTES,
                extra='address: {socket_address: {address: "::1", port_value: 0}}',
            ),
        ],
        [cluster("app", "app")],
    ),
    {"app": "h1"},
)
PADDED = 8


@scenario(POINTS)
async def filter_denies_with_the_body_at_hand(s: Session) -> None:
    """A filter that has read the whole body answers itself: the connection can be used again."""
    chunked = head("POST / HTTP/1.1", "host: a", "transfer-encoding: chunked")
    async with s.logging(4, "deny"):
        for label, sent in (
            ("at hand", head("POST / HTTP/1.1", "host: a", "content-length: 5") + b"hello"),
            ("chunks", chunked + b"5\r\nhello\r\n0\r\n\r\n"),
        ):
            client = await s.connect("deny")
            await client.send(sent)
            await client.reply(label)
            await client.usable(f"{label}, then")
    client = await s.connect("deny")
    await client.send(head("POST / HTTP/1.1", "host: a", "content-length: 5"))
    await client.send(b"hello")
    await client.reply("behind its head")
    await client.usable("behind its head, then")
    h2 = await s.connect_h2("deny")
    await h2.request(get("/", method="POST"), b"hello", label="HTTP/2")


@scenario(POINTS)
async def frame_full_of_padding(s: Session) -> None:
    """DATA that is nothing but padding, which RFC 9113 lets pass, and padding beyond the frame."""
    opened = request(1, flags=END_HEADERS)
    await conversation(s, "full", opened + frame(DATA, END_STREAM | PADDED, 1, b"\x04" + bytes(4)), ends=(1,))
    await conversation(s, "beyond", opened + frame(DATA, END_STREAM | PADDED, 1, b"\x05" + bytes(4)))
    s.upstream().seen.clear()


@scenario(POINTS)
async def forwarded_for_of_a_peer_on_loopback_6(s: Session) -> None:
    """x-forwarded-for of a client on ::1."""
    wire = Wire(await trio.open_tcp_stream("::1", s.proxy.ports["six"]))
    await wire.send(head("GET / HTTP/1.1", "host: a"))
    s.see("reply", (await read_response(wire)).start_line)
    wire.close()
