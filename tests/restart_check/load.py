"""What the checks share: an upstream, a configuration, and clients that never stop asking.

Clients keep their connections until an answer says ``connection: close``; a request fails when its answer is
not 200 or does not come whole.  One in eight takes a fifth of a second to answer, so that something is always
under way.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

__all__ = ["Clients", "config_text", "descriptors", "free_ports", "server_info", "upstream", "workers"]

_PIECES = 4
_PIECE_S = 0.05
_PAUSE_S = 0.005
_SLOW_EVERY = 8
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


def config_text(app: int, port: int, admin: int) -> str:
    """A bootstrap with one listener and one cluster."""
    text = _CONFIG.replace("ADMIN", str(admin)).replace("PORT", str(port))
    return text.replace("APP", str(app))


class _App(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        is_slow = self.path == "/slow"
        self.send_response(200)
        self.send_header("content-length", "5")
        self.end_headers()
        self.wfile.write(b"h")
        for _ in range(_PIECES if is_slow else 0):
            self.wfile.flush()
            time.sleep(_PIECE_S)
        self.wfile.write(b"ello")

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_: object) -> None:
        """A proxy that was killed resets its connections."""


@contextlib.contextmanager
def upstream() -> Iterator[int]:
    """A server; its port."""
    app = _Server(("127.0.0.1", 0), _App)
    threading.Thread(target=app.serve_forever, daemon=True).start()
    try:
        yield int(app.server_address[1])
    finally:
        app.shutdown()
        app.server_close()


class Clients:
    """Threads that ask without end.

    ``choose`` says where a new connection goes.  ``failed`` hears of each request that fails, with the port
    of the client's own end (0 where there was no connection).
    """

    def __init__(self, count: int, choose: Callable[[], int], failed: Callable[[str, int], None]) -> None:
        self._choose = choose
        self._failed = failed
        self._lock = threading.Lock()
        self._is_over = threading.Event()
        self.requests = 0
        self._threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(count)]
        for each in self._threads:
            each.start()

    def _ask(self, number: int) -> None:
        connection: http.client.HTTPConnection | None = None
        own = 0
        while not self._is_over.is_set():
            number += 1
            try:
                if connection is None:
                    own = 0
                    connection = http.client.HTTPConnection("127.0.0.1", self._choose(), timeout=30)
                    connection.connect()
                    own = int(connection.sock.getsockname()[1])
                connection.request("GET", "/" if number % _SLOW_EVERY else "/slow")
                answer = connection.getresponse()
                body = answer.read()
                problem = "" if (answer.status, body) == (200, b"hello") else f"{answer.status} {body[:50]!r}"
                if answer.will_close:
                    connection.close()
                    connection = None
            except (OSError, http.client.HTTPException) as error:
                problem = repr(error)
                if connection is not None:
                    connection.close()
                connection = None
            with self._lock:
                self.requests += 1
                if problem:
                    self._failed(problem, own)
            time.sleep(_PAUSE_S)
        if connection is not None:
            connection.close()

    def end(self) -> None:
        """No more requests."""
        self._is_over.set()
        for each in self._threads:
            each.join()


def server_info(admin: int) -> dict[str, object]:
    """What the admin interface says of the server; nothing where nobody answers."""
    with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
        connection = http.client.HTTPConnection("127.0.0.1", admin, timeout=5)
        try:
            connection.request("GET", "/server_info")
            found: dict[str, object] = json.loads(connection.getresponse().read())
        finally:
            connection.close()
        return found
    return {}


def workers(pid: int) -> list[int]:
    """The processes that this one started."""
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def descriptors(pid: int) -> int:
    """How many are open in a process and its workers."""
    return sum(len(list(Path(f"/proc/{each}/fd").iterdir())) for each in (pid, *workers(pid)))


def free_ports(count: int) -> list[int]:
    """Ports that nobody has, and that the kernel gives to nobody who binds port 0.

    A proxy is away for a moment between two of its lives: whoever got its port then would answer for it.
    """
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    found: list[int] = []
    while len(found) < count:
        port = random.randrange(first - 12_000, first)
        with socket.socket() as tried, contextlib.suppress(OSError):
            tried.bind(("127.0.0.1", port))
            if port not in found:
                found.append(port)
    return found
