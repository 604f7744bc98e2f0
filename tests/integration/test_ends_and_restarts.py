"""An end and a restart at the same time, and workers that die meanwhile: what is under way is finished."""

from __future__ import annotations

import contextlib
import http.client
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from proxy_process import ROOT
from test_shutdown import CONFIGURATION, TIMEOUT_S, WEBSOCKET, Running, read_until, running, tunnel


def _ask(proxy: Running) -> tuple[socket.socket, socket.socket]:
    """A request that its upstream has and did not answer: both ends."""
    client = proxy.connect()
    client.settimeout(TIMEOUT_S)
    client.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
    upstream = proxy.accept()
    read_until(upstream, b"\r\n\r\n")
    return client, upstream


def _answer(client: socket.socket, upstream: socket.socket) -> None:
    upstream.send(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nlate")
    assert read_until(client, b"late").startswith(b"HTTP/1.1 200 OK\r\n")


def _until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 3 * TIMEOUT_S
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _next_epoch(directory: Path, *, concurrency: int = 1) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "sidecar", "-c", str(directory / "bootstrap.yaml")]
    command += ["--concurrency", str(concurrency)]
    command += ["--drain-time-s", "2", "--parent-shutdown-time-s", "1", "--restart-epoch", "1"]
    command += ["--base-id", (directory / "base_id").read_text()]
    with (directory / "next").open("wb") as output:
        return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=output)


def _flags(directory: Path) -> list[str]:
    return ["--use-dynamic-base-id", "--base-id-path", str(directory / "base_id")]


@pytest.mark.parametrize("grace_s", ["0", "600"])
def test_epoch_that_starts_while_the_one_before_drains_serves_and_leaves_it_its_requests(
    tmp_path: Path, grace_s: str
) -> None:
    flags = [*_flags(tmp_path), "--shutdown-grace-s", grace_s, "--shutdown-deadline-s", "1200"]
    with running(tmp_path, *flags) as proxy:
        client, upstream = _ask(proxy)
        near, far = tunnel(proxy, *WEBSOCKET)
        proxy.terminate()
        proxy.until_ready(503)
        if grace_s == "0":
            proxy.until_refused()
        after = _next_epoch(tmp_path)
        try:
            _until(lambda: "starting main dispatch loop" in (tmp_path / "next").read_text())
            _until(lambda: "shutting down parent after drain" in (tmp_path / "next").read_text())
            assert proxy.status("/direct") == 200
            time.sleep(0.5)  # the old one was told to end, and is doing so already
            _answer(client, upstream)
            far.send(b"still")
            assert read_until(near, b"still") == b"still"
            near.close()
            assert far.recv(1) == b""
            far.close()
            assert proxy.ended() == 0
            assert proxy.status("/direct") == 200
        finally:
            after.kill()
            after.wait(TIMEOUT_S)


def test_command_restarts_nothing_that_ends(tmp_path: Path) -> None:
    with running(tmp_path, *_flags(tmp_path)) as proxy:
        client, upstream = _ask(proxy)
        proxy.terminate()
        proxy.until_ready(503)
        command = [
            sys.executable,
            "-m",
            "sidecar",
            "restart",
            "--base-id",
            (tmp_path / "base_id").read_text(),
        ]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=90, check=False)
        assert (done.returncode, done.stderr) == (1, "epoch 0: it is about to end\n")
        _answer(client, upstream)
        assert proxy.ended() == 0


def _workers(proxy: Running) -> list[int]:
    return _children(proxy.process.pid)


def _children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _on_each_worker(proxy: Running) -> dict[int, tuple[socket.socket, socket.socket]]:
    """A request under way on both workers, by the worker's process."""
    found: dict[int, tuple[socket.socket, socket.socket]] = {}
    workers = _workers(proxy)
    assert len(workers) == 2
    while len(found) < 2:
        client, upstream = _ask(proxy)
        found.setdefault(_owner(workers, client), (client, upstream))
    return found


