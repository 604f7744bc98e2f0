"""Single frames of HTTP/2, made by hand: what the proxy answers to each, and how the connection ends."""

from __future__ import annotations

from tests.support.h2_frames import (
    DATA,
    END_HEADERS,
    END_STREAM,
    PRIORITY,
    RST,
    WINDOW_UPDATE,
    frame,
    request,
    u32,
)

from ..configuration import bootstrap, cluster, listener
from ..frames import conversation, unseen
from ..lab import Session
from ..scenario import Setup, scenario

ROUTES = """
- {match: {path: /probe}, direct_response: {status: 200, body: {inline_string: here}}}
- {match: {prefix: /}, route: {cluster: app}}
"""
FRAMES = Setup(
    "http2_frames", bootstrap([listener("main", routes=ROUTES)], [cluster("app", "app")]), {"app": "h1"}
)

OPEN = request(1, flags=END_HEADERS)
RESET = OPEN + frame(RST, 0, 1, u32(8))


@scenario(
    FRAMES,
    differs={
        "PRIORITY on stream 0": "frames-that-h2spec-refuses",
        "PRIORITY on itself": "frames-that-h2spec-refuses",
        "DATA behind a reset": "frames-that-h2spec-refuses",
        "HEADERS behind a reset": "frames-that-h2spec-refuses",
        "window beyond 2^31-1": "frames-that-h2spec-refuses",
        "stream's window beyond 2^31-1": "frames-that-h2spec-refuses",
        "an older stream": "frames-that-h2spec-refuses",
    },
)
async def h2_frames_that_h2spec_refuses(s: Session) -> None:
    """Envoy lets some of these pass, and closes without a word for others."""
    unseen(s)
    await conversation(s, "PRIORITY on stream 0", frame(PRIORITY, 0, 0, u32(1) + b"\0"))
    await conversation(s, "PRIORITY on itself", frame(PRIORITY, 0, 1, u32(1) + b"\0"))
    await conversation(s, "DATA behind a reset", RESET + frame(DATA, END_STREAM, 1, b"late"))
    await conversation(s, "HEADERS behind a reset", RESET + request(1))
    await conversation(s, "window beyond 2^31-1", frame(WINDOW_UPDATE, 0, 0, u32(2**31 - 1)))
    await conversation(s, "stream's window beyond 2^31-1", OPEN + frame(WINDOW_UPDATE, 0, 1, u32(2**31 - 1)))
    await conversation(s, "an older stream", request(5) + request(3))


@scenario(FRAMES)
async def h2_frames_on_closed_streams(s: Session) -> None:
    """Frames on a stream that both sides have ended, or the peer alone."""
    unseen(s)
    probe = request(1, (b"x", b"y"))
    await conversation(s, "WINDOW_UPDATE", probe + frame(WINDOW_UPDATE, 0, 1, u32(1)), ends=(1,))
    await conversation(s, "RST_STREAM", probe + frame(RST, 0, 1, u32(8)))
    await conversation(s, "PRIORITY", probe + frame(PRIORITY, 0, 1, u32(3) + b"\0"), ends=(1,))
