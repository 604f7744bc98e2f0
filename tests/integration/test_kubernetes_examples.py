"""Each file of examples/kubernetes: valid as it stands and injected, taken by both proxies, as it says."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import json
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from example_pods import (
    CUSTOM,
    EXAMPLES,
    FOLDER,
    Cluster,
    application,
    configurations,
    injected,
    objects,
    overlays,
)
from proxy_process import PROXIES, RunningProxy, proxy_command
from secrets_service import SecretsService

from sidecar.k8s import documents, rewrite
from tests.golden.kubernetes.render import RENDERED
from tests.support import yaml_text
from tests.support.kubernetes import VERSIONS, validate

SHOP = "spiffe://example.org/ns/shop/sa"


def of(stem: str) -> list[dict[str, Any]]:
    return objects((FOLDER / f"{stem}.yaml").read_text())


# -- what Kubernetes says ------------------------------------------------------------------------------------
@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_is_valid_as_it_stands_and_injected(version: str) -> None:
    """All files."""
    checked = 0
    texts = [path.read_text() for path in EXAMPLES] + [injected(path).text for path in EXAMPLES]
    for text in texts:
        for item in objects(text):
            if item["apiVersion"] not in CUSTOM:
                validate(item, version)
                checked += 1
    assert checked > 100


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_injection_is_taken_back(path: Path) -> None:
    outcome = injected(path)
    undone = rewrite.undo_documents(documents.split(outcome.text, "again"))
    # But for blanks just inside of braces.
    assert objects(undone.text) == objects(path.read_text())
    # Whoever has a sidecar or is a proxy is left alone, and all others get one.
    waiting = [item for item in objects(path.read_text()) if item["kind"] == "Deployment"]
    alone = [
        item for item in waiting if "trio-sidecar/inject" in item["spec"]["template"]["metadata"]["labels"]
    ]
    assert outcome.workloads == len(waiting) - len(alone)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_names_in_an_example_belong_together(path: Path) -> None:
    found = objects(path.read_text())
    named = {(item["kind"], item["metadata"]["name"]) for item in found}
    pods = [item["spec"]["template"] for item in found if item["kind"] == "Deployment"]
    labels = [pod["metadata"]["labels"] for pod in pods]
    headless = {"orders", "catalog", "website"}  # applications that are somewhere else
    for item in found:
        spec = item.get("spec", {})
        selector = spec.get("selector", {})
        if item["kind"] == "Service" and selector.get("app") not in headless - {
            label["app"] for label in labels
        }:
            assert any(selector.items() <= each.items() for each in labels), item["metadata"]["name"]
        if item["kind"] == "HorizontalPodAutoscaler":
            target = spec["scaleTargetRef"]
            assert (target["kind"], target["name"]) in named
            containers = {each["name"] for pod in pods for each in pod["spec"]["containers"]}
            asked = [
                each["containerResource"]["container"]
                for each in spec["metrics"]
                if "containerResource" in each
            ]
            assert set(asked) <= containers
    for pod in pods:
        for volume in pod["spec"].get("volumes", ()):
            if "configMap" in volume:
                assert ("ConfigMap", volume["configMap"]["name"]) in named
        annotations = pod["metadata"].get("annotations", {})
        maps = [annotations.get("trio-sidecar/config-map"), annotations.get("trio-sidecar/lua")]
        for name in filter(None, maps):
            assert ("ConfigMap", name) in named


# -- what the proxies say ------------------------------------------------------------------------------------
@pytest.mark.oracle
@pytest.mark.parametrize("kind", PROXIES)
@pytest.mark.parametrize(
    "path", [*EXAMPLES, RENDERED / "kustomize_production.yaml"], ids=lambda path: path.stem
)
def test_every_configuration_is_accepted(path: Path, kind: str, tmp_path: Path) -> None:
    """Those of ConfigMaps with what the injection merges over them, by Envoy as well."""
    cluster = Cluster(tmp_path)
    texts: dict[str, tuple[str, str]] = {}
    found = objects(injected(path).text)
    over = overlays(found)
    for item in found:
        if item["kind"] == "ConfigMap" and "bootstrap.yaml" in item["data"]:
            name = item["metadata"]["name"]
            texts[name] = (item["data"]["bootstrap.yaml"], over.get(name, "{}"))
    assert texts
    for name, (text, overlay) in texts.items():
        file = tmp_path / f"{name}.yaml"
        file.write_text(cluster.mount(found, text))
        command = [*proxy_command(kind), "-c", str(file), "--config-yaml", overlay, "--mode", "validate"]
        command += ["--service-node", "pod", "--service-cluster", "shop"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{name}: {done.stdout}{done.stderr}"
        assert "deprecated" not in done.stderr.lower()


# -- what they do --------------------------------------------------------------------------------------------
def said(proxy: RunningProxy, path: str, port: int, *headers: str) -> dict[str, Any]:
    """What the application behind the proxy says of the request."""
    answer = proxy.get(path, dict(each.split(": ", 1) for each in headers), port)
    assert answer.status == 200, answer
    told: dict[str, Any] = json.loads(answer.body)
    return told | {"answer": answer.headers}


def manifest(kind: str, cluster: Cluster) -> None:
    with (
        application() as port,
        cluster.proxy(kind, of("manifest"), "orders-proxy", {"application": port}) as proxy,
    ):
        assert said(proxy, "/x", 8080)["path"] == "/x"
        assert proxy.get("/healthz/ready", port=15020).status == 200
        assert b"envoy_http_downstream_rq_total" in proxy.get("/stats/prometheus", port=15020).body
        assert proxy.get("/quitquitquit", port=15020).status == 404


def canary(kind: str, cluster: Cluster) -> None:
    with (
        application("v1") as one,
        application("v2") as two,
        cluster.proxy(kind, of("canary"), "caller-proxy", {"payments-v1": one, "payments-v2": two}) as proxy,
    ):
        assert said(proxy, "/", 8001, "x-canary: true")["name"] == "v2"
        names = [said(proxy, "/", 8001)["name"] for _ in range(200)]
        assert 0 < names.count("v2") < 100


def lua_edit(kind: str, cluster: Cluster) -> None:
    with (
        application() as port,
        cluster.proxy(kind, of("lua-edit"), "shop-proxy", {"application": port}) as proxy,
    ):
        told = said(proxy, "/", 15006, "x-debug: 1")
        assert told["headers"]["x-shop-version"] == "2"
        assert "x-debug" not in told["headers"]
        assert told["answer"]["x-served-by"] == "shop"


def wasm_volume(kind: str, cluster: Cluster) -> None:
    with (
        application() as port,
        cluster.proxy(kind, of("wasm-volume"), "shop-wasm-proxy", {"application": port}) as proxy,
    ):
        told = said(proxy, "/", 15006)
        assert told["headers"]["x-sidecar-wasm"] == "header-guard"
        assert told["answer"]["x-wasm-filter"] == "header-guard"
        assert proxy.get("/admin", port=15006).status == 403


def ingress_gateway(kind: str, cluster: Cluster) -> None:
    with (
        application("shop") as shop,
        application("api") as api,
        cluster.proxy(kind, of("ingress-gateway"), "ingress", {"shop": shop, "api": api}) as proxy,
    ):
        sent = proxy.get("/a", {"host": "shop.example.com"}, 8080)
        assert (sent.status, sent.headers["location"]) == (301, "https://shop.example.com/a")
        for host, path, name in (("shop.example.com", "/", "shop"), ("api.example.com", "/v1/x", "api")):
            status, headers, body = over_tls(cluster, proxy.ports[8443], host, path)
            assert (status, json.loads(body)["name"]) == (200, name)
            assert ("strict-transport-security" in headers) == (name == "shop")
        assert over_tls(cluster, proxy.ports[8443], "api.example.com", "/v2/x")[0] == 404


def over_tls(
    cluster: Cluster, port: int, host: str, path: str = "/", context: ssl.SSLContext | None = None
) -> tuple[int, dict[str, str], bytes]:
    context = context or ssl.create_default_context(cadata=cluster.authority.cert_pem.decode())
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname=host) as sock,
    ):
        sock.sendall(f"GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n".encode())
        response = http.client.HTTPResponse(sock)
        response.begin()
        return response.status, {name.lower(): text for name, text in response.getheaders()}, response.read()


def egress_gateway(kind: str, cluster: Cluster) -> None:
    cluster.certify("partner", "DNS:api.partner.example")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(
        cluster.directory / "partner" / "tls.crt", cluster.directory / "partner" / "tls.key"
    )
    with (
        application("partner", context) as port,
        cluster.proxy(kind, of("egress-gateway"), "egress", {"partner": port, "partner_tls": port}) as proxy,
    ):
        assert said(proxy, "/", 8080, "host: api.partner.example")["name"] == "partner"
        assert proxy.get("/", {"host": "elsewhere.example"}, 8080).status == 403
        assert over_tls(cluster, proxy.ports[8443], "api.partner.example")[0] == 200
        with pytest.raises((ssl.SSLError, ConnectionError)):
            over_tls(cluster, proxy.ports[8443], "elsewhere.example")


def front_proxy(kind: str, cluster: Cluster) -> None:
    with (
        application("orders") as orders,
        application("catalog") as catalog,
        application("website") as website,
        cluster.proxy(
            kind, of("front-proxy"), "front", {"orders": orders, "catalog": catalog, "website": website}
        ) as proxy,
    ):
        told = said(proxy, "/api/orders/7", 8080, "x-internal-user: root")
        assert (told["name"], told["path"]) == ("orders", "/orders/7")
        assert "x-internal-user" not in told["headers"]
        assert said(proxy, "/api/catalog?x=1", 8080)["path"] == "/catalog?x=1"
        assert said(proxy, "/ordinary", 8080)["name"] == "website"
        assert proxy.get("/api/other", port=8080).status == 404
        small = proxy.get("/", {"accept-encoding": "gzip"}, 8080)
        assert json.loads(gzip.decompress(small.body))["name"] == "website"


@contextlib.contextmanager
def both(kind: str, cluster: Cluster, stem: str) -> Iterator[tuple[RunningProxy, RunningProxy]]:
    """The proxies of `orders` and of `payments`, one calling the other."""
    found = of(stem)
    with (
        application("payments") as port,
        cluster.proxy(kind, found, "payments-proxy", {"application": port}) as payments,
        cluster.proxy(kind, found, "orders-proxy", {"payments": payments.ports[8443]}) as orders,
    ):
        yield orders, payments


def mtls_cert_manager(kind: str, cluster: Cluster) -> None:
    with both(kind, cluster, "mtls-cert-manager") as (orders, payments):
        told = said(orders, "/", 8001)
        assert told["headers"]["x-forwarded-client-cert"].endswith(
            "URI=spiffe://cluster.local/ns/shop/sa/orders"
        )
        refused(cluster, payments.ports[8443])
        # Somebody else of the same authority.
        other = cluster.authority.leaf("other", "URI:spiffe://cluster.local/ns/shop/sa/other")
        refused(cluster, payments.ports[8443], other.pem)


def refused(cluster: Cluster, port: int, pem: bytes = b"") -> None:
    """A client with this certificate gets no answer; with TLS 1.3 it learns so by its first read."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if pem:
        file = cluster.directory / "client.pem"
        file.write_bytes(pem)
        context.load_cert_chain(file)
    with pytest.raises((ssl.SSLError, ConnectionError, http.client.HTTPException)):
        over_tls(cluster, port, "payments", context=context)


