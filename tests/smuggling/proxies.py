"""The proxies that are tried: how each is told to carry HTTP/1.1 from its ports to those of upstreams."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.bench.process import free_ports
from tests.conformance.configuration import bootstrap, cluster, listener
from tests.conformance.proxy import ROOT
from tests.support.oracle_binary import envoy_binary

__all__ = ["KINDS", "OURS", "Kind", "Running"]


@dataclass(frozen=True, slots=True)
class Kind:
    """``command(lanes, directory)`` writes the configuration and gives the command line; None: not here."""

    name: str
    command: Callable[[Sequence[tuple[int, int]], Path], list[str] | None]


def _envoy_config(lanes: Sequence[tuple[int, int]], directory: Path) -> str:
    listeners: list[dict[str, Any]] = []
    clusters: list[dict[str, Any]] = []
    for number, (port, upstream) in enumerate(lanes):
        routes = f"- {{match: {{prefix: /}}, route: {{cluster: up{number}}}}}"
        one = listener(f"lane{number}", "delayed_close_timeout: 0.01s", routes=routes)
        one["address"]["socket_address"]["port_value"] = port
        del one["filter_chains"][0]["filters"][0]["typed_config"]["access_log"]
        listeners.append(one)
        text = json.dumps(cluster(f"up{number}", "X")).replace('"PORT(X)"', str(upstream))
        clusters.append(json.loads(text))
    config = directory / "bootstrap.json"
    config.write_text(json.dumps(bootstrap(listeners, clusters)))
    return str(config)


def _sidecar(codec: str) -> Callable[[Sequence[tuple[int, int]], Path], list[str] | None]:
    def command(lanes: Sequence[tuple[int, int]], directory: Path) -> list[str] | None:
        config = _envoy_config(lanes, directory)
        return [
            sys.executable,
            "-m",
            "sidecar",
            "-c",
            config,
            "--concurrency",
            "1",
            "--http1-codec",
            codec,
            "-l",
            "warning",
        ]

    return command


def _envoy(lanes: Sequence[tuple[int, int]], directory: Path) -> list[str] | None:
    binary = envoy_binary()
    if binary is None:
        return None
    config = _envoy_config(lanes, directory)
    return [binary, "-c", config, "--concurrency", "1", "--use-dynamic-base-id", "-l", "warning"]


def _nginx(lanes: Sequence[tuple[int, int]], directory: Path) -> list[str] | None:
    if shutil.which("nginx") is None:
        return None
    servers = "\n".join(
        f"""
  server {{
    listen 127.0.0.1:{port};
    access_log off;
    lingering_close off;
    location / {{
      proxy_pass http://127.0.0.1:{upstream};
      proxy_http_version 1.1;
      proxy_request_buffering off;
      proxy_set_header Host $http_host;
    }}
  }}"""
        for port, upstream in lanes
    )
    paths = "\n".join(
        f"  {kind}_temp_path {directory}/{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config = directory / "nginx.conf"
    config.write_text(
        f"daemon off;\nmaster_process off;\npid {directory}/pid;\nerror_log {directory}/error.log;\n"
        f"events {{ }}\nhttp {{\n{paths}\n{servers}\n}}\n"
    )
    return ["nginx", "-c", str(config), "-p", str(directory), "-e", f"{directory}/error.log"]


def _haproxy(lanes: Sequence[tuple[int, int]], directory: Path) -> list[str] | None:
    if shutil.which("haproxy") is None:
        return None
    parts = ["global\n  nbthread 1\ndefaults\n  mode http"]
    parts += [f"  timeout {name} 5s" for name in ("connect", "client", "server")]
    for number, (port, upstream) in enumerate(lanes):
        parts.append(f"listen lane{number}\n  bind 127.0.0.1:{port}\n  server one 127.0.0.1:{upstream}")
    config = directory / "haproxy.cfg"
    config.write_text("\n".join(parts) + "\n")
    return ["haproxy", "-f", str(config), "-db"]


KINDS = (
    Kind("sidecar", _sidecar("llhttp")),
    Kind("sidecar h11", _sidecar("h11")),
    Kind("envoy", _envoy),
    Kind("nginx", _nginx),
    Kind("haproxy", _haproxy),
)
#: Those that must not forward anything that can be read in two ways.
OURS = ("sidecar", "sidecar h11")


class Running:
    """One proxy process with its lanes, for the length of a ``with``."""

    def __init__(self, kind: Kind, upstreams: Sequence[int], directory: Path) -> None:
        self.ports = free_ports(len(upstreams))
        self._log = directory / "output.txt"
        directory.mkdir(parents=True, exist_ok=True)
        command = kind.command(list(zip(self.ports, upstreams, strict=True)), directory)
        assert command is not None
        with self._log.open("wb") as output:
            self._process = subprocess.Popen(
                command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )

    def __enter__(self) -> Running:
        return self

    def check(self, deadline: float) -> None:
        """Raise RuntimeError when the process ended, or ``deadline`` passed."""
        if self._process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"{self._process.args!r}: {self._log.read_text(errors='replace')[-1500:]}")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
