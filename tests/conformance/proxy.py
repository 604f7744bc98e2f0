"""Starting and stopping the proxies under test, each in a directory of its own, on ports it chose itself."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import trio

from tests.support import yaml_text
from tests.support.oracle_binary import envoy_binary
from tests.support.preloaded import Child, Preloaded

from . import configuration
from .scenario import Setup
from .wire import Ended, Message, Wire, read_response

#: Of a proxy with one worker; each more is one more process that starts, maybe on a busy machine.
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 5.0
POLL_S = 0.01
ROOT = Path(__file__).parents[2]
ENVOY, SIDECAR = "envoy", "sidecar"
#: sidecar with the other HTTP/1 codec.
SIDECAR_H11 = "sidecar-h11"


Process = subprocess.Popen[bytes] | Child


class ProxyFailed(Exception):
    """The proxy did not start, or is gone; the message ends with what it wrote."""


@cache
def envoy_version() -> str | None:
    """Such as `1.40.0`; None without Envoy."""
    if (binary := envoy_binary()) is None:
        return None
    out = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True, timeout=20).stdout
    return out.split("version:")[1].split("/")[1]


@cache
def _preloaded() -> Preloaded:
    return Preloaded()


def _arguments(kind: str, config: Path, admin: Path, setup: Setup, concurrency: int) -> list[str]:
    shared = ["-c", str(config), "--concurrency", str(concurrency), "-l", "warning"]
    shared += ["--admin-address-path", str(admin), "--drain-time-s", "1"]
    shared += ["--file-flush-interval-msec", "10", *setup.arguments]
    return [*shared, "--http1-codec", "h11"] if kind == SIDECAR_H11 else shared


class Proxy:
    """One running proxy with the listening sockets of its upstreams, which outlive single scenarios."""

    def __init__(self, kind: str, setup: Setup, directory: Path, arguments: Sequence[str] = ()) -> None:
        self.kind = kind
        self.arguments = arguments  # of the command line, beside those that every proxy gets
        self.setup = setup
        self.directory = directory
        self.listening = {name: _bound(kind) for name, kind in setup.upstreams.items()}
        self.ports: dict[str, int] = {}
        self.admin_port = 0
        self.is_spent = False  # set by a scenario after which no other one can use this process
        self._process: Process | None = None
        #: Of the epochs before, the newest last.
        self.older: list[Process] = []
        self.older_admin_port = 0

    async def start(self) -> None:
        """Start it and wait until it is ready and its listeners' ports are known.

        Raises: ProxyFailed when it ends or is not ready in time.
        """
        config = self.write_config()
        admin = self.directory / "admin"
        base_id = ["--use-dynamic-base-id", "--base-id-path", str(self.directory / "base_id")]
        self._process = self._run(config, admin, *base_id)
        patience_s = START_TIMEOUT_S * self.setup.concurrency
        with trio.move_on_after(patience_s):
            while True:
                if await self._is_ready(admin):
                    await self.learn_ports()
                    return
                await trio.sleep(POLL_S)
        raise ProxyFailed(f"{self.kind} is not ready after {patience_s} s:\n{self.output()}")

    def _run(self, config: Path, admin: Path, *arguments: str, concurrency: int | None = None) -> Process:
        shared = _arguments(self.kind, config, admin, self.setup, concurrency or self.setup.concurrency)
        whole = [*shared, *self.arguments, *arguments]
        with (self.directory / "output.txt").open("ab") as output:
            if self.kind != ENVOY:
                return _preloaded().start(whole, output.fileno())
            return subprocess.Popen(
                [envoy_binary() or "envoy", *whole],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    async def next_epoch(
        self,
        change: Callable[[dict[str, Any]], None] | None = None,
        *,
        epoch: int | None = None,
        concurrency: int | None = None,
    ) -> int | None:
        """Start another epoch on the listeners' ports, and talk to it from now on.

        ``change`` may edit its bootstrap.  The result is the status of one that ended instead of serving: the
        one before stays the one to talk to.
        """
        assert self._process is not None
        bootstrap = yaml_text.load(self.config_text())
        for each in bootstrap["static_resources"]["listeners"]:
            each["address"]["socket_address"]["port_value"] = self.ports[each["name"]]
        if change is not None:
            change(bootstrap)
        epoch = epoch or len(self.older) + 1
        config = self.directory / f"bootstrap{epoch}.yaml"
        config.write_text(self.fill(yaml_text.dump(bootstrap)))
        admin = self.directory / f"admin{epoch}"
        admin.unlink(missing_ok=True)
        named = ["--restart-epoch", str(epoch), "--base-id", (self.directory / "base_id").read_text()]
        old, old_port = self._process, self.admin_port
        self._process = new = self._run(config, admin, *named, concurrency=concurrency)
        self.older.append(old)
        while True:
            if new.poll() is not None:
                self._process, self.admin_port = self.older.pop(), old_port
                return int(new.returncode)
            if await self._is_ready(admin):
                break
            await trio.sleep(POLL_S)
        self.older_admin_port = old_port
        await self.learn_ports()
        return None

    def older_exit_status(self) -> int | None:
        """That of the epoch before; None while it runs."""
        return self.older[-1].poll()

    def write_config(self) -> Path:
        """Write the bootstrap and the files that it names."""
        self.directory.mkdir(parents=True, exist_ok=True)
        for name, content in self.setup.files.items():
            path = self.directory / name
            path.parent.mkdir(exist_ok=True)
            has_places = b"PORT(" in content or b"FILE(" in content
            path.write_bytes(self.fill(content.decode()).encode() if has_places else content)
        config = self.directory / "bootstrap.yaml"
        config.write_text(self.config_text())
        return config

    def config_text(self) -> str:
        """The bootstrap with this run's ports and paths."""
        return configuration.render(self.setup.bootstrap, self._port, lambda name: str(self.directory / name))

    def fill(self, text: str) -> str:
        """A text of a scenario with this run's ports and paths."""
        return configuration.fill(text, self._port, lambda name: str(self.directory / name))

    def _port(self, name: str) -> int:
        return int(self.listening[name].getsockname()[1])

    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Of the running process; 0 before it was started."""
        return self._process.pid if self._process is not None else 0

    def signal(self, number: signal.Signals) -> None:
        """Send the process a signal."""
        if self._process is not None:
            self._process.send_signal(number)

    def exit_status(self) -> int | None:
        """The status it ended with; None while it runs."""
        return self._process.poll() if self._process is not None else None

    async def _is_ready(self, admin: Path) -> bool:
        if self._process is None or self._process.poll() is not None:
            status = self._process.returncode if self._process else "nothing"
            raise ProxyFailed(f"{self.kind} ended with {status}:\n{self.output()}")
        self.admin_port = _port_in(admin)
        if not self.admin_port:
            return False
        try:
            status = (await self.admin("GET", "/ready")).start_line.split(" ")[1]
        except (OSError, Ended):
            return False
        return self.setup.is_early or status == "200"

    async def learn_ports(self) -> None:
        """Ask for the ports of the listeners that there are."""
        answer = await self.admin("GET", "/listeners?format=json")
        for status in json.loads(answer.body).get("listener_statuses", ()):
            address = status["local_address"].get("socket_address")
            if address:
                self.ports[status["name"]] = address["port_value"]

    async def admin(self, method: str, path: str, extra: str = "") -> Message:
        """Ask the admin server, on a connection of its own."""
        stream = await trio.open_tcp_stream("127.0.0.1", self.admin_port)
        async with stream:
            wire = Wire(stream)
            lines = [f"{method} {path} HTTP/1.1", "host: admin", "content-length: 0", "connection: close"]
            lines += [extra] if extra else []
            await wire.send("\r\n".join([*lines, "", ""]).encode())
            return await read_response(wire, has_body=method != "HEAD")

    def named_ports(self) -> dict[int, str]:
        """Every port of this run with the name that stands for it in observations."""
        named = {port: name for name, port in self.ports.items()}
        named[self.admin_port] = "admin"
        return named | {int(s.getsockname()[1]): name for name, s in self.listening.items()}

    def output(self) -> str:
        """The end of what the proxy wrote."""
        path = self.directory / "output.txt"
        lines = path.read_text(errors="replace").splitlines() if path.exists() else []
        return "\n".join(line[:500] for line in lines[-20:])

    def stop(self) -> None:
        """End the process and give the ports back."""
        for process in (self._process, *self.older):
            if process is None or process.poll() is not None:
                continue
            process.terminate()
            process.send_signal(signal.SIGINT)  # the second signal ends what still drains
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for sock in self.listening.values():
            sock.close()


def _port_in(path: Path) -> int:
    """The port of the `address:port` that a proxy wrote to this file; 0 while it has not."""
    address = path.read_text() if path.exists() else ""
    return int(address.rpartition(":")[2] or 0)


def _bound(kind: str) -> socket.socket:
    """A loopback socket; a dead one holds a port that refuses connections, one of DNS keeps questions."""
    has_datagrams = kind in ("dns", "udp")
    sock = socket.socket(type=socket.SOCK_DGRAM if has_datagrams else socket.SOCK_STREAM)
    sock.bind(("127.0.0.1", 0))
    if kind != "dead" and not has_datagrams:
        sock.listen(128)
    return sock


def validation_output(setup: Setup, directory: Path) -> str:
    """What sidecar says about a configuration that it is only to validate."""
    proxy = Proxy(SIDECAR, setup, directory)
    try:
        config = proxy.write_config()
        command = [sys.executable, "-m", "sidecar", "-c", str(config), "--mode", "validate"]
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=START_TIMEOUT_S, check=False
        )
    finally:
        proxy.stop()
    return done.stdout + done.stderr


def run_directory(base: Path, kind: str, setup: Setup) -> Path:
    """A fresh directory for one start."""
    return base / f"{setup.name}-{kind}-{os.getpid()}-{time.monotonic_ns()}"
