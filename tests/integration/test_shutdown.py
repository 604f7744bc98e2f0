"""SIGTERM: what is under way is finished, nobody new is let in, and the process ends as soon as it can."""

from __future__ import annotations

import contextlib
import http.client
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import h2.connection
import h2.events
import pytest

TIMEOUT_S = 20.0
HCM = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
CONFIGURATION = f"""
admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: PORT_0}}}}}}
static_resources:
  listeners:
  - name: web
    address: {{socket_address: {{address: 127.0.0.1, port_value: PORT_1}}}}
    filter_chains:
    - filters:
      - name: hcm
        typed_config:
          "@type": type.googleapis.com/{HCM}
          stat_prefix: web
          upgrade_configs: [{{upgrade_type: websocket}}, {{upgrade_type: CONNECT}}]
          http2_protocol_options: {{allow_connect: true}}
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - {{match: {{path: /direct}}, direct_response: {{status: 200, body: {{inline_string: hello}}}}}}
              - {{match: {{connect_matcher: {{}}}}, route: {{cluster: app, timeout: 0s}}}}
              - {{match: {{prefix: /}}, route: {{cluster: app, timeout: 0s}}}}
          http_filters:
          - name: health
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.health_check.v3.HealthCheck
              pass_through_mode: false
              headers: [{{name: ":path", string_match: {{exact: /health}}}}]
          - name: router
            typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
  - name: raw
    address: {{socket_address: {{address: 127.0.0.1, port_value: PORT_2}}}}
    filter_chains:
    - filters:
      - name: tcp
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
          stat_prefix: raw
          cluster: app
  clusters:
  - name: app
    load_assignment:
      cluster_name: app
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: PORT_3}}}}}}
"""


class Running:
    """The proxy, and the socket that its upstream listens on."""

    def __init__(self, process: subprocess.Popen[bytes], ports: list[int], upstream: socket.socket) -> None:
        self.process = process
        self.admin, self.web, self.raw, _ = ports
        self.upstream = upstream
        self.open: list[socket.socket] = []

    def connect(self, port: int = 0) -> socket.socket:
        sock = socket.create_connection(("127.0.0.1", port or self.web), TIMEOUT_S)
        self.open.append(sock)
        return sock

    def accept(self) -> socket.socket:
        sock, _ = self.upstream.accept()
        sock.settimeout(TIMEOUT_S)
        self.open.append(sock)
        return sock

    def status(self, path: str, port: int = 0) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", port or self.web, timeout=TIMEOUT_S)
        with contextlib.closing(connection):
            connection.request("GET", path)
            return connection.getresponse().status

    def terminate(self) -> float:
        self.process.send_signal(signal.SIGTERM)
        return time.monotonic()

    def until_refused(self) -> None:
        while True:
            try:
                self.connect().close()
            except ConnectionRefusedError:
                return
            except ConnectionResetError:  # it waited in the queue of a socket that was being closed
                continue

    def until_ready(self, status: int) -> None:
        while self.status("/ready", self.admin) != status:
            time.sleep(0.01)

    def ended(self) -> int:
        return self.process.wait(TIMEOUT_S)


@contextlib.contextmanager
def running(
    directory: Path, *flags: str, while_starting: Callable[[int], None] = lambda pid: None
) -> Iterator[Running]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(4)]
        for sock in sockets:
            sock.bind(("127.0.0.1", 0))
        ports = [sock.getsockname()[1] for sock in sockets]
        upstream = sockets[3]
        upstream.listen()
        upstream.settimeout(TIMEOUT_S)
        text = CONFIGURATION
        for number, port in enumerate(ports):
            text = text.replace(f"PORT_{number}", str(port))
        for sock in sockets[:3]:
            sock.close()
        file = directory / "bootstrap.yaml"
        file.write_text(text)
        command = [sys.executable, "-m", "sidecar", "-c", str(file), "--drain-time-s", "2", *flags]
        if "--concurrency" not in flags:
            command += ["--concurrency", "1"]
        output = directory / "output"
        with output.open("wb") as stream:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream)
        try:
            while_starting(process.pid)
            while "starting main dispatch loop" not in output.read_text():
                assert process.poll() is None, output.read_text()
                time.sleep(0.01)
            proxy = Running(process, ports, upstream)
            stack.callback(lambda: [sock.close() for sock in proxy.open])
            yield proxy
        finally:
            process.kill()
            process.wait(TIMEOUT_S)


