"""Token buckets of a server with workers: one for all, of which each takes under the kernel's lock.

The clock is ``CLOCK_MONOTONIC``, the same for all processes.
"""

from __future__ import annotations

from collections.abc import Hashable
from hashlib import blake2b
from typing import TYPE_CHECKING

from sidecar.core.token_bucket import TokenBucket

if TYPE_CHECKING:
    from sidecar.core.shared_memory import SharedMemory

__all__ = ["SharedBucketTable", "make_bucket"]


def make_bucket(
    memory: SharedMemory | None, key: str, max_tokens: int, tokens_per_fill: int, fill_interval_s: float
) -> TokenBucket:
    """A bucket of this process, or of all that make one of this key.

    Where an update leaves the key as it was, the bucket is as full as it was.
    """
    at = None if memory is None else memory.words_of_all(f"bucket {key}".encode(), 1)
    if memory is None or at is None:
        return TokenBucket(max_tokens, tokens_per_fill, fill_interval_s)
    return _SharedBucket(memory, at, max_tokens, tokens_per_fill, fill_interval_s)


class _SharedBucket(TokenBucket):
    """See the module."""

    __slots__ = ("_at", "_memory")

    def __init__(
        self, memory: SharedMemory, at: int, max_tokens: int, tokens_per_fill: int, fill_interval_s: float
    ) -> None:
        self._memory = memory
        self._at = at
        super().__init__(max_tokens, tokens_per_fill, fill_interval_s)

    def _begin(self) -> None:
        """Others may have taken of it already; 0 is what the memory holds of a full one."""

    @property
    def _since(self) -> float:
        return self._memory.floats[self._at] or float("-inf")

    @_since.setter
    def _since(self, value: float) -> None:
        self._memory.floats[self._at] = value

    def take(self, now: float, tokens: int = 1) -> bool:
        with self._memory.lock(self._at):
            return super().take(now, tokens)

    def give_back(self, now: float, tokens: int) -> None:
        with self._memory.lock(self._at):
            super().give_back(now, tokens)


class SharedBucketTable:
    """The buckets of one descriptor that stands for any value: as many as are allowed, the last used ones.

    Each has three words: the hash of its values, when it was asked for, and what the bucket is.
    """

    def __init__(self, memory: SharedMemory, at: int, most: int) -> None:
        self._memory = memory
        self._hashes = slice(at, at + most)
        self._used = at + most
        self._since = at + 2 * most
        self._most = most
        self._made: dict[int, TokenBucket] = {}

    @classmethod
    def make(cls, memory: SharedMemory | None, key: str, most: int) -> SharedBucketTable | None:
        """None where this process is alone, or has no room."""
        at = None if memory is None or not most else memory.words_of_all(f"buckets {key}".encode(), 3 * most)
        return None if memory is None or at is None else cls(memory, at, most)

    def bucket(self, values: Hashable, now: float, settings: tuple[int, int, float]) -> TokenBucket:
        """That of these values; the one that was not asked for the longest gives way."""
        memory = self._memory
        name = int.from_bytes(blake2b(repr(values).encode(), digest_size=8).digest(), "big", signed=True) or 1
        with memory.lock(self._used):
            hashes = memory.words[self._hashes].tolist()
            try:
                number = hashes.index(name)
            except ValueError:
                used = memory.floats[self._used : self._used + self._most].tolist()
                number = used.index(min(used))
                memory.floats[self._since + number] = 0.0
                memory.words[self._hashes.start + number] = name
            memory.floats[self._used + number] = now
        bucket = self._made.get(number)
        if bucket is None:
            bucket = self._made[number] = _SharedBucket(memory, self._since + number, *settings)
        return bucket
