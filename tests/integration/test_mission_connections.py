"""The guide's files about connections, live: 01 (server names), 07 (listener filters)."""

from __future__ import annotations

import http.server
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from proxy_process import PROXIES, running_proxy

MISSION = Path(__file__).parent.parent / "mission"
REQUEST = b"GET / HTTP/1.1\r\nhost: api.example.com\r\nconnection: close\r\n\r\n"


class _Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = self.headers.get("x-forwarded-for", "").encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        return


@pytest.fixture
def upstream() -> Iterator[int]:
    """The port of an HTTP server."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Answer)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    thread.join()
    server.server_close()


def text(name: str, port: int, upstream: int, *, address: str = "127.0.0.1") -> str:
    found = (MISSION / name).read_text(encoding="utf-8").replace("0.0.0.0", address)
    return found.replace(f"port_value: {port}", f"port_value: {upstream}")


def exchange(port: int, data: bytes) -> bytes:
    """What comes back until the connection ends; ``reset`` for a reset."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
        sock.sendall(data)
        got = b""
        try:
            while part := sock.recv(65536):
                got += part
        except ConnectionResetError:
            return got + b"reset"
        return got


def client_hello(name: str) -> bytes:
    context = ssl.create_default_context()
    outgoing = ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name).do_handshake()
    return outgoing.read()


@pytest.mark.oracle
@pytest.mark.parametrize("kind", PROXIES)
def test_mission_01_has_a_chain_for_one_server_name_alone(kind: str, upstream: int, tmp_path: Path) -> None:
    configuration = text("01_listener_http.yaml", 18080, upstream)
    with running_proxy(kind, configuration, tmp_path, keep=[upstream]) as proxy:
        port = proxy.ports[8080]
        assert exchange(port, REQUEST) == b"reset"
        assert exchange(port, client_hello("other.example.com")) == b"reset"
        stats = proxy.get("/stats?filter=no_filter_chain_match|tls_inspector", port=9901).body.decode()
        assert "no_filter_chain_match: 2" in stats
        assert "tls_inspector.sni_found: 1" in stats
        assert "tls_inspector.tls_not_found: 1" in stats


@pytest.mark.oracle
@pytest.mark.parametrize("kind", PROXIES)
def test_mission_07_takes_the_client_from_the_proxy_protocol(
    kind: str, upstream: int, tmp_path: Path
) -> None:
    configuration = text("07_listener_filters.yaml", 18082, upstream)
    with running_proxy(kind, configuration, tmp_path, keep=[upstream]) as proxy:
        port = proxy.ports[10000]
        answer = exchange(port, b"PROXY TCP4 192.0.2.9 192.0.2.1 1000 80\r\n" + REQUEST)
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert exchange(port, REQUEST) in (b"", b"reset")


@pytest.mark.oracle
@pytest.mark.parametrize("kind", PROXIES)
def test_mission_08_carries_bytes(kind: str, upstream: int, tmp_path: Path) -> None:
    configuration = text("08_tcp_proxy.yaml", 18083, upstream)
    with running_proxy(kind, configuration, tmp_path, keep=[upstream]) as proxy:
        assert exchange(proxy.ports[10000], REQUEST).startswith(b"HTTP/1.0 200 OK\r\n")
        stats = proxy.get("/stats?filter=^tcp.tcp_stats.downstream_cx", port=9901).body.decode()
        assert "tcp.tcp_stats.downstream_cx_total: 1" in stats
        assert f"tcp.tcp_stats.downstream_cx_rx_bytes_total: {len(REQUEST)}" in stats


def test_reset_under_inspection_ends_the_connection(upstream: int, tmp_path: Path) -> None:
    configuration = text("07_listener_filters.yaml", 18082, upstream)
    with running_proxy("sidecar", configuration, tmp_path, keep=[upstream]) as proxy:
        gauge = "listener.127.0.0.1_" + str(proxy.ports[10000]) + ".downstream_pre_cx_active"

        def active() -> bool:
            return f"{gauge}: 1" in proxy.get("/stats?filter=pre_cx_active", port=9901).body.decode()

        with socket.create_connection(("127.0.0.1", proxy.ports[10000])) as sock:
            sock.sendall(b"GET")
            until(active)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        until(lambda: not active())


def until(condition: Callable[[], bool]) -> None:
    """Wait for it, at most ten seconds."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
