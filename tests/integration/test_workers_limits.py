"""What no configuration resource says reaches both workers, and limits that both keep together."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import socket
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from test_workers import Proxy as WorkersProxy
from test_workers_follow import _digest, _shown

from tests.conformance.tls import CERTIFICATES
from tests.support import yaml_text

pytestmark = pytest.mark.xdist_group("workers_limits")  # of one proxy
API = "type.googleapis.com/envoy"
HCM = f"{API}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
TLS = "extensions.transport_sockets.tls.v3"
REQUEST = b"GET /plain HTTP/1.1\r\nhost: a\r\n\r\n"


class Upstream(ThreadingHTTPServer):
    """Answers as the path says; what is held waits until it is let go."""

    daemon_threads = True
    request_queue_size = 100

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.go = threading.Event()
        self.held = threading.Semaphore(0)
        self.immediate = threading.Event()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def port(self) -> int:
        return int(self.server_address[1])


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Upstream

    def do_GET(self) -> None:
        status = 200
        if self.path == "/budget/hold" and self.headers["x-envoy-attempt-count"] == "1":
            status = 503
        elif self.path.endswith("/hold"):
            self.server.held.release()
            self.server.go.wait(20)
        elif self.path in ("/budget/fail", "/outlying/fail"):
            status = 503
        self.send_response(status)
        self.send_header("content-length", "0")
        if self.path == "/checked/fail":
            self.send_header("x-envoy-immediate-health-check-fail", "true")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


def _flag(key: str) -> dict[str, Any]:
    """A route that answers "on" while the runtime says 100 of this key."""
    return {
        "match": {
            "path": f"/{key}",
            "runtime_fraction": {"default_value": {"numerator": 0}, "runtime_key": key},
        },
        "direct_response": {"status": 200, "body": {"inline_string": "on"}},
    }


def _listener(name: str, chain: dict[str, Any], routes: list[dict[str, Any]]) -> dict[str, Any]:
    router = {"@type": f"{API}.extensions.filters.http.router.v3.Router"}
    host = {
        "name": "all",
        "domains": ["*"],
        "routes": routes,
        "include_request_attempt_count": True,
    }
    manager = {
        "@type": HCM,
        "stat_prefix": name,
        "route_config": {"virtual_hosts": [host]},
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": router}],
    }
    return {
        "name": name,
        "stat_prefix": name,
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
        "filter_chains": [{"filters": [{"name": "hcm", "typed_config": manager}], **chain}],
    }


def _cluster(name: str, port: int, **fields: Any) -> dict[str, Any]:
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    endpoints = [{"lb_endpoints": [{"endpoint": {"address": address}}]}]
    return {
        "name": name,
        "type": "STATIC",
        "load_assignment": {"cluster_name": name, "endpoints": endpoints},
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
        **fields,
    }


def _limits(**fields: Any) -> dict[str, Any]:
    return {"circuit_breakers": {"thresholds": [fields]}}


class Proxy(WorkersProxy):
    def __init__(self, directory: Path, upstream: Upstream) -> None:
        self.served = upstream
        (directory / "runtime").mkdir()
        self.set_runtime(directory, 1, "0")
        (directory / "mounted").mkdir()
        self.mount(directory, 1, "server")
        for kind in ("chain", "key"):
            (directory / "mounted" / f"{kind}.pem").symlink_to(f"..data/{kind}.pem")
        files = {
            "certificate_chain": {"filename": f"{directory}/mounted/chain.pem"},
            "private_key": {"filename": f"{directory}/mounted/key.pem"},
            "watched_directory": {"path": f"{directory}/mounted"},
        }
        secret = {"@type": f"{API}.{TLS}.Secret", "name": "own", "tls_certificate": files}
        (directory / "sds.json").write_text(json.dumps({"resources": [secret]}))
        self.config = yaml_text.dump(self.bootstrap(directory))
        super().__init__(directory, upstream)
        self.ports = dict(re.findall(r"^(\w+)::.*:(\d+)$", self.admin("/listeners"), re.MULTILINE))
        self.port = int(self.ports["main"])

    def bootstrap(self, directory: Path) -> dict[str, Any]:
        check = {
            "timeout": "1s",
            "interval": "600s",
            "no_traffic_interval": "600s",
            "unhealthy_threshold": 1,
            "healthy_threshold": 1,
            "http_health_check": {"path": "/health"},
        }
        often = {**check, "interval": "0.2s", "no_traffic_interval": "0.2s"}
        ejection = {
            "consecutive_5xx": 5,
            "interval": "600s",
            "base_ejection_time": "600s",
            "max_ejection_percent": 100,
        }
        twice = {"retry_on": "5xx", "num_retries": 1, "retry_back_off": {"base_interval": "0.001s"}}
        routes = [
            _flag("disk.flag"),
            _flag("admin.flag"),
            {"match": {"prefix": "/checked"}, "route": {"cluster": "checked"}},
            {"match": {"prefix": "/budget"}, "route": {"cluster": "budget", "retry_policy": twice}},
            {"match": {"prefix": "/pools"}, "route": {"cluster": "pools"}},
            {"match": {"prefix": "/outlying"}, "route": {"cluster": "outlying"}},
            {"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": "off"}}},
        ]
        sds = {"path_config_source": {"path": f"{directory}/sds.json"}}
        context = {
            "@type": f"{API}.{TLS}.DownstreamTlsContext",
            "common_tls_context": {
                "tls_certificate_sds_secret_configs": [{"name": "own", "sds_config": sds}]
            },
        }
        tls = {"transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": context}}
        port = self.served.port
        disk = {"symlink_root": f"{directory}/runtime/current", "subdirectory": "values"}
        return {
            "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}},
            "node": {"id": "node", "cluster": "own"},
            "layered_runtime": {
                "layers": [{"name": "disk", "disk_layer": disk}, {"name": "admin", "admin_layer": {}}]
            },
            "static_resources": {
                "listeners": [_listener("main", {}, routes), _listener("tls", tls, routes)],
                "clusters": [
                    _cluster("checked", port, health_checks=[check]),
                    _cluster("outlying", port, health_checks=[often], outlier_detection=ejection),
                    _cluster(
                        "budget",
                        port,
                        **_limits(retry_budget={"budget_percent": {"value": 1}, "min_retry_concurrency": 1}),
                    ),
                    _cluster("pools", port, **_limits(max_connection_pools=1, track_remaining=True)),
                ],
            },
        }

    def set_runtime(self, directory: Path, number: int, flag: str) -> None:
        """Another directory in the place of the runtime's."""
        values = directory / "runtime" / str(number) / "values" / "disk"
        values.mkdir(parents=True)
        (values / "flag").write_text(flag)
        _swap(directory / "runtime" / "current", str(number))

    def mount(self, directory: Path, number: int, name: str) -> None:
        """Another certificate, as a kubelet puts it there."""
        files = directory / "mounted" / f"..{number}"
        files.mkdir()
        for kind, file in (("chain", "cert"), ("key", "key")):
            (files / f"{kind}.pem").write_bytes(CERTIFICATES[f"{name}-{file}.pem"])
        _swap(directory / "mounted" / "..data", files.name)

    def open(self, path: str) -> socket.socket:
        """A request under way."""
        sock = socket.create_connection(("127.0.0.1", self.port), 20)
        sock.sendall(f"GET {path} HTTP/1.1\r\nhost: a\r\n\r\n".encode())
        return sock

    def is_seen(self, path: str, text: str) -> None:
        """Wait until both workers answer so."""
        self.until(lambda: self.by_both(lambda answer: answer == (200, text), path))


