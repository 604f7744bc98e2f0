"""A measured process: started pinned to a core, watched through /proc, ended by its number."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType

import sidecar

__all__ = ["Process", "free_ports"]

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
#: Where this process has the packages from.  ``-m`` looks there first: it is not the checkout of the tests
#: where the compiled form is measured.
_HOME = Path(sidecar.__file__).parent.parent


class Process:
    """A server on one core.  Its CPU time and memory include its children's."""

    def __init__(self, command: list[str], *, core: int | str, log: Path) -> None:
        self._log = log
        with log.open("wb") as output:
            self._popen = subprocess.Popen(
                ["taskset", "-c", str(core), *command],
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                cwd=_HOME,
                start_new_session=True,
            )

    def __enter__(self) -> Process:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        tree = self.tree()
        self._popen.terminate()
        try:
            self._popen.wait(5)
        except subprocess.TimeoutExpired:
            for pid in tree:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            self._popen.wait(5)

    def wait_for_port(self, port: int, timeout_s: float = 15.0) -> None:
        """Return when somebody accepts on ``port``; RuntimeError with the log's end otherwise."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline and self._popen.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", port), 0.5).close()
            except OSError:
                time.sleep(0.02)
            else:
                return
        tail = self._log.read_text(errors="replace")[-1500:]
        raise RuntimeError(f"{self._popen.args!r} did not listen on {port}:\n{tail}")

    def tree(self) -> list[int]:
        """The process and everything it started."""
        children: dict[int, list[int]] = {}
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                fields = _stat(int(entry))
                if fields:
                    children.setdefault(int(fields[1]), []).append(int(entry))
        found = [self._popen.pid]
        for pid in found:
            found += children.get(pid, ())
        return found

    def cpu_s(self) -> float:
        """User and system time spent so far."""
        ticks = 0
        for pid in self.tree():
            fields = _stat(pid)
            if fields:
                ticks += int(fields[11]) + int(fields[12])
        return ticks / _TICKS

    def rss_bytes(self) -> int:
        """Memory resident now."""
        return sum(int(fields[21]) * _PAGE for pid in self.tree() if (fields := _stat(pid)))


def free_ports(count: int) -> list[int]:
    """Ports of the loopback that nobody has at this moment."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def _stat(pid: int) -> list[str]:
    """The fields of /proc/<pid>/stat behind the command's name (state is number 0); empty when it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return text.rpartition(")")[2].split()
