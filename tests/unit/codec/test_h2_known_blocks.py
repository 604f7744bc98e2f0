"""Requests whose header block repeats are recalled, and mean each time what they meant the first time."""

from __future__ import annotations

import pytest

from sidecar.codec.h2_connection import H2Connection
from sidecar.codec.h2_types import H2ConnectionError, H2Settings, KnownFields
from tests.support.h2_frames import (
    CLIENT_START,
    DATA,
    END_HEADERS,
    END_STREAM,
    ENDING,
    HEADERS,
    POST,
    REQUEST,
    SETTINGS,
    Recorder,
    block,
    frame,
)

BLOCK = block(*REQUEST, (b"x-a", b"1"))


class Heads(Recorder):
    """Keeps the very lists that it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.lists: list[list[tuple[bytes, bytes]]] = []

    def on_headers(self, stream_id: int, fields: list[tuple[bytes, bytes]], end_stream: bool) -> None:
        self.lists.append(fields)
        super().on_headers(stream_id, fields, end_stream)


def make_server(**settings: int) -> tuple[H2Connection, Heads]:
    recorder = Heads()
    server = H2Connection(recorder, client=False, settings=H2Settings(**settings))
    server.receive_data(CLIENT_START)
    return server, recorder


def ask(server: H2Connection, stream_id: int, what: bytes = BLOCK, flags: int = ENDING) -> None:
    server.receive_data(frame(HEADERS, flags, stream_id, what))


def answer(server: H2Connection, stream_id: int) -> None:
    server.send_headers(stream_id, [(b":status", b"200")], True)


def heads(recorder: Recorder) -> list[tuple[int, list[tuple[bytes, bytes]], bool]]:
    return [(call[1], list(call[2]), call[3]) for call in recorder.calls if call[0] == "headers"]


def test_repeated_block_says_the_same_on_every_stream() -> None:
    server, recorder = make_server()
    for stream_id in (1, 3, 5, 7):
        ask(server, stream_id)
    assert heads(recorder) == [(n, [*REQUEST, (b"x-a", b"1")], True) for n in (1, 3, 5, 7)]
    assert type(recorder.lists[-1]) is KnownFields
    assert recorder.lists[-1] is recorder.lists[-2]
    assert server.open_stream_count == 4


def test_recalled_stream_with_a_body_keeps_to_its_content_length() -> None:
    server, recorder = make_server()
    what = block(*POST, (b"content-length", b"2"))
    for stream_id in (1, 3, 5):
        ask(server, stream_id, what, END_HEADERS)
    server.receive_data(frame(DATA, END_STREAM, 5, b"abc"))
    assert recorder.calls[-1][:2] == ("reset", 5)


def test_recalled_head_that_ends_its_stream_against_its_content_length_is_malformed() -> None:
    server, _ = make_server()
    what = block(*POST, (b"content-length", b"2"))
    for stream_id in (1, 3, 5):
        ask(server, stream_id, what, END_HEADERS)
    with pytest.raises(H2ConnectionError):
        ask(server, 7, what, ENDING)


@pytest.mark.parametrize("stream_id", [2, 1, 3])
def test_known_block_on_a_stream_that_cannot_be_opened_is_an_error(stream_id: int) -> None:
    server, _ = make_server()
    for number in (1, 3, 5):
        ask(server, number)
        answer(server, number)
    with pytest.raises(H2ConnectionError):
        ask(server, stream_id)


def test_known_block_on_an_open_stream_is_an_error() -> None:
    server, _ = make_server()
    for number in (1, 3):
        ask(server, number)
    ask(server, 5, BLOCK, END_HEADERS)
    with pytest.raises(H2ConnectionError):
        ask(server, 5)


def test_known_block_beyond_max_concurrent_streams_is_refused() -> None:
    server, recorder = make_server(max_concurrent_streams=3)
    for number in (1, 3, 5, 7):
        ask(server, number)
    assert recorder.calls[-1][:2] == ("reset", 7)
    assert server.open_stream_count == 3


def test_known_block_after_goaway_is_passed_over() -> None:
    server, recorder = make_server()
    for number in (1, 3):
        ask(server, number)
    server.goaway(0)
    ask(server, 5)
    assert len(heads(recorder)) == 2


def test_known_block_counts_as_an_open_stream() -> None:
    server, _ = make_server()
    for number in (1, 3, 5):
        ask(server, number)
    assert server.open_stream_count == 3


def test_block_is_read_anew_once_the_table_changed() -> None:
    server, recorder = make_server()
    # Indexes 62 and 63 are the newest entries of the table.
    first = b"\x82\x84\x86\x41\x04host" + b"\x40\x03x-a\x011"
    again = b"\x82\x84\x86\xbf\xbe"
    other = b"\x82\x84\x86\xbf\x40\x03x-a\x012"
    for stream_id, what in enumerate([first, again, again, again, other, b"\x82\x84\x86\xc0\xbe"]):
        ask(server, 2 * stream_id + 1, what)
    values = [dict(fields)[b"x-a"] for _, fields, _ in heads(recorder)]
    assert values == [b"1", b"1", b"1", b"1", b"2", b"2"]
    # The very bytes that were known now point elsewhere.
    with pytest.raises(H2ConnectionError):
        ask(server, 13, b"\x82\x84\x86\xbf\xbf")


def test_known_block_does_not_hide_that_the_table_was_not_shrunk() -> None:
    server, _ = make_server(hpack_table_size=100)
    for number in (1, 3, 5):
        ask(server, number)
    server.receive_data(
        frame(SETTINGS, 1, 0)
    )  # from here on the client keeps to 100 bytes, and says so first
    with pytest.raises(H2ConnectionError):
        ask(server, 7)


def test_blocks_that_are_kept_are_few() -> None:
    server, _ = make_server()
    for number in range(400):
        ask(server, 2 * number + 1, block(*REQUEST, (b"x-a", b"%d" % (number // 2))))
        answer(server, 2 * number + 1)
    assert 0 < len(server._decoder.known) <= 16
    assert len(server._seen) <= 64
