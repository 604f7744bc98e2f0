"""Wasm code that is fetched, on Envoy and on sidecar; and plugins of routes, which are sidecar's alone."""

import hashlib
import json
import re
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from proxy_process import PROXIES, ROOT, RunningProxy, proxy_command, running_proxy

from tests.support.oracle_binary import envoy_binary

MODULE = ROOT / "sidecar" / "demo_assets" / "header_guard.wasm"
CODE = MODULE.read_bytes()
WASM = "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm"
STRING = "type.googleapis.com/google.protobuf.StringValue"
ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
HCM = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
DIGEST = hashlib.sha256(CODE).hexdigest()


class CodeServer(ThreadingHTTPServer):
    """Serves the module; `/busy/N/…` only behind that many 503."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[str] = []


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: CodeServer

    def do_GET(self) -> None:
        asked = self.server.asked
        asked.append(self.path)
        busy = re.match(r"/busy/(\d+)/", self.path)
        is_busy = busy is not None and asked.count(self.path) <= int(busy[1])
        body = b"" if is_busy else CODE
        self.send_response(503 if is_busy else 200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


@pytest.fixture
def code_server() -> Iterator[CodeServer]:
    with CodeServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def plugin(
    name: str, path: str, digest: str = DIGEST, *, vm: str = "", retries: int = 1, more: str = ""
) -> str:
    """A Wasm filter in one line of YAML; its code is fetched, and it shows its name in responses."""
    configuration = json.dumps({"response_header": {"name": f"x-{name}", "value": "was here"}})
    code = (
        f'{{remote: {{http_uri: {{uri: "http://code.example{path}", cluster: code, timeout: 5s}}, '
        f"sha256: '{digest}', retry_policy: {{num_retries: {retries}, "
        f"retry_back_off: {{base_interval: 0.02s}}}}}}}}"
    )
    return (
        f"{{name: {name}, typed_config: {{'@type': {WASM}, "
        f"config: {{name: {name}, root_id: {name}, {more} "
        f"configuration: {{'@type': {STRING}, value: '{configuration}'}}, "
        f"vm_config: {{vm_id: {name}, {vm} runtime: envoy.wasm.runtime.v8, code: {code}}}}}}}}}"
    )


def listener(port: int, *filters: str, routes: str = "") -> str:
    routes = routes or "[{match: {prefix: /}, direct_response: {status: 200, body: {inline_string: ok}}}]"
    chain = [*filters, f'{{name: router, typed_config: {{"@type": {ROUTER}}}}}']
    lines = "".join(f"\n          - {each}" for each in chain)
    return f"""
  - name: on-{port}
    address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - filters:
      - name: hcm
        typed_config:
          "@type": {HCM}
          stat_prefix: on_{port}
          route_config: {{virtual_hosts: [{{name: all, domains: ["*"], routes: {routes}}}]}}
          http_filters:{lines}"""


def bootstrap(code_port: int, *listeners: str) -> str:
    return f"""
admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: 9901}}}}}}
static_resources:
  clusters:
  - name: code
    type: STATIC
    connect_timeout: 1s
    load_assignment: {{cluster_name: code, endpoints: [{{lb_endpoints: [
      {{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {code_port}}}}}}}}}]}}]}}
  listeners:{"".join(listeners)}
