"""Messages of gRPC as they are cut out of bytes."""

from __future__ import annotations

import pytest

from sidecar.codec.grpc_frames import GrpcFrameError, GrpcFrameReader, frame

LIMIT = 100
WIRE = frame(b"one") + frame(b"") + frame(b"x" * LIMIT)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 64, 1000])
def test_messages_are_the_same_however_they_are_cut(size: int) -> None:
    reader = GrpcFrameReader(LIMIT)
    found = [each for at in range(0, len(WIRE), size) for each in reader.feed(WIRE[at : at + size])]
    assert found == [b"one", b"", b"x" * LIMIT]
    assert reader.is_between


def test_message_that_is_not_complete_is_waited_for() -> None:
    reader = GrpcFrameReader(LIMIT)
    assert reader.feed(frame(b"abc")[:-1]) == []
    assert not reader.is_between
    assert reader.feed(b"c") == [b"abc"]


def test_message_above_the_limit_is_refused_by_its_head() -> None:
    with pytest.raises(GrpcFrameError) as found:
        GrpcFrameReader(LIMIT).feed(b"\0\0\0\0\x65")
    assert found.value.is_too_long


@pytest.mark.parametrize("flags", [2, 4, 255])
def test_unknown_flags_are_refused(flags: int) -> None:
    with pytest.raises(GrpcFrameError) as found:
        GrpcFrameReader(LIMIT).feed(bytes((flags, 0, 0, 0, 0)))
    assert not found.value.is_too_long


def test_compressed_message_is_refused_and_an_empty_one_is_not() -> None:
    assert GrpcFrameReader(LIMIT).feed(b"\1\0\0\0\0") == [b""]
    with pytest.raises(GrpcFrameError):
        GrpcFrameReader(LIMIT).feed(b"\1\0\0\0\1a")
