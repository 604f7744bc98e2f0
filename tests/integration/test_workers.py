"""``--concurrency 2``: a supervisor and two workers serve as one proxy."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from proxy_process import ROOT

pytestmark = pytest.mark.xdist_group("workers")  # of one proxy
TIMEOUT_S = 60.0
CONFIG = """
admin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}}
node: {id: node, cluster: own}
layered_runtime:
  layers: [{name: a, admin_layer: {}}]
static_resources:
  listeners:
  - name: main
    stat_prefix: main
    address: {socket_address: {address: 127.0.0.1, port_value: 0}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/HCM
          stat_prefix: h
          rds: {route_config_name: r, config_source: {path_config_source: {path: "DIR/rds.json"}}}
          http_filters:
          - name: counting
            typed_config:
              "@type": type.googleapis.com/sidecar.extensions.filters.http.lua.v1.Lua
              shared_dictionaries: {counts: {max_entries: 10}}
              lua:
                default_source_code:
                  inline_string: |
                    local shared = require("sidecar.shared")
                    function envoy_on_request(handle)
                      if handle:headers():get(":path") == "/count" then
                        local count = string.format("%d", shared.incr("counts", "requests", 1, 0))
                        handle:respond({[":status"] = "200"}, count)
                      end
                    end
          - name: sharing
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm
              config:
                name: sharing
                vm_config:
                  vm_id: sharing
                  runtime: envoy.wasm.runtime.v8
                  code: {local: {filename: "DIR/sharing.wat"}}
          - name: tap
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.tap.v3.Tap
              common_config: {admin_config: {config_id: one}}
          - name: envoy.filters.http.router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
  clusters:
  - name: checked
    type: STRICT_DNS
    connect_timeout: 1s
    health_checks:
    - {timeout: 1s, interval: 0.1s, unhealthy_threshold: 1, healthy_threshold: 1, no_traffic_interval: 0.1s,
       http_health_check: {path: /health}}
    common_lb_config: {healthy_panic_threshold: {value: 0}}
    load_assignment:
      cluster_name: checked
      endpoints:
      - lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: PORT}}}}]
