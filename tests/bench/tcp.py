"""``just bench-tcp``: what a TCP proxy moves per CPU second, beside Envoy, in streams of 64 MiB each way."""

from __future__ import annotations

import argparse
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from tests.bench.process import Process, free_ports

_STREAM_BYTES = 64 * 1024 * 1024
_PIECE = b"x" * (256 * 1024)
_CONFIG = """\
static_resources:
  listeners:
  - address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - filters:
      - name: tcp
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
          stat_prefix: tcp
          cluster: app
  clusters:
  - name: app
    type: STATIC
    load_assignment:
      cluster_name: app
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {upstream}}}}}}}
"""
_COMMANDS = {
    "sidecar": [sys.executable, "-m", "sidecar"],
    "envoy": [str(Path(sys.executable).with_name("envoy")), "--use-dynamic-base-id"],
}


def main(arguments: Sequence[str]) -> int:
    """Measure in turns and print medians; 1 where sidecar moves less than Envoy."""
    parser = argparse.ArgumentParser(prog="just bench-tcp", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--streams", type=int, default=4, help="of one measurement, one after the other")
    parser.add_argument("--proxy-core", type=int, default=0)
    options = parser.parse_args(arguments)
    found = measure_tcp(options.rounds, options.streams, options.proxy_core)
    for (kind, way), values in found.items():
        print(f"{kind:8} {way:5} {statistics.median(values) / 1e9:.2f} GB per CPU second")
    medians = {key: statistics.median(values) for key, values in found.items()}
    return int(any(medians["sidecar", way] < medians["envoy", way] for way in ("down", "up")))


def measure_tcp(rounds: int, streams: int, proxy_core: int) -> dict[tuple[str, str], list[float]]:
    """Bytes per CPU second of each round, by proxy and way."""
    found: dict[tuple[str, str], list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="sidecar-bench-") as name, ExitStack() as stack:
        directory = Path(name)
        upstream = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        threading.Thread(target=_serve, args=(upstream,), daemon=True).start()
        running: dict[str, tuple[Process, int]] = {}
        for kind, port in zip(_COMMANDS, free_ports(len(_COMMANDS)), strict=True):
            config = directory / f"{kind}.yaml"
            config.write_text(_CONFIG.format(port=port, upstream=upstream.getsockname()[1]))
            command = [*_COMMANDS[kind], "-c", str(config), "--concurrency", "1", "--log-level", "error"]
            process = Process(command, core=proxy_core, log=directory / f"{kind}.log")
            stack.enter_context(process).wait_for_port(port)
            running[kind] = process, port
        for _ in range(rounds):
            for kind, (process, port) in running.items():
                for way in ("down", "up"):
                    found.setdefault((kind, way), []).append(_measure(process, port, way, streams))
    return found


def _measure(process: Process, port: int, way: str, streams: int) -> float:
    """Bytes per CPU second of the proxy."""
    before = process.cpu_s()
    for _ in range(streams):
        _stream(port, way)
    time.sleep(0.02)
    return streams * _STREAM_BYTES / max(process.cpu_s() - before, 0.01)


def _stream(port: int, way: str) -> None:
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.sendall(way[:1].encode())
        if way == "down":
            _drain(sock)
        else:
            _fill(sock)
            sock.shutdown(socket.SHUT_WR)
            sock.recv(1)


def _serve(listener: socket.socket) -> None:
    while True:
        try:
            connection = listener.accept()[0]
        except OSError:
            return
        threading.Thread(target=_answer, args=(connection,), daemon=True).start()


def _answer(connection: socket.socket) -> None:
    with connection:
        if connection.recv(1) == b"d":
            _fill(connection)
        else:
            _drain(connection)


def _fill(sock: socket.socket) -> None:
    for _ in range(_STREAM_BYTES // len(_PIECE)):
        sock.sendall(_PIECE)


def _drain(sock: socket.socket) -> None:
    buffer = bytearray(1024 * 1024)
    while sock.recv_into(buffer):
        pass


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
