"""What processes do to a state that they share comes out the same in all of them."""

from __future__ import annotations

import os
import random
from typing import Any

import pytest

from sidecar.core.shared_log import SharedLog
from sidecar.core.shared_memory import SharedMemory
from sidecar.extensions.http.lua_dictionary import make_dictionary


class Numbers:
    def __init__(self) -> None:
        self.found: dict[int, int] = {}

    def apply(self, operation: tuple[Any, ...]) -> int:
        key, more = operation
        if more < 0:
            raise ValueError(more)
        self.found[key] = self.found.get(key, 0) + more
        return self.found[key]

    def save(self) -> Any:
        return list(self.found.items())

    def restore(self, saved: Any) -> None:
        self.found = dict(saved)


def view(memory: SharedMemory, process: int) -> SharedMemory:
    return SharedMemory(os.dup(memory.descriptor), process, memory.processes)


def end(memory: SharedMemory, most: int = 1000) -> tuple[SharedLog, Numbers]:
    state = Numbers()
    log = SharedLog.make(memory, "numbers", most, state)
    assert log is not None
    return log, state


def test_all_copies_are_the_same_also_of_who_lagged_behind_or_came_late() -> None:
    memory = SharedMemory.create(4)
    ends = [end(view(memory, number)) for number in range(3)]
    draw = random.Random(1)
    sums: dict[int, int] = {}
    for _ in range(20_000):  # the log goes round several times; the third end hardly ever looks
        log, _ = draw.choices(ends, (10, 1, 0.001))[0]
        key = draw.randrange(20)
        sums[key] = sums.get(key, 0) + 1
        assert log.do((key, 1)) == sums[key]
    ends.append(end(memory))
    for log, state in ends:
        log.catch_up()
        assert state.found == sums


def test_what_fails_fails_for_who_asked_and_is_not_told() -> None:
    memory = SharedMemory.create(2)
    log, _ = end(memory)
    with pytest.raises(ValueError, match="-1"):
        log.do((1, -1))
    other, state = end(view(memory, 0))
    other.catch_up()
    assert state.found == {}


def test_a_dictionary_of_workers_counts_adds_and_forgets_as_one() -> None:
    memory = SharedMemory.create(2)
    ours, theirs = (make_dictionary(each, "d", 3, 100_000) for each in (memory, view(memory, 0)))
    assert ours.incr(b"n", 1, 0) == 1
    assert theirs.incr(b"n", 1, 0) == 2
    assert ours.add(b"a", b"x")
    assert not theirs.add(b"a", b"y")
    assert theirs.get(b"a") == b"x"
    with pytest.raises(TypeError):
        theirs.incr(b"a", 1)
    assert theirs.set(b"a", None)
    assert ours.get(b"a") is None
    for key in (b"1", b"2", b"3"):
        ours.set(key, True)
    assert (theirs.get(b"n"), theirs.get(b"3"), len(theirs)) == (None, True, 3)
    ours.set(b"short", b"x", 1e-9)
    assert theirs.get(b"short") is None
    alone = make_dictionary(None, "d", 3, 100_000)
    assert alone.incr(b"n", 1, 0) == 1
