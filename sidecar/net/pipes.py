"""Pipes for splice(2), kept for the next who needs one: making one costs more than a small body."""

from __future__ import annotations

import fcntl
import os

__all__ = ["PIPE_SIZE", "PipePool"]

#: ``F_SETPIPE_SZ`` and ``F_GETPIPE_SZ`` (fcntl.h), and the size that an unprivileged process may ask for.
_SET_SIZE, _GET_SIZE = 1031, 1032
PIPE_SIZE = 1024 * 1024
#: Pipes that are kept for the next stream.
_KEPT = 16
#: Large ones at the same time: a user gets 64 MiB of them, and each is two descriptors.
_MOST_LARGE = 32


class PipePool:
    """Empty pipes."""

    __slots__ = ("_free", "_large_in_use")

    def __init__(self) -> None:
        self._free: list[tuple[int, int]] = []
        self._large_in_use: set[tuple[int, int]] = set()

    def take(self) -> tuple[int, int]:
        """The two ends of a pipe, non-blocking.  Raises: OSError."""
        if self._free:
            return self._free.pop()
        pipe = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            fcntl.fcntl(pipe[1], _SET_SIZE, PIPE_SIZE)
        except OSError:
            pass  # this user has no more; the size that it has does, too
        return pipe

    def take_large(self) -> tuple[int, int] | None:
        """A pipe of PIPE_SIZE; None where there are enough of them in use, or the system has no more."""
        if len(self._large_in_use) >= _MOST_LARGE:
            return None
        try:
            pipe = self.take()
        except OSError:
            return None
        if fcntl.fcntl(pipe[1], _GET_SIZE) < PIPE_SIZE:
            self.give_back(pipe, is_empty=True)
            return None
        self._large_in_use.add(pipe)
        return pipe

    def give_back(self, pipe: tuple[int, int], *, is_empty: bool) -> None:
        """Keep the pipe for another stream, if nothing is left in it."""
        self._large_in_use.discard(pipe)
        if is_empty and len(self._free) < _KEPT:
            self._free.append(pipe)
        else:
            os.close(pipe[0])
            os.close(pipe[1])

    def close(self) -> None:
        """Close those that are kept."""
        for pipe in self._free:
            os.close(pipe[0])
            os.close(pipe[1])
        self._free.clear()
