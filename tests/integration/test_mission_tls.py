"""The guide's configurations with TLS, and its production sidecar, on Envoy and on sidecar."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import subprocess
import time
from pathlib import Path

import pytest
from mission_live import MISSION, Mission, mission
from proxy_process import PROXIES

from tests.support.oracle_binary import envoy_binary

pytestmark = [
    pytest.mark.oracle,
    pytest.mark.parametrize("kind", PROXIES),
]
WAIT_S = 10.0


@pytest.fixture(scope="module")
def certs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("certs")
    subprocess.run(["bash", str(MISSION / "make_certs.sh"), str(directory)], check=True, timeout=60)
    return directory


@pytest.fixture(autouse=True)
def needs_envoy(kind: str) -> None:
    if kind == "envoy" and envoy_binary() is None:
        pytest.skip("no Envoy here")


def client(certs: Path, who: str | None, alpn: str = "http/1.1") -> ssl.SSLContext:
    """A client that trusts the seed's certificates and shows those of ``who``."""
    context = ssl.create_default_context(cafile=str(certs / "ca-cert.pem"))
    context.set_alpn_protocols([alpn])
    if who is not None:
        context.load_cert_chain(certs / f"{who}-cert.pem", certs / f"{who}-key.pem")
    return context


def server(certs: Path) -> ssl.SSLContext:
    """An upstream that demands a client's certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certs / "upstream-cert.pem", certs / "upstream-key.pem")
    context.load_verify_locations(certs / "ca-cert.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def ask(
    m: Mission,
    to: str,
    context: ssl.SSLContext | None,
    path: str = "/",
    headers: dict[str, str] | None = None,
) -> tuple[int, bytes]:
    """One GET over TLS, or in the clear."""
    connection: http.client.HTTPConnection
    if context is None:
        connection = http.client.HTTPConnection("127.0.0.1", m.port(to), timeout=10)
    else:
        connection = http.client.HTTPSConnection("localhost", m.port(to), timeout=10, context=context)
    try:
        connection.request("GET", path, headers=headers or {})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def test_downstream_tls(kind: str, certs: Path, tmp_path: Path) -> None:
    with mission(
        kind, "23_downstream_tls.yaml", tmp_path, replace={"/etc/envoy/certs": str(certs)}
    ) as running:
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context = client(certs, None)
            context.maximum_version = context.minimum_version = version
            assert ask(running, "listener", context) == (200, b"backend")
        with socket.create_connection(("127.0.0.1", running.port("listener")), 10) as sock:
            context = client(certs, None, "h2")
            with context.wrap_socket(sock, server_hostname="api.example.com") as tls:
                assert tls.selected_alpn_protocol() == "h2"


def test_downstream_mtls(kind: str, certs: Path, tmp_path: Path) -> None:
    with mission(
        kind, "24_downstream_mtls.yaml", tmp_path, replace={"/etc/envoy/certs": str(certs)}
    ) as running:
        assert ask(running, "listener", client(certs, "client")) == (200, b"backend")
        for who in ("client-other", None):
            with pytest.raises((OSError, http.client.HTTPException)):
                ask(running, "listener", client(certs, who))
        assert len(running.upstreams["backend"].seen) == 1


def test_upstream_mtls(kind: str, certs: Path, tmp_path: Path) -> None:
    tls = {"mtls_upstream": server(certs)}
    replace = {"/etc/envoy/certs": str(certs)}
    with mission(kind, "25_upstream_mtls.yaml", tmp_path, replace=replace, tls=tls) as running:
        assert running.get("/").body == b"mtls_upstream"


def test_production_sidecar(kind: str, certs: Path, tmp_path: Path) -> None:
    tls = {name: server(certs) for name in ("payments", "payments_canary", "inventory")}
    replace = {"/etc/envoy/certs": str(certs), "0.0.0.0": "127.0.0.1"}
    with mission(
        kind, "99_production_sidecar.yaml", tmp_path, replace=replace, tls=tls, idle=("otel_collector",)
    ) as running:
        caller = client(certs, "client")
        assert ask(running, "inbound", caller, "/orders") == (200, b"local_app")
        seen = [each for each in running.upstreams["local_app"].seen if each.path == "/orders"]
        assert (
            seen[0].headers["x-forwarded-client-cert"].startswith("By=spiffe://example.com/service/server;")
        )
        assert "URI=spiffe://example.com/service/client" in seen[0].headers["x-forwarded-client-cert"]
        assert ask(running, "inbound", caller, "/healthz/envoy")[0] == 200
        for who in ("client-other", None):
            with pytest.raises((OSError, http.client.HTTPException)):
                ask(running, "inbound", client(certs, who))
        assert ask(running, "outbound", None, "/", {"host": "payments"}) == (200, b"payments")
        canary = {"host": "payments.example.com", "x-canary": "1"}
        assert ask(running, "outbound", None, "/", canary) == (200, b"payments_canary")
        assert ask(running, "outbound", None, "/", {"host": "inventory:80"}) == (200, b"inventory")
        assert ask(running, "outbound", None, "/", {"host": "nobody"}) == (502, b"no such service\n")
        stats = running.stats()
        for name in ("local_app", "payments", "payments_canary", "inventory"):
            assert stats[f"cluster.{name}.membership_healthy"] == 1, name
        lines = logged(running, 6)
        assert [line["response_code"] for line in lines if line["direction"] == "outbound"] == [
            200,
            200,
            200,
            502,
        ]
        (orders,) = [line for line in lines if line["path"] == "/orders"]
        assert orders["downstream_peer_uri_san"] == "spiffe://example.com/service/client"


def logged(m: Mission, count: int) -> list[dict[str, object]]:
    """The lines of the access log once there are so many."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        text = m.proxy.output.read_text(errors="replace").splitlines()
        lines = [json.loads(line) for line in text if line.startswith("{")]
        if len(lines) >= count:
            return lines
        time.sleep(0.05)
    raise AssertionError(f"fewer than {count} lines")
