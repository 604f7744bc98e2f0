"""The proxies compared, and what each is told for a case.

Envoy and sidecar get the same file.  nginx, haproxy and aiohttp get what does the same job; where a proxy
has no counterpart (Lua, Wasm) it takes no part.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trustme

__all__ = ["CASES", "MITMPROXY", "PROXIES", "Case", "start_command", "upstream_command", "write_envoy"]

ROOT = Path(__file__).resolve().parents[2]
#: Where mitmproxy is installed.
MITMPROXY = ROOT / "bench-results" / "mitmproxy"
_WASM = ROOT / "sidecar" / "demo_assets" / "header_guard.wasm"
_EXTENSIONS = "type.googleapis.com/envoy.extensions"
_LUA = """
function envoy_on_request(handle)
  handle:headers():add("x-bench-lua", "seen")
end
"""
#: Scripts by the names of their filters: an edit of the request, one each way, and a body that is rewritten.
LUA = {
    "lua": _LUA,
    "lua-edits": """
function envoy_on_request(handle)
  handle:headers():add("x-lua-request", "1")
end
function envoy_on_response(handle)
  handle:headers():add("x-lua-response", "1")
end
""",
    "lua-body": """
function envoy_on_response(handle)
  local body = handle:body()
  local text = body:getBytes(0, body:length())
  body:setBytes("<" .. text .. ">")
