"""``just bench-udp``: what a datagram costs a UDP proxy, beside Envoy, in microseconds of the processor.

``turns``: many clients, each sends a datagram and waits for the answer.  ``burst``: one client sends a
hundred at a time, which are counted where they come.  ``train``: the host answers one datagram with a
train of sixteen, as hosts of HTTP/3 do (UDP_SEGMENT).
"""

from __future__ import annotations

import argparse
import select
import socket
import statistics
import struct
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from tests.bench.process import Process, free_ports

_CLIENTS = 50
_DATAGRAM = b"x" * 200
_TRAIN = b"y" * (1200 * 16)
_UDP_SEGMENT = [(17, 103, struct.pack("@H", 1200))]
_BUFFER = 4 * 1024 * 1024
_KINDS = ("turns", "burst", "train")
_CONFIG = """\
admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {admin}}}}}}}
static_resources:
  listeners:
  - address: {{socket_address: {{protocol: UDP, address: 127.0.0.1, port_value: {port}}}}}
    listener_filters:
    - name: udp
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.filters.udp.udp_proxy.v3.UdpProxyConfig
        stat_prefix: udp
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
    """Measure in turns and print medians; 1 where a datagram costs sidecar more than Envoy."""
    parser = argparse.ArgumentParser(prog="just bench-udp", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--datagrams", type=int, default=40_000, help="of one measurement")
    parser.add_argument("--proxy-core", type=int, default=0)
    options = parser.parse_args(arguments)
    found: dict[tuple[str, str], list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="sidecar-bench-") as name, ExitStack() as stack:
        directory = Path(name)
        upstream = stack.enter_context(_socket())
        upstream.bind(("127.0.0.1", 0))
        threading.Thread(target=_serve, args=(upstream,), daemon=True).start()
        running: dict[str, tuple[Process, int]] = {}
        for kind in _COMMANDS:
            port, admin = free_ports(2)
            config = directory / f"{kind}.yaml"
            config.write_text(_CONFIG.format(port=port, admin=admin, upstream=upstream.getsockname()[1]))
            command = [*_COMMANDS[kind], "-c", str(config), "--concurrency", "1", "--log-level", "error"]
            process = Process(command, core=options.proxy_core, log=directory / f"{kind}.log")
            stack.enter_context(process).wait_for_port(admin)
            running[kind] = process, port
        for _ in range(options.rounds):
            for kind, (process, port) in running.items():
                for way in _KINDS:
                    found.setdefault((way, kind), []).append(_measure(process, port, way, options.datagrams))
    medians = {key: statistics.median(values) for key, values in found.items()}
    for (way, kind), value in sorted(medians.items()):
        print(f"{way:6} {kind:8} {value:.2f} us per datagram")
    return int(any(medians[way, "sidecar"] > medians[way, "envoy"] for way in _KINDS))


def _socket() -> socket.socket:
    sock = socket.socket(type=socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
    return sock


def _measure(process: Process, port: int, way: str, count: int) -> float:
    """Microseconds of the proxy's for a datagram that reached its end."""
    before = _cpu_s(process)
    carried = {"turns": _turns, "burst": _burst, "train": _train}[way](port, count)
    time.sleep(0.02)
    return (_cpu_s(process) - before) / carried * 1e6


def _cpu_s(process: Process) -> float:
    """Time on the processor of all threads, finer than clock ticks."""
    total = 0
    for path in Path(f"/proc/{process.tree()[0]}/task").glob("*/schedstat"):
        total += int(path.read_text().split()[0])
    return total / 1e9


def _turns(port: int, count: int) -> int:
    """Each client has one datagram on its way; there and back are two."""
    poll = select.epoll()
    clients = {}
    for _ in range(_CLIENTS):
        sock = _socket()
        sock.connect(("127.0.0.1", port))
        sock.setblocking(False)
        clients[sock.fileno()] = sock
        poll.register(sock, select.EPOLLIN)
        sock.send(_DATAGRAM)
    carried = 0
    while carried < count:
        for number, _ in poll.poll(1.0):
            clients[number].recv(2048)
            carried += 2
            clients[number].send(_DATAGRAM)
    for sock in clients.values():
        sock.close()
    poll.close()
    return carried


def _burst(port: int, count: int) -> int:
    """One way, in pieces that the proxy's buffer has room for; the host says when a piece is through."""
    carried = 0
    with _socket() as sock:
        sock.connect(("127.0.0.1", port))
        sock.settimeout(0.5)
        while carried < count:
            for _ in range(100):
                sock.send(b"-" + _DATAGRAM)
            sock.send(b"?")
            try:
                carried += struct.unpack("!I", sock.recv(64))[0]
            except TimeoutError:
                continue
    return carried


def _train(port: int, count: int) -> int:
    carried = 0
    with _socket() as sock:
        sock.connect(("127.0.0.1", port))
        sock.settimeout(0.5)
        while carried < count:
            sock.send(b"!")
            try:
                for _ in range(16):
                    sock.recv(2048)
                    carried += 1
            except TimeoutError:
                continue
    return carried


def _serve(sock: socket.socket) -> None:
    """The host: counts what begins with ``-``, ``?`` asks how many, ``!`` for a train; others are echoed."""
    counted = 0
    while True:
        try:
            data, peer = sock.recvfrom(2048)
        except OSError:
            return
        if data[:1] == b"-":
            counted += 1
        elif data == b"?":
            sock.sendto(struct.pack("!I", counted + 1), peer)
            counted = 0
        elif data == b"!":
            sock.sendmsg([_TRAIN], _UDP_SEGMENT, 0, peer)
        else:
            sock.sendto(data, peer)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
