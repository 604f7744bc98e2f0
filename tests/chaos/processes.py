"""The upstreams' processes, and what the schedule does to them."""

from __future__ import annotations

import signal
import subprocess
import sys
from types import TracebackType

from tests.conformance.proxy import ROOT

__all__ = ["UpstreamProcess"]


class UpstreamProcess:
    """One upstream: started, told what to do, killed, stopped, started again."""

    def __init__(self, http1_port: int, http2_port: int) -> None:
        self._ports = (http1_port, http2_port)
        self._popen: subprocess.Popen[bytes] | None = None
        self._is_stopped = False

    def __enter__(self) -> UpstreamProcess:
        self.become("ok")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._kill()

    def become(self, state: str) -> None:
        """``crash``, ``hang`` or a mode."""
        if state == "crash":
            self._kill()
            return
        if self._popen is None:
            self._start()
        assert self._popen is not None
        if state == "hang":
            self._popen.send_signal(signal.SIGSTOP)
            self._is_stopped = True
            return
        if self._is_stopped:
            self._popen.send_signal(signal.SIGCONT)
            self._is_stopped = False
        assert self._popen.stdin is not None
        self._popen.stdin.write(f"{state}\n".encode())
        self._popen.stdin.flush()

    def _start(self) -> None:
        command = [sys.executable, "-m", "tests.chaos.upstream", *map(str, self._ports)]
        self._popen = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._popen.stdout is not None
        if self._popen.stdout.readline() != b"listening\n":
            raise RuntimeError(f"an upstream did not start on {self._ports}")

    def _kill(self) -> None:
        if self._popen is not None:
            self._popen.kill()
            self._popen.wait(5)
            for pipe in (self._popen.stdin, self._popen.stdout):
                if pipe is not None:
                    pipe.close()
            self._popen = None
            self._is_stopped = False
