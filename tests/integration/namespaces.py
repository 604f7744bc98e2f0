"""Network namespaces with links between them, servers and clients inside.  Needs root."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import pytest
from proxy_process import ROOT, START_TIMEOUT_S, STOP_TIMEOUT_S, proxy_command

__all__ = ["Namespaces", "Server", "ask", "needs_namespaces"]

T = TypeVar("T")
_LIBC = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWNET = 0x40000000

needs_namespaces = pytest.mark.skipif(
    os.geteuid() != 0, reason="needs root: network namespaces are made, and packets redirected"
)


class Namespaces:
    """Named namespaces, each with its loopback up; gone with all that is in them when the block ends."""

    def __init__(self, *names: str) -> None:
        self._full = {name: f"sidecar-{os.getpid()}-{name}" for name in names}
        self._cleanup = contextlib.ExitStack()

    def __enter__(self) -> Namespaces:
        for name, full in self._full.items():
            _run("ip", "netns", "add", full)
            self._cleanup.callback(_run, "ip", "netns", "del", full)
            # Addresses can be used at once: nobody else has them.
            self.set(name, "net/ipv6/conf/default/accept_dad", "0")
            self.run(name, "ip link set lo up")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._cleanup.close()

    def link(self, device: str, *ends: tuple[str, str]) -> None:
        """A cable named ``device`` at both ends: the namespace and the number of its addresses.

        Number ``5.1`` stands for 10.5.0.1/24 and fd00:5::1/64.
        """
        (one, _), (other, _) = ends
        one_full, other_full = self._full[one], self._full[other]
        _run("ip", "link", "add", device, "netns", one_full, "type", "veth", "peer", "name", device,
             "netns", other_full)  # fmt: skip
        for name, number in ends:
            net, _, host = number.partition(".")
            self.run(name, f"ip addr add 10.{net}.0.{host}/24 dev {device}")
            self.run(name, f"ip addr add fd00:{net}::{host}/64 dev {device} nodad")
        for name, _ in ends:
            self.run(name, f"ip link set {device} up")

    def run(self, name: str, command: str) -> None:
        """Run a command inside; its words are parted by spaces."""
        _run("ip", "netns", "exec", self._full[name], *command.split())

    def set(self, name: str, setting: str, value: str) -> None:
        """A setting of the kernel (``sysctl``), inside."""
        self.inside(name, lambda: Path("/proc/sys", setting).write_text(value))

    def iptables(self, name: str, rule: str) -> None:
        """A rule for IPv4 and IPv6."""
        self.run(name, f"iptables {rule}")
        self.run(name, f"ip6tables {rule}")

    def inside(self, name: str, function: Callable[[], T], uid: int = 0) -> T:
        """What ``function`` gives inside, called by a thread whose sockets are ``uid``'s.

        Sockets keep their namespace and their owner when the thread is gone.
        """
        found: list[T] = []
        failed: list[BaseException] = []

        def work() -> None:
            try:
                with open(f"/run/netns/{self._full[name]}") as file:
                    left = _LIBC.setns(file.fileno(), _CLONE_NEWNET)
                assert not left, os.strerror(ctypes.get_errno())
                # glibc leaves the other threads as they are.
                _LIBC.setfsuid(uid)
                found.append(function())
            except BaseException as error:  # it is raised below
                failed.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        if failed:
            raise failed[0]
        return found[0]

    def connect(self, name: str, address: str, port: int, uid: int = 0, source: str = "") -> socket.socket:
        """A connection from inside; ``source`` is the address that it comes from."""

        def connect() -> socket.socket:
            own = (source, 0) if source else None
            return socket.create_connection((address, port), timeout=10, source_address=own)

        return self.inside(name, connect, uid)

    @contextlib.contextmanager
    def proxy(
        self, name: str, kind: str, configuration: str, directory: Path
    ) -> Iterator[Callable[[str], str]]:
        """A proxy inside, whose admin listens on 127.0.0.1:9901; gives what asks it for a page."""
        file = directory / "bootstrap.yaml"
        file.write_text(configuration)
        output = directory / f"{kind}.output"
        arguments = ["-c", str(file), "--concurrency", "1", "--use-dynamic-base-id", "--log-level", "warning"]
        with output.open("wb") as stream:
            process = subprocess.Popen(
                ["ip", "netns", "exec", self._full[name], *proxy_command(kind), *arguments],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
            )

        def page(path: str) -> str:
            with self.connect(name, "127.0.0.1", 9901) as sock:
                return ask(sock, path)

        try:
            deadline = time.monotonic() + START_TIMEOUT_S
            while True:
                assert process.poll() is None, f"it ended by itself: {output.read_text()}"
                assert time.monotonic() < deadline, f"not ready: {output.read_text()}"
                with contextlib.suppress(OSError):
                    if "LIVE" in page("/ready"):
                        break
                time.sleep(0.05)
            yield page
        finally:
            process.terminate()
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(STOP_TIMEOUT_S)
                raise


class Server:
    """Answers on one address; ``context`` for TLS.  It says whom it saw: ``10.5.0.1 > 10.5.0.2:80``."""

    def __init__(
        self,
        namespaces: Namespaces,
        name: str,
        address: str,
        port: int,
        context: ssl.SSLContext | None = None,
        *,
        has_port: bool = False,
    ) -> None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET

        def listen() -> socket.socket:
            return socket.create_server((address, port), family=family)

        self._listening = namespaces.inside(name, listen)
        self._context = context
        self._has_port = has_port
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                sock, peer = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(sock, peer), daemon=True).start()

    def _serve(self, sock: socket.socket, peer: tuple[str, int]) -> None:
        host, port = sock.getsockname()[:2]
        came_from = f"{peer[0]}:{peer[1]}" if self._has_port else peer[0]
        body = f"{came_from} > {host}:{port}"
        sock.settimeout(10)
        with contextlib.suppress(OSError):
            if self._context is not None:
                sock = self._context.wrap_socket(sock, server_side=True)
            with sock:
                while True:
                    data = b""
                    while b"\r\n\r\n" not in data:
                        part = sock.recv(65536)
                        if not part:
                            return
                        data += part
                    sock.sendall(f"HTTP/1.1 200 OK\r\ncontent-length: {len(body)}\r\n\r\n{body}".encode())


def ask(sock: socket.socket, path: str = "/", host: str = "any.example") -> str:
    """The body of the answer to a GET, behind its status where that is not 200; what ended it otherwise."""
    got = b""
    try:
        sock.sendall(f"GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n".encode())
        while part := sock.recv(65536):
            got += part
            head, found, body = got.partition(b"\r\n\r\n")
            size = re.search(rb"content-length: (\d+)", head.lower())
            if found and size and len(body) >= int(size[1]):
                break
    except OSError as error:
        return type(error).__name__
    if not got:
        return "closed"
    head, _, body = got.partition(b"\r\n\r\n")
    status = head.split(b" ", 2)[1].decode()
    return body.decode() if status == "200" else f"{status} {body.decode()}".strip()


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
