"""HTTP/2 frames made by hand, and a handler that writes down what a codec says."""

from __future__ import annotations

import struct
from typing import Any

from hpack import Encoder

from sidecar.codec.h2_types import CONNECTION_PREFACE, H2ConnectionError

DATA, HEADERS, PRIORITY, RST, SETTINGS, PUSH, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM = ACK = 1
END_HEADERS = 4
PADDED = 8
PRIORITY_FLAG = 0x20
ENDING = END_STREAM | END_HEADERS

REQUEST = ((b":method", b"GET"), (b":path", b"/"), (b":scheme", b"http"), (b":authority", b"host"))
POST = ((b":method", b"POST"), *REQUEST[1:])
RESPONSE = ((b":status", b"200"),)


def frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + struct.pack(">I", stream_id) + payload


def block(*fields: tuple[bytes, bytes]) -> bytes:
    """A header block that leaves no trace in the table."""
    encoder = Encoder()
    return b"".join(encoder.add((name, value), sensitive=True, huffman=False) for name, value in fields)


def headers(stream_id: int, *fields: tuple[bytes, bytes], flags: int = ENDING) -> bytes:
    return frame(HEADERS, flags, stream_id, block(*fields))


def request(stream_id: int = 1, *extra: tuple[bytes, bytes], flags: int = ENDING) -> bytes:
    return headers(stream_id, *REQUEST, *extra, flags=flags)


def settings(*pairs: tuple[int, int]) -> bytes:
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", *pair) for pair in pairs))


def u32(value: int) -> bytes:
    return struct.pack(">I", value)


CLIENT_START = CONNECTION_PREFACE + settings()
SERVER_START = settings()


def parse(data: bytes) -> list[tuple[int, int, int, bytes]]:
    """(type, flags, stream, payload) of each frame; a preface is passed over."""
    at = len(CONNECTION_PREFACE) if data.startswith(CONNECTION_PREFACE) else 0
    frames = []
    while at < len(data):
        size = int.from_bytes(data[at : at + 3], "big")
        stream_id = int.from_bytes(data[at + 5 : at + 9], "big")
        frames.append((data[at + 3], data[at + 4], stream_id, data[at + 9 : at + 9 + size]))
        at += 9 + size
    return frames


class Recorder:
    """Writes every callback down."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def on_headers(self, stream_id: int, fields: list[tuple[bytes, bytes]], end_stream: bool) -> None:
        self.calls.append(("headers", stream_id, tuple(fields), end_stream))

    def on_informational(self, stream_id: int, fields: list[tuple[bytes, bytes]]) -> None:
        self.calls.append(("informational", stream_id, tuple(fields)))

    def on_data(self, stream_id: int, data: bytes, end_stream: bool, flow_bytes: int) -> None:
        self.calls.append(("data", stream_id, data, end_stream, flow_bytes))

    def on_trailers(self, stream_id: int, fields: list[tuple[bytes, bytes]]) -> None:
        self.calls.append(("trailers", stream_id, tuple(fields)))

    def on_reset(self, stream_id: int, error_code: int, remote: bool) -> None:
        self.calls.append(("reset", stream_id, error_code, remote))

    def on_window(self, stream_id: int) -> None:
        self.calls.append(("window", stream_id))

    def on_partial_head(self, stream_id: int) -> None:
        """Nothing is said of it: the calls that matter come with its end."""

    def on_goaway(self, last_stream_id: int, error_code: int) -> None:
        self.calls.append(("goaway", last_stream_id, error_code))

    def on_pong(self) -> None:
        self.calls.append(("pong",))

    def on_settings(self) -> None:
        self.calls.append(("settings",))

    def messages(self) -> list[tuple[Any, ...]]:
        """The calls that carry messages and resets."""
        return [call for call in self.calls if call[0] not in ("settings", "window", "pong")]


def feed(codec: Any, data: bytes) -> H2ConnectionError | None:
    """Give ``data`` to a codec; its error, if it raised one."""
    try:
        codec.receive_data(data)
    except H2ConnectionError as error:
        return error
    return None