"""


def stats(proxy: RunningProxy) -> dict[str, str]:
    lines = proxy.get("/stats?filter=remote_load", port=9901).body.decode().splitlines()
    pairs = (line.removeprefix("wasm.remote_load_").split(": ") for line in lines)
    return {name: value for name, value in pairs if value != "0"}


@pytest.fixture(params=PROXIES)
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if name == "envoy" and envoy_binary() is None:
        pytest.skip("there is no Envoy here")
    return name


def test_code_is_there_when_listeners_accept(kind: str, tmp_path: Path, code_server: CodeServer) -> None:
    port = code_server.server_port
    configuration = bootstrap(port, listener(10000, plugin("one", "/busy/1/one.wasm")))
    with running_proxy(kind, configuration, tmp_path, keep=[port]) as proxy:
        answer = proxy.get("/")
        assert (answer.status, answer.headers.get("x-one")) == (200, "was here")
        assert stats(proxy) == {"cache_entries": "1", "cache_misses": "1", "fetch_successes": "1"}
    assert code_server.asked == ["/busy/1/one.wasm"] * 2


def test_plugin_without_code_fails_as_its_policy_says(
    kind: str, tmp_path: Path, code_server: CodeServer
) -> None:
    port = code_server.server_port
    configuration = bootstrap(
        port,
        listener(10000, plugin("other", "/other.wasm", "0" * 64, retries=0)),
        listener(10001, plugin("busy", "/busy/9/x.wasm", "1" * 64, more="failure_policy: FAIL_OPEN,")),
    )
    with running_proxy(kind, configuration, tmp_path, keep=[port]) as proxy:
        closed = proxy.get("/")
        assert (closed.status, closed.body) == (503, b"")
        opened = proxy.get("/", port=10001)
        assert (opened.status, opened.body, opened.headers.get("x-busy")) == (200, b"ok", None)
        assert stats(proxy) == {"cache_entries": "2", "cache_misses": "2", "fetch_failures": "2"}
    assert sorted(code_server.asked) == ["/busy/9/x.wasm", "/busy/9/x.wasm", "/other.wasm"]


def test_configuration_whose_code_is_not_there_yet_is_refused_where_it_asks_for_that(
    kind: str, tmp_path: Path
) -> None:
    one = plugin("one", "/one.wasm", vm="nack_on_code_cache_miss: true,")
    (tmp_path / "bootstrap.yaml").write_text(bootstrap(1, listener(10000, one)))
    command = [*proxy_command(kind), "--mode", "validate", "-c", str(tmp_path / "bootstrap.yaml")]
    checked = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert checked.returncode == 1
    assert "Unable to create Wasm plugin one" in checked.stdout + checked.stderr


def test_two_plugins_share_what_is_fetched(tmp_path: Path, code_server: CodeServer) -> None:
    """In Envoy the second one is told that there is no code."""
    port = code_server.server_port
    plugins = plugin("one", "/one.wasm"), plugin("two", "/two.wasm")
    with running_proxy("sidecar", bootstrap(port, listener(10000, *plugins)), tmp_path, keep=[port]) as proxy:
        answer = proxy.get("/")
        assert (answer.headers["x-one"], answer.headers["x-two"]) == ("was here", "was here")
    assert len(code_server.asked) == 1


def test_route_has_a_plugin_of_its_own(tmp_path: Path, code_server: CodeServer) -> None:
    """Envoy has no configuration of this filter for routes."""
    port = code_server.server_port
    own = json.dumps({"response_header": {"name": "x-own", "value": "route"}})
    config = (
        f"name: own, configuration: {{'@type': {STRING}, value: '{own}'}}, "
        f'vm_config: {{code: {{local: {{filename: "{MODULE}"}}}}}}'
    )
    routes = (
        "[{match: {path: /own}, direct_response: {status: 200}, "
        f"typed_per_filter_config: {{one: {{'@type': {WASM}, config: {{{config}}}}}}}}}, "
        "{match: {prefix: /}, direct_response: {status: 200}}]"
    )
    configuration = bootstrap(port, listener(10000, plugin("one", "/one.wasm"), routes=routes))
    with running_proxy("sidecar", configuration, tmp_path, keep=[port]) as proxy:
        marks = {path: proxy.get(path).headers for path in ("/own", "/else")}
        assert (marks["/own"].get("x-own"), marks["/own"].get("x-one")) == ("route", None)
        assert (marks["/else"].get("x-own"), marks["/else"].get("x-one")) == (None, "was here")
        assert proxy.get("/admin").status == 403
