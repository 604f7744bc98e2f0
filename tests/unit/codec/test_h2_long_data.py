"""Long DATA frames: they are handed on without a copy, and held to the same rules as short ones."""

from __future__ import annotations

from typing import Any

import pytest

from sidecar.codec.h2_connection import H2Connection
from sidecar.codec.h2_types import ErrorCode, H2Settings
from tests.support.h2_frames import (
    CLIENT_START,
    DATA,
    END_HEADERS,
    END_STREAM,
    PADDED,
    RESPONSE,
    RST,
    SERVER_START,
    WINDOW_UPDATE,
    Recorder,
    feed,
    frame,
    parse,
    request,
)

LONG = 16384


def _server(*extra: tuple[bytes, bytes], **changes: Any) -> tuple[H2Connection, Recorder]:
    recorder = Recorder()
    codec = H2Connection(recorder, client=False, settings=H2Settings(**changes))
    codec.receive_data(CLIENT_START + request(1, *extra, flags=END_HEADERS))
    codec.take_output()
    recorder.calls.clear()
    return codec, recorder


def test_long_data_is_a_view_of_what_was_read() -> None:
    codec, recorder = _server()
    read = (
        frame(DATA, 0, 1, b"a" * LONG)
        + frame(DATA, 0, 1, b"b" * 10)
        + frame(DATA, END_STREAM, 1, b"c" * LONG)
    )
    codec.receive_data(read)
    assert [(call[2], *call[3:]) for call in recorder.calls] == [
        (b"a" * LONG, False, LONG),
        (b"b" * 10, False, 10),
        (b"c" * LONG, True, LONG),
    ]
    first, short, last = (call[2] for call in recorder.calls)
    assert first.obj is read
    assert last.obj is read
    assert isinstance(short, bytes)


@pytest.mark.parametrize("cut", [1, 9, 5000, LONG])
def test_long_data_in_two_reads_arrives_whole(cut: int) -> None:
    codec, recorder = _server()
    body = bytes(range(256)) * 64
    read = frame(DATA, 0, 1, body) + frame(DATA, 0, 1, body)
    codec.receive_data(read[:cut])
    codec.receive_data(read[cut:])
    assert b"".join(call[2] for call in recorder.calls) == body * 2


def test_padding_of_long_data_is_taken_away_and_counted() -> None:
    codec, recorder = _server()
    codec.receive_data(frame(DATA, PADDED, 1, b"\3" + b"x" * (LONG - 4) + bytes(3)))
    assert recorder.calls == [("data", 1, b"x" * (LONG - 4), False, LONG)]


@pytest.mark.parametrize("length", [LONG - 1, LONG, LONG + 1, 3 * LONG])
def test_long_data_is_compared_with_content_length(length: int) -> None:
    codec, recorder = _server((b"content-length", b"%d" % length))
    codec.receive_data(frame(DATA, 0, 1, b"x" * LONG))
    if length < LONG:
        assert recorder.calls[-1] == ("reset", 1, ErrorCode.PROTOCOL_ERROR, False)
        assert RST in [each[0] for each in parse(codec.take_output())]
        return
    codec.receive_data(frame(DATA, END_STREAM, 1))
    assert (recorder.calls[-1][0] == "reset") == (length != LONG)


def test_long_data_beyond_the_window_ends_the_connection() -> None:
    codec, _ = _server(initial_stream_window_size=65535)
    error = feed(codec, frame(DATA, 0, 1, b"x" * LONG) * 4)
    assert error is not None
    assert error.h2_code == ErrorCode.FLOW_CONTROL_ERROR


def test_window_of_long_data_is_given_back() -> None:
    codec, _ = _server(initial_stream_window_size=65535)
    codec.receive_data(frame(DATA, 0, 1, b"x" * LONG) * 3)
    codec.consume(1, 3 * LONG)
    assert (WINDOW_UPDATE, 0, 1, (3 * LONG).to_bytes(4, "big")) in parse(codec.take_output())


def test_long_data_ahead_of_a_response_ends_the_connection() -> None:
    recorder = Recorder()
    codec = H2Connection(recorder, client=True, settings=H2Settings())
    codec.receive_data(SERVER_START)
    stream_id = codec.open_stream()
    codec.send_headers(stream_id, [(b":method", b"GET"), (b":path", b"/")], True)
    error = feed(codec, frame(DATA, 0, stream_id, b"x" * LONG))
    assert error is not None
    assert error.h2_code == ErrorCode.PROTOCOL_ERROR


def test_chunks_leave_in_few_frames_and_end_the_stream() -> None:
    codec, _ = _server()
    codec.receive_data(frame(DATA, END_STREAM, 1))
    codec.send_headers(1, list(RESPONSE), False)
    codec.take_output()
    chunks = [b"a" * 8192, memoryview(b"b" * 8192), b"c" * 9000, b"d" * 8192]
    codec.send_chunks(1, chunks, 8192 * 3 + 9000, True)
    sent = parse(b"".join(codec.take_pieces()))
    assert [(flags, stream_id, payload) for _, flags, stream_id, payload in sent] == [
        (0, 1, b"a" * 8192 + b"b" * 8192),
        (0, 1, b"c" * 9000),
        (END_STREAM, 1, b"d" * 8192),
    ]
    assert codec.is_closed(1)