""".replace("HCM", "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager")

#: Answers /share with a number that it adds 1 to by compare and swap, and puts an item into a queue for each;
#: whoever is told of an item takes it and counts it.
SHARING = r"""
(module
  (import "env" "proxy_get_header_map_value" (func $header (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_get_shared_data" (func $get (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_set_shared_data" (func $set (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_register_shared_queue" (func $register (param i32 i32 i32) (result i32)))
  (import "env" "proxy_enqueue_shared_queue" (func $enqueue (param i32 i32 i32) (result i32)))
  (import "env" "proxy_dequeue_shared_queue" (func $dequeue (param i32 i32 i32) (result i32)))
  (import "env" "proxy_define_metric" (func $define (param i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_increment_metric" (func $count (param i32 i64) (result i32)))
  (import "env" "proxy_send_local_response"
    (func $answer (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 64) ":path") (data (i32.const 80) "/sha") (data (i32.const 96) "taken")
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "malloc") (param i32) (result i32) (i32.const 1024))
  (func (export "proxy_on_configure") (param i32 i32) (result i32)
    (drop (call $define (i32.const 0) (i32.const 96) (i32.const 5) (i32.const 4)))
    (drop (call $register (i32.const 96) (i32.const 5) (i32.const 0)))
    (i32.const 1))
  (func (export "proxy_on_queue_ready") (param i32 i32)
    (if (i32.eqz (call $dequeue (local.get 1) (i32.const 8) (i32.const 12)))
      (then (drop (call $count (i32.load (i32.const 4)) (i64.const 1))))))
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
    (drop (call $header (i32.const 0) (i32.const 64) (i32.const 5) (i32.const 8) (i32.const 12)))
    (if (i32.ne (i32.load (i32.load (i32.const 8))) (i32.load (i32.const 80))) (then (return (i32.const 0))))
    (loop $again
      (i32.store (i32.const 16) (i32.const 0)) (i32.store (i32.const 1024) (i32.const 0))
      (drop (call $get (i32.const 64) (i32.const 5) (i32.const 8) (i32.const 12) (i32.const 16)))
      (i32.store (i32.const 32) (i32.add (i32.load (i32.const 1024)) (i32.const 1)))
      (br_if $again
        (call $set (i32.const 64) (i32.const 5) (i32.const 32) (i32.const 4) (i32.load (i32.const 16)))))
    (drop (call $enqueue (i32.load (i32.const 0)) (i32.const 32) (i32.const 4)))
    (drop (call $answer (i32.const 200) (i32.const 0) (i32.const 0) (i32.const 32) (i32.const 4)
      (i32.const 0) (i32.const 0) (i32.const -1)))
    (i32.const 1)))
"""


def routes(text: str, version: str = "1") -> str:
    inner = [
        {"match": {"prefix": "/up"}, "route": {"cluster": "checked"}},
        {"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": text}}},
    ]
    host = {"name": "v", "domains": ["*"], "routes": inner}
    kind = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
    return json.dumps(
        {"version_info": version, "resources": [{"@type": kind, "name": "r", "virtual_hosts": [host]}]}
    )


class Upstream(BaseHTTPRequestHandler):
    """Well while the server's ``is_well`` is set."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        well: threading.Event = self.server.is_well  # type: ignore[attr-defined] # set below
        status = 200 if well.is_set() or self.path != "/health" else 503
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


class Proxy:
    config = CONFIG

    def __init__(self, directory: Path, upstream: ThreadingHTTPServer) -> None:
        self.directory, self.upstream = directory, upstream
        (directory / "rds.json").write_text(routes("one"))
        (directory / "sharing.wat").write_text(SHARING)
        config = directory / "bootstrap.yaml"
        text = self.config.replace("DIR", str(directory)).replace("PORT", str(upstream.server_address[1]))
        config.write_text(text)
        self.output = directory / "output"
        admin = directory / "admin"
        command = [sys.executable, "-m", "sidecar", "-c", str(config), "--concurrency", "2"]
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [*command, "--admin-address-path", str(admin), "-l", "info"],
                cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            )  # fmt: skip
        self.admin_port = self.port = 0
        self.until(lambda: admin.exists() and admin.read_text() != "")
        self.admin_port = int(admin.read_text().rpartition(":")[2])
        self.until(lambda: self.admin("/ready") == "LIVE\n")
        self.port = int(self.admin("/listeners").strip().rpartition(":")[2])

    def until(self, is_so: Callable[[], bool]) -> None:
        deadline = time.monotonic() + TIMEOUT_S
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.output.read_text()
            with contextlib.suppress(OSError):
                if is_so():
                    return
            time.sleep(0.02)
        raise AssertionError(self.output.read_text())

    def ask(self, port: int, path: str, method: str = "GET") -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        try:
            connection.request(method, path)
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def admin(self, path: str, method: str = "GET") -> str:
        return self.ask(self.admin_port, path, method)[1]

    def get(self, path: str = "/") -> tuple[int, str]:
        return self.ask(self.port, path)

    def stat(self, name: str) -> int:
        found = re.search(rf"^{re.escape(name)}: (\d+)$", self.admin("/stats"), re.MULTILINE)
        return int(found[1]) if found else -1

    def workers(self) -> list[int]:
        tasks = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(each) for each in tasks.read_text().split()]

    def by_both(self, is_so: Callable[[tuple[int, str]], bool], path: str = "/") -> bool:
        """Whether a run of connections, which come to both workers, sees it every time."""
        return all(is_so(self.get(path)) for _ in range(12))


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    upstream = ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
    upstream.is_well = threading.Event()  # type: ignore[attr-defined] # for the handlers
    upstream.is_well.set()  # type: ignore[attr-defined] # set above
    threading.Thread(target=upstream.serve_forever, daemon=True).start()
    found = Proxy(tmp_path_factory.mktemp("workers"), upstream)
    try:
        yield found
    finally:
        if found.process.poll() is None:
            found.process.terminate()
            found.process.send_signal(signal.SIGINT)
            found.process.wait(20)
        upstream.shutdown()
        upstream.server_close()


def test_first_workers_are_copies_of_the_process_that_read_the_configuration(proxy: Proxy) -> None:
    lines = [Path(f"/proc/{each}/cmdline").read_bytes().rstrip(b"\0") for each in proxy.workers()]
    assert sorted(lines) == [b"sidecar\0worker\x000", b"sidecar\0worker\x001"]


def test_both_workers_serve_and_statistics_show_the_whole(proxy: Proxy) -> None:
    before = proxy.stat("http.h.downstream_rq_2xx")
    assert before >= 0
    counts = [proxy.stat(f"listener.main.worker_{n}.downstream_cx_total") for n in range(2)]
    made = 0
    while any(proxy.stat(f"listener.main.worker_{n}.downstream_cx_total") == counts[n] for n in range(2)):
        assert proxy.get() == (200, "one")
        made += 1
        assert made < 200
    assert proxy.stat("http.h.downstream_rq_2xx") == before + made
    assert proxy.stat("server.concurrency") == 2
    assert proxy.stat("cluster.checked.membership_total") == 1
    assert proxy.get("/up")[0] == 200
    assert re.search(r"^checked::127.0.0.1:\d+::rq_total::[1-9]", proxy.admin("/clusters"), re.MULTILINE)


def test_script_counts_over_both(proxy: Proxy) -> None:
    """Every number once, whichever worker a connection came to."""
    serving = [f"listener.main.worker_{number}.downstream_cx_total" for number in range(2)]
    counts = [proxy.stat(name) for name in serving]
    seen: list[int] = []
    while any(proxy.stat(name) == count for name, count in zip(serving, counts, strict=True)):
        seen.append(int(proxy.get("/count")[1]))
        assert len(seen) < 200
    assert seen == list(range(1, len(seen) + 1))


def test_wasm_guests_share_data_and_queues_over_both(proxy: Proxy) -> None:
    """Every number once, whichever worker a connection came to; who registered last hears of each item."""
    serving = [f"listener.main.worker_{number}.downstream_cx_total" for number in range(2)]
    counts = [proxy.stat(name) for name in serving]
    seen: list[int] = []
    while any(proxy.stat(name) == count for name, count in zip(serving, counts, strict=True)):
        seen.append(ord(proxy.get("/share")[1][0]))
        assert len(seen) < 120
    assert seen == list(range(1, len(seen) + 1))
    proxy.until(lambda: proxy.stat("wasmcustom.taken") == len(seen))


def test_tap_has_the_exchanges_of_both(proxy: Proxy) -> None:
    serving = [f"listener.main.worker_{number}.downstream_cx_total" for number in range(2)]
    headers = "http_request_headers_match: {headers: [{name: ':path', string_match: {prefix: /tapped}}]}"
    sinks = "output_config: {sinks: [{streaming_admin: {}}]}"
    body = f"{{config_id: one, tap_config: {{match: {{{headers}}}, {sinks}}}}}"
    connection = http.client.HTTPConnection("127.0.0.1", proxy.admin_port, timeout=20)
    connection.request("POST", "/tap", body)
    response = connection.getresponse()
    assert response.status == 200
    # Both have been told of it once they have served connections that came later.
    proxy.until(
        lambda: proxy.by_both(lambda answer: answer[0] == 200) and proxy.stat("http.h.tap.rq_tapped") >= 0
    )
    before = [proxy.stat(name) for name in serving]
    made = 0
    while any(proxy.stat(name) == count for name, count in zip(serving, before, strict=True)):
        assert proxy.get(f"/tapped{made}")[0] == 200
        made += 1
        assert made < 200
    text = ""
    while not all(f'"/tapped{number}"' in text for number in range(made)):
        text += response.read1().decode()
    connection.close()
    proxy.until(lambda: proxy.stat("http.h.tap.rq_tapped") == made)


def test_routes_that_change_reach_both(proxy: Proxy) -> None:
    for text in ("two", "one"):
        new = proxy.directory / "new.json"
        new.write_text(routes(text, text))
        new.rename(proxy.directory / "rds.json")
        proxy.until(lambda text=text: proxy.by_both(lambda answer: answer == (200, text)))  # type: ignore[misc] # bound here


def test_health_and_runtime_and_readiness_reach_both(proxy: Proxy) -> None:
    well: threading.Event = proxy.upstream.is_well  # type: ignore[attr-defined] # the fixture set it
    well.clear()
    proxy.until(lambda: proxy.by_both(lambda answer: answer[0] == 503, "/up"))
    assert "failed_active_hc" in proxy.admin("/clusters")
    well.set()
    proxy.until(lambda: proxy.by_both(lambda answer: answer[0] == 200, "/up"))
    proxy.admin("/healthcheck/fail", "POST")
    assert proxy.ask(proxy.admin_port, "/ready")[0] == 503
    proxy.admin("/healthcheck/ok", "POST")
    assert proxy.ask(proxy.admin_port, "/ready")[0] == 200


def test_worker_that_is_killed_takes_its_own_connections_alone_and_is_replaced(proxy: Proxy) -> None:
    clients = []
    for _ in range(16):
        client = socket.create_connection(("127.0.0.1", proxy.port), 20)
        client.sendall(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        assert client.recv(1000).startswith(b"HTTP/1.1 200")
        clients.append(client)
    died = proxy.stat("workers.died")
    own = [proxy.stat(f"listener.main.worker_{n}.downstream_cx_active") for n in range(2)]
    assert sum(own) == 16
    os.kill(proxy.workers()[0], signal.SIGKILL)
    lost = 0
    for client in clients:
        with contextlib.suppress(ConnectionError):
            client.sendall(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        try:
            is_served = client.recv(1000).startswith(b"HTTP/1.1 200")
        except ConnectionError:
            is_served = False
        lost += not is_served
        client.close()
    assert lost in own
    proxy.until(lambda: proxy.stat("workers.died") == died + 1 and proxy.stat("workers.active") == 2)
    assert proxy.by_both(lambda answer: answer == (200, "one"))


def test_supervisor_that_is_killed_takes_its_workers_along(proxy: Proxy) -> None:
    workers = proxy.workers()
    assert len(workers) == 2
    proxy.process.kill()
    proxy.process.wait(20)
    deadline = time.monotonic() + TIMEOUT_S
    while any(Path(f"/proc/{each}").exists() for each in workers):
        assert time.monotonic() < deadline
        time.sleep(0.02)
