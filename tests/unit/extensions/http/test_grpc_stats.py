"""Messages of gRPC are counted by their heads."""

from __future__ import annotations

import pytest

from sidecar.extensions.http.grpc_stats import Frames

TWO = b"\0\0\0\0\3abc\1\0\0\0\0"


@pytest.mark.parametrize("size", range(1, len(TWO) + 1))
def test_messages_are_counted_in_pieces_of_any_size(size: int) -> None:
    frames = Frames()
    begun = [frames.feed(TWO[at : at + size]) for at in range(0, len(TWO), size)]
    assert sum(begun) == frames.count == 2


def test_message_counts_with_its_first_byte() -> None:
    frames = Frames()
    assert frames.feed(b"\0") == 1
    assert frames.feed(b"\0\0\0\1x") == 0
    assert frames.feed(b"\0") == 1
