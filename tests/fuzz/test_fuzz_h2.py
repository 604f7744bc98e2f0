"""A fixed walk through the fuzz target: frames in random order, then damaged here and there."""

from __future__ import annotations

import random

from tests.fuzz.fuzz_h2 import test_one_input as run_target
from tests.support.h2_frames import POST, REQUEST, block, frame, headers, request, settings, u32

SEEDS = [
    request(1),
    request(3, (b"cookie", b"a=1"), (b"cookie", b"b=2")),
    headers(1, *POST, flags=4),
    headers(5, *POST, (b"content-length", b"3"), flags=4),
    frame(0, 0, 1, b"abc"),
    frame(0, 1, 5, b"abc"),
    frame(0, 9, 1, b"\x01ab\0"),
    headers(1, (b"x-t", b"1")),
    frame(1, 1, 7, block(*REQUEST)[:5]),
    frame(9, 4, 7, block(*REQUEST)[5:]),
    frame(1, 5, 9, b"\x82\x84\x86\x41\x01a\x40\x01b\x01c"),
    frame(1, 5, 11, b"\x82\x84\x86\xbf\xbe"),
    frame(3, 0, 1, u32(8)),
    settings((4, 100), (1, 0)),
    settings((5, 16384), (9, 1)),
    frame(6, 0, 0, b"12345678"),
    frame(7, 0, 0, u32(0) + u32(0)),
    frame(8, 0, 0, u32(100)),
    frame(2, 0, 3, u32(0) + b"\x10"),
    frame(0x33, 0, 0, b"extension"),
]


def test_codecs_agree_on_damaged_conversations() -> None:
    choice = random.Random(7)
    for _ in range(4000):
        data = bytearray(b"".join(choice.choices(SEEDS, k=choice.randrange(1, 6))))
        for _ in range(choice.randrange(3)):
            at = choice.randrange(len(data))
            how = choice.randrange(3)
            if how == 0:
                data[at] ^= 1 << choice.randrange(8)
            elif how == 1:
                del data[at]
            else:
                data.insert(at, choice.randrange(256))
            if not data:
                break
        run_target(bytes(data))