def mtls_spire(kind: str, cluster: Cluster) -> None:
    with SecretsService(cluster.directory / "spire-agent.sock") as agent:
        for name in ("orders", "payments"):
            leaf = cluster.authority.leaf(name, f"URI:{SHOP}/{name}")
            agent.certificate(f"{SHOP}/{name}", leaf.cert_pem, leaf.key_pem)
        agent.bundle("spiffe://example.org", cluster.authority.cert_pem)
        with both(kind, cluster, "mtls-spire") as (orders, payments):
            told = said(orders, "/", 8001)
            assert told["headers"]["x-forwarded-client-cert"].endswith(f"URI={SHOP}/orders")
            refused(cluster, payments.ports[8443])
            # The agent renews: whoever comes next sees another certificate.
            renewed = cluster.authority.leaf("renewed", f"URI:{SHOP}/payments")
            agent.certificate(f"{SHOP}/payments", renewed.cert_pem, renewed.key_pem)
            agent.until_acknowledged(f"{SHOP}/payments")
            assert (
                ssl.get_server_certificate(("127.0.0.1", payments.ports[8443])) == renewed.cert_pem.decode()
            )
            assert said(orders, "/", 8001)["name"] == "payments"


def opentelemetry(kind: str, cluster: Cluster) -> None:
    from otlp_collector import Collector

    with (
        Collector() as collector,
        application() as port,
        cluster.proxy(
            kind, of("opentelemetry"), "traced-proxy", {"application": port, "otel_collector": collector.port}
        ) as proxy,
    ):
        trace = "0123456789abcdef0123456789abcdef"
        for _ in range(150):  # one in ten is traced
            told = said(proxy, "/traced", 15006, f"traceparent: 00-{trace}-0123456789abcdef-01")
        assert told["headers"]["traceparent"].split("-")[1] == trace
        assert collector.until_log() == "GET /traced 200"
        assert collector.until_span().hex() == trace