def read_until(sock: socket.socket, end: bytes) -> bytes:
    data = b""
    while not data.endswith(end):
        more = sock.recv(65536)
        if not more:
            return data
        data += more
    return data


def test_request_under_way_is_answered_and_the_process_ends_with_it(tmp_path: Path) -> None:
    with running(tmp_path) as proxy:
        idle, silent = proxy.connect(), proxy.connect()
        idle.send(b"GET /direct HTTP/1.1\r\nhost: a\r\n\r\n")
        read_until(idle, b"hello")
        busy = proxy.connect()
        busy.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        upstream = proxy.accept()
        read_until(upstream, b"\r\n\r\n")
        proxy.terminate()
        proxy.until_ready(503)
        proxy.until_refused()
        upstream.send(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nlate")
        assert read_until(busy, b"late").endswith(b"late")
        answered = time.monotonic()
        assert proxy.ended() == 0
        assert time.monotonic() - answered < 10  # far from the deadline, and from the drain time
        assert idle.recv(1) == silent.recv(1) == b""


def test_grace_lets_connections_come_while_readiness_fails(tmp_path: Path) -> None:
    with running(tmp_path, "--shutdown-grace-s", "600", "--shutdown-deadline-s", "1200") as proxy:
        assert proxy.status("/health") == 200
        proxy.terminate()
        proxy.until_ready(503)
        assert proxy.status("/health") == 503
        assert proxy.status("/direct") == 200
        proxy.terminate()
        assert proxy.ended() == 0


WEBSOCKET = (
    b"GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
    b"HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
)
CONNECT = (b"CONNECT a:443 HTTP/1.1\r\nhost: a:443\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n")


def tunnel(proxy: Running, request: bytes, answer: bytes) -> tuple[socket.socket, socket.socket]:
    """Both ends of a tunnel that is open."""
    near = proxy.connect()
    near.send(request)
    far = proxy.accept()
    read_until(far, b"\r\n\r\n")
    far.send(answer)
    assert read_until(near, b"\r\n\r\n").startswith(answer[:12])
    return near, far


def test_tcp_connection_and_tunnels_are_waited_for(tmp_path: Path) -> None:
    with running(tmp_path) as proxy:
        raw = proxy.connect(proxy.raw)
        raw.send(b"hello")
        behind = proxy.accept()
        assert read_until(behind, b"hello")
        socket_, upgraded = tunnel(proxy, *WEBSOCKET)
        connected, target = tunnel(proxy, *CONNECT)
        proxy.terminate()
        proxy.until_refused()
        for near, far in ((raw, behind), (socket_, upgraded), (connected, target)):
            far.send(b"still")
            assert read_until(near, b"still") == b"still"
        raw.close()
        assert behind.recv(1) == b""
        behind.close()
        target.close()
        assert connected.recv(1) == b""
        connected.close()
        upgraded.send(b"here")
        assert read_until(socket_, b"here") == b"here"
        socket_.close()
        assert proxy.ended() == 0


def test_deadline_ends_what_does_not_end(tmp_path: Path) -> None:
    with running(tmp_path, "--shutdown-deadline-s", "1") as proxy:
        busy = proxy.connect()
        busy.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        upstream = proxy.accept()
        tunnels = [tunnel(proxy, *WEBSOCKET), tunnel(proxy, *CONNECT)]
        began = proxy.terminate()
        assert proxy.ended() == 0
        assert time.monotonic() - began >= 1
        for near in (busy, *(near for near, _ in tunnels)):
            assert near.recv(1) == b""
        upstream.close()


@pytest.mark.parametrize("strategy", ["gradual", "immediate"])
def test_connection_in_use_is_told_to_close(tmp_path: Path, strategy: str) -> None:
    """Requests that follow each other are answered until an answer says close."""
    with running(tmp_path, "--drain-strategy", strategy) as proxy:
        client = proxy.connect()
        hold = proxy.connect(proxy.raw)  # something that keeps the process
        upstream = proxy.accept()
        proxy.terminate()
        proxy.until_refused()
        answers = 0
        while True:
            client.send(b"GET /direct HTTP/1.1\r\nhost: a\r\n\r\n")
            answer = read_until(client, b"hello")
            assert answer.startswith(b"HTTP/1.1 200 OK")
            answers += 1
            if b"connection: close" in answer:
                break
        assert strategy == "gradual" or answers == 1
        for sock in (client, hold, upstream):
            sock.close()
        assert proxy.ended() == 0


@pytest.mark.parametrize("concurrency", ["1", "2"])
def test_second_signal_ends_what_is_under_way(tmp_path: Path, concurrency: str) -> None:
    with running(tmp_path, "--concurrency", concurrency, "--shutdown-deadline-s", "1200") as proxy:
        busy = proxy.connect()
        busy.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        upstream = proxy.accept()
        read_until(upstream, b"\r\n\r\n")
        proxy.terminate()
        proxy.until_ready(503)
        proxy.until_refused()
        proxy.terminate()
        assert proxy.ended() == 0
        assert busy.recv(1) == b""
        assert upstream.recv(1) == b""


class _H2Client:
    """A client of HTTP/2 by prior knowledge, and what it was told."""

    def __init__(self, proxy: Running) -> None:
        self.sock = proxy.connect()
        self.codec = h2.connection.H2Connection()
        self.codec.initiate_connection()
        self.goaways: list[int] = []
        self.answers: dict[int, bytes] = {}
        self.ended: set[int] = set()
        self.is_closed = False

    def ask(self, method: str = "GET", path: str = "/") -> int:
        stream = self.codec.get_next_available_stream_id()
        fields = [(":method", method), (":authority", "a:80")]
        if method != "CONNECT":
            fields += [(":scheme", "http"), (":path", path)]
        self.codec.send_headers(stream, fields, end_stream=method != "CONNECT")
        self.flush()
        return stream

    def flush(self) -> None:
        self.sock.sendall(self.codec.data_to_send())

    def until(self, is_so: Callable[[], bool]) -> None:
        while not is_so():
            data = self.sock.recv(65536)
            if not data:
                self.is_closed = True
                continue
            for event in self.codec.receive_data(data):
                if isinstance(event, h2.events.ConnectionTerminated):
                    self.goaways.append(event.error_code)
                    # The library takes it for the end; streams that are under way go on (RFC 9113 §6.8).
                    self.codec.state_machine.state = h2.connection.ConnectionState.CLIENT_OPEN
                elif isinstance(event, h2.events.ResponseReceived):
                    self.answers.setdefault(event.stream_id, b"")
                elif isinstance(event, h2.events.DataReceived):
                    self.answers[event.stream_id] += event.data
                elif isinstance(event, h2.events.StreamEnded):
                    self.ended.add(event.stream_id)
            self.flush()


def test_streams_of_http2_are_finished_behind_goaway(tmp_path: Path) -> None:
    with running(tmp_path, "--shutdown-deadline-s", "1200") as proxy:
        client, idle = _H2Client(proxy), _H2Client(proxy)
        first = client.ask()
        upstream = proxy.accept()
        read_until(upstream, b"\r\n\r\n")
        probe = idle.ask(path="/direct")
        idle.until(lambda: probe in idle.ended)
        proxy.terminate()
        proxy.until_refused()
        client.until(lambda: bool(client.goaways))
        upstream.send(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nlate")
        client.until(lambda: first in client.ended)
        assert client.answers[first] == b"late"
        for each in (client, idle):
            each.until(lambda each=each: each.is_closed)  # type: ignore[misc] # bound here
            assert set(each.goaways) == {0}
        assert proxy.ended() == 0