def _swap(link: Path, target: str) -> None:
    """Put a link in the place of another, by a move."""
    beside = link.with_name("new")
    beside.symlink_to(target)
    beside.rename(link)


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    upstream = Upstream()
    found = Proxy(tmp_path_factory.mktemp("limits"), upstream)
    try:
        yield found
    finally:
        upstream.go.set()
        if found.process.poll() is None:
            found.process.terminate()
            found.process.send_signal(signal.SIGINT)
            found.process.wait(20)
        upstream.shutdown()
        upstream.server_close()


def test_directory_of_the_runtime_that_is_replaced_is_read_by_both(proxy: Proxy) -> None:
    assert proxy.by_both(lambda answer: answer == (200, "off"), "/disk.flag")
    proxy.set_runtime(proxy.directory, 2, "100")
    proxy.is_seen("/disk.flag", "on")
    proxy.set_runtime(proxy.directory, 3, "0")
    proxy.is_seen("/disk.flag", "off")
    assert proxy.stat("runtime.load_success") >= 3


def test_certificate_of_a_watched_directory_is_shown_by_both(proxy: Proxy) -> None:
    port = int(proxy.ports["tls"])
    for number, name in ((2, "local"), (3, "server")):
        proxy.mount(proxy.directory, number, name)
        wanted = _digest(ssl.PEM_cert_to_DER_cert(CERTIFICATES[f"{name}-cert.pem"].decode()))
        proxy.until(lambda wanted=wanted: {_shown(port) for _ in range(12)} == {wanted})  # type: ignore[misc] # bound here


def test_override_of_the_runtime_reaches_both(proxy: Proxy) -> None:
    """Whoever comes later has it, too: that costs a worker, and is the end of the last test."""
    assert proxy.by_both(lambda answer: answer == (200, "off"), "/admin.flag")
    assert proxy.admin("/runtime_modify?admin.flag=100&disk.flag=100", "POST") == "OK\n"
    proxy.is_seen("/admin.flag", "on")
    proxy.is_seen("/disk.flag", "on")
    assert proxy.admin("/runtime_modify?admin.flag=&disk.flag=", "POST") == "OK\n"
    proxy.is_seen("/admin.flag", "off")
    proxy.is_seen("/disk.flag", "off")