end
""",
}


_JSON_LOG = {
    "time": "%START_TIME%",
    "method": "%REQ(:METHOD)%",
    "path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
    "protocol": "%PROTOCOL%",
    "status": "%RESPONSE_CODE%",
    "flags": "%RESPONSE_FLAGS%",
    "received": "%BYTES_RECEIVED%",
    "sent": "%BYTES_SENT%",
    "duration": "%DURATION%",
    "user_agent": "%REQ(USER-AGENT)%",
    "request_id": "%REQ(X-REQUEST-ID)%",
    "authority": "%REQ(:AUTHORITY)%",
    "upstream": "%UPSTREAM_HOST%",
}


@dataclass(frozen=True, slots=True)
class Case:
    """One row group of the table."""

    name: str
    title: str
    load: str = "get"
    path: str = "/"
    access_log: bool = False
    #: Write it as JSON of thirteen fields.
    json_log: bool = False
    #: ``lua``, ``wasm``, ``rbac``; several joined by ``+``.
    filter: str = ""
    http2: bool = False
    #: HTTP/2 towards the upstream.
    http2_up: bool = False
    #: TLS towards the client.
    tls: bool = False
    #: Whether a client may resume its session, as wrk does.
    resumes: bool = True
    routes: int = 1
    proxies: tuple[str, ...] = ("sidecar", "envoy", "nginx", "haproxy", "aiohttp", "mitmproxy")


_ENVOYS = ("sidecar", "envoy")
CASES: tuple[Case, ...] = (
    Case("get", "small GET, HTTP/1.1"),
    Case("get_traced", "with a `traceparent` that differs in each request", load="traced"),
    Case("get_log", "with an access log in the default format", access_log=True),
    Case("lua", "with a Lua header edit", filter="lua", proxies=_ENVOYS),
    Case("wasm", "with a Wasm header filter (Rust)", filter="wasm", proxies=_ENVOYS),
    Case(
        "combined",
        "with a JSON access log, a Lua edit and RBAC",
        access_log=True,
        json_log=True,
        filter="lua+rbac",
        proxies=_ENVOYS,
    ),
    Case("routes", "10,000 routes, the last one matches", path="/path-9999/", routes=10_000, proxies=_ENVOYS),
    Case("post", "POST of 1 KiB", load="post"),
    Case("new", "small GET, each on a new connection", load="close"),
    Case("large", "1 MiB response", path="/large"),
    Case("stream", "64 MiB response, one at a time", load="stream", path="/stream", proxies=_ENVOYS),
    Case(
        "h2",
        "small GET, HTTP/2 down, HTTP/1.1 up",
        load="h2",
        http2=True,
        proxies=("sidecar", "envoy", "nginx", "haproxy"),
    ),
    Case("h1_h2", "small GET, HTTP/1.1 down, HTTP/2 up", http2_up=True, proxies=_ENVOYS),
    Case("tls", "small GET over TLS 1.3, HTTP/1.1", tls=True, proxies=_ENVOYS),
    Case(
        "tls_new",
        "TLS 1.3 handshake, resumed, and small GET on each connection",
        load="close",
        tls=True,
        proxies=_ENVOYS,
    ),
    Case(
        "tls_full",
        "TLS 1.3 handshake, full, and small GET on each connection",
        load="close",
        tls=True,
        resumes=False,
        proxies=_ENVOYS,
    ),
    Case("h2_h2", "small GET, HTTP/2 both", load="h2", http2=True, http2_up=True, proxies=_ENVOYS),
    Case(
        "grpc",
        "unary POST of 128 bytes as gRPC sends it, HTTP/2 both",
        load="grpc",
        http2=True,
        http2_up=True,
        proxies=_ENVOYS,
    ),
    Case(
        "large_h2",
        "1 MiB response, HTTP/2 both",
        load="h2",
        path="/large",
        http2=True,
        http2_up=True,
        proxies=_ENVOYS,
    ),
    Case(
        "stream_h2",
        "64 MiB response, one at a time, HTTP/2 both",
        load="h2_stream",
        path="/stream",
        http2=True,
        http2_up=True,
        proxies=_ENVOYS,
    ),
)


def upstream_command(port: int, http2_port: int, directory: Path) -> list[str]:
    """An nginx that answers ``/`` with two bytes, ``/large`` with 1 MiB and ``/stream`` with 64 MiB.

    It speaks HTTP/1.1 on one port and HTTP/2 by prior knowledge on the other.
    """
    files = directory / "files"
    files.mkdir(parents=True)
    (files / "large").write_bytes(b"x" * (1 << 20))
    with (files / "stream").open("wb") as file:
        file.truncate(64 << 20)
    server = "".join(
        f"""
      server {{
        listen {listen};
        access_log off;
        sendfile on;
        keepalive_requests 1000000000;
        location / {{ return 200 "ok"; }}
        location /large {{ root {files}; }}
        location /stream {{ root {files}; }}
        location /body {{ root {files}; }}
      }}"""
        for listen in (f"127.0.0.1:{port}", f"127.0.0.1:{http2_port} http2")
    )
    return _nginx(directory, server, "upstream")


def start_command(proxy: str, case: Case, port: int, upstream: int, directory: Path) -> list[str]:
    """The command that starts ``proxy`` for ``case``."""
    return PROXIES[proxy](case, port, upstream, directory)


def _sidecar(case: Case, port: int, upstream: int, directory: Path) -> list[str]:
    path = write_envoy(case, port, upstream, directory, "sidecar")
    return [sys.executable, "-m", "sidecar", "-c", str(path), "--concurrency", "1", "-l", "warning"]


def _envoy(case: Case, port: int, upstream: int, directory: Path) -> list[str]:
    path = write_envoy(case, port, upstream, directory, "envoy")
    command = [shutil.which("envoy") or str(Path(sys.executable).with_name("envoy"))]
    return [*command, "-c", str(path), "--concurrency", "1", "--use-dynamic-base-id", "-l", "warning"]


def write_envoy(case: Case, port: int, upstream: int, directory: Path, who: str) -> Path:
    """Write the file that sidecar and Envoy get for ``case``; where it is."""
    manager: dict[str, Any] = {
        "@type": f"{_EXTENSIONS}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "ingress",
        "codec_type": "HTTP2" if case.http2 else "HTTP1",
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": _routes(case.routes),
                }
            ]
        },
        "http_filters": [
            *(each for name in case.filter.split("+") for each in _filters(name)),
            {"name": "router", "typed_config": {"@type": f"{_EXTENSIONS}.filters.http.router.v3.Router"}},
        ],
    }
    if case.access_log:
        log = {
            "@type": f"{_EXTENSIONS}.access_loggers.file.v3.FileAccessLog",
            "path": str(directory / f"{who}-{case.name}.access"),
        }
        if case.json_log:
            log["log_format"] = {"json_format": _JSON_LOG}
        manager["access_log"] = [{"name": "file", "typed_config": log}]
    cluster: dict[str, Any] = {
        "name": "upstream",
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {
            "cluster_name": "upstream",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _address(upstream)}}]}],
        },
    }
    if case.http2_up:
        cluster["typed_extension_protocol_options"] = {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": f"{_EXTENSIONS}.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http2_protocol_options": {}},
            }
        }
    chain: dict[str, Any] = {"filters": [{"name": "hcm", "typed_config": manager}]}
    if case.tls:
        chain["transport_socket"] = _tls(directory, resumes=case.resumes)
    config = {
        "static_resources": {
            "listeners": [{"name": "bench", "address": _address(port), "filter_chains": [chain]}],
            "clusters": [cluster],
        }
    }
    path = directory / f"{who}-{case.name}.json"
    path.write_text(json.dumps(config))
    return path


def _tls(directory: Path, *, resumes: bool) -> dict[str, Any]:
    """A transport socket with a certificate of our own (ECDSA P-256), the same for all in ``directory``."""
    certificate, key = directory / "tls-cert.pem", directory / "tls-key.pem"
    if not key.exists():
        leaf = trustme.CA().issue_cert("localhost", key_type=trustme.KeyType.ECDSA)
        leaf.cert_chain_pems[0].write_to_path(certificate)
        leaf.private_key_pem.write_to_path(key)
    pair = {"certificate_chain": {"filename": str(certificate)}, "private_key": {"filename": str(key)}}
    context = {
        "@type": f"{_EXTENSIONS}.transport_sockets.tls.v3.DownstreamTlsContext",
        "common_tls_context": {"tls_certificates": [pair]},
    }
    if not resumes:
        context["disable_stateless_session_resumption"] = True
        context["disable_stateful_session_resumption"] = True
    return {"name": "envoy.transport_sockets.tls", "typed_config": context}


def _routes(count: int) -> list[dict[str, Any]]:
    route = {"cluster": "upstream"}
    if count == 1:
        return [{"match": {"prefix": "/"}, "route": route}]
    return [{"match": {"prefix": f"/path-{number}/"}, "route": route} for number in range(count)]


def _filters(name: str) -> list[dict[str, Any]]:
    if name == "rbac":
        policy = {
            "permissions": [{"url_path": {"path": {"prefix": "/"}}}],
            "principals": [{"direct_remote_ip": {"address_prefix": "127.0.0.0", "prefix_len": 8}}],
        }
        rbac = {
            "@type": f"{_EXTENSIONS}.filters.http.rbac.v3.RBAC",
            "rules": {"action": "ALLOW", "policies": {"loopback": policy}},
        }
        return [{"name": "rbac", "typed_config": rbac}]
    if name in LUA:
        lua = {
            "@type": f"{_EXTENSIONS}.filters.http.lua.v3.Lua",
            "default_source_code": {"inline_string": LUA[name]},
        }
        return [{"name": "lua", "typed_config": lua}]
    if name == "wasm":
        plugin = {
            "name": "header-guard",
            "root_id": "header-guard",
            "vm_config": {
                "runtime": "envoy.wasm.runtime.v8",
                "code": {"local": {"filename": str(_WASM)}},
            },
        }
        wasm = {"@type": f"{_EXTENSIONS}.filters.http.wasm.v3.Wasm", "config": plugin}
        return [{"name": "wasm", "typed_config": wasm}]
    return []


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _nginx_proxy(case: Case, port: int, upstream: int, directory: Path) -> list[str]:
    log = f"{directory}/nginx-{case.name}.access combined buffer=64k flush=10s" if case.access_log else "off"
    server = f"""
      upstream application {{ server 127.0.0.1:{upstream}; keepalive 64; keepalive_requests 1000000000; }}
      server {{
        listen 127.0.0.1:{port}{" http2" if case.http2 else ""};
        access_log {log};
        keepalive_requests 1000000000;
        location / {{
          proxy_pass http://application;
          proxy_http_version 1.1;
          proxy_set_header Connection "";
          proxy_set_header X-Request-Id $request_id;
          proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        }}
      }}"""
    return _nginx(directory, server, f"nginx-{case.name}")


def _nginx(directory: Path, server: str, name: str) -> list[str]:
    scratch = directory / f"{name}-tmp"
    scratch.mkdir(parents=True, exist_ok=True)
    paths = "\n".join(
        f"      {kind}_temp_path {scratch}/{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config = f"""
    daemon off;
    master_process off;
    pid {scratch}/pid;
    error_log {scratch}/error.log;
    events {{ worker_connections 1024; }}
    http {{
{paths}
      {server}
    }}
    """
    path = directory / f"{name}.conf"
    path.write_text(config)
    return ["nginx", "-c", str(path), "-p", str(scratch), "-e", f"{scratch}/error.log"]


def _haproxy(case: Case, port: int, upstream: int, directory: Path) -> list[str]:
    log = "  log stdout format raw local0\n  option httplog\n" if case.access_log else ""
    config = f"""
