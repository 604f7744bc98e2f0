"""What a supervisor is told or asked reaches both workers: resources, and orders of the admin interface."""

from __future__ import annotations

import hashlib
import json
import re
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

from tests.conformance.tls import CERTIFICATES

pytestmark = pytest.mark.xdist_group("workers_follow")  # of one proxy
HCM = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
TLS = "envoy.extensions.transport_sockets.tls.v3"
CONFIG = """
admin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}}
node: {id: node, cluster: own}
layered_runtime: {layers: [{name: a, admin_layer: {}}]}
dynamic_resources:
  lds_config: {path_config_source: {path: "DIR/lds.json"}}
  cds_config: {path_config_source: {path: "DIR/cds.json"}}
"""


class Named(BaseHTTPRequestHandler):
    """Says which server it is of."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        name = str(self.server.server_address[1]).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(name)))
        self.end_headers()
        self.wfile.write(name)

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


class Proxy(WorkersProxy):
    """Two workers, whose listeners, clusters and secrets are in files."""

    config = CONFIG

    def __init__(self, directory: Path, upstreams: list[ThreadingHTTPServer]) -> None:
        self.upstreams = upstreams
        self.directory = directory
        self.version = 0
        self.write_secret("server")
        self.write("cds", self.cluster(0))
        self.write("lds", self.listener("main"))
        super().__init__(directory, upstreams[0])

    def write(self, kind: str, *resources: dict[str, Any]) -> None:
        """Move a file into place."""
        self.version += 1
        beside = self.directory / f"{kind}.new"
        beside.write_text(json.dumps({"version_info": str(self.version), "resources": list(resources)}))
        beside.rename(self.directory / f"{kind}.json")

    def write_secret(self, name: str) -> None:
        files = {
            key: {"inline_string": CERTIFICATES[f"{name}-{file}.pem"].decode()}
            for key, file in (("certificate_chain", "cert"), ("private_key", "key"))
        }
        self.write("sds", {"@type": _type(f"{TLS}.Secret"), "name": "own", "tls_certificate": files})

    def cluster(self, upstream: int) -> dict[str, Any]:
        port = self.upstreams[upstream].server_address[1]
        address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
        endpoints = [{"lb_endpoints": [{"endpoint": {"address": address}}]}]
        return {
            "@type": _type("envoy.config.cluster.v3.Cluster"),
            "name": "app",
            "type": "STATIC",
            "load_assignment": {"cluster_name": "app", "endpoints": endpoints},
        }

    def listener(self, name: str, *, is_tls: bool = False) -> dict[str, Any]:
        route = {"match": {"prefix": "/"}, "route": {"cluster": "app"}}
        log = {
            "@type": _type("envoy.extensions.access_loggers.file.v3.FileAccessLog"),
            "path": str(self.directory / f"{name}.log"),
        }
        router = {"@type": _type("envoy.extensions.filters.http.router.v3.Router")}
        manager = {
            "@type": _type(HCM),
            "stat_prefix": name,
            "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
            "http_filters": [{"name": "envoy.filters.http.router", "typed_config": router}],
            "access_log": [{"name": "file", "typed_config": log}],
        }
        chain: dict[str, Any] = {"filters": [{"name": "hcm", "typed_config": manager}]}
        if is_tls:
            source = {"path_config_source": {"path": str(self.directory / "sds.json")}}
            secret = {"name": "own", "sds_config": source}
            context = {
                "@type": _type(f"{TLS}.DownstreamTlsContext"),
                "common_tls_context": {"tls_certificate_sds_secret_configs": [secret]},
            }
            chain["transport_socket"] = {"name": "envoy.transport_sockets.tls", "typed_config": context}
        return {
            "@type": _type("envoy.config.listener.v3.Listener"),
            "name": name,
            "stat_prefix": name,
            "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
            "filter_chains": [chain],
        }

    def port_of(self, name: str) -> int:
        """0 while there is no such listener."""
        found = re.search(rf"^{name}::.*:(\d+)$", self.admin("/listeners"), re.MULTILINE)
        return int(found[1]) if found else 0


def _type(name: str) -> str:
    return f"type.googleapis.com/{name}"


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    upstreams = [ThreadingHTTPServer(("127.0.0.1", 0), Named) for _ in range(2)]
    for each in upstreams:
        threading.Thread(target=each.serve_forever, daemon=True).start()
    found = Proxy(tmp_path_factory.mktemp("follow"), upstreams)
    try:
        yield found
    finally:
        if found.process.poll() is None:
            found.process.terminate()
            found.process.send_signal(signal.SIGINT)
            found.process.wait(20)
        for each in upstreams:
            each.shutdown()
            each.server_close()


def test_cluster_that_changes_reaches_both(proxy: Proxy) -> None:
    for number in (1, 0):
        wanted = str(proxy.upstreams[number].server_address[1])
        proxy.write("cds", proxy.cluster(number))
        proxy.until(lambda wanted=wanted: proxy.by_both(lambda answer: answer == (200, wanted)))  # type: ignore[misc] # bound here


def test_listener_that_comes_and_goes_does_at_both(proxy: Proxy) -> None:
    proxy.write("lds", proxy.listener("main"), proxy.listener("second"))
    proxy.until(lambda: proxy.port_of("second") > 0)
    port = proxy.port_of("second")
    proxy.until(lambda: all(proxy.ask(port, "/")[0] == 200 for _ in range(12)))
    proxy.write("lds", proxy.listener("main"))
    proxy.until(lambda: _is_refused(port))
    assert proxy.port_of("second") == 0


def test_secret_that_changes_is_shown_by_both(proxy: Proxy) -> None:
    proxy.write("lds", proxy.listener("main"), proxy.listener("tls", is_tls=True))
    proxy.until(lambda: proxy.port_of("tls") > 0)
    port = proxy.port_of("tls")
    for name in ("server", "local"):
        proxy.write_secret(name)
        wanted = _digest(ssl.PEM_cert_to_DER_cert(CERTIFICATES[f"{name}-cert.pem"].decode()))
        proxy.until(lambda wanted=wanted: {_shown(port) for _ in range(12)} == {wanted})  # type: ignore[misc] # bound here


def test_log_level_is_that_of_both(proxy: Proxy) -> None:
    workers = proxy.workers()
    proxy.admin("/logging?level=debug", "POST")
    try:
        proxy.until(lambda: proxy.by_both(lambda answer: answer[0] == 200) and _debugs(proxy) >= set(workers))
    finally:
        proxy.admin("/logging?level=info", "POST")


def test_counters_are_reset_at_both(proxy: Proxy) -> None:
    assert proxy.by_both(lambda answer: answer[0] == 200)
    assert proxy.stat("http.main.downstream_rq_2xx") > 0
    assert proxy.admin("/reset_counters", "POST") == "OK\n"
    proxy.until(lambda: proxy.stat("http.main.downstream_rq_2xx") == 0)
    assert proxy.by_both(lambda answer: answer[0] == 200)
    proxy.until(lambda: proxy.stat("http.main.downstream_rq_2xx") == 12)


def test_logs_are_opened_anew_by_both(proxy: Proxy) -> None:
    path = proxy.directory / "main.log"
    path.rename(proxy.directory / "main.log.1")
    assert proxy.admin("/reopen_logs", "POST") == "OK\n"
    proxy.until(path.exists)
    proxy.until(lambda: proxy.by_both(lambda answer: answer[0] == 200) and _is_quiet(proxy))
    proxy.until(lambda: path.read_text().count("\n") >= 12)


def _is_quiet(proxy: Proxy) -> bool:
    """Whether a run of requests, which come to both, adds nothing to the file that was moved away."""
    moved = proxy.directory / "main.log.1"
    before = moved.read_text()
    path = proxy.directory / "main.log"
    lines = path.read_text().count("\n")
    assert proxy.by_both(lambda answer: answer[0] == 200)
    proxy.until(lambda: path.read_text().count("\n") >= lines + 12 or moved.read_text() != before)
    return moved.read_text() == before


def test_drain_closes_the_listeners_of_both(proxy: Proxy) -> None:
    proxy.admin("/drain_listeners", "POST")
    proxy.until(lambda: all(_is_refused(proxy.port) for _ in range(12)))


def _is_refused(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 5).close()
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:  # it waited in the queue of a socket that was being closed
        return False
    return False


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _shown(port: int) -> str:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with (
            socket.create_connection(("127.0.0.1", port), 20) as sock,
            context.wrap_socket(sock, server_hostname="a") as tls,
        ):
            return _digest(tls.getpeercert(binary_form=True) or b"")
    except (ssl.SSLError, ConnectionError):
        return ""


def _debugs(proxy: Proxy) -> set[int]:
    """The processes that wrote a line at debug."""
    found = re.findall(r"^\[[^\]]*\]\[(\d+)\]\[debug\]", proxy.output.read_text(), re.MULTILINE)
    return {int(each) for each in found}
