"""Workers as copies of the process that has read the configuration.

What a process imports takes most of its start, and N workers that begin with ``exec`` import it N times once
more.  So the first ones are forked, when everything is imported and nothing is open yet: no socket but their
channels, no thread, no loop.  From there on they are as those that ``exec`` starts (``worker.run_worker``):
they have everything from the channel.  One that takes the place of another is started with ``exec``.
"""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import socket
import sys

__all__ = ["Forked", "ForkedProcess", "fork_workers"]


class ForkedProcess:
    """What :class:`subprocess.Popen` is for a process that it started."""

    __slots__ = ("_status", "pid")

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._status: int | None = None

    def poll(self) -> int | None:
        """The exit status, or None while it runs."""
        return self._wait(os.WNOHANG)

    def wait(self) -> int:
        """Wait for its end, and block meanwhile."""
        status = self._wait(0)
        assert status is not None
        return status

    def send_signal(self, number: int) -> None:
        """Nothing is sent to a process that has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _wait(self, options: int) -> int | None:
        if self._status is None:
            pid, status = os.waitpid(self.pid, options)
            if pid:
                self._status = os.waitstatus_to_exitcode(status)
        return self._status


class Forked:
    """A worker that waits to be greeted, and our end of its channel."""

    __slots__ = ("channel", "process")

    def __init__(self, process: ForkedProcess, channel: socket.socket) -> None:
        self.process = process
        self.channel = channel


def fork_workers(count: int) -> list[Forked] | int:
    """The workers, in the process that called; in each of them the descriptor of its channel.

    Fewer where there is no room for more, and none where a thread runs, which would not be in the copy: the
    supervisor starts who is missing.
    """
    if not _is_alone():
        return []
    sys.stdout.flush()
    sys.stderr.flush()
    gc.freeze()  # what nobody walks stays the same memory for all
    made: list[Forked] = []
    for number in range(count):
        try:
            ours, theirs = socket.socketpair()
        except OSError:
            break
        try:
            pid = os.fork()
        except OSError:
            ours.close()
            theirs.close()
            break
        if not pid:
            ours.close()
            for each in made:
                each.channel.close()
            _show_as(b"sidecar\0worker\0%d" % number)
            nothing = os.open(os.devnull, os.O_RDONLY)
            os.dup2(nothing, 0)
            os.close(nothing)
            return theirs.detach()
        theirs.close()
        made.append(Forked(ForkedProcess(pid), ours))
    return made


def _is_alone() -> bool:
    try:
        return len(os.listdir("/proc/self/task")) == 1
    except OSError:
        return False


def _show_as(command: bytes) -> None:
    """Have the lists of processes show this command line: it is not the one of the supervisor."""
    with open("/proc/self/stat", "rb") as file:
        fields = file.read().rpartition(b")")[2].split()
    start, end = int(fields[45]), int(fields[46])  # arg_start, arg_end: proc(5)
    size = end - start
    if start and size > 0:
        ctypes.memmove(start, command[: size - 1].ljust(size, b"\0"), size)
