"""Frames between processes: whatever is sent comes out, however it is cut; what is no frame is refused."""

from __future__ import annotations

import os
import socket
import struct

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.server.workers.channel import Channel
from sidecar.server.workers.frames import Decoder, Frame, FrameError, encode

VALUES = st.dictionaries(
    st.text(max_size=8), st.none() | st.booleans() | st.integers() | st.text(max_size=8), max_size=4
)
FRAMES = st.lists(
    st.builds(
        Frame,
        st.text(max_size=8),
        VALUES,
        st.lists(st.binary(max_size=40), max_size=3).map(tuple),
        st.integers(0, 253),
    ),
    max_size=4,
)


@settings(deadline=None)
@given(FRAMES, st.lists(st.integers(1, 40)))
def test_frames_come_out_as_they_went_in_wherever_they_are_cut(frames: list[Frame], cuts: list[int]) -> None:
    data = b"".join(encode(each.kind, each.values, each.blobs, each.descriptors) for each in frames)
    decoder = Decoder()
    found: list[Frame] = []
    for size in cuts:
        found += decoder.feed(data[:size])
        data = data[size:]
    found += decoder.feed(data)
    assert found == frames


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_frames_an_error_or_not_enough(data: bytes) -> None:
    try:
        frames = Decoder().feed(data)
    except FrameError:
        return
    assert all(isinstance(each, Frame) for each in frames)


@pytest.mark.parametrize(
    "head",
    [
        b"[]",
        b"{}",
        b"no JSON",
        b'{"k":1,"v":{}}',
        b'{"k":"a","v":[]}',
        b'{"k":"a","v":{},"b":[1]}',
        b'{"k":"a","v":{},"b":[-1,1]}',
        b'{"k":"a","v":{},"b":5}',
        b'{"k":"a","v":{},"f":254}',
    ],
)
def test_head_that_says_something_else_is_refused(head: bytes) -> None:
    with pytest.raises(FrameError):
        Decoder().feed(struct.pack(">II", 4 + len(head), len(head)) + head)


@pytest.mark.parametrize(("length", "head"), [(2**31, 3), (4, 1), (3, 0)])
def test_lengths_that_cannot_be_are_refused(length: int, head: int) -> None:
    with pytest.raises(FrameError):
        Decoder().feed(struct.pack(">II", length, head))


async def test_channel_keeps_the_order_and_hands_descriptors_over() -> None:
    left, right = (Channel(each) for each in socket.socketpair())
    read, write = os.pipe()
    big = b"x" * 3_000_000  # more than a socket takes at once
    async with trio.open_nursery() as nursery:
        nursery.start_soon(left.run)
        left.send("big", {"n": 1}, (big, b"y"))
        left.send("fd", {"n": 2}, (), (write,))
        os.close(write)
        got = await right.receive()
        assert got is not None
        assert (got[0].values, got[0].blobs, got[1]) == ({"n": 1}, (big, b"y"), [])
        got = await right.receive()
        assert got is not None
        assert got[0].kind == "fd"
        os.write(got[1][0], b"z")
        assert os.read(read, 1) == b"z"
        for each in (read, *got[1]):
            os.close(each)
        left.close()
        assert await right.receive() is None
        right.close()
