"""``Http2ProtocolOptions``, towards clients and towards upstreams."""

from __future__ import annotations

import struct

from tests.support.h2_frames import (
    CLIENT_START,
    CONTINUATION,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    REQUEST,
    RST,
    SETTINGS,
    block,
    frame,
    request,
    u32,
)

from ..client import get
from ..configuration import HTTP_OPTIONS, bootstrap, cluster, listener
from ..frames import conversation, read_frame, unseen
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import H2Call

ROUTES = """
- {match: {path: /probe}, direct_response: {status: 200, body: {inline_string: here}}}
- {match: {prefix: /custom}, route: {cluster: custom}}
- {match: {prefix: /small}, route: {cluster: small}}
- {match: {prefix: /lenient}, route: {cluster: lenient}}
- {match: {prefix: /}, route: {cluster: app}}
"""
CUSTOM = (
    "custom_settings_parameters: [{identifier: 3, value: 7}, {identifier: 4660, value: 5}, "
    "{identifier: 2, value: 0}, {identifier: 4660, value: 5}]"
)
SMALL = "hpack_table_size: 0, initial_stream_window_size: 65535, initial_connection_window_size: 65535"
LENIENT = "override_stream_error_on_invalid_http_message: true"


def downstream(name: str, options: str, more: str = "") -> dict[str, object]:
    return listener(name, f"http2_protocol_options: {{{options}}}\n{more}", routes=ROUTES)


def upstream(name: str, options: str) -> dict[str, object]:
    http2 = f"explicit_http_config: {{http2_protocol_options: {{{options}}}}}"
    typed = f'{{"@type": type.googleapis.com/{HTTP_OPTIONS}, {http2}}}'
    return cluster(name, "h2app", extra=f"typed_extension_protocol_options: {{{HTTP_OPTIONS}: {typed}}}")


OPTIONS = Setup(
    "http2_options",
    bootstrap(
        [
            downstream("main", ""),
            downstream("custom", CUSTOM),
            downstream("small", f"{SMALL}, allow_connect: true"),
            downstream("lenient", LENIENT),
            downstream("deprecated", "stream_error_on_invalid_http_messaging: true"),
            downstream("manager", "", "stream_error_on_invalid_http_message: true"),
            downstream(
                "strict",
                "override_stream_error_on_invalid_http_message: false",
                "stream_error_on_invalid_http_message: true",
            ),
            downstream("plain-text", "enable_huffman_encoding: false"),
            downstream("large", "", "max_request_headers_kb: 256"),
            downstream("larger", "max_header_field_size_kb: 128", "max_request_headers_kb: 256"),
            downstream("ascii", "disallow_obs_text: true"),
            downstream("ascii-oghttp2", "disallow_obs_text: true, use_oghttp2_codec: true"),
            downstream("oghttp2", "use_oghttp2_codec: true"),
            downstream("few-resets", "stream_reset_burst: 5, stream_reset_rate: 1"),
        ],
        [
            cluster("app", "app"),
            upstream("custom", f"{CUSTOM}, allow_connect: true"),
            upstream("small", SMALL),
            upstream("lenient", LENIENT),
        ],
    ),
    {"app": "h1", "h2app": "h2"},
)


@scenario(OPTIONS)
async def h2_option_settings(s: Session) -> None:
    """The SETTINGS frame that each listener begins with, parameter for parameter."""
    for to in ("main", "custom", "small"):
        client = await s.connect(to)
        await client.wire.send(CLIENT_START)
        while True:
            kind, flags, _, payload = await read_frame(client.wire)
            if kind == SETTINGS and not flags:
                break
        s.see(to, [f"{name}={value}" for name, value in struct.iter_unpack(">HI", payload)])
        client.close()


@scenario(OPTIONS)
async def h2_option_settings_to_upstreams(s: Session) -> None:
    """What a server makes of the SETTINGS that clusters with options send."""
    for path in ("/custom", "/small"):
        await s.get(path)
        call = s.upstream("h2app").seen[-1]
        assert isinstance(call, H2Call)
        s.see(path, dict(sorted(call.peer.settings.items())))


