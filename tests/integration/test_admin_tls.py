"""The admin interface behind mutual TLS."""

from __future__ import annotations

import http.client
import signal
import ssl
import subprocess
import sys
import time
from pathlib import Path

import pytest
import trustme
from proxy_process import ROOT

TIMEOUT_S = 60.0
CONFIG = """
admin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}}
bootstrap_extensions:
- name: sidecar.admin.access
  typed_config:
    "@type": type.googleapis.com/sidecar.extensions.admin.v1.AdminAccess
    tls:
      require_client_certificate: true
      common_tls_context:
        tls_certificates:
        - {certificate_chain: {filename: DIR/cert.pem}, private_key: {filename: DIR/key.pem}}
        validation_context: {trusted_ca: {filename: DIR/ca.pem}}
"""


def ask(port: int, context: ssl.SSLContext | None, path: str) -> tuple[int, str]:
    """The answer to one GET."""
    connection: http.client.HTTPConnection
    if context is None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    else:
        connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=20, context=context)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def test_admin_interface_answers_those_alone_who_have_a_certificate(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    (tmp_path / "bootstrap.yaml").write_text(CONFIG.replace("DIR", str(tmp_path)))
    address = tmp_path / "address"
    command = [sys.executable, "-m", "sidecar", "-c", str(tmp_path / "bootstrap.yaml")]
    output = tmp_path / "output"
    with output.open("wb") as file:
        process = subprocess.Popen(
            [*command, "--admin-address-path", str(address)],
            cwd=ROOT, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        deadline = time.monotonic() + TIMEOUT_S
        while not (address.exists() and address.read_text()):
            assert process.poll() is None, output.read_text()
            assert time.monotonic() < deadline, output.read_text()
            time.sleep(0.02)
        port = int(address.read_text().rpartition(":")[2])
        context = ssl.create_default_context()
        authority.configure_trust(context)
        with pytest.raises((ssl.SSLError, ConnectionError)):
            ask(port, context, "/ready")
        with pytest.raises((http.client.BadStatusLine, ConnectionError)):
            ask(port, None, "/ready")
        authority.issue_cert("operator@example.org").configure_cert(context)
        assert ask(port, context, "/hot_restart_version")[0] == 200
        stats = ask(port, context, "/stats?filter=listener.admin.ssl.(handshake|fail_verify_no_cert)$")[1]
        assert stats == "listener.admin.ssl.fail_verify_no_cert: 1\nlistener.admin.ssl.handshake: 2\n"
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)
