"""A fixed walk through the fuzz target: requests one after another, damaged here and there."""

from __future__ import annotations

import random

import pytest

from tests.fuzz.fuzz_h1 import CORPUS
from tests.fuzz.fuzz_h1 import test_one_input as run_target

PIECES = [
    b"\r\n",
    b"\n",
    b"\r",
    b" ",
    b"\t",
    b":",
    b"0",
    b";",
    b"\x00",
    b"\xff",
    b"chunked",
    b"Content-Length: 1\r\n",
]


@pytest.mark.parametrize("data", CORPUS)
def test_request_of_the_corpus_is_read_one_way(data: bytes) -> None:
    run_target(data)


@pytest.mark.parametrize("seed", range(4))
def test_damaged_requests_are_read_one_way(seed: int) -> None:
    choice = random.Random(seed)
    for _ in range(1500):
        data = bytearray(b"".join(choice.choices(CORPUS, k=choice.randrange(1, 4))))
        for _ in range(choice.randrange(1, 5)):
            at = choice.randrange(len(data))
            how = choice.randrange(4)
            if how == 0:
                data[at] ^= 1 << choice.randrange(8)
            elif how == 1:
                del data[at : at + choice.randrange(1, 4)]
            elif how == 2:
                data[at:at] = choice.choice(PIECES)
            else:
                data[at:] = data[: choice.randrange(len(data))]
            if not data:
                break
        run_target(bytes(data))
