"""What a proxy takes before its first request: time to start, memory at rest and of an idle connection."""

from __future__ import annotations

import os
import resource
import socket
import statistics
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from tests.bench.process import Process, free_ports
from tests.bench.proxies import CASES, Case, start_command, upstream_command

__all__ = ["Rest", "measure_rest"]

_CONNECTIONS = 1000
_REQUEST = b"GET / HTTP/1.1\r\nhost: bench\r\n\r\n"
#: A filter of each engine, a log, TLS and HTTP/2 towards the upstream.
_LOADED = Case(
    "loaded",
    "everything loaded",
    access_log=True,
    json_log=True,
    filter="lua+wasm+rbac",
    tls=True,
    http2_up=True,
)


@dataclass(frozen=True, slots=True)
class Rest:
    """Seconds from the command to the first connection that is accepted; sizes."""

    start_s: float
    rss_mb: float
    loaded_mb: float
    connection_kib: float


def measure_rest(rounds: int = 3) -> dict[str, Rest]:
    """Sidecar and Envoy, one process each with one worker."""
    found = {}
    # As an installed package starts: the first start writes bytecode, the median is of those that find it.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    with tempfile.TemporaryDirectory(prefix="sidecar-bench-") as name, ExitStack() as stack:
        directory = Path(name)
        os.environ["PYTHONPYCACHEPREFIX"] = str(directory / "bytecode")
        upstream, http2_upstream = free_ports(2)
        command = upstream_command(upstream, http2_upstream, directory)
        server = stack.enter_context(Process(command, core=1, log=directory / "upstream.log"))
        server.wait_for_port(upstream)
        for proxy in ("sidecar", "envoy"):
            plain = replace(CASES[0], name="rest")
            starts, rss, idle, loaded = [], 0.0, 0.0, 0.0
            for number in range(rounds):
                is_last = number == rounds - 1
                start, rss, idle = _measure(proxy, plain, upstream, directory, connect=is_last)
                starts.append(start)
            for _ in range(2):  # the first one writes bytecode
                loaded = _measure(proxy, _LOADED, http2_upstream, directory, connect=False)[1]
            found[proxy] = Rest(statistics.median(starts), rss / 1e6, loaded / 1e6, idle / 1024)
    return found


def _measure(
    proxy: str, case: Case, upstream: int, directory: Path, *, connect: bool
) -> tuple[float, float, float]:
    [port] = free_ports(1)
    command = start_command(proxy, case, port, upstream, directory)
    began = time.perf_counter()
    with Process(command, core=0, log=directory / f"{proxy}-{case.name}.log") as process:
        process.wait_for_port(port, 60)
        started = time.perf_counter() - began
        time.sleep(1)
        before = process.rss_bytes()
        each = _idle_connections(process, port) if connect else 0.0
    return started, before, each


def _idle_connections(process: Process, port: int) -> float:
    """Bytes of a connection that has had a request and waits for the next; the first thousand warm up."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = min(_CONNECTIONS, (limit[0] - 64) // 3)
    with ExitStack() as stack:
        before = 0
        for number in range(2):
            for _ in range(count):
                sock = stack.enter_context(socket.create_connection(("127.0.0.1", port), 10))
                sock.sendall(_REQUEST)
                while b"ok" not in sock.recv(65536):
                    pass
            time.sleep(0.5)
            if not number:
                before = process.rss_bytes()
        return (process.rss_bytes() - before) / count
