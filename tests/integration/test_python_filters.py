"""docs/python-filters.md: its three examples run, and an exception harms its own request."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from proxy_process import ROOT, RunningProxy, running_proxy

EXAMPLES = ROOT / "examples" / "python_filters"
TYPE = "type.googleapis.com/sidecar.extensions.filters.http.python.v1.Python"
HCM = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
CODEC = "type.googleapis.com/envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec"
ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"


class Application(http.server.BaseHTTPRequestHandler):
    """The upstream, and the quota service."""

    def do_GET(self) -> None:
        if self.path.startswith("/quota/"):
            body = json.dumps({"left": 7 if self.path.endswith("/ann") else 0}).encode()
        else:
            body = f"{self.headers['x-user']} pays with 4111111111111111".encode()
        self.send_response(200)
        self.send_header("content-type", "text/plain")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def python_filter(name: str, settings: dict[str, object]) -> dict[str, object]:
    return {"name": name, "typed_config": {"@type": TYPE, "filter": name, "settings": settings}}


def bootstrap(port: int, broken: Path) -> str:
    filters = [
        python_filter("examples/python_filters/greeting.py:Greeting", {"names": {"k1": "ann", "k2": "bob"}}),
        python_filter("examples/python_filters/quota.py:Quota", {"cluster": "quota", "timeout_s": 5}),
        python_filter("examples/python_filters/redact.py:Redact", {"types": ["text/"]}),
        python_filter(f"{broken}:Broken", {}),
        {"name": "router", "typed_config": {"@type": ROUTER}},
    ]
    manager = {
        "@type": HCM,
        "stat_prefix": "in",
        "http_filters": filters,
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "app"}}],
                }
            ]
        },
    }
    address = {"address": "127.0.0.1", "port_value": "PORT"}
    options = {
        "@type": f"type.googleapis.com/{HTTP_OPTIONS}",
        "explicit_http_config": {"http_protocol_options": {}},
        "http_filters": [
            python_filter(f"{broken}:Stamp", {}),
            {"name": "codec", "typed_config": {"@type": CODEC}},
        ],
    }
    clusters = ",".join(
        json.dumps({
            "name": name,
            "type": "STATIC",
            "connect_timeout": "5s",
            "typed_extension_protocol_options": {HTTP_OPTIONS: options} if name == "app" else {},
            "load_assignment": {
                "cluster_name": name,
                "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {"socket_address": address}}}]}],
            },
        })
        for name in ("app", "quota")
    )  # fmt: skip
    return f"""
admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: 9901}}}}}}
static_resources:
  listeners:
  - address: {{socket_address: {{address: 127.0.0.1, port_value: 10000}}}}
    filter_chains: [{{filters: [{{name: hcm, typed_config: {json.dumps(manager)}}}]}}]
  clusters: [{clusters.replace('"PORT"', f"{port}")}]
"""


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningProxy]:
    directory = tmp_path_factory.mktemp("python-filters")
    broken = directory / "broken.py"
    broken.write_text(
        "from sidecar.api.filters import HttpFilter\n"
        "class Broken(HttpFilter):\n"
        "    def __init__(self, settings, services): pass\n"
        "    def decode_headers(self, stream):\n"
        "        if stream.request.headers.get(b'x-break'): raise KeyError('on purpose')\n"
        "class Stamp(HttpFilter):\n"
        "    def __init__(self, settings, services): pass\n"
        "    async def decode_headers(self, stream):\n"
        "        headers = stream.request.headers\n"
        "        if headers.get(b'x-stamp'): headers.set(b'x-user', b'upstream')\n"
        "    def encode_headers(self, stream):\n"
        "        stream.response.headers.add(b'x-stamped', stream.upstream_host.address.encode()[:9])\n"
    )
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Application)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        text = bootstrap(server.server_port, broken)
        with running_proxy("sidecar", text, directory, keep={server.server_port}) as running:
            yield running
    finally:
        server.shutdown()
        server.server_close()


def test_examples_of_the_page_do_what_they_say(proxy: RunningProxy) -> None:
    assert proxy.get("/").status == 401
    answer = proxy.get("/", {"x-api-key": "k1"})
    assert (answer.status, answer.body) == (200, b"ann pays with ****************")
    assert answer.headers["x-quota-left"] == "7"
    assert proxy.get("/", {"x-api-key": "k2"}).status == 429


def test_exception_harms_its_own_request_and_stands_among_the_stats(proxy: RunningProxy) -> None:
    assert proxy.get("/", {"x-api-key": "k1", "x-break": "1"}).status == 500
    assert proxy.get("/", {"x-api-key": "k1"}).status == 200
    stats = proxy.get("/stats?filter=python", port=9901).body.decode()
    assert "http.in.python.Broken.errors: 1" in stats
    assert "http.in.python.Broken.last_error: \"decode_headers: KeyError: 'on purpose'\"" in stats


def test_status_page_shows_each_filter_and_its_last_exception(proxy: RunningProxy) -> None:
    request_id = "6f9619ff-8b86-d011-b42d-00c04fc964ff"
    before = _statuses(proxy)["Broken"]["exceptions"]
    assert proxy.get("/", {"x-api-key": "k1", "x-break": "1", "x-request-id": request_id}).status == 500
    found = _statuses(proxy)
    assert set(found) == {"Greeting", "Quota", "Redact", "Broken", "Stamp"}
    quota = found["Quota"]
    assert quota["settings"] == {"cluster": "quota", "timeout_s": 5, "lets_pass_if_down": True}
    assert quota["source"] == str(EXAMPLES / "quota.py")
    assert (quota["exceptions"], quota["last_exception"]) == (0, None)
    assert quota["requests"] > 0
    broken = found["Broken"]
    assert broken["name"].endswith("broken.py:Broken")
    assert broken["configured_at"].startswith("static_resources.listeners[0].filter_chains[0].filters[0]")
    assert broken["exceptions"] == before + 1
    last = broken["last_exception"]
    assert last["hook"] == "decode_headers"
    assert len(last["request_id"]) == len(request_id)
    assert last["exception"] == "KeyError: 'on purpose'"
    assert last["traceback"].startswith("Traceback (most recent call last):")
    assert "raise KeyError('on purpose')" in last["traceback"]
    assert datetime.fromisoformat(last["time"]).tzinfo is not None
    text = proxy.get("/python_filters", port=9901).body.decode()
    assert f"in decode_headers, request {last['request_id']}" in text
    assert "/python_filters" not in proxy.get("/help", port=9901).body.decode()


def _statuses(proxy: RunningProxy) -> dict[str, Any]:
    found = json.loads(proxy.get("/python_filters?format=json", port=9901).body)
    return {each["class"]: each for each in found["python_filters"]}


def test_filter_stands_before_an_upstream(proxy: RunningProxy) -> None:
    answer = proxy.get("/", {"x-api-key": "k1", "x-stamp": "1"})
    assert (answer.status, answer.body) == (200, b"upstream pays with ****************")
    assert answer.headers["x-stamped"] == "127.0.0.1"


@pytest.mark.parametrize("name", ["greeting", "redact", "quota"])
def test_page_shows_the_examples_as_they_are(name: str) -> None:
    page = (ROOT / "docs" / "python-filters.md").read_text()
    source = (EXAMPLES / f"{name}.py").read_text()
    assert f"```python\n# examples/python_filters/{name}.py\n{source}```" in page
