"""A fixed walk through the fuzz targets of listener filters: their corpus, damaged here and there."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import pytest

from tests.fuzz import fuzz_listener

TARGETS = {
    "client_hello": (fuzz_listener.test_client_hello, fuzz_listener.HELLOS),
    "proxy_protocol": (fuzz_listener.test_proxy_head, fuzz_listener.HEADS),
    "http_inspector": (fuzz_listener.test_http_line, fuzz_listener.LINES),
}


@pytest.mark.parametrize(("run", "corpus"), TARGETS.values(), ids=TARGETS.keys())
def test_first_bytes_are_read_one_way(run: Callable[[bytes], None], corpus: Sequence[bytes]) -> None:
    choice = random.Random(5)
    for data in corpus:
        run(data)
    for _ in range(1500):
        damaged = bytearray(choice.choice(corpus) + b"GET / HTTP/1.1\r\n\r\n")
        for _ in range(choice.randrange(1, 4)):
            at = choice.randrange(len(damaged))
            how = choice.randrange(3)
            if how == 0:
                damaged[at] ^= 1 << choice.randrange(8)
            elif how == 1:
                del damaged[at : at + choice.randrange(1, 4)]
            else:
                damaged.insert(at, choice.randrange(256))
        run(bytes(damaged))
