"""One run: a proxy, clients that never stop asking, and hot restarts of it.

Clients keep their connections until an answer says ``connection: close``; a request fails when its answer is
not 200 or does not come whole.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

__all__ = ["Outcome", "run"]

ROOT = Path(__file__).parents[2]
_START_S = 90.0
_LOOK_S = 0.02
#: How long connections to the upstream and to the epoch before may be there behind the load.
_REST_S = 15.0
_CONFIG = """
admin: {address: {socket_address: {address: 127.0.0.1, port_value: ADMIN}}}
static_resources:
  listeners:
  - name: main
    address: {socket_address: {address: 127.0.0.1, port_value: PORT}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/HCM
          stat_prefix: main
          route_config:
            virtual_hosts:
            - {name: all, domains: ["*"], routes: [{match: {prefix: /}, route: {cluster: app}}]}
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
  clusters:
  - name: app
    type: STATIC
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        common_http_protocol_options: {idle_timeout: 0.5s}
        explicit_http_config: {http_protocol_options: {}}
    load_assignment:
      cluster_name: app
      endpoints:
      - lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: APP}}}}]
""".replace("HCM", "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager")


@dataclass
class Outcome:
    """What was seen."""

    restarts: int = 0
    requests: int = 0
    failures: list[str] = field(default_factory=list)
    #: Open descriptors of the first epoch and of the last of as many workers, at rest.
    descriptors: tuple[int, int] = (0, 0)
    #: Processes of the proxy that are left when it has ended.
    left: list[int] = field(default_factory=list)

    def is_good(self) -> bool:
        """No request lost, no descriptor more, nobody left."""
        return not self.failures and self.descriptors[1] <= self.descriptors[0] and not self.left


class _App(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-length", "5")
        self.end_headers()
        self.wfile.write(b"hello")

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


class _Clients:
    """Threads that ask without end."""

    def __init__(self, port: int, count: int, outcome: Outcome) -> None:
        self._port = port
        self._outcome = outcome
        self._lock = threading.Lock()
        self._is_over = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(count)]
        for each in self._threads:
            each.start()

    def _ask(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        while not self._is_over.is_set():
            try:
                connection.request("GET", "/")
                answer = connection.getresponse()
                body = answer.read()
                problem = "" if (answer.status, body) == (200, b"hello") else f"{answer.status} {body[:50]!r}"
            except (OSError, http.client.HTTPException) as error:
                problem = repr(error)
                connection.close()
            with self._lock:
                self._outcome.requests += 1
                if problem:
                    self._outcome.failures.append(problem)
            time.sleep(0.005)
        connection.close()

    def end(self) -> None:
        self._is_over.set()
        for each in self._threads:
            each.join()


def run(directory: Path, restarts: int, *, concurrency: tuple[int, ...] = (1,), clients: int = 4) -> Outcome:
    """Restart so often; ``concurrency`` is that of the epochs in turn."""
    outcome = Outcome()
    app = ThreadingHTTPServer(("127.0.0.1", 0), _App)
    threading.Thread(target=app.serve_forever, daemon=True).start()
    admin, port = _free_ports(2)
    config = directory / "bootstrap.yaml"
    text = _CONFIG.replace("ADMIN", str(admin)).replace("PORT", str(port))
    config.write_text(text.replace("APP", str(app.server_address[1])))
    base_id = directory / "base_id"
    common = ["-c", str(config), "--drain-time-s", "1", "--parent-shutdown-time-s", "2", "-l", "warning"]
    processes: list[subprocess.Popen[bytes]] = []
    output = (directory / "output").open("wb")

    def start(epoch: int) -> None:
        count = concurrency[epoch % len(concurrency)]
        named = ["--restart-epoch", str(epoch), "--base-id", base_id.read_text()] if epoch else []
        named = named or ["--use-dynamic-base-id", "--base-id-path", str(base_id)]
        command = [sys.executable, "-m", "sidecar", *common, *named, "--concurrency", str(count)]
        processes.append(subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output))
        deadline = time.monotonic() + _START_S
        while _epoch(admin) != epoch:
            assert processes[-1].poll() is None, (directory / "output").read_text()
            assert time.monotonic() < deadline, "it does not start"
            time.sleep(_LOOK_S)

    try:
        start(0)
        first = _descriptors(processes[0].pid)
        load = _Clients(port, clients, outcome)
        try:
            for epoch in range(1, restarts + 1):
                start(epoch)
                outcome.restarts += 1
                if epoch > 1:
                    _ended(processes[epoch - 2])
            _ended(processes[-2])
        finally:
            load.end()
        deadline = time.monotonic() + _REST_S
        while (last := _descriptors(processes[-1].pid)) > first and time.monotonic() < deadline:
            time.sleep(_LOOK_S)
        outcome.descriptors = first, last
    finally:
        for each in processes:
            if each.poll() is None:
                each.send_signal(signal.SIGTERM)
                each.send_signal(signal.SIGINT)
        for each in processes:
            _ended(each)
        outcome.left = [each.pid for each in processes if each.poll() is None]
        app.shutdown()
        app.server_close()
        output.close()
    return outcome


def _ended(process: subprocess.Popen[bytes]) -> None:
    process.wait(60)


def _epoch(admin: int) -> int:
    """That of the process which answers at the admin port, once it serves; -1 without."""
    with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
        connection = http.client.HTTPConnection("127.0.0.1", admin, timeout=5)
        try:
            connection.request("GET", "/server_info")
            found = json.loads(connection.getresponse().read())
        finally:
            connection.close()
        if found["state"] == "LIVE":
            return int(found["command_line_options"]["restart_epoch"])
    return -1


def _descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def _free_ports(count: int) -> Iterator[int]:
    import socket

    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        ports = [int(each.getsockname()[1]) for each in sockets]
    return iter(ports)