def prometheus(kind: str, cluster: Cluster) -> None:
    """The port that Prometheus keeps is the one that the injection names, and there it finds statistics."""
    found = objects(injected(FOLDER / "prometheus.yaml").text)
    [text] = [item["data"]["prometheus.yml"] for item in found if "prometheus.yml" in item.get("data", {})]
    [job] = yaml_text.load(text)["scrape_configs"]
    kept = [each["regex"] for each in job["relabel_configs"] if each.get("action") == "keep"]
    [monitor] = [item for item in found if item["kind"] == "PodMonitor"]
    [endpoint] = monitor["spec"]["podMetricsEndpoints"]
    ports = {}
    for item in found:
        for container in item.get("spec", {}).get("template", {}).get("spec", {}).get("initContainers", ()):
            ports |= {each["name"]: each["containerPort"] for each in container.get("ports", ())}
    assert list(ports) == kept == [endpoint["port"]]
    assert job["metrics_path"] == endpoint["path"]
    name = "scraped-sidecar"
    config = configurations(found)[name]
    over = json.loads(overlays(found)[name])
    config["static_resources"]["listeners"] += over["static_resources"]["listeners"]
    config["static_resources"]["clusters"] += over["static_resources"]["clusters"]
    config["admin"] = over["admin"]
    for listener in config["static_resources"]["listeners"]:
        listener.pop("additional_addresses", None)
    changed = {
        "kind": "ConfigMap",
        "metadata": {"name": name},
        "data": {"bootstrap.yaml": json.dumps(config)},
    }
    with cluster.proxy(kind, [changed], name, {}) as proxy:
        answer = proxy.get(job["metrics_path"], port=ports[kept[0]])
        assert b"# TYPE envoy_server_live gauge" in answer.body


