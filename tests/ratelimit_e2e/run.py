"""Drives both proxies, each with a service of its own, and compares what their clients and upstreams saw.

The service keeps its counts in a Redis: ``redis-server`` where there is one, else miniredis in main.go.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any

import trio

from tests.conformance.compare import compare
from tests.conformance.configuration import bootstrap, cluster, listener
from tests.conformance.lab import Lab, Session
from tests.conformance.proxy import ENVOY, ROOT, SIDECAR, ProxyFailed
from tests.conformance.scenario import Scenario, Setup
from tests.conformance.wire import Wire

LIMIT = "type.googleapis.com/envoy.extensions.filters.http.ratelimit.v3.RateLimit"
SET = "type.googleapis.com/envoy.extensions.filters.http.set_metadata.v3.Config"
START_TIMEOUT_S = 30.0
#: What the service is told.  Days, lest a window ends between two requests.
LIMITS = """
domain: e2e
descriptors:
- {key: user, rate_limit: {unit: day, requests_per_unit: 2}}
- {key: user, value: free, rate_limit: {unlimited: true}}
- {key: watched, rate_limit: {unit: day, requests_per_unit: 1}, shadow_mode: true}
- key: path
  descriptors:
  - {key: user, rate_limit: {unit: day, requests_per_unit: 1}}
- {key: heavy, rate_limit: {unit: day, requests_per_unit: 5}}
- {key: given, rate_limit: {unit: day, requests_per_unit: 1}}
"""


def _of(path: str, *actions: str, more: str = "") -> str:
    limits = f"[{{actions: [{', '.join(actions)}]{more}}}]"
    return f"- {{match: {{prefix: {path}}}, route: {{cluster: app, rate_limits: {limits}}}}}\n"


def _header(key: str) -> str:
    return f"{{request_headers: {{header_name: x-user, descriptor_key: {key}}}}}"


_BOTH = f"[{{actions: [{_header('user')}]}}, {{actions: [{_header('heavy')}]}}]"
ROUTES = (
    _of("/user", _header("user"))
    + _of("/watched", _header("watched"))
    + _of("/nested", "{request_headers: {header_name: ':path', descriptor_key: path}}", _header("user"))
    + _of("/heavy", _header("heavy"), more=", hits_addend: {number: 3}")
    + _of(
        "/given",
        _header("given"),
        more=", limit: {dynamic_metadata: {metadata_key: {key: m, path: [{key: l}]}}}",
    )
    + _of("/unknown", _header("unknown"))
    + f"- {{match: {{prefix: /both}}, route: {{cluster: app, rate_limits: {_BOTH}}}}}\n"
)
FILTERS = (
    f'- {{name: set, typed_config: {{"@type": {SET}, metadata: '
    "[{metadata_namespace: m, value: {l: {requests_per_unit: 3, unit: DAY}}}]}}\n"
    f'- {{name: limit, typed_config: {{"@type": {LIMIT}, domain: e2e, timeout: 5s, '
    "enable_x_ratelimit_headers: DRAFT_VERSION_03, failure_mode_deny: true, "
    "rate_limit_service: {transport_api_version: V3, grpc_service: {envoy_grpc: {cluster_name: limits}}}}}"
)
SETUP = Setup(
    "ratelimit_e2e",
    bootstrap(
        [listener("main", routes=ROUTES, filters=FILTERS)],
        [cluster("app", "app"), cluster("limits", "limits", http2=True)],
    ),
    {"app": "h1", "limits": "raw"},
)
#: Path, user and how many requests.
TRAFFIC = (
    *(("/user", "ann", 4), ("/user", "bob", 1), ("/user", "free", 4), ("/watched", "ann", 3)),
    *(("/nested/a", "ann", 2), ("/nested/b", "ann", 1), ("/heavy", "ann", 3), ("/given", "ann", 4)),
    *(("/unknown", "ann", 2), ("/both", "cyd", 4)),
)


class CannotBuild(Exception):
    """There is no service here; the message says why."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How much was compared, and what differed."""

    compared: int
    problems: tuple[str, ...]


