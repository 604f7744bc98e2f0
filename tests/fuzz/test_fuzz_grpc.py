"""A fixed walk through the fuzz target of gRPC's framing."""

from __future__ import annotations

import random

from tests.fuzz import fuzz_grpc


def test_messages_are_read_one_way() -> None:
    choice = random.Random(7)
    for data in fuzz_grpc.FRAMES:
        fuzz_grpc.test_one_input(data)
    for _ in range(2000):
        damaged = bytearray(b"".join(choice.choices(fuzz_grpc.FRAMES, k=choice.randrange(1, 5))))
        for _ in range(choice.randrange(3)):
            at = choice.randrange(len(damaged))
            if choice.randrange(2):
                damaged[at] ^= 1 << choice.randrange(8)
            else:
                del damaged[at : at + 2]
            if not damaged:
                break
        fuzz_grpc.test_one_input(bytes(damaged))
