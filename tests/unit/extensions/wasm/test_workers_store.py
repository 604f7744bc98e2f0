"""Guests of several processes share data exactly, and are told of the items of their queues."""

from __future__ import annotations

import os

from sidecar.core.notes import Notes
from sidecar.core.shared_memory import SharedMemory
from sidecar.extensions.wasm.workers_store import make_store
from wasm_abi.shared_store import SharedStore


def stores(count: int, max_bytes: int = 1 << 20) -> list[SharedStore]:
    """One for each process; a note reaches its reader at once."""
    memory = SharedMemory.create(count)
    all_notes: list[Notes] = []
    made = []
    for number in range(count):
        all_notes.append(Notes(lambda to, kind, value: all_notes[to].take(kind, value)))
        view = SharedMemory(os.dup(memory.descriptor), number, count)
        made.append(make_store(view, all_notes[number], max_bytes))
    return made


def test_compare_and_swap_is_exact_over_processes() -> None:
    first, second = stores(2)
    assert first.set(b"v", b"k", b"one", 0)
    value = second.get(b"v", b"k")
    assert value is not None
    assert second.set(b"v", b"k", b"two", value[1])
    assert not first.set(b"v", b"k", b"three", value[1])
    assert first.get(b"v", b"k") == (b"two", value[1] + 1)
    assert first.get(b"w", b"k") is None


def test_newest_registrant_is_told_wherever_an_item_comes_from() -> None:
    ends = stores(3)
    told: list[tuple[int, int]] = []
    for process, end in enumerate(ends[:2]):
        number = end.register_queue(b"v", b"q", lambda queue, process=process: told.append((process, queue)))  # type: ignore[misc] # bound here
    for end in ends:
        assert end.resolve_queue(b"v", b"q") == number
        assert end.enqueue(number, b"item")
    assert told == [(1, number)] * 3
    assert ends[0].take(number) == b"item"
    ends[0].put_back(number, b"first")
    assert [ends[2].take(number) for _ in range(4)] == [b"first", b"item", b"item", True]


def test_data_goes_with_the_last_vm_of_all() -> None:
    first, second = stores(2)
    first.acquire(b"v")
    second.acquire(b"v")
    first.set(b"v", b"k", b"x", 0)
    first.release(b"v")
    assert second.get(b"v", b"k") is not None
    second.release(b"v")
    assert first.get(b"v", b"k") is None


def test_data_of_a_process_that_ended_goes_too() -> None:
    memory = SharedMemory.create(2)
    notes = Notes(lambda *_: None)
    first = make_store(SharedMemory(os.dup(memory.descriptor), 0, 2), notes)
    second = make_store(memory, notes)
    first.acquire(b"v")
    second.acquire(b"v")
    first.set(b"v", b"k", b"x", 0)
    memory.forget(0)
    second.release(b"v")
    assert first.get(b"v", b"k") is None