@cache
def service_binary() -> Path:
    """The program, built if need be.  Raises: CannotBuild."""
    built = subprocess.run(
        ["scripts/build_ratelimit.sh"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=1000
    )
    if built.returncode:
        raise CannotBuild(built.stderr.strip())
    return Path(built.stdout.strip())


class Service:
    """One running service, with its Redis."""

    def __init__(self, directory: Path) -> None:
        config = directory / "runtime" / "ratelimit" / "config"
        config.mkdir(parents=True)
        (config / "limits.yaml").write_text(LIMITS)
        http, self.port, debug, redis = _free_ports(4)
        self._directory = directory
        self._redis = redis
        self._environment = {
            "RUNTIME_ROOT": str(directory / "runtime"),
            "RUNTIME_SUBDIRECTORY": "ratelimit",
            "RUNTIME_WATCH_ROOT": "false",
            "USE_STATSD": "false",
            "REDIS_SOCKET_TYPE": "tcp",
            "LOG_LEVEL": "error",
            "LIMIT_RESPONSE_HEADERS_ENABLED": "true",
            **{f"{name}HOST": "127.0.0.1" for name in ("", "GRPC_", "DEBUG_")},
            **{"PORT": str(http), "GRPC_PORT": str(self.port), "DEBUG_PORT": str(debug)},
        }
        self._processes: list[subprocess.Popen[bytes]] = []

    async def start(self) -> None:
        """Start both, Redis first, and wait until they listen.  Raises: trio.TooSlowError."""
        if (server := shutil.which("redis-server")) is not None:
            port = str(self._redis)
            self._run([server, "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            await _until_it_listens(self._redis)
            self._environment["REDIS_URL"] = f"127.0.0.1:{self._redis}"
        self._run([str(service_binary())])
        await _until_it_listens(self.port)

    def _run(self, command: list[str]) -> None:
        quiet = subprocess.DEVNULL
        environment = {**os.environ, **self._environment}
        self._processes.append(
            subprocess.Popen(
                command, cwd=self._directory, env=environment, stdin=quiet, stdout=quiet, stderr=quiet
            )
        )

    def __enter__(self) -> Service:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for process in reversed(self._processes):
            process.kill()
            process.wait(5)


async def _until_it_listens(port: int) -> None:
    with trio.fail_after(START_TIMEOUT_S):
        while True:
            try:
                stream = await trio.open_tcp_stream("127.0.0.1", port)
            except OSError:
                await trio.sleep(0.05)
            else:
                await stream.aclose()
                return


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [int(each.getsockname()[1]) for each in sockets]
    for each in sockets:
        each.close()
    return ports


async def run_scenarios(directory: Path) -> Outcome:
    """Both proxies through all of TRAFFIC.  Raises: CannotBuild, ProxyFailed."""
    service_binary()
    with ExitStack() as stack:
        services = {kind: stack.enter_context(Service(directory / f"of-{kind}")) for kind in (ENVOY, SIDECAR)}
        for each in services.values():
            await each.start()

        async def drive(s: Session) -> None:
            port = services[s.proxy.kind].port
            s.upstream("limits").raw_script = lambda wire: _relay(wire, port)
            for path, user, count in TRAFFIC:
                for number in range(count):
                    await s.get(path, f"x-user: {user}", label=f"{path} of {user} {number + 1}")

        lab = Lab(directory)
        stack.callback(lab.close)
        scenario = Scenario("ratelimit_e2e", "", SETUP, drive, {}, "")
        outcome = await lab.observe(scenario, (ENVOY, SIDECAR))
    oracle, ours = (_masked(outcome[kind]) for kind in (ENVOY, SIDECAR))
    verdict = compare(oracle, ours, {})
    limited = sum("429" in json.dumps(each) for each in oracle.values())
    problems = list(verdict.problems)
    if not limited:
        problems.append("nothing was limited")
    return Outcome(verdict.compared, tuple(map(str, problems)))


def _masked(observed: Any) -> Any:
    """Without the seconds that are left of the day.  Raises: ProxyFailed."""
    if isinstance(observed, ProxyFailed):
        raise observed
    return json.loads(re.sub(r"(ratelimit-reset: )\d+", r"\1<seconds>", json.dumps(observed)))


async def _relay(wire: Wire, port: int) -> None:
    """Carry a connection of the proxy to its service."""
    async with _service_stream(port) as stream, trio.open_nursery() as nursery:

        async def back() -> None:
            async for data in stream:
                await wire.send(data)
            nursery.cancel_scope.cancel()

        nursery.start_soon(back)
        while data := await wire.some():
            await stream.send_all(data)
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def _service_stream(port: int) -> AsyncIterator[trio.SocketStream]:
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    async with stream:
        yield stream
