"""Hot restart: a new epoch takes over without a request lost, and one that fails changes nothing."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from proxy_process import ROOT
from test_server_process import ADMIN, CHAIN

from tests.restart_check.check import run

TIMEOUT_S = 60.0


def test_restarts_under_load_lose_no_request_and_no_descriptor(tmp_path: Path) -> None:
    # Epochs of one process and of two workers: sockets that are too many are served, missing ones are made,
    # and there are as many as the most workers that there were.
    outcome = run(tmp_path, 4, concurrency=(1, 2))
    assert outcome.failures == []
    assert outcome.requests > 0
    assert outcome.is_good(), outcome


class Proxy:
    """A proxy whose epochs are started by itself."""

    def __init__(self, directory: Path, *arguments: str) -> None:
        self.directory = directory
        self.config = directory / "bootstrap.yaml"
        self.write()
        self.base_id = directory / "base_id"
        self.admin_file = directory / "admin"
        self.output = directory / "output"
        command = [sys.executable, "-m", "sidecar", "-c", str(self.config), "--use-dynamic-base-id"]
        command += ["--base-id-path", str(self.base_id), "--admin-address-path", str(self.admin_file)]
        command += ["--drain-time-s", "1", "--parent-shutdown-time-s", "1", "--concurrency", "1"]
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [*command, *arguments], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        self.until_epoch(0)

    def write(self, extra: str = "") -> None:
        text = "static_resources:\n  listeners:\n  - name: main\n"
        text += "    address: {socket_address: {address: 127.0.0.1, port_value: 0}}\n" + CHAIN.lstrip("\n")
        self.config.write_text(text + ADMIN + extra)

    def admin(self, path: str) -> bytes:
        port = int(self.admin_file.read_text().rpartition(":")[2])
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        try:
            connection.request("GET", path)
            return connection.getresponse().read()
        finally:
            connection.close()

    def epoch(self) -> int:
        with contextlib.suppress(OSError, ValueError):
            found = json.loads(self.admin("/server_info"))
            if found["state"] == "LIVE":
                return int(found["command_line_options"]["restart_epoch"])
        return -1

    def until_epoch(self, wanted: int) -> None:
        deadline = time.monotonic() + TIMEOUT_S
        while self.epoch() != wanted:
            assert time.monotonic() < deadline, self.output.read_text()
            time.sleep(0.02)

    def pid_of(self, epoch: int) -> int:
        """The process that was started as this epoch."""
        wanted = {str(self.admin_file).encode(), b"--restart-epoch", str(epoch).encode()}
        for pid in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if wanted <= set((pid / "cmdline").read_bytes().split(b"\0")):
                    return int(pid.name)
        raise AssertionError(f"nobody is epoch {epoch}")

    def restart(self) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "sidecar", "restart", "--base-id", self.base_id.read_text()]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=90, check=False)


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[Proxy]:
    found = Proxy(tmp_path)
    try:
        yield found
    finally:
        for pid in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if str(found.admin_file).encode() in (pid / "cmdline").read_bytes().split(b"\0"):
                    os.kill(int(pid.name), signal.SIGKILL)
        found.process.wait(20)


def test_command_and_signal_restart_and_a_wrong_file_changes_nothing(proxy: Proxy) -> None:
    done = proxy.restart()
    assert (done.returncode, done.stdout) == (0, "epoch 1 serves\n"), done.stderr
    proxy.until_epoch(1)
    assert b"server.hot_restart_generation: 2\n" in proxy.admin("/stats")
    assert b"server.hot_restart_epoch: 1\n" in proxy.admin("/stats")
    assert proxy.process.wait(30) == 0  # told to end, it ends
    proxy.write("nonsense: 1\n")
    done = proxy.restart()
    assert done.returncode == 1
    assert "did not start" in done.stderr
    assert proxy.epoch() == 1
    proxy.write()
    os.kill(proxy.pid_of(1), signal.SIGHUP)
    proxy.until_epoch(2)
