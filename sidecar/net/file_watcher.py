"""Tells of files that are moved into a directory, as a control plane by files puts them there.

Envoy looks at moves alone (``inotify`` ``IN_MOVED_TO``): a file that is written in place may be read half
written.  What counts is the directory and the name in it, so that a link which is replaced tells, and a
change of what it points at does not.

The standard library has no inotify(7), and the kept packages around it are no shorter than this: two calls of
libc by ctypes, and a structure.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Callable

import trio

__all__ = ["FileWatcher", "Watch"]

_IN_MOVED_TO = 0x80
_IN_Q_OVERFLOW = 0x4000
#: ``struct inotify_event`` without its name.
_EVENT = struct.Struct("iIII")
_BUFFER_BYTES = 64 * 1024


class Watch:
    """One directory, or one name in it; ``close`` ends it."""

    __slots__ = ("_watcher", "changed", "descriptor", "name")

    def __init__(
        self, watcher: FileWatcher, descriptor: int, name: bytes, changed: Callable[[], None]
    ) -> None:
        self._watcher = watcher
        self.descriptor = descriptor
        #: Empty for every name.
        self.name = name
        self.changed = changed

    def close(self) -> None:
        """Hear no more of it; idempotent."""
        self._watcher.forget(self)


class FileWatcher:
    """All watches of a process, over one descriptor that is opened for the first of them."""

    def __init__(self) -> None:
        self._fd = -1
        self._watches: dict[int, list[Watch]] = {}
        self._opened = trio.Event()

    def watch_file(self, path: str, changed: Callable[[], None]) -> Watch:
        """Call ``changed`` when something is moved to ``path``.

        Raises: ValueError for a path without a directory, OSError when the directory cannot be watched.
        """
        directory, slash, name = path.rpartition("/")
        if not slash:
            raise ValueError(f"invalid file path {path}")
        return self._watch(directory or "/", os.fsencode(name), changed)

    def watch_directory(self, path: str, changed: Callable[[], None]) -> Watch:
        """Call ``changed`` when something is moved into the directory.  Raises: OSError."""
        return self._watch(path, b"", changed)

    def forget(self, watch: Watch) -> None:
        """The watch is over."""
        watches = self._watches.get(watch.descriptor, [])
        if watch in watches:
            watches.remove(watch)
            if not watches:
                del self._watches[watch.descriptor]
                _libc().inotify_rm_watch(self._fd, watch.descriptor)

    async def run(self) -> None:
        """Call those that watch, until cancelled."""
        await self._opened.wait()
        while True:
            await trio.lowlevel.wait_readable(self._fd)
            self.dispatch()

    def dispatch(self) -> None:
        """Read what there is to read, and tell each watch once."""
        found: dict[int, Watch] = {}
        while True:
            try:
                data = os.read(self._fd, _BUFFER_BYTES)
            except BlockingIOError:
                break
            for descriptor, mask, name in _events(data):
                if mask & _IN_Q_OVERFLOW:
                    # What was lost may have been anybody's.
                    found.update((id(each), each) for some in self._watches.values() for each in some)
                for watch in self._watches.get(descriptor, ()):
                    if watch.name in (b"", name):
                        found[id(watch)] = watch
        for watch in found.values():
            watch.changed()

    def close(self) -> None:
        """Give the descriptor back."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            self._watches.clear()

    def _watch(self, directory: str, name: bytes, changed: Callable[[], None]) -> Watch:
        libc = _libc()
        if self._fd < 0:
            self._fd = _checked(libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
            self._opened.set()
        descriptor = _checked(libc.inotify_add_watch(self._fd, os.fsencode(directory), _IN_MOVED_TO))
        watch = Watch(self, descriptor, name, changed)
        self._watches.setdefault(descriptor, []).append(watch)
        return watch


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def _events(data: bytes) -> list[tuple[int, int, bytes]]:
    found = []
    offset = 0
    while offset < len(data):
        descriptor, mask, _, size = _EVENT.unpack_from(data, offset)
        offset += _EVENT.size
        found.append((descriptor, mask, data[offset : offset + size].rstrip(b"\0")))
        offset += size
    return found
