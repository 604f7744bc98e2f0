"""One end of a stream socket that carries frames and descriptors, both ways, in order.

Sending never waits: what the socket does not take is kept and sent by :meth:`Channel.run`.  A peer that takes
nothing while more than the limit piles up is given up (the channel closes).  Descriptors are copied when they
are sent; who receives them owns them.
"""

from __future__ import annotations

import array
import os
import socket
from collections import deque
from collections.abc import Sequence
from typing import Any

import trio

from sidecar.server.workers.frames import MAX_DESCRIPTORS, Decoder, Frame, FrameError, encode

__all__ = ["Channel"]

_LIMIT_BYTES = 1 << 28
_READ_BYTES = 1 << 18
_ANCILLARY_BYTES = socket.CMSG_SPACE(MAX_DESCRIPTORS * 4)


class Channel:
    """See the module.  Takes the socket over."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._decoder = Decoder()
        self._frames: deque[Frame] = deque()
        self._received: deque[int] = deque()
        #: What is to be sent: bytes, and the descriptors that go with the first of them.
        self._queue: deque[tuple[memoryview, list[int]]] = deque()
        self._queued = 0
        self._has_more = trio.Event()
        self.is_closed = False

    # -- sending -----------------------------------------------------------------------------------------
    def send(
        self,
        kind: str,
        values: dict[str, Any] | None = None,
        blobs: Sequence[bytes] = (),
        descriptors: Sequence[int] = (),
    ) -> None:
        """Send a frame, or keep it until the peer takes it; nothing once the channel is closed.

        Raises: OSError, where there is no descriptor left to keep one in.
        """
        if self.is_closed:
            return
        data = encode(kind, values or {}, blobs, len(descriptors))
        self._queue.append((memoryview(data), _duplicates(descriptors)))
        self._queued += len(data)
        if len(self._queue) == 1:
            self._flush()
        if self._queued > _LIMIT_BYTES:
            self.close()
        elif self._queue:
            self._has_more.set()

    def _flush(self) -> None:
        queue = self._queue
        while queue:
            data, descriptors = queue[0]
            ancillary = []
            if descriptors:
                ancillary.append((socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors)))
            try:
                sent = self._sock.sendmsg([data], ancillary, socket.MSG_DONTWAIT)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                self.close()
                return
            _close_all(descriptors)
            self._queued -= sent
            if sent == len(data):
                queue.popleft()
            else:
                queue[0] = (data[sent:], [])

    async def run(self) -> None:
        """Send what was kept, until cancelled or closed."""
        while not self.is_closed:
            await self._has_more.wait()
            self._has_more = trio.Event()
            while self._queue and not self.is_closed:
                try:
                    await trio.lowlevel.wait_writable(self._sock)
                except (trio.ClosedResourceError, OSError, ValueError):
                    return
                self._flush()

    # -- receiving ---------------------------------------------------------------------------------------
    async def receive(self) -> tuple[Frame, list[int]] | None:
        """The next frame with its descriptors; None at the end.  Raises: FrameError."""
        while not self._frames:
            if self.is_closed:
                return None
            try:
                await trio.lowlevel.wait_readable(self._sock)
            except (trio.ClosedResourceError, OSError, ValueError):
                return None
            if not self._read(socket.MSG_DONTWAIT):
                return None
        await trio.lowlevel.cancel_shielded_checkpoint()
        return self._next()

    def receive_now(self) -> tuple[Frame, list[int]] | None:
        """The same for who does not run yet, on a socket that blocks."""
        while not self._frames:
            if self.is_closed or not self._read(0):
                return None
        return self._next()

    def _next(self) -> tuple[Frame, list[int]]:
        frame = self._frames.popleft()
        if frame.descriptors > len(self._received):
            raise FrameError("descriptors are missing")
        return frame, [self._received.popleft() for _ in range(frame.descriptors)]

    def _read(self, flags: int) -> bool:
        """Whether there may be more."""
        try:
            data, ancillary, _, _ = self._sock.recvmsg(_READ_BYTES, _ANCILLARY_BYTES, flags)
        except (BlockingIOError, InterruptedError):
            return True
        except OSError:
            return False
        for level, kind, content in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                received = array.array("i")
                received.frombytes(content[: len(content) - len(content) % received.itemsize])
                for descriptor in received:
                    os.set_inheritable(descriptor, False)
                self._received.extend(received)
        self._frames.extend(self._decoder.feed(data))
        return bool(data)

    def close(self) -> None:
        """Send and receive no more; idempotent."""
        if self.is_closed:
            return
        self.is_closed = True
        for _, descriptors in self._queue:
            _close_all(descriptors)
        self._queue.clear()
        _close_all(list(self._received))
        self._received.clear()
        trio_close(self._sock)
        self._has_more.set()


def trio_close(sock: socket.socket) -> None:
    """Close a socket that tasks may wait for."""
    try:
        trio.lowlevel.notify_closing(sock)
    except RuntimeError:
        pass  # nothing runs
    sock.close()


def _duplicates(descriptors: Sequence[int]) -> list[int]:
    """The same open files once more.  Raises: OSError; none is left open then."""
    made: list[int] = []
    try:
        for each in descriptors:
            made.append(os.dup(each))  # noqa: PERF401 - what is made is closed where one cannot be
    except OSError:
        _close_all(made)
        raise
    return made


def _close_all(descriptors: Sequence[int]) -> None:
    for each in descriptors:
        os.close(each)
