"""Carrying bytes from one socket to another: through this process, or past it by splice(2).

A pipe in the kernel takes pages from one socket and gives them to the other; nothing is copied here.  That is
worth its two descriptors only where much comes, so a carrier begins with plain reads.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from typing import Any

from sidecar.net.reactor import Transport, turn

__all__ = ["Broken", "PipePool", "carry"]

#: Bytes of one plain read; a full one is the sign that much comes.
_READ_SIZE = 65536
#: ``F_SETPIPE_SZ`` (fcntl.h), and the size that an unprivileged process may ask for.
_SET_SIZE = 1031
_PIPE_SIZE = 1024 * 1024
#: Pipes that are kept for the next stream.
_KEPT = 16
#: Reads before others have their turn, and spliced bytes.
_READS_PER_TURN = 16
_BYTES_PER_TURN = 4 * 1024 * 1024
_FLAGS = getattr(os, "SPLICE_F_MOVE", 0) | getattr(os, "SPLICE_F_NONBLOCK", 0)


class Broken(Exception):
    """One side of what is carried broke: ``transport``; ``errno`` says how."""

    def __init__(self, transport: Transport, error: OSError) -> None:
        super().__init__(str(error))
        self.transport = transport
        self.errno = error.errno


class PipePool:
    """Empty pipes."""

    __slots__ = ("_free",)

    def __init__(self) -> None:
        self._free: list[tuple[int, int]] = []

    def take(self) -> tuple[int, int]:
        """The two ends of a pipe, non-blocking.  Raises: OSError."""
        if self._free:
            return self._free.pop()
        pipe = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            fcntl.fcntl(pipe[1], _SET_SIZE, _PIPE_SIZE)
        except OSError:
            pass  # this user has no more; the size that it has does, too
        return pipe

    def give_back(self, pipe: tuple[int, int], *, is_empty: bool) -> None:
        """Keep the pipe for another stream, if nothing is left in it."""
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


async def carry(
    source: Transport,
    target: Transport,
    count: Callable[[int], None],
    pipes: PipePool | None,
    waits: tuple[Any, Any] | None = None,
) -> None:
    """Carry bytes until ``source`` has ended; ``count`` is told of all that the target took.

    Without ``pipes`` nothing is spliced.  ``waits`` counts how often the target took no more, and
    how often it did again.  Raises: Broken.  If cancelled: bytes under way are lost.
    """
    reads = 0
    size = min(_READ_SIZE, source.limit)
    while True:
        try:
            data = await source.receive(size)
        except OSError as error:
            raise Broken(source, error) from error
        if not data:
            return
        try:
            rest = target.try_send(data)
            if rest is not None:
                if waits is not None:
                    waits[0].value += 1
                await target.finish_send(rest)
                if waits is not None:
                    waits[1].value += 1
        except OSError as error:
            raise Broken(target, error) from error
        count(len(data))
        reads += 1
        if len(data) == size:
            if pipes is not None and source.is_plain and target.is_plain:
                await _splice(source, target, count, pipes, waits)
                return
            if not reads % _READS_PER_TURN:
                await turn()


async def _splice(
    source: Transport,
    target: Transport,
    count: Callable[[int], None],
    pipes: PipePool,
    waits: tuple[Any, Any] | None,
) -> None:
    pipe = pipes.take()
    reader, writer = pipe
    size = min(_PIPE_SIZE, source.limit, target.limit)
    left = passed = 0
    try:
        while True:
            try:
                left = os.splice(source.fd, writer, size, flags=_FLAGS)
            except (BlockingIOError, InterruptedError):
                await source.readable()
                continue
            except OSError as error:
                raise Broken(source, error) from error
            if not left:
                return
            whole = left
            while left:
                try:
                    left -= os.splice(reader, target.fd, left, flags=_FLAGS)
                except (BlockingIOError, InterruptedError):
                    if waits is not None:
                        waits[0].value += 1
                    await target.writable()
                    if waits is not None:
                        waits[1].value += 1
                except OSError as error:
                    raise Broken(target, error) from error
            count(whole)
            passed += whole
            if passed >= _BYTES_PER_TURN:
                passed = 0
                await turn()
    finally:
        pipes.give_back(pipe, is_empty=not left)
