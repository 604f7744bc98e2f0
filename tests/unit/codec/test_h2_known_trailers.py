"""Trailers whose header block repeats are recalled, and are still nothing but trailers."""

from __future__ import annotations

import pytest

from sidecar.codec.h2_connection import H2Connection
from sidecar.codec.h2_types import H2ConnectionError, H2Settings
from tests.support.h2_frames import (
    CLIENT_START,
    DATA,
    END_HEADERS,
    ENDING,
    HEADERS,
    POST,
    REQUEST,
    SETTINGS,
    Recorder,
    block,
    frame,
)

HEAD = block((b":status", b"200"))
TRAILERS = block((b"grpc-status", b"0"))


def make_client() -> tuple[H2Connection, Recorder]:
    recorder = Recorder()
    client = H2Connection(recorder, client=True, settings=H2Settings())
    client.receive_data(frame(SETTINGS, 0, 0, b""))
    return client, recorder


def open_stream(client: H2Connection) -> int:
    stream_id = client.open_stream()
    client.send_headers(stream_id, REQUEST, True)
    return stream_id


def call(client: H2Connection, head: bytes = HEAD, flags: int = ENDING) -> int:
    stream_id = open_stream(client)
    client.receive_data(frame(HEADERS, END_HEADERS, stream_id, head))
    client.receive_data(frame(DATA, 0, stream_id, b"ab"))
    client.receive_data(frame(HEADERS, flags, stream_id, TRAILERS))
    return stream_id


def test_repeated_trailers_are_told_each_time_in_a_list_of_their_own() -> None:
    client, recorder = make_client()
    for _ in range(5):
        call(client)
    told = [each for each in recorder.calls if each[0] == "trailers"]
    assert [(each[1], list(each[2])) for each in told] == [
        (n, [(b"grpc-status", b"0")]) for n in (1, 3, 5, 7, 9)
    ]
    assert TRAILERS in client._decoder.readings
    assert client.open_stream_count == 0


def test_known_trailers_that_do_not_end_the_stream_are_malformed() -> None:
    client, _ = make_client()
    for _ in range(3):
        call(client)
    with pytest.raises(H2ConnectionError):
        call(client, flags=END_HEADERS)


def test_known_trailers_before_the_declared_length_reset_the_stream() -> None:
    client, recorder = make_client()
    for _ in range(3):
        call(client)
    stream_id = call(client, block((b":status", b"200"), (b"content-length", b"3")))
    assert recorder.calls[-1][:2] == ("reset", stream_id)


def test_known_trailers_are_no_head() -> None:
    client, _ = make_client()
    for _ in range(3):
        call(client)
    stream_id = open_stream(client)
    with pytest.raises(H2ConnectionError):
        client.receive_data(frame(HEADERS, ENDING, stream_id, TRAILERS))


def test_known_head_is_no_trailers() -> None:
    client, _ = make_client()
    for _ in range(3):
        call(client)
    stream_id = open_stream(client)
    client.receive_data(frame(HEADERS, END_HEADERS, stream_id, HEAD))
    with pytest.raises(H2ConnectionError):
        client.receive_data(frame(HEADERS, ENDING, stream_id, HEAD))


def test_server_keeps_no_trailers() -> None:
    recorder = Recorder()
    server = H2Connection(recorder, client=False, settings=H2Settings())
    server.receive_data(CLIENT_START)
    for stream_id in (1, 3, 5):
        server.receive_data(frame(HEADERS, END_HEADERS, stream_id, block(*POST)))
        server.receive_data(frame(HEADERS, ENDING, stream_id, TRAILERS))
    assert TRAILERS not in server._decoder.readings
    with pytest.raises(H2ConnectionError):
        server.receive_data(frame(HEADERS, ENDING, 7, TRAILERS))
