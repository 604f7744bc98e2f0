"""Numbers that the processes of one server share: a memory that its supervisor makes and workers inherit.

It is a file without a name (``memfd_create``), mapped by every process, of which only touched pages exist.  A
directory at its beginning names blocks of 64-bit words by the hash of a key, so that processes that make the
same of the same configuration find the same block without asking each other.  Locks are the kernel's, of one
byte each (``fcntl``): the end of a process, however it ends, releases what it held.  What is written under a
lock is one word at last, so that who is killed on the way leaves what was there before.

Blocks are never given back: a key that comes again finds its block.  Who serves alone has no such memory.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["Count", "SharedMemory", "make_count"]

logger = logging.getLogger("sidecar.main")

_WORD = 8
#: Of the address space; what nobody touches takes no memory.
_SIZE = 512 << 20
#: Words of an entry: two of the hash, where the block begins, its words by process (or negative: of all).
_ENTRY = 4
_MOST_ENTRIES = 1 << 18
#: The first word counts the entries; written last, it makes one known.
_ENTRIES_AT = 8
_BLOCKS_AT = _ENTRIES_AT + _ENTRY * _MOST_ENTRIES


class SharedMemory:
    """One process's view.  Used from one thread."""

    def __init__(self, descriptor: int, process: int, processes: int) -> None:
        """Takes the descriptor over.  ``process`` is which of the ``processes`` this is."""
        self.descriptor = descriptor
        self.process = process
        self.processes = processes
        view = memoryview(mmap.mmap(descriptor, _SIZE))
        self.words = view.cast("q")
        self.floats = view.cast("d")
        self._known: dict[bytes, int] = {}
        self._read = 0
        #: The first word behind the last block.
        self._end = _BLOCKS_AT
        self._is_full = False

    @classmethod
    def create(cls, processes: int) -> SharedMemory:
        """A new one, for the last of its processes."""
        descriptor = os.memfd_create("sidecar")
        os.ftruncate(descriptor, _SIZE)
        return cls(descriptor, processes - 1, processes)

    @contextmanager
    def lock(self, at: int) -> Iterator[None]:
        """Keep other processes from what stands at the word ``at``; never for long, and never two at once."""
        fcntl.lockf(self.descriptor, fcntl.LOCK_EX, 1, at)
        try:
            yield
        finally:
            fcntl.lockf(self.descriptor, fcntl.LOCK_UN, 1, at)

    def words_of_each(self, key: bytes, words: int) -> int | None:
        """Where the block begins that has ``words`` for each process; None where there is no room.

        A process writes to its own words only, so that nobody locks; they are zeroed when it ends.
        """
        return self._find(b"each " + key, words)

    def words_of_all(self, key: bytes, words: int) -> int | None:
        """Where the block of ``words`` begins that all write to; None where there is no room."""
        return self._find(b"all " + key, -words)

    def _find(self, key: bytes, kind: int) -> int | None:
        name = hashlib.blake2b(key + kind.to_bytes(8, "big", signed=True), digest_size=16).digest()
        at = self._known.get(name)
        if at is None:
            with self.lock(0):
                self._learn()
                at = self._known.get(name)
                if at is None:
                    at = self._add(name, kind)
        return at

    def _learn(self) -> None:
        words, data = self.words, self.words.cast("B")
        for number in range(self._read, words[0]):
            at = _ENTRIES_AT + _ENTRY * number
            self._known[bytes(data[_WORD * at : _WORD * at + 16])] = words[at + 2]
            self._end = words[at + 2] + self._size(words[at + 3])
        self._read = words[0]

    def _size(self, kind: int) -> int:
        return -kind if kind < 0 else kind * self.processes

    def _add(self, name: bytes, kind: int) -> int | None:
        words = self.words
        size = self._size(kind)
        at = self._end
        if self._read == _MOST_ENTRIES or at + size > len(words):
            if not self._is_full:
                self._is_full = True
                logger.error(
                    "the memory of the workers is full: what is limited from now on is limited by worker"
                )
            return None
        entry = _ENTRIES_AT + _ENTRY * self._read
        words.cast("B")[_WORD * entry : _WORD * entry + 16] = name
        words[entry + 2], words[entry + 3] = at, kind
        words[0] = self._read + 1
        self._learn()
        return at

    def forget(self, process: int) -> None:
        """A process has ended: so has what it counted."""
        with self.lock(0):
            self._learn()
        words = self.words
        for number in range(self._read):
            entry = _ENTRIES_AT + _ENTRY * number
            at, kind = words[entry + 2], words[entry + 3]
            for word in range(at + process * kind, at + (process + 1) * kind) if kind > 0 else ():
                words[word] = 0


class Count:
    """How many there are of something that has a limit."""

    __slots__ = ("_value",)

    def __init__(self) -> None:
        self._value = 0

    def add(self, number: int) -> None:
        """So many more."""
        self._value += number

    def total(self) -> int:
        """How many there are."""
        return self._value


class SharedCount(Count):
    """How many there are of it in all processes."""

    __slots__ = ("_at", "_first", "_memory")

    def __init__(self, memory: SharedMemory, first: int) -> None:
        """``first`` is where the block of a word for each process begins."""
        self._memory = memory
        self._first = first
        self._at = first + memory.process

    def add(self, number: int) -> None:
        """So many more, with this process."""
        self._memory.words[self._at] += number

    def total(self) -> int:
        """How many there are with all."""
        return sum(self._memory.words[self._first : self._first + self._memory.processes])


def make_count(memory: SharedMemory | None, key: str) -> Count:
    """A count of this process, or of all that count under ``key``."""
    first = None if memory is None else memory.words_of_each(key.encode(), 1)
    return Count() if memory is None or first is None else SharedCount(memory, first)
