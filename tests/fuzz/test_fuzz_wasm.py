"""The corpus of the Wasm targets, and some damage to it."""

from __future__ import annotations

import random

from tests.fuzz import fuzz_wasm


def test_corpus_of_the_wasm_targets_holds() -> None:
    for data in fuzz_wasm.MODULES:
        fuzz_wasm.test_module(data)
    for data in fuzz_wasm.MAPS:
        fuzz_wasm.test_pairs(data)
    for data in fuzz_wasm.PATHS:
        fuzz_wasm.test_property(data)
    for data in fuzz_wasm.CALLS:
        fuzz_wasm.test_host_call(data)


def test_arguments_by_chance_give_statuses() -> None:
    choice = random.Random(20261129)
    for _ in range(2000):
        words = [choice.choice((0, 1, 1024, 65536, choice.getrandbits(32))) for _ in range(20)]
        data = b"".join(word.to_bytes(4, "little") for word in words)
        fuzz_wasm.test_host_call(bytes([choice.randrange(256)]) + data)
