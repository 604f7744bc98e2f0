"""Runs a whole proxy process, sidecar or Envoy, from a configuration file, for tests speaking HTTP to it."""

import contextlib
import http.client
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.oracle_binary import envoy_binary

ROOT = Path(__file__).parents[2]
# Against whom the tests of whole processes run.
PROXIES = ["envoy", "sidecar"]
START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: header names in lower case, repeated headers joined with `, `."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class RunningProxy:
    """A proxy that serves; `ports` maps each port of the file to the free one that took its place."""

    ports: dict[int, int]
    output: Path
    pid: int

    def get(self, path: str, headers: dict[str, str] | None = None, port: int = 10000) -> Answer:
        """One GET on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.ports[port], timeout=10)
        try:
            connection.request("GET", path, headers=headers or {})
            response = connection.getresponse()
            body = response.read()
        finally:
            connection.close()
        joined: dict[str, str] = {}
        for name, value in response.getheaders():
            name = name.lower()
            joined[name] = f"{joined[name]}, {value}" if name in joined else value
        return Answer(response.status, joined, body)


def proxy_command(kind: str) -> list[str]:
    """The command line that runs `sidecar` or `envoy`, without the options of one test.

    Logs are flushed ten times a second: a test that reads one would wait for Envoy's ten seconds otherwise.
    """
    program = [sys.executable, "-m", "sidecar"] if kind == "sidecar" else [envoy_binary() or "envoy"]
    return [*program, "--file-flush-interval-msec", "100"]


@contextlib.contextmanager
def running_proxy(
    kind: str,
    configuration: str,
    directory: Path,
    admin_port: int = 9901,
    keep: Collection[int] = (),
) -> Iterator[RunningProxy]:
    """Starts the proxy in the root of the repository, every port of the file replaced by a free one.

    Ports below 1024 stay, nothing listens there, and those of ``keep``. Fails the test when the proxy does
    not become ready.
    """
    numbers = sorted(
        {int(port) for port in re.findall(r"port_value: (\d+)", configuration)} - {*range(1024), *keep}
    )
    ports = dict(zip(numbers, _free_ports(len(numbers)), strict=True))
    text = re.sub(r"port_value: (\d+)", lambda m: f"port_value: {ports.get(int(m[1]), m[1])}", configuration)
    file = directory / "bootstrap.yaml"
    file.write_text(text)
    output = directory / f"{kind}.output"
    arguments = ["-c", str(file), "--concurrency", "1", "--use-dynamic-base-id", "--log-level", "info"]
    with output.open("wb") as stream:
        process = subprocess.Popen(
            [*proxy_command(kind), *arguments],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
    proxy = RunningProxy(ports, output, process.pid)
    try:
        _wait_until_ready(process, proxy, admin_port)
        yield proxy
    finally:
        process.terminate()
        process.send_signal(signal.SIGINT)  # the second signal ends what still drains
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(STOP_TIMEOUT_S)
            raise


def _wait_until_ready(process: subprocess.Popen[bytes], proxy: RunningProxy, admin_port: int) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        assert process.poll() is None, f"it ended by itself: {proxy.output.read_text()}"
        try:
            if proxy.get("/ready", port=admin_port).status == 200:
                return
        except OSError:
            pass
        time.sleep(0.02)
    raise AssertionError(f"not ready after {START_TIMEOUT_S} s: {proxy.output.read_text()}")


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