def test_retry_budget_is_one_of_both(proxy: Proxy) -> None:
    """One retry is under way; while it is, neither worker makes another."""
    upstream = proxy.served
    upstream.go.clear()
    held = proxy.open("/budget/hold")
    assert upstream.held.acquire(timeout=20)
    before = proxy.stat("cluster.budget.upstream_rq_retry_overflow")
    assert proxy.by_both(lambda answer: answer[0] == 503, "/budget/fail")
    assert proxy.stat("cluster.budget.upstream_rq_retry_overflow") == before + 12
    retried = proxy.stat("cluster.budget.upstream_rq_retry")
    upstream.go.set()
    assert held.recv(1000).startswith(b"HTTP/1.1 200")
    held.close()
    assert proxy.by_both(lambda answer: answer[0] == 503, "/budget/fail")
    assert proxy.stat("cluster.budget.upstream_rq_retry") == retried + 12


def test_number_of_connection_pools_is_that_of_both(proxy: Proxy) -> None:
    """The worker that has the only pool answers, the other one refuses."""
    upstream = proxy.served
    upstream.go.clear()
    held = proxy.open("/pools/hold")
    assert upstream.held.acquire(timeout=20)
    statuses = [proxy.get("/pools")[0] for _ in range(4)]
    while len(set(statuses)) < 2:
        assert len(statuses) < 100
        statuses.append(proxy.get("/pools")[0])
    assert set(statuses) == {200, 503}
    assert proxy.stat("cluster.pools.upstream_cx_pool_overflow") == statuses.count(503)
    gauges = "cluster.pools.circuit_breakers.default."
    assert [proxy.stat(gauges + name) for name in ("cx_pool_open", "remaining_cx_pools")] == [1, 0]
    upstream.go.set()
    assert held.recv(1000).startswith(b"HTTP/1.1 200")
    held.close()


def test_immediate_failure_that_one_worker_hears_of_is_known_to_both(proxy: Proxy) -> None:
    assert proxy.by_both(lambda answer: answer[0] == 200, "/checked")
    assert proxy.get("/checked/fail")[0] == 200
    proxy.until(lambda: proxy.by_both(lambda answer: answer[0] == 503, "/checked"))
    assert "::health_flags::/failed_active_hc" in proxy.admin("/clusters")
    assert proxy.stat("cluster.checked.membership_healthy") == 0


def test_health_check_that_passes_lets_a_host_back_in_that_workers_ejected(proxy: Proxy) -> None:
    """The checks are the supervisor's, the failures the workers'."""
    prefix = "cluster.outlying.outlier_detection."
    while proxy.stat(f"{prefix}ejections_enforced_total") < 1:
        assert proxy.get("/outlying/fail")[0] == 503
    proxy.until(lambda: proxy.stat(f"{prefix}ejections_active") == 0)
    proxy.until(lambda: proxy.by_both(lambda answer: answer[0] == 200, "/outlying"))
    assert f"outlying::127.0.0.1:{proxy.served.port}::health_flags::healthy" in proxy.admin("/clusters")


def test_workers_and_supervisor_without_descriptors_serve_on_and_recover(proxy: Proxy) -> None:
    """Both workers run out of them, then their supervisor does while a worker dies.

    Who takes its place knows what ``/runtime_modify`` was told.
    """
    first = proxy.open("/plain")
    assert first.recv(1000).startswith(b"HTTP/1.1 200")
    pids = proxy.workers()
    limits = {pid: _limit_descriptors(pid, 5) for pid in pids}
    many = [proxy.open("/plain") for _ in range(60)]
    first.sendall(REQUEST)
    assert first.recv(1000).startswith(b"HTTP/1.1 200")
    answered = sum(_is_answered(each, 0.05) for each in many)
    assert answered < 30  # the others wait in queues
    for each in many:
        each.close()
    assert proxy.by_both(lambda answer: answer == (200, "off"))
    for pid, limit in limits.items():
        resource.prlimit(pid, resource.RLIMIT_NOFILE, limit)

    assert proxy.admin("/runtime_modify?admin.flag=100", "POST") == "OK\n"
    died = proxy.stat("workers.died")
    seen = len(proxy.output.read_text())
    limit = resource.prlimit(proxy.process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(proxy.process.pid, resource.RLIMIT_NOFILE, (3, limit[1]))  # not one more
    os.kill(pids[0], signal.SIGKILL)
    proxy.until(lambda: "Too many open files" in proxy.output.read_text()[seen:])
    resource.prlimit(proxy.process.pid, resource.RLIMIT_NOFILE, limit)
    proxy.until(lambda: proxy.stat("workers.died") > died and proxy.stat("workers.active") == 2)
    assert proxy.by_both(lambda answer: answer == (200, "on"), "/admin.flag")
    first.close()


def _limit_descriptors(pid: int, more: int) -> tuple[int, int]:
    """Allow a process so many more than it has; what it was allowed."""
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    used = max(int(each.name) for each in Path(f"/proc/{pid}/fd").iterdir())
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (used + 1 + more, before[1]))
    return before


def _is_answered(sock: socket.socket, wait_s: float) -> bool:
    sock.settimeout(wait_s)
    try:
        return sock.recv(100).startswith(b"HTTP/1.1 200")
    except (TimeoutError, ConnectionError):
        return False
