# ruff: noqa: E501  (a line of configuration reads best unbroken)
"""TCP over HTTP, from one process to another: sidecar and Envoy understand each other, whoever begins."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from proxy_process import RunningProxy, running_proxy

from tests.support.oracle_binary import envoy_binary

_EXTENSIONS = "type.googleapis.com/envoy.extensions"
_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_ADMIN = "admin: {address: {socket_address: {address: 127.0.0.1, port_value: 9901}}}\n"
_SIZE = 4 << 20


def _cluster(name: str, port: int, *, http2: bool = False) -> str:
    options = ""
    if http2:
        inner = "explicit_http_config: {http2_protocol_options: {}}"
        options = f", typed_extension_protocol_options: {{{_OPTIONS}: {{'@type': type.googleapis.com/{_OPTIONS}, {inner}}}}}"
    endpoint = f"{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}}}}}"
    return (
        f"  - {{name: {name}, type: STATIC{options}, "
        f"load_assignment: {{cluster_name: {name}, endpoints: [{{lb_endpoints: [{endpoint}]}}]}}}}\n"
    )


def _listener(port: int, network_filter: str) -> str:
    address = f"{{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}"
    return f"  - {{address: {address}, filter_chains: [{{filters: [{{name: f, typed_config: {network_filter}}}]}}]}}\n"


def ends(port: int) -> str:
    """Where tunnels end: CONNECT and POST become plain bytes to ``port``."""
    route = "route: {cluster: app, upgrade_configs: [{upgrade_type: CONNECT, connect_config: {allow_post: true}}]}"
    manager = (
        f"{{'@type': {_EXTENSIONS}.filters.network.http_connection_manager.v3.HttpConnectionManager, "
        "stat_prefix: ends, http2_protocol_options: {allow_connect: true}, route_config: {virtual_hosts: "
        f"[{{name: all, domains: ['*'], routes: [{{match: {{connect_matcher: {{}}}}, {route}}}, "
        f"{{match: {{prefix: /}}, {route}}}]}}]}}, http_filters: [{{name: r, typed_config: "
        f"{{'@type': {_EXTENSIONS}.filters.http.router.v3.Router}}}}]}}"
    )
    return (
        f"{_ADMIN}static_resources:\n  listeners:\n{_listener(10000, manager)}"
        f"  clusters:\n{_cluster('app', port)}"
    )


def begins(port: int) -> str:
    """Where tunnels to ``port`` begin: CONNECT and POST on HTTP/1.1, then both on HTTP/2."""
    listeners = ""
    for number, (name, more) in enumerate(
        (("one", ""), ("one", ", use_post: true"), ("two", ""), ("two", ", use_post: true"))
    ):
        listeners += _listener(
            10010 + number,
            f"{{'@type': {_EXTENSIONS}.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: t, "
            f"cluster: {name}, tunneling_config: {{hostname: 'a:1'{more}}}}}",
        )
    clusters = _cluster("one", port) + _cluster("two", port, http2=True)
    return f"{_ADMIN}static_resources:\n  listeners:\n{listeners}  clusters:\n{clusters}"


@contextlib.contextmanager
def echoing() -> Iterator[int]:
    """A server that sends back what it gets, on any number of connections, one after another."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    with connection:
                        while data := connection.recv(1 << 16):
                            connection.sendall(data)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield int(server.getsockname()[1])


def _exactly(client: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size and (more := client.recv(1 << 18)):
        data += more
    return bytes(data)


def talk(proxy: RunningProxy, port: int) -> None:
    """Some bytes, and many, there and back."""
    sent = bytes(range(256)) * (_SIZE // 256)
    with socket.create_connection(("127.0.0.1", proxy.ports[port]), timeout=10) as client:
        client.sendall(b"hello")
        assert _exactly(client, 5) == b"hello"
        sender = threading.Thread(target=client.sendall, args=(sent,), daemon=True)
        sender.start()
        assert _exactly(client, _SIZE) == sent
        sender.join()


@pytest.mark.parametrize(
    ("near", "far"), [("sidecar", "sidecar"), ("sidecar", "envoy"), ("envoy", "sidecar")]
)
def test_tunnels_pass_between_the_proxies(near: str, far: str, tmp_path: Path) -> None:
    if "envoy" in (near, far) and envoy_binary() is None:
        pytest.skip("needs Envoy")
    (tmp_path / "far").mkdir()
    (tmp_path / "near").mkdir()
    with echoing() as port, running_proxy(far, ends(port), tmp_path / "far", keep=[port]) as end:
        target = end.ports[10000]
        with running_proxy(near, begins(target), tmp_path / "near", keep=[target]) as begin:
            for number in range(4):
                talk(begin, 10010 + number)


@pytest.mark.parametrize("answer", [b"content-length: 5\r\n\r\nhello", b"\r\nhello"])
def test_answer_to_a_post_over_http1_that_ends_ends_the_tunnel(answer: bytes, tmp_path: Path) -> None:
    """Envoy breaks down over it (docs/envoy-differences.md)."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)
        port = int(server.getsockname()[1])
        with running_proxy("sidecar", begins(port), tmp_path, keep=[port]) as proxy:
            for _ in range(2):
                with socket.create_connection(("127.0.0.1", proxy.ports[10011]), timeout=10) as client:
                    upstream, _ = server.accept()
                    with upstream:
                        upstream.settimeout(10)
                        while b"\r\n\r\n" not in upstream.recv(1 << 16):
                            pass
                        upstream.sendall(b"HTTP/1.1 200 OK\r\n" + answer)
                        upstream.shutdown(socket.SHUT_WR)
                        assert _exactly(client, 100) == b"hello"
