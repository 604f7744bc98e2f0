"""Carrying bytes from one socket to another: through this process, or past it by splice(2).

A pipe in the kernel takes pages from one socket and gives them to the other; nothing is copied here.  That is
worth its two descriptors only where much comes, so a carrier begins with plain reads.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from sidecar.net.pipes import PIPE_SIZE, PipePool
from sidecar.net.reactor import Transport, turn

__all__ = ["Broken", "carry", "move"]

#: Bytes of one plain read; a full one is the sign that much comes.
_READ_SIZE = 65536
#: Reads before others have their turn, and spliced bytes.
_READS_PER_TURN = 16
_BYTES_PER_TURN = 4 * 1024 * 1024
#: A body of which so little comes at a time is better read.
_LITTLE = 16384
_FLAGS = getattr(os, "SPLICE_F_MOVE", 0) | getattr(os, "SPLICE_F_NONBLOCK", 0)


class Broken(Exception):
    """One side of what is carried broke: ``transport``; ``errno`` says how."""

    def __init__(self, transport: Transport, error: OSError) -> None:
        super().__init__(str(error))
        self.transport = transport
        self.errno = error.errno


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
    size = min(PIPE_SIZE, source.limit, target.limit)
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


async def move(
    source: Transport, target: Transport, size: int, count: Callable[[int], None], pipes: PipePool
) -> None:
    """Splice up to ``size`` bytes, for as long as much of them comes at a time; nothing without a large pipe.

    It ends where ``source`` does, too.  ``count`` is told of what the target took.  ``source`` stays ready:
    who reads next finds out.
    Raises: OSError (of ``source``), Broken (of ``target``).  If cancelled: bytes under way are lost.
    """
    pipe = pipes.take_large()
    if pipe is None:
        return
    reader, writer = pipe
    most = min(PIPE_SIZE, source.limit, target.limit)
    inside = passed = 0
    has_waited = False
    try:
        while size:
            try:
                inside = os.splice(source.fd, writer, min(size, most), flags=_FLAGS)
            except (BlockingIOError, InterruptedError):
                has_waited = True
                await source.readable()
                continue
            if not inside:
                return
            size -= inside
            passed += inside
            is_little = has_waited and inside < _LITTLE
            has_waited = False
            while inside:
                try:
                    taken = os.splice(reader, target.fd, inside, flags=_FLAGS)
                except (BlockingIOError, InterruptedError):
                    await target.writable()
                except OSError as error:
                    raise Broken(target, error) from error
                else:
                    inside -= taken
                    count(taken)
            if is_little:
                return
            if passed >= _BYTES_PER_TURN:
                passed = 0
                await turn()
    finally:
        source.ready = True
        pipes.give_back(pipe, is_empty=not inside)
