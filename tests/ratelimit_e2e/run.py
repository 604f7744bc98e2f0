"""Drives both proxies, each with a service of its own, and compares what their clients and upstreams saw.

The service keeps its counts in a Redis: ``redis-server`` where there is one, else miniredis in main.go.
"""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from pathlib import Path

from tests.conformance.configuration import bootstrap, cluster, listener
from tests.conformance.lab import Lab, Session
from tests.conformance.proxy import ENVOY, SIDECAR
from tests.conformance.scenario import Scenario, Setup
from tests.support.outside import Outcome, Processes, binary, compared, free_ports, relay

LIMIT = "type.googleapis.com/envoy.extensions.filters.http.ratelimit.v3.RateLimit"
SET = "type.googleapis.com/envoy.extensions.filters.http.set_metadata.v3.Config"
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


class Service:
    """One running service, with its Redis."""

    def __init__(self, directory: Path) -> None:
        config = directory / "runtime" / "ratelimit" / "config"
        config.mkdir(parents=True)
        (config / "limits.yaml").write_text(LIMITS)
        http, self.port, debug, redis = free_ports(4)
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

    async def start(self, processes: Processes) -> None:
        """Start both, Redis first, and wait until they listen.  Raises: trio.TooSlowError."""
        if (server := shutil.which("redis-server")) is not None:
            port = str(self._redis)
            await processes.run(
                [server, "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"],
                self._redis,
            )
            self._environment["REDIS_URL"] = f"127.0.0.1:{self._redis}"
        await processes.run([str(binary("ratelimit"))], self.port, self._directory, **self._environment)


async def run_scenarios(directory: Path) -> Outcome:
    """Both proxies through all of TRAFFIC.  Raises: CannotBuild, ProxyFailed."""
    binary("ratelimit")
    with ExitStack() as stack:
        processes = stack.enter_context(Processes(directory))
        services = {kind: Service(directory / f"of-{kind}") for kind in (ENVOY, SIDECAR)}
        for each in services.values():
            await each.start(processes)

        async def drive(s: Session) -> None:
            port = services[s.proxy.kind].port
            s.upstream("limits").raw_script = lambda wire: relay(wire, port)
            for path, user, count in TRAFFIC:
                for number in range(count):
                    await s.get(path, f"x-user: {user}", label=f"{path} of {user} {number + 1}")

        lab = Lab(directory)
        stack.callback(lab.close)
        outcome = await lab.observe(Scenario("ratelimit_e2e", "", SETUP, drive, {}, ""), (ENVOY, SIDECAR))
    # Without the seconds that are left of the day.
    return compared(outcome, {r"(ratelimit-reset: )\d+": r"\1<seconds>"}, "429")
