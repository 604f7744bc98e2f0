"""A running Envoy to compare renderings with."""

from __future__ import annotations

import http.client
import json
import subprocess
import time
from pathlib import Path
from typing import Any

from tests.support.oracle_binary import envoy_binary

START_TIMEOUT_S = 20.0
HCM_TYPE = (
    "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
)
ROUTER_TYPE = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"


def http_listener(
    name: str, routes: list[dict[str, Any]], *, stat_prefix: str = "ingress", **hcm: Any
) -> dict[str, Any]:
    """A plain HTTP listener on a free port of the loopback interface."""
    config = {
        "@type": HCM_TYPE,
        "stat_prefix": stat_prefix,
        "route_config": {
            "name": "routes",
            "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}],
        },
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {"@type": ROUTER_TYPE}}],
        **hcm,
    }
    return {
        "name": name,
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
        "filter_chains": [
            {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": config}]}
        ],
    }


class Oracle:
    """Envoy with a configuration of its own; a context manager."""

    def __init__(self, directory: Path, bootstrap: dict[str, Any], *arguments: str) -> None:
        self._directory = directory
        self._bootstrap = {
            "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}},
            **bootstrap,
        }
        self._arguments = arguments
        self._process: subprocess.Popen[bytes] | None = None
        self._admin = ("", 0)

    def __enter__(self) -> Oracle:
        config = self._directory / "envoy.json"
        config.write_text(json.dumps(self._bootstrap))
        admin = self._directory / "admin.txt"
        log = self._directory / "envoy.log"
        command = [
            envoy_binary() or "envoy",
            "-c",
            str(config),
            "--concurrency",
            "1",
            "--use-dynamic-base-id",
        ]
        command += ["--admin-address-path", str(admin), "-l", "warning", "--file-flush-interval-msec", "10"]
        with log.open("wb") as output:
            self._process = subprocess.Popen([*command, *self._arguments], stderr=output, stdout=output)
        deadline = time.monotonic() + START_TIMEOUT_S
        while not (admin.exists() and self._is_ready(admin.read_text())):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.__exit__()
                raise RuntimeError(log.read_text()[-2000:])
            time.sleep(0.01)
        return self

    def __exit__(self, *_: object) -> None:
        process = self._process
        if process is not None:
            process.kill()
            process.wait()

    def _is_ready(self, address: str) -> bool:
        host, _, port = address.rpartition(":")
        if not port:
            return False
        self._admin = (host, int(port))
        try:
            return self.get("/ready")[0] == 200
        except OSError:
            return False

    def request(self, method: str, target: str, body: bytes = b"") -> tuple[int, dict[str, str], str]:
        """Status, headers and body of an admin request."""
        return _exchange(self._admin, method, target, {}, body)

    def get(self, target: str) -> tuple[int, dict[str, str], str]:
        return self.request("GET", target)

    def text(self, target: str) -> str:
        """The body of an admin GET."""
        return self.get(target)[2]

    def listener(self, name: str) -> tuple[str, int]:
        """Where the listener of this name listens."""
        for line in self.text("/listeners").splitlines():
            found, _, address = line.partition("::")
            if found == name:
                host, _, port = address.rpartition(":")
                return host, int(port)
        raise LookupError(name)

    def send(
        self,
        listener: str,
        target: str,
        headers: dict[str, str] | None = None,
        method: str = "GET",
        body: bytes = b"",
    ) -> tuple[int, dict[str, str], str]:
        """One request to a listener."""
        return _exchange(self.listener(listener), method, target, headers or {}, body)


def _exchange(
    address: tuple[str, int], method: str, target: str, headers: dict[str, str], body: bytes
) -> tuple[int, dict[str, str], str]:
    connection = http.client.HTTPConnection(*address, timeout=10)
    try:
        connection.request(method, target, body or None, headers)
        response = connection.getresponse()
        return (
            response.status,
            {name.lower(): value for name, value in response.getheaders()},
            response.read().decode("utf-8", "surrogateescape"),
        )
    finally:
        connection.close()
