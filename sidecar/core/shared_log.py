"""State that the processes of one server share: each has a copy, a log in shared memory tells what was done.

An operation is written under the log's lock (:mod:`sidecar.core.shared_memory`), after what others wrote was
done here; all copies do the same in the same order, so what an operation gives (a sum, a compare-and-swap) is
exact.  An operation must depend on nothing but the state and itself: times are part of it.  Where a half of
the log is full, the state goes to the beginning of the other half, from which those go on that lag behind.
Who is killed while writing leaves the log as it was: the word that says how much of it counts comes last.
"""

from __future__ import annotations

import marshal
from collections.abc import Callable
from struct import Struct
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from sidecar.core.shared_memory import SharedMemory

__all__ = ["SharedLog", "State"]

_LENGTH = Struct("<I")
#: Which half is used (its lowest bit), and how much of each.
_HEAD = 3
#: Bytes of operations between two turns; more where the state is larger, so that a turn is seldom.
_LEAST_ROOM = 1 << 17


class State(Protocol):
    """What is shared."""

    def apply(self, operation: tuple[Any, ...]) -> Any:
        """Do it; what it raises, it raises everywhere, and leaves the state as it was."""

    def save(self) -> Any:
        """All there is, of what ``marshal`` knows."""

    def restore(self, saved: Any) -> None:
        """Be what ``save`` gave."""


class SharedLog:
    """One process's end.  ``bytes_of_half`` is more than the state and an operation ever take."""

    def __init__(self, memory: SharedMemory, first: int, bytes_of_half: int, state: State) -> None:
        self._memory = memory
        self._words = memory.words
        self._first = first
        self._data = memory.words.cast("B")
        self._half = bytes_of_half
        self._state = state
        self._turn = 0
        self._at = 0
        #: Where the half that is used ends: a small state makes little of the memory resident.
        self._end = min(bytes_of_half, _LEAST_ROOM)

    @classmethod
    def make(cls, memory: SharedMemory | None, key: str, most: int, state: State) -> SharedLog | None:
        """None for a process that is alone, or a memory without room.  The state takes ``most`` bytes."""
        half = (most + most // 4 + 2 * _LEAST_ROOM) // 8 * 8
        first = None if memory is None else memory.words_of_all(f"log {key}".encode(), _HEAD + 2 * half // 8)
        return None if memory is None or first is None else cls(memory, first, half, state)

    def catch_up(self) -> None:
        """Do what others did.  Where they did nothing this is two looks, without a lock."""
        words, first = self._words, self._first
        turn = words[first]
        if turn != self._turn or words[first + 1 + (turn & 1)] != self._at:
            with self._memory.lock(first):
                self._replay()

    def do(self, operation: tuple[Any, ...], only_if: Callable[[], bool] | None = None) -> Any:
        """Do it in every process; what it gives here.

        ``only_if`` is asked when nobody else can do anything; where it says no nothing is done.
        """
        record = marshal.dumps(operation)
        with self._memory.lock(self._first):
            self._replay()
            if only_if is not None and not only_if():
                return None
            result = self._state.apply(operation)
            if not self._write(record):
                self._turn_over()
            return result

    def _set_end(self) -> None:
        """Behind the state at the beginning."""
        self._end = min(self._half, 3 * self._at + _LEAST_ROOM)

    def _start_of(self, turn: int) -> int:
        return 8 * (self._first + _HEAD) + (turn & 1) * self._half

    def _replay(self) -> None:
        turn = self._words[self._first]
        end = self._words[self._first + 1 + (turn & 1)]
        start = self._start_of(turn)
        if turn != self._turn:
            self._turn, self._at = turn, 0
            self._state.restore(self._next(start))
            self._set_end()
        while self._at < end:
            operation = self._next(start)
            try:
                self._state.apply(operation)
            except (TypeError, ValueError):
                pass  # told to who asked for it

    def _next(self, start: int) -> Any:
        (length,) = _LENGTH.unpack_from(self._data, start + self._at)
        begin = start + self._at + 4
        self._at += 4 + length
        return marshal.loads(self._data[begin : begin + length])  # noqa: S302 - of our own processes

    def _write(self, record: bytes) -> bool:
        if self._at + 4 + len(record) > self._end:
            return False
        begin = self._start_of(self._turn) + self._at
        _LENGTH.pack_into(self._data, begin, len(record))
        self._data[begin + 4 : begin + 4 + len(record)] = record
        self._at += 4 + len(record)
        self._words[self._first + 1 + (self._turn & 1)] = self._at
        return True

    def _turn_over(self) -> None:
        self._turn += 1
        self._at = 0
        self._end = self._half
        if not self._write(marshal.dumps(self._state.save())):
            raise ValueError("the state is larger than its log")
        self._set_end()
        self._words[self._first] = self._turn
