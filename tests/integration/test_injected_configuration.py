"""What an injection configures, on sidecar and on Envoy: accepted, and the kubelet's questions answered."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import pytest
from proxy_process import PROXIES, proxy_command, running_proxy

from sidecar.k8s import documents, rewrite
from sidecar.k8s.bootstrap import bootstrap, overlay
from sidecar.k8s.containers import merged
from sidecar.k8s.probes import POD_ADDRESS, probes_of
from sidecar.k8s.settings import Settings
from tests.golden.kubernetes.renew import AFTER
from tests.support import yaml_text

pytestmark = pytest.mark.oracle

#: Each pod's configuration is of a kind of its own.
PODS = ["probes_http.yaml", "probes_https.yaml", "probes_tcp_and_grpc.yaml", "ports.yaml",
"inline_config.yaml", "not_intercepting.yaml"]  # fmt: skip


def proxy_of(text: str) -> tuple[list[str], str]:
    """The proxy's flags, and the file that is mounted for it."""
    args: list[str] = []
    file = ""
    for item in yaml_text.load_all(text):
        if item["kind"] == "ConfigMap":
            [file] = item["data"].values()
        else:
            spec = item["spec"]["template"]["spec"]
            [proxy] = [c for c in spec["initContainers"] if c["name"] == "sidecar-proxy"]
            args = list(proxy["args"])
    return args, file


@pytest.mark.parametrize("kind", PROXIES)
@pytest.mark.parametrize("name", PODS)
def test_the_written_configuration_is_accepted(kind: str, name: str, tmp_path: Path) -> None:
    args, file = proxy_of((AFTER / name).read_text())
    if "-c" in args:
        path = tmp_path / "bootstrap.yaml"
        path.write_text(file)
        args[args.index("-c") + 1] = str(path)
    args = [item.replace(POD_ADDRESS, "127.0.0.1") for item in args]
    if kind == "envoy":
        # Flags of ours.
        at = args.index("--shutdown-deadline-s")
        del args[at : at + 2]
    done = subprocess.run(
        [*proxy_command(kind), *args, "--mode", "validate"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


class Application(BaseHTTPRequestHandler):
    """Says what it was asked; unwell at ``/unwell``."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = f"{self.path} {self.headers.get('x-probe', '')}".encode()
        self.send_response(500 if self.path == "/unwell" else 200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextlib.contextmanager
def application() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Application)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


@contextlib.contextmanager
def health_service(services: dict[str, int]) -> Iterator[int]:
    """A real gRPC server with the health protocol; a service's number is its status (1: SERVING)."""

    def check(request: bytes, context: grpc.ServicerContext) -> bytes:
        name = request[2:].decode()
        if name not in services:
            context.abort(grpc.StatusCode.NOT_FOUND, "no such service")
        return bytes([8, services[name]])

    handler = grpc.unary_unary_rpc_method_handler(check)
    server = grpc.server(futures.ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": handler})]
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield port
    server.stop(None)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@pytest.mark.parametrize("kind", PROXIES)
def test_probes_are_answered_as_the_application_would(kind: str, tmp_path: Path) -> None:
    closed = free_port()
    with application() as http, health_service({"": 1, "sick": 2}) as health:
        spec = {
            "containers": [
                {
                    "name": "app",
                    "ports": [{"name": "web", "containerPort": http}],
                    "startupProbe": {"httpGet": {"path": "/start", "port": "web"}},
                    "livenessProbe": {"httpGet": {"path": "/unwell", "port": http}},
                    "readinessProbe": {"tcpSocket": {"port": "web"}},
                },
                {
                    "name": "rpc",
                    "startupProbe": {"grpc": {"port": health}},
                    "livenessProbe": {"grpc": {"port": health, "service": "sick"}},
                    "readinessProbe": {"tcpSocket": {"port": closed}},
                },
                {"name": "gone", "livenessProbe": {"httpGet": {"path": "/", "port": closed}}},
            ]
        }
        settings = Settings()
        probes = [probe for _, probe in probes_of(spec, frozenset())]
        config = merged(bootstrap(settings), overlay(settings, probes))
        text = yaml_text.dump(config, width=1000).replace(POD_ADDRESS, "127.0.0.1")
        keep = {http, health, closed}
        with running_proxy(kind, text, tmp_path, settings.admin_port, keep) as proxy:
            want = {
                "/healthz/ready": 200,
                "/app-health/app/startup": 200,
                "/app-health/app/liveness": 500,
                "/app-health/app/readiness": 200,
                "/app-health/rpc/startup": 200,
                "/app-health/rpc/liveness": 503,
                "/app-health/rpc/readiness": 503,
                "/app-health/gone/liveness": 503,
                "/app-health/gone/readiness": 404,
                "/": 404,
            }
            # Clusters are unknown until their first check has ended.
            deadline = time.monotonic() + 20
            while True:
                got = {path: proxy.get(path, port=settings.health_port).status for path in want}
                if got == want or time.monotonic() > deadline:
                    break
                time.sleep(0.1)
            assert got == want
            answer = proxy.get("/app-health/app/startup", {"x-probe": "kubelet"}, settings.health_port)
            assert answer.body == b"/start kubelet"
            scraped = proxy.get("/stats/prometheus", port=settings.health_port)
            assert b"envoy_server_live" in scraped.body


def test_the_command_gives_what_the_proxy_is_started_with(tmp_path: Path) -> None:
    """End to end: a manifest through the command, its proxy's flags given to a proxy, which becomes ready."""
    file = tmp_path / "pod.json"
    spec = {"containers": [{"name": "a"}]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": spec}
    file.write_text(json.dumps(pod))
    command = [sys.executable, "-m", "sidecar", "inject", str(file), "--interception", "none"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    [proxy] = json.loads(done.stdout)["spec"]["initContainers"]
    args = proxy["args"]
    config = json.loads(args[args.index("--config-yaml") + 1])
    with running_proxy("sidecar", yaml_text.dump(config), tmp_path, 15000) as running:
        assert running.get("/healthz/ready", port=15020).status == 200


def test_documents_are_joined_as_they_were_split() -> None:
    for path in sorted(AFTER.iterdir()):
        text = path.read_text()
        assert documents.join((d.separator, d.text) for d in documents.split(text, path.name)) == text
    assert rewrite.undo_documents([]).text == ""
