"""The files of examples/kubernetes, their objects, and their proxies on the loopback.

What a cluster would give is given here: addresses of services, certificates of Secrets, modules of volumes.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from proxy_process import ROOT, RunningProxy, running_proxy

from sidecar.k8s import documents, rewrite
from sidecar.k8s.settings import Settings
from tests.support import yaml_text
from tests.support.pki import Authority

__all__ = [
    "ADMIN",
    "EXAMPLES",
    "FOLDER",
    "Application",
    "Cluster",
    "application",
    "configurations",
    "objects",
]

FOLDER = ROOT / "examples" / "kubernetes"
EXAMPLES = sorted(FOLDER.glob("*.yaml"))
#: Of whom nobody here has the schema.
CUSTOM = ("cert-manager.io/v1", "spire.spiffe.io/v1alpha1", "monitoring.coreos.com/v1")
ADMIN = 9901
_MESSAGE = "@type"
Object = dict[str, Any]


def objects(text: str) -> list[Object]:
    """The objects of a file."""
    return [item for item in yaml_text.load_all(text) if item is not None]


@cache
def injected(path: Path) -> rewrite.Outcome:
    """What ``sidecar inject`` makes of a file."""
    outcome = rewrite.inject_documents(documents.load(path), Settings())
    assert not outcome.errors
    return outcome


def configurations(found: list[Object]) -> dict[str, Object]:
    """The configurations of proxies among the objects, by the name of their ConfigMap.

    What an injection merges over one (the kubelet's listener, the admin API) is in it.
    """
    maps = {
        item["metadata"]["name"]: yaml_text.load(item["data"]["bootstrap.yaml"])
        for item in found
        if item["kind"] == "ConfigMap" and "bootstrap.yaml" in item["data"]
    }
    return maps


def overlays(found: list[Object]) -> dict[str, str]:
    """What each injected workload gives its proxy beside the file, by the name of the ConfigMap."""
    out = {}
    for item in found:
        spec = item.get("spec", {}).get("template", {}).get("spec", {})
        for container in spec.get("initContainers", ()):
            args = container.get("args", ())
            if container["name"] == "sidecar-proxy" and "--config-yaml" in args:
                [name] = [v["configMap"]["name"] for v in spec["volumes"] if v["name"] == "sidecar-config"]
                out[name] = args[args.index("--config-yaml") + 1].replace("$(POD_IP)", "127.0.0.1")
    return out


@dataclass
class Cluster:
    """What a cluster would give to the proxies: files below a folder, by where they are mounted."""

    directory: Path
    authority: Authority = field(default_factory=lambda: Authority("shop-ca"))

    def __post_init__(self) -> None:
        self.certify("ingress-tls", "DNS:shop.example.com", "DNS:api.example.com")
        self.certify("sidecar-secrets/orders-tls", "URI:spiffe://cluster.local/ns/shop/sa/orders")
        self.certify("sidecar-secrets/payments-tls", "URI:spiffe://cluster.local/ns/shop/sa/payments")
        self.write("ssl/certs/ca-certificates.crt", self.authority.cert_pem)
        module = (ROOT / "sidecar" / "demo_assets" / "header_guard.wasm").read_bytes()
        self.write("sidecar-wasm/shop-filters/header_guard.wasm", module)

    def certify(self, folder: str, *names: str) -> None:
        """A Secret of cert-manager."""
        leaf = self.authority.leaf(folder.rpartition("/")[2], *names)
        self.write(f"{folder}/tls.crt", leaf.cert_pem)
        self.write(f"{folder}/tls.key", leaf.key_pem)
        self.write(f"{folder}/ca.crt", self.authority.cert_pem)

    def write(self, name: str, data: bytes) -> None:
        file = self.directory / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)

    def mount(self, found: list[Object], text: str) -> str:
        """The text with its paths below this folder; ConfigMaps of scripts are written there."""
        for item in found:
            if item["kind"] == "ConfigMap":
                for key, value in item["data"].items():
                    if key.endswith(".lua"):
                        self.write(f"sidecar-lua/{item['metadata']['name']}/{key}", value.encode())
        for name in ("sidecar-lua", "sidecar-wasm", "sidecar-secrets", "ingress-tls", "ssl/certs"):
            text = text.replace(f"/etc/{name}/", f"{self.directory}/{name}/")
            text = text.replace(f"path: /etc/{name}\n", f"path: {self.directory}/{name}\n")
        return text.replace("/run/spire/sockets/", f"{self.directory}/")

    @contextlib.contextmanager
    def proxy(
        self, kind: str, found: list[Object], name: str, hosts: Mapping[str, int]
    ) -> Iterator[RunningProxy]:
        """A proxy with a configuration of these; ``hosts`` are the ports of what it calls, by cluster.

        Nothing redirects connections here, so a cluster that follows them has one host, too.
        """
        config = configurations(found)[name]
        text = yaml_text.dump(on_loopback(config, hosts), sort_keys=False, width=1000)
        directory = self.directory / f"{kind}-{name}"
        directory.mkdir()
        admin = config["admin"]["address"]["socket_address"]["port_value"] if "admin" in config else ADMIN
        text = self.mount(found, text)
        with running_proxy(kind, text, directory, admin, set(hosts.values())) as proxy:
            yield proxy


def on_loopback(config: Object, hosts: Mapping[str, int]) -> Object:
    """The configuration with other addresses; a cluster that is not in ``hosts`` is as it was."""
    config = json.loads(json.dumps(config))
    config.setdefault("admin", {"address": address(ADMIN)})
    config["node"] = {"id": "pod", "cluster": "here"}
    for listener in config["static_resources"]["listeners"]:
        listener["address"]["socket_address"]["address"] = "127.0.0.1"
        filters = listener.get("listener_filters", ())
        listener["listener_filters"] = [each for each in filters if "original_dst" not in each["name"]]
    for cluster in config["static_resources"]["clusters"]:
        if cluster["name"] in hosts:
            endpoint = {"endpoint": {"address": address(hosts[cluster["name"]])}}
            cluster["type"] = "STATIC"
            cluster.pop("lb_policy", None)
            assignment = {"cluster_name": cluster["name"], "endpoints": [{"lb_endpoints": [endpoint]}]}
            cluster["load_assignment"] = assignment
    return config


def address(port: int) -> Object:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


class Application(BaseHTTPRequestHandler):
    """Tells as JSON who it is and what it was asked."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        said = {
            "name": getattr(self.server, "name", ""),
            "path": self.path,
            "headers": {name.lower(): value for name, value in self.headers.items()},
            "filling": "long enough to be worth compressing " * 4,
        }
        body = json.dumps(said).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextlib.contextmanager
def application(name: str = "application", context: Any = None) -> Iterator[int]:
    """An application on a port of the loopback; ``context`` for one that speaks TLS."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Application)
    server.daemon_threads = True
    server.name = name  # type: ignore[attr-defined]
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