def _owner(workers: list[int], client: socket.socket) -> int:
    """The worker that has the other end of a connection."""
    near = "{:08X}:{:04X}".format(
        int.from_bytes(socket.inet_aton(client.getpeername()[0]), "little"), client.getpeername()[1]
    )
    far = "{:08X}:{:04X}".format(
        int.from_bytes(socket.inet_aton(client.getsockname()[0]), "little"), client.getsockname()[1]
    )
    for line in Path("/proc/net/tcp").read_text().splitlines():
        fields = line.split()
        if fields[1:3] == [near, far]:
            wanted = f"socket:[{fields[9]}]"
            for pid in workers:
                for each in Path(f"/proc/{pid}/fd").iterdir():
                    with contextlib.suppress(FileNotFoundError):  # closed meanwhile
                        if os.readlink(each) == wanted:
                            return pid
    raise AssertionError("nobody has the connection")


def test_worker_that_dies_while_all_end_is_not_replaced_and_the_others_finish(tmp_path: Path) -> None:
    with running(tmp_path, "--disable-hot-restart", "--concurrency", "2") as proxy:
        first, second = _on_each_worker(proxy).items()
        proxy.terminate()
        proxy.until_ready(503)
        proxy.until_refused()
        os.kill(first[0], signal.SIGKILL)
        assert first[1][0].recv(1) == b""
        time.sleep(0.5)
        assert _workers(proxy) == [second[0]]
        _answer(*second[1])
        assert proxy.ended() == 0


def test_end_that_comes_while_a_worker_starts_lets_the_others_finish(tmp_path: Path) -> None:
    def stop_one(pid: int) -> None:
        _until(lambda: len(_children(pid)) == 2)
        os.kill(_children(pid)[1], signal.SIGSTOP)

    flags = ["--disable-hot-restart", "--concurrency", "2"]
    with running(tmp_path, *flags, while_starting=stop_one) as proxy:
        serving, starting = _workers(proxy)
        while True:
            client = proxy.connect()
            client.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            proxy.upstream.settimeout(0.5)
            with contextlib.suppress(TimeoutError):  # it waits for the worker that starts
                upstream = proxy.accept()
                break
        assert _owner([serving], client) == serving
        read_until(upstream, b"\r\n\r\n")
        proxy.terminate()
        _until(lambda: "caught ENVOY_SIGTERM" in (tmp_path / "output").read_text())
        os.kill(starting, signal.SIGCONT)
        _until(lambda: _workers(proxy) == [serving])
        proxy.until_refused()
        _answer(client, upstream)
        assert proxy.ended() == 0