def hpa(_kind: str, _cluster: Cluster) -> None:
    """The statistic that prometheus-adapter is told of is one that the proxy of this pod has."""
    found = objects(injected(FOLDER / "hpa.yaml").text)
    [text] = [item["data"]["config.yaml"] for item in found if "config.yaml" in item.get("data", {})]
    [rule] = yaml_text.load(text)["rules"]
    [autoscaler] = [item for item in found if item["kind"] == "HorizontalPodAutoscaler"]
    [asked] = [each["pods"]["metric"]["name"] for each in autoscaler["spec"]["metrics"] if "pods" in each]
    assert rule["name"]["as"] == asked
    assert 'envoy_http_conn_manager_prefix="inbound"' in rule["seriesQuery"]
    assert "stat_prefix: inbound\n" in next(
        item["data"]["bootstrap.yaml"] for item in found if "bootstrap.yaml" in item.get("data", {})
    )


CHECKS: dict[str, Callable[[str, Cluster], None]] = {
    check.__name__: check
    for check in (
        manifest, canary, lua_edit, wasm_volume, ingress_gateway, egress_gateway, front_proxy,
        mtls_cert_manager, mtls_spire, opentelemetry, prometheus, hpa,
    )
}  # fmt: skip


@pytest.mark.oracle
@pytest.mark.parametrize("kind", PROXIES)
@pytest.mark.parametrize("name", CHECKS)
def test_an_example_does_what_it_says(name: str, kind: str, tmp_path: Path) -> None:
    CHECKS[name](kind, Cluster(tmp_path))


def test_every_example_is_looked_at_and_told_of() -> None:
    assert {path.stem.replace("-", "_") for path in EXAMPLES} == set(CHECKS)
    page = (FOLDER / "README.md").read_text()
    assert all(f"[{path.name}]({path.name})" in page for path in EXAMPLES)
