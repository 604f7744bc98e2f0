"""Reads that end inside of long frames say the same as reads of whole frames."""

from __future__ import annotations

import pytest

from sidecar.codec.h2_connection import H2Connection
from sidecar.codec.h2_types import H2ConnectionError, H2Settings
from tests.support.h2_frames import CLIENT_START, DATA, END_HEADERS, HEADERS, POST, Recorder, block, frame

SIZES = (16384, 0, 1, 16384, 8192, 16383, 5, 16384, 16384, 12000, 3, 9, 16384, 16384, 7, 16384, 4096)


def make() -> tuple[H2Connection, Recorder]:
    recorder = Recorder()
    server = H2Connection(recorder, client=False, settings=H2Settings())
    server.receive_data(CLIENT_START + frame(HEADERS, END_HEADERS, 1, block(*POST)))
    return server, recorder


FRAMES = [frame(DATA, 0, 1, bytes((number,)) * size) for number, size in enumerate(SIZES)]


@pytest.mark.parametrize("size", [16384, 16393, 16400, 20000, 30011, 65536])
def test_frames_are_told_the_same_however_long_reads_are(size: int) -> None:
    plain, expected = make()
    for each in FRAMES:
        plain.receive_data(each)
    for first in range(1, 40):
        server, recorder = make()
        data = b"".join(FRAMES)
        server.receive_data(data[:first])
        for at in range(first, len(data), size):
            server.receive_data(data[at : at + size])
        assert recorder.calls == expected.calls


def test_frame_that_is_too_large_ends_the_connection_in_a_long_read() -> None:
    server, _ = make()
    server.receive_data(b"\0\x40\x01\0\0\0\0\0")
    with pytest.raises(H2ConnectionError):
        server.receive_data(bytes(40000))
    server, _ = make()
    with pytest.raises(H2ConnectionError):
        server.receive_data(b"\0\x40\x01\0\0\0\0\0\x01" + bytes(40000))