def test_end_that_comes_while_a_worker_is_replaced_serves_who_waits_for_it(tmp_path: Path) -> None:
    with running(tmp_path, "--disable-hot-restart", "--concurrency", "2") as proxy:
        _until(lambda: _is_ready(proxy))  # both workers have listened
        dying, serving = _workers(proxy)
        os.kill(dying, signal.SIGKILL)
        _until(lambda: len(_workers(proxy)) == 2 and dying not in _workers(proxy))
        [starting] = set(_workers(proxy)) - {serving}
        # Its supervisor waits until the program is another one (vfork): a stop before that would stop both.
        _until(lambda: b"\0worker\0" in Path(f"/proc/{starting}/cmdline").read_bytes())
        os.kill(starting, signal.SIGSTOP)
        clients = [proxy.connect() for _ in range(24)]
        for client in clients:
            client.send(b"GET /direct HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        ready, _, _ = select.select(clients, [], [], TIMEOUT_S)
        while more := select.select([each for each in clients if each not in ready], [], [], 0.5)[0]:
            ready += more
        waiting = [each for each in clients if each not in ready]
        assert waiting
        for client in ready:
            assert read_until(client, b"hello").startswith(b"HTTP/1.1 200 OK\r\n")
        proxy.terminate()
        _until(lambda: "caught ENVOY_SIGTERM" in (tmp_path / "output").read_text())
        os.kill(starting, signal.SIGCONT)
        for client in waiting:
            assert read_until(client, b"hello").startswith(b"HTTP/1.1 200 OK\r\n")
        assert proxy.ended() == 0


def test_end_that_comes_before_any_worker_serves_is_at_once_and_leaves_none_behind(tmp_path: Path) -> None:
    text = CONFIGURATION
    for number in range(4):
        text = text.replace(f"PORT_{number}", "0" if number < 3 else "1")
    (tmp_path / "bootstrap.yaml").write_text(text)
    command = [sys.executable, "-m", "sidecar", "-c", str(tmp_path / "bootstrap.yaml"), "--concurrency", "2"]
    with (tmp_path / "output").open("wb") as output:
        process = subprocess.Popen(
            [*command, "--disable-hot-restart"], stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    try:
        _until(lambda: len(_children(process.pid)) == 2)
        workers = _children(process.pid)
        for pid in workers:
            os.kill(pid, signal.SIGSTOP)  # they take their time
        _until(lambda: "initializing init manager" in (tmp_path / "output").read_text())
        process.terminate()
        began = time.monotonic()
        assert process.wait(TIMEOUT_S) == 0
        assert time.monotonic() - began < 4
        assert not any(Path(f"/proc/{pid}").exists() for pid in workers)
    finally:
        process.kill()
        process.wait(TIMEOUT_S)


def test_worker_that_dies_during_a_restart_leaves_the_next_epoch_and_the_others_alone(tmp_path: Path) -> None:
    with running(tmp_path, *_flags(tmp_path), "--concurrency", "2") as proxy:
        first, second = _on_each_worker(proxy).items()
        after = _next_epoch(tmp_path)
        try:
            os.kill(first[0], signal.SIGKILL)  # while the next epoch starts
            _until(lambda: "starting main dispatch loop" in (tmp_path / "next").read_text())
            assert first[1][0].recv(1) == b""
            assert proxy.status("/direct") == 200
            _answer(*second[1])
            assert proxy.ended() == 0
            for _ in range(20):
                assert proxy.status("/direct") == 200
        finally:
            after.kill()
            after.wait(TIMEOUT_S)


def _stats(proxy: Running) -> str:
    client = http.client.HTTPConnection("127.0.0.1", proxy.admin, timeout=TIMEOUT_S)
    try:
        client.request("GET", "/stats?filter=^workers")
        return client.getresponse().read().decode()
    finally:
        client.close()


@pytest.mark.parametrize("how", ["", "?graceful"])
def test_worker_that_dies_behind_a_drain_is_replaced_by_one_that_accepts_nothing(
    tmp_path: Path, how: str
) -> None:
    with running(tmp_path, "--disable-hot-restart", "--concurrency", "2") as proxy:
        first, second = _on_each_worker(proxy).items()
        client = http.client.HTTPConnection("127.0.0.1", proxy.admin, timeout=TIMEOUT_S)
        client.request("POST", f"/drain_listeners{how}")
        assert client.getresponse().read() == b"OK\n"
        client.close()
        proxy.until_refused()
        os.kill(first[0], signal.SIGKILL)
        _until(lambda: "workers.active: 2" in _stats(proxy) and first[0] not in _workers(proxy))
        assert "workers.died: 1" in _stats(proxy)
        proxy.until_refused()
        _answer(*second[1])


def test_next_epoch_that_is_killed_before_it_serves_leaves_all_to_the_old_one(tmp_path: Path) -> None:
    with running(tmp_path, *_flags(tmp_path)) as proxy:
        client, upstream = _ask(proxy)
        output = tmp_path / "output"
        for times in (1, 2):
            after = _next_epoch(tmp_path, concurrency=2)  # whose workers take their time
            _until(lambda times=times: output.read_text().count("shutting down admin") == times)  # type: ignore[misc] # bound here
            after.kill()
            after.wait(TIMEOUT_S)
            assert proxy.status("/direct") == 200
            _until(lambda: _is_ready(proxy))
        assert "draining listeners" not in output.read_text()
        after = _next_epoch(tmp_path)
        try:
            _until(lambda: "starting main dispatch loop" in (tmp_path / "next").read_text())
            _answer(client, upstream)
            assert proxy.ended() == 0
            assert proxy.status("/direct") == 200
        finally:
            after.kill()
            after.wait(TIMEOUT_S)


def _is_ready(proxy: Running) -> bool:
    try:
        return proxy.status("/ready", proxy.admin) == 200
    except (OSError, http.client.HTTPException):
        return False
