"""The dictionaries that streams share (module ``sidecar.shared`` of our own Lua filter), also across workers.

With workers every process has a copy, and a log (:mod:`sidecar.core.shared_log`) tells what was done: sums
and ``add`` are exact across workers.  What a script only reads is not told, so that the entry that was not
written for the longest gives way there, and not the one that was not used.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sidecar.core.shared_log import SharedLog

if TYPE_CHECKING:
    from sidecar.core.shared_memory import SharedMemory

__all__ = ["SharedDictionary", "make_dictionary"]


def make_dictionary(
    memory: SharedMemory | None, key: str, max_entries: int, max_bytes: int
) -> SharedDictionary:
    """One of this process, or of all that make one of this key."""
    copy = _Copy(max_entries, max_bytes)
    log = SharedLog.make(memory, f"{key} {max_entries} {max_bytes}", max_bytes, copy)
    return SharedDictionary(max_entries, max_bytes) if log is None else _OfWorkers(copy, log)


class SharedDictionary:
    """A bounded dictionary with times to live; the least recently used entry gives way."""

    def __init__(self, max_entries: int, max_bytes: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._clock = clock
        self._size = 0
        #: Key → value (bytes, number or bool), and when it ends (0 for never).
        self._entries: OrderedDict[bytes, tuple[Any, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: bytes) -> Any:
        """The value, or None."""
        found = self._entries.get(key)
        if found is None:
            return None
        value, end = found
        if end and end <= self._clock():
            self._drop(key)
            return None
        self._entries.move_to_end(key)
        return value

    def set(self, key: bytes, value: Any, ttl_s: float = 0) -> bool:
        """Keep a value; False where it is too long to be kept at all.  None deletes."""
        if key in self._entries:
            self._drop(key)
        if value is None:
            return True
        size = _size(key, value)
        if size > self._max_bytes:
            return False
        while self._entries and (
            len(self._entries) >= self._max_entries or self._size + size > self._max_bytes
        ):
            self._drop(next(iter(self._entries)))
        self._entries[key] = value, self._clock() + ttl_s if ttl_s > 0 else 0.0
        self._size += size
        return True

    def add(self, key: bytes, value: Any, ttl_s: float = 0) -> bool:
        """Keep a value where there is none; whether there was none."""
        return self.get(key) is None and self.set(key, value, ttl_s)

    def incr(self, key: bytes, by: float, first: float | None = None, ttl_s: float = 0) -> Any:
        """The number after ``by`` was added to it, or to ``first``; None where both are missing."""
        value = self.get(key)
        if value is None:
            if first is None:
                return None
            self.set(key, first + by, ttl_s)
            return first + by
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise TypeError("not a number")
        _, end = self._entries[key]
        self._entries[key] = value + by, end
        return value + by

    def _drop(self, key: bytes) -> None:
        value, _ = self._entries.pop(key)
        self._size -= _size(key, value)


class _Copy(SharedDictionary):
    """What one process has of the dictionary of all; its clock is that of the operation."""

    def __init__(self, max_entries: int, max_bytes: int) -> None:
        self.now = 0.0
        super().__init__(max_entries, max_bytes, lambda: self.now)

    def apply(self, operation: tuple[Any, ...]) -> Any:
        verb, self.now, *arguments = operation
        if verb == "set":
            return self.set(*arguments)
        return self.add(*arguments) if verb == "add" else self.incr(*arguments)

    def save(self) -> Any:
        return list(self._entries.items())

    def restore(self, saved: Any) -> None:
        self._entries = OrderedDict(saved)
        self._size = sum(_size(key, value) for key, (value, _) in saved)

    def look(self, key: bytes, now: float) -> Any:
        """The value, with nothing changed."""
        value, end = self._entries.get(key, (None, 0.0))
        return None if end and end <= now else value


class _OfWorkers(SharedDictionary):
    """That of all processes."""

    def __init__(self, copy: _Copy, log: SharedLog, clock: Callable[[], float] = time.monotonic) -> None:
        self._copy = copy
        self._log = log
        self._clock = clock

    def __len__(self) -> int:
        self._log.catch_up()
        return len(self._copy)

    def get(self, key: bytes) -> Any:
        self._log.catch_up()
        return self._copy.look(key, self._clock())

    def set(self, key: bytes, value: Any, ttl_s: float = 0) -> bool:
        return bool(self._log.do(("set", self._clock(), key, value, ttl_s)))

    def add(self, key: bytes, value: Any, ttl_s: float = 0) -> bool:
        return bool(self._log.do(("add", self._clock(), key, value, ttl_s)))

    def incr(self, key: bytes, by: float, first: float | None = None, ttl_s: float = 0) -> Any:
        return self._log.do(("incr", self._clock(), key, by, first, ttl_s))


def _size(key: bytes, value: Any) -> int:
    return len(key) + 64 + (len(value) if isinstance(value, bytes) else 8)
