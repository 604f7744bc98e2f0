"""METADATA, Envoy's own frame of HTTP/2: ignored without ``allow_metadata``, and what Envoy does with it."""

from __future__ import annotations

from hpack import Decoder

from tests.support.h2_frames import (
    CLIENT_START,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    POST,
    RST,
    block,
    frame,
    headers,
)

from ..configuration import HTTP_OPTIONS, bootstrap, cluster, listener
from ..frames import FrameServer, conversation, read_frame, unseen
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import Call

METADATA = 0x4D
END_METADATA = 4
ALLOWED = "http2_protocol_options: {allow_metadata: true, max_metadata_size: 100}"
ROUTES = """
- {match: {prefix: /off}, route: {cluster: off-raw}}
- {match: {prefix: /allowed}, route: {cluster: raw}}
- {match: {prefix: /}, route: {cluster: app}}
"""
TYPED = f'{{"@type": type.googleapis.com/{HTTP_OPTIONS}, explicit_http_config: {{{ALLOWED}}}}}'
SETUP = Setup(
    "http2_metadata",
    bootstrap(
        [listener("main", routes=ROUTES), listener("allowed", ALLOWED, routes=ROUTES)],
        [
            cluster("app", "app"),
            cluster("off-raw", "raw", http2=True),
            cluster("raw", "raw", extra=f"typed_extension_protocol_options: {{{HTTP_OPTIONS}: {TYPED}}}"),
        ],
    ),
    {"app": "h1", "raw": "h1"},
)
STATS = (
    "http2.metadata_empty_frames",
    "http1.metadata_not_supported_error",
    "cluster.app.http1.metadata_not_supported_error",
    "http.main.downstream_cx_protocol_error",
    "http.allowed.downstream_cx_protocol_error",
)


def metadata(stream: int, value: bytes) -> bytes:
    return frame(METADATA, END_METADATA, stream, block((b"key", value)))


PIECES = block((b"key", b"value"), (b"other", b"one"))
GARBAGE = frame(METADATA, END_METADATA, 1, b"\xff" * 11)
ON_STREAMS = {
    "empty": frame(METADATA, END_METADATA, 1),
    "beyond the limit": metadata(1, b"v" * 200),
    "no HPACK": GARBAGE,
    "good": metadata(1, b"v"),
    "in pieces": frame(METADATA, 0, 1, PIECES[:5]) + frame(METADATA, END_METADATA, 1, PIECES[5:]),
    "in all beyond the limit": metadata(1, b"v" * 60) * 2,
}


async def around(s: Session, to: str, names: tuple[str, ...]) -> None:
    """METADATA between the head and the body of a request that goes to HTTP/1."""
    for label in names:
        async with s.counting(*STATS):
            await conversation(
                s,
                label,
                headers(1, *POST, flags=END_HEADERS) + ON_STREAMS[label] + frame(DATA, END_STREAM, 1, b"x"),
                to=to,
                ends=(1,),
            )


@scenario(SETUP)
async def h2_metadata_that_is_not_allowed(s: Session) -> None:
    """A frame of an unknown type: good or bad, nobody looks at it."""
    unseen(s)
    await around(s, "main", tuple(ON_STREAMS))


@scenario(SETUP)
async def h2_metadata_outside_of_streams(s: Session) -> None:
    """Allowed, but on no stream that is open: ignored like unknown frames."""
    whole = headers(1, *POST[1:], (b":method", b"GET"))
    cases = {
        "stream 0": metadata(0, b"v") + whole,
        "before the head": metadata(1, b"v") + whole,
        "before the head, no HPACK": GARBAGE + whole,
    }
    for label, data in cases.items():
        async with s.counting(*STATS):
            await conversation(s, label, data, to="allowed", ends=(1,))


@scenario(SETUP)
async def h2_metadata_that_is_allowed(s: Session) -> None:
    """Envoy counts empty frames, and closes connections whose METADATA is too large or unreadable."""
    unseen(s)
    await around(s, "allowed", tuple(ON_STREAMS))


async def proxied(
    s: Session, label: str, to: str, path: bytes, *extra: tuple[bytes, bytes], name: str = "raw"
) -> None:
    """METADATA at every place of an exchange over HTTP/2; observe where each side gets it."""
    lines: list[str] = []

    async def script(call: Call) -> None:
        server = await FrameServer.accept(call)
        stream, _ = await server.request()
        while True:
            kind, flags, _, payload = await read_frame(server.wire)
            if kind in (DATA, METADATA):
                lines.append(_shown(kind, payload))
            if kind == DATA and flags & END_STREAM:
                break
        await server.send(
            metadata(stream, b"first"),
            headers(stream, (b":status", b"200"), flags=END_HEADERS),
            metadata(stream, b"second"),
            frame(DATA, 0, stream, b"one"),
            metadata(stream, b"third"),
            frame(DATA, END_STREAM, stream, b"two"),
        )

    s.upstream(name).script = script
    head = ((b":method", b"POST"), (b":path", path), *POST[2:], *extra)
    client = await s.connect(to)
    await client.wire.send(
        CLIENT_START
        + headers(1, *head, flags=END_HEADERS)
        + metadata(1, b"first")
        + frame(DATA, 0, 1, b"one")
        + metadata(1, b"second")
        + frame(DATA, END_STREAM, 1, b"two")
    )
    answer: list[str] = []
    while True:
        kind, flags, _, payload = await read_frame(client.wire)
        if kind in (DATA, HEADERS, METADATA, RST, GOAWAY):
            answer.append(_shown(kind, payload))
        if kind in (RST, GOAWAY) or (kind == DATA and flags & END_STREAM):
            break
    client.close()
    await s.upstream(name).finish()
    s.upstream(name).seen.clear()
    s.see(f"{label}: the server", _joined(lines))
    s.see(f"{label}: the client", _joined(answer))


def _shown(kind: int, payload: bytes) -> str:
    if kind == METADATA:
        return f"METADATA {Decoder().decode(payload)}"
    return f"DATA {payload.decode()}" if kind == DATA else f"type {kind}"


def _joined(lines: list[str]) -> list[str]:
    """Without regard to where DATA is cut."""
    text = "\n".join(line for line in lines if line != "DATA ")
    return text.replace("DATA one\nDATA two", "DATA onetwo").split("\n")


@scenario(SETUP)
async def h2_metadata_that_one_side_allows(s: Session) -> None:
    """It goes no further."""
    await proxied(s, "neither", "main", b"/off")
    await proxied(s, "the cluster", "main", b"/allowed")
    await proxied(s, "the listener", "allowed", b"/off")


@scenario(SETUP)
async def h2_metadata_that_both_sides_allow(s: Session) -> None:
    """Envoy hands it on, in its place."""
    await proxied(s, "both", "allowed", b"/allowed")
