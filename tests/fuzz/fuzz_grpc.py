"""Fuzz target of gRPC's framing: ``python -m tests.fuzz.fuzz_grpc`` runs it under atheris.

Whatever comes, the reader gives messages or GrpcFrameError; it gives the same however the bytes are cut, and
what it gives is what stands there.
"""

from __future__ import annotations

import random
import sys

from sidecar.codec.grpc_frames import GrpcFrameError, GrpcFrameReader, frame

__all__ = ["FRAMES", "test_one_input"]

_LIMIT = 300
FRAMES = [
    frame(b""),
    frame(b"hello"),
    frame(b"x" * _LIMIT),
    frame(b"y" * (_LIMIT + 1)),
    b"\1" + frame(b"")[1:],
    b"\1" + frame(b"packed")[1:],
    b"\2\0\0\0\0",
    b"\0\xff\xff\xff\xff",
    frame(b"unfinished")[:-3],
]


def _run(data: bytes, ends: list[int]) -> tuple[list[bytes], str]:
    reader = GrpcFrameReader(_LIMIT)
    found: list[bytes] = []
    at = 0
    for end in [*sorted(ends), len(data)]:
        try:
            found += reader.feed(data[at:end])
        except GrpcFrameError as error:
            return found, str(error)
        at = end
        assert len(reader._data) < _LIMIT + 5, data
    return found, "" if reader.is_between else "unfinished"


def test_one_input(data: bytes) -> None:
    """See the module.  Raises AssertionError when something does not hold."""
    choice = random.Random(len(data))
    whole, error = _run(data, [])
    pieces, same = _run(data, [choice.randrange(len(data) + 1) for _ in range(4)])
    assert same == error, data
    if not error or error == "unfinished":
        assert pieces == whole, data
        made = b"".join(frame(each) for each in whole)
        assert len(made) <= len(data), data
    # One that is refused takes what came in the same piece with it.
    assert pieces[: len(whole)] == whole, data


if __name__ == "__main__":
    import atheris  # type: ignore[import-not-found]

    atheris.Setup(sys.argv, test_one_input)
    atheris.Fuzz()