@scenario(OPTIONS)
async def h2_option_small_windows_and_no_table(s: Session) -> None:
    """Bodies pass through windows of 65535 and without a table for headers."""
    body = b"0123456789abcdef" * 16384  # 256 KiB

    async def script(call: H2Call) -> None:
        await call.body()
        await call.answer([(":status", "200"), ("x-a", "1")], body)

    s.upstream("h2app").h2_script = script
    client = await s.connect_h2("small")
    await client.request(get("/small", method="POST"), body)
    await client.request([*get("/small"), ("x-a", "1")])


async def malformed(s: Session, to: str) -> None:
    """A request that breaks a rule, then a good one."""
    await conversation(s, to, request(1, (b"connection", b"close")) + request(3), to=to, ends=(3,))


@scenario(OPTIONS)
async def h2_option_stream_error(s: Session) -> None:
    """Where a malformed request costs the stream alone, and where the connection."""
    unseen(s)
    for to in ("main", "lenient", "deprecated", "manager", "strict", "oghttp2"):
        async with s.logging(1 if to in ("main", "strict", "oghttp2") else 2, to):
            await malformed(s, to)


@scenario(OPTIONS)
async def h2_option_huffman(s: Session) -> None:
    """Header strings in plain text, where it is asked for."""
    for to in ("main", "plain-text"):
        client = await s.connect(to)
        await client.wire.send(
            CLIENT_START + frame(HEADERS, 5, 1, block(*REQUEST[:1], (b":path", b"/probe"), *REQUEST[2:]))
        )
        while True:
            kind, _, _, payload = await read_frame(client.wire)
            if kind == HEADERS:
                break
        s.see(to, b"text/plain" in payload)
        client.close()


def long_field(size: int) -> bytes:
    whole = block(*REQUEST, (b"x-big", b"a" * size))
    pieces = [whole[at : at + 16000] for at in range(0, len(whole), 16000)]
    data = frame(HEADERS, END_STREAM, 1, pieces[0])
    for number, piece in enumerate(pieces[1:], 2):
        data += frame(CONTINUATION, END_HEADERS if number == len(pieces) else 0, 1, piece)
    return data


@scenario(OPTIONS)
async def h2_option_header_field_size(s: Session) -> None:
    """A single long header: 64 KiB, or what max_header_field_size_kb says."""
    unseen(s)
    for to, sizes in (("large", (65536, 65537)), ("larger", (65537, 131072, 131073))):
        for size in sizes:
            await conversation(s, f"{to} {size}", long_field(size), to=to, ends=(1,))


@scenario(OPTIONS)
async def h2_option_obs_text(s: Session) -> None:
    """Octets beyond ASCII are refused by oghttp2 alone."""
    unseen(s)
    for to in ("main", "ascii", "oghttp2", "ascii-oghttp2"):
        await conversation(s, to, request(1, (b"x-a", b"\xff")), to=to, ends=(1,))


@scenario(OPTIONS)
async def h2_option_reset_rate(s: Session) -> None:
    """Five resets pass, the sixth ends the connection."""
    unseen(s)
    for count in (5, 6):
        data = b"".join(request(i, flags=4) + frame(RST, 0, i, u32(8)) for i in range(1, 2 * count, 2))
        names = ("downstream_cx_protocol_error", "downstream_rq_too_many_premature_resets")
        async with s.counting(*(f"http.few-resets.{name}" for name in names), "http2.rx_reset"):
            await conversation(s, f"{count} resets", data, to="few-resets", ends=(1,) if count > 5 else ())


@scenario(OPTIONS)
async def h2_option_stream_error_from_upstream(s: Session) -> None:
    """A malformed response costs the stream alone where the cluster says so."""

    async def script(call: H2Call) -> None:
        bad = [("connection", "close")] if call.path.endswith("bad") else []
        await call.answer([(":status", "200"), *bad], b"x")

    s.upstream("h2app").h2_script = script
    names = ("upstream_cx_protocol_error", "upstream_cx_total", "http2.rx_messaging_error", "http2.tx_reset")
    async with s.counting(*(f"cluster.lenient.{name}" for name in names)), s.logging(2):
        await s.get("/lenient/bad")
        await s.get("/lenient/good")
    names = ("upstream_cx_protocol_error", "upstream_cx_total", "http2.rx_messaging_error", "http2.tx_reset")
    async with s.counting(*(f"cluster.small.{name}" for name in names)), s.logging(2):
        await s.get("/small/bad")
        await s.get("/small/good")
    s.upstream("h2app").seen.clear()  # whether the reset of a stream that is over was seen is a race
