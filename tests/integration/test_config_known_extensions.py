"""The list of Envoy's extensions is that of the Envoy we test against."""

from __future__ import annotations

import contextlib
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest

from sidecar.config import known_extensions
from tests.support.oracle_binary import envoy_binary

ADMIN = "admin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}}"


@pytest.mark.oracle
def test_known_extensions_are_those_of_envoy(tmp_path: Path) -> None:
    address = tmp_path / "admin"
    command = [envoy_binary(), "--config-yaml", ADMIN, "--concurrency", "1", "--use-dynamic-base-id"]
    with subprocess.Popen([*command, "-l", "off", "--admin-address-path", str(address)]) as envoy:
        try:
            deadline = time.monotonic() + 30
            while not (address.exists() and address.read_text()) and time.monotonic() < deadline:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    pytest.fail(f"Envoy ended with status {envoy.wait(0.02)}")
            with urllib.request.urlopen(f"http://{address.read_text()}/config_dump", timeout=10) as answer:
                dump = answer.read().decode()
        finally:
            envoy.terminate()
            envoy.wait(10)
    data = Path(known_extensions.__file__).with_suffix(".txt")
    assert known_extensions.render(dump) == data.read_text("ascii")


def test_name_of_an_extension_stands_for_its_message() -> None:
    tls = "envoy.transport_sockets.tls"
    messages = "envoy.extensions.transport_sockets.tls.v3"
    assert (
        known_extensions.config_type(tls, "envoy.transport_sockets.upstream")
        == f"{messages}.UpstreamTlsContext"
    )
    assert (
        known_extensions.config_type(tls, "envoy.transport_sockets.downstream")
        == f"{messages}.DownstreamTlsContext"
    )
    cors = "envoy.extensions.filters.http.cors.v3"
    assert known_extensions.config_type("envoy.filters.http.cors") == f"{cors}.Cors"
    assert known_extensions.name_of(f"{cors}.CorsPolicy") == "envoy.filters.http.cors"
    assert known_extensions.config_type("envoy.filters.http.nonesuch") is None