global
  nbthread 1
defaults
  mode http
  http-reuse always
  option forwardfor
  timeout connect 5s
  timeout client 60s
  timeout server 60s
{log}
frontend bench
  bind 127.0.0.1:{port}{" proto h2" if case.http2 else ""}
  unique-id-format %[uuid()]
  unique-id-header x-request-id
  default_backend application
backend application
  server one 127.0.0.1:{upstream}
"""
    path = directory / f"haproxy-{case.name}.cfg"
    path.write_text(config)
    return ["haproxy", "-f", str(path), "-db"]


def _aiohttp(case: Case, port: int, upstream: int, directory: Path) -> list[str]:
    log = str(directory / f"aiohttp-{case.name}.access") if case.access_log else ""
    return [sys.executable, "-m", "tests.bench.aiohttp_proxy", str(port), str(upstream), log]


def _mitmproxy(case: Case, port: int, upstream: int, directory: Path) -> list[str]:
    """It wants other libraries than we do, and lives in an environment of its own (``just bench-all``)."""
    command = MITMPROXY / "bin" / "mitmdump"
    if not command.exists() or case.access_log:
        raise OSError("there is no mitmproxy" if not case.access_log else "mitmproxy writes no such log")
    home = ["--set", f"confdir={directory / 'mitmproxy'}"]
    where = ["--mode", f"reverse:http://127.0.0.1:{upstream}", "--listen-host", "127.0.0.1", "-p", str(port)]
    return [str(command), "-q", *home, *where]


PROXIES: dict[str, Callable[[Case, int, int, Path], list[str]]] = {
    "sidecar": _sidecar,
    "envoy": _envoy,
    "nginx": _nginx_proxy,
    "haproxy": _haproxy,
    "aiohttp": _aiohttp,
    "mitmproxy": _mitmproxy,
}
