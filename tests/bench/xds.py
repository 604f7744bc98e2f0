"""``just bench-xds``: from a response of the control plane to serving by it, here and in Envoy.

A control plane on go-control-plane (``tests/xds_e2e``) serves the state of the world over ADS: each response
is the whole of its type, of which one thing is new.  One endpoint of 100,000: the new one, at which somebody
listens, is asked for by its address (``override_host``).  One of 1,000 clusters.  One of 10,000 routes.  The
time is from the moment that the response is sent until the first request that is served by it, the CPU time
that of the whole update; of the rounds the quickest counts.  Memory is what is resident at the end.  Each
proxy runs alone, with one worker.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import trio

from sidecar.config.messages import message_class
from tests.conformance.configuration import HCM, ROUTER
from tests.conformance.proxy import ENVOY, ROOT, SIDECAR, Proxy
from tests.conformance.scenario import Setup
from tests.conformance.wire import Ended, Wire
from tests.support.oracle_binary import envoy_binary
from tests.xds_e2e.peers import get
from tests.xds_e2e.plane import CannotBuild, Plane, pack, plane_binary
from tests.xds_e2e.run import dynamic, memory
from tests.xds_e2e.world import CLUSTER, ENDPOINTS, LISTENER, ROUTES

__all__ = ["CASES", "Case", "main"]

#: What a proxy may take more than Envoy.
_BAR = 2.0
#: The longest that an update may take.
_LIMIT_S = 60.0
_ADS = {"ads": {}, "resource_api_version": "V3"}
_POLICIES = "envoy.extensions.load_balancing_policies"
_FALLBACK = {
    "typed_extension_config": {
        "name": "turns",
        "typed_config": {"@type": f"type.googleapis.com/{_POLICIES}.round_robin.v3.RoundRobin"},
    }
}
_BY_ADDRESS = {
    "policies": [
        {
            "typed_extension_config": {
                "name": "by address",
                "typed_config": {
                    "@type": f"type.googleapis.com/{_POLICIES}.override_host.v3.OverrideHost",
                    "override_host_sources": [{"header": "x-host"}],
                    "fallback_policy": {"policies": [_FALLBACK]},
                },
            }
        }
    ]
}


def _places(count: int, port: int) -> list[dict[str, Any]]:
    """So many endpoints at addresses of their own."""
    return [_place(f"127.{1 + n // 62500}.{n // 250 % 250}.{1 + n % 250}", port) for n in range(count)]


def _place(address: str, port: int) -> dict[str, Any]:
    return {"endpoint": {"address": {"socket_address": {"address": address, "port_value": port}}}}


def _static(name: str, address: str, port: int) -> dict[str, Any]:
    ends = [{"lb_endpoints": [_place(address, port)]}]
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": name, "endpoints": ends},
    }


@dataclass(slots=True)
class Case:
    """One thing of many that changes."""

    title: str
    count: int
    #: The type that changes.
    message: str
    #: All resources for a turn: ``(turn, count, port)``.
    resources: Callable[[int, int, int], list[Any]]
    #: Path and headers of the probe, and what its answer holds then.
    probe: Callable[[int, int, int], tuple[str, tuple[str, ...], str]]


def _listener(routes: list[dict[str, Any]] | None) -> Any:
    filters = [{"name": "router", "typed_config": {"@type": ROUTER}}]
    manager: dict[str, Any] = {"@type": HCM, "stat_prefix": "main", "http_filters": filters}
    if routes is None:
        manager["rds"] = {"route_config_name": "main", "config_source": _ADS}
    else:
        hosts = [{"name": "all", "domains": ["*"], "routes": routes}]
        manager["route_config"] = {"name": "main", "virtual_hosts": hosts}
    return pack(
        LISTENER,
        {
            "name": "main",
            "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
            "filter_chains": [{"filters": [{"name": "hcm", "typed_config": manager}]}],
        },
    )


def _endpoints(turn: int, count: int, port: int) -> list[Any]:
    many = {
        "name": "many",
        "type": "EDS",
        "connect_timeout": "1s",
        "eds_cluster_config": {"eds_config": _ADS},
        "load_balancing_policy": _BY_ADDRESS,
    }
    places = _places(count - 1, port)
    places.insert(count // 2, _place(f"127.200.0.{turn + 1}", port))
    assignment = {"cluster_name": "many", "endpoints": [{"lb_endpoints": places}]}
    return [
        pack(CLUSTER, many),
        pack(ENDPOINTS, assignment),
        _listener([{"match": {"prefix": "/"}, "route": {"cluster": "many"}}]),
    ]


def _clusters(turn: int, count: int, port: int) -> list[Any]:
    made = [pack(CLUSTER, _static(f"c{number}", "127.0.0.1", port)) for number in range(count - 1)]
    made.insert(count // 2, pack(CLUSTER, _static("new", f"127.200.0.{turn + 1}", port)))
    return [*made, _listener([{"match": {"prefix": "/"}, "route": {"cluster_header": "x-cluster"}}])]


def _routes(turn: int, count: int, port: int) -> list[Any]:
    routes: list[dict[str, Any]] = [
        {"match": {"prefix": f"/service/{number}/"}, "route": {"cluster": "all", "timeout": "5s"}}
        for number in range(count - 1)
    ]
    routes.insert(
        count // 2,
        {
            "match": {"prefix": "/new"},
            "route": {"cluster": "all"},
            "response_headers_to_add": [{"header": {"key": "x-turn", "value": f"turn {turn}"}}],
        },
    )
    message = {"name": "main", "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]}
    return [pack(CLUSTER, _static("all", "127.0.0.1", port)), pack(ROUTES, message), _listener(None)]


def _probe_endpoints(turn: int, count: int, port: int) -> tuple[str, tuple[str, ...], str]:
    address = f"127.200.0.{turn + 1}"
    return "/", (f"x-host: {address}:{port}",), f"from {address}"


def _probe_clusters(turn: int, count: int, port: int) -> tuple[str, tuple[str, ...], str]:
    return "/", ("x-cluster: new",), f"from 127.200.0.{turn + 1}"


def _probe_routes(turn: int, count: int, port: int) -> tuple[str, tuple[str, ...], str]:
    return "/new", (), f"turn {turn}"


CASES = {
    "endpoints": Case("1 endpoint of", 100_000, ENDPOINTS, _endpoints, _probe_endpoints),
    "clusters": Case("1 cluster of", 1_000, CLUSTER, _clusters, _probe_clusters),
    "routes": Case("1 route of", 10_000, ROUTES, _routes, _probe_routes),
}


async def _serve(stream: trio.SocketStream) -> None:
    """Answer each request with the address at which it came."""
    body = f"from {stream.socket.getsockname()[0]}".encode()
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)
    data = b""
    try:
        while chunk := await stream.receive_some(65536):
            data += chunk
            while (end := data.find(b"\r\n\r\n")) >= 0:
                data = data[end + 4 :]
                await stream.send_all(answer)
    except trio.BrokenResourceError:
        pass


async def _listen(nursery: trio.Nursery, turns: int) -> int:
    """Serve at the address of each turn and at 127.0.0.1, all at the port that this returns."""
    listeners = await nursery.start(partial(trio.serve_tcp, _serve, 0, host="127.0.0.1"))
    port = int(listeners[0].socket.getsockname()[1])
    for turn in range(turns):
        await nursery.start(partial(trio.serve_tcp, _serve, port, host=f"127.200.0.{turn + 1}"))
    return port


def _cpu_s(pid: int) -> float:
    """What all threads of a process have had of a CPU: the clock of another process (clock_getcpuclockid)."""
    return time.clock_gettime((~pid << 3) | 2)


async def _until_served(proxy: Proxy, path: str, headers: tuple[str, ...], holds: str, limit_s: float) -> int:
    """When (ns of the wall clock) the first answer holds a text.  Raises: TimeoutError."""
    end = time.monotonic() + limit_s
    wire: Wire | None = None
    last: object = None
    while time.monotonic() < end:
        try:
            if wire is None:
                wire = Wire(await trio.open_tcp_stream("127.0.0.1", proxy.ports["main"]))
            reply = await get(wire, "bench.test", path, *headers)
        except (Ended, OSError) as error:
            last, wire = error, None
            await trio.sleep(0.005)
            continue
        at, last = time.time_ns(), reply
        if holds in f"{reply.headers}{reply.body!r}":
            wire.close()
            return at
        if "close" in reply.values("connection"):
            wire.close()
            wire = None
        await trio.sleep(0.005)
    raise TimeoutError(f"{proxy.kind} does not serve {holds!r} but {last!r}:\n{proxy.output()}")


async def _measure(
    case: Case, count: int, kind: str, port: int, rounds: int, directory: Path, *, is_delta: bool
) -> dict[str, float]:
    """What updates cost one proxy.  Raises: ProxyFailed, TimeoutError."""
    with Plane() as plane:
        setup = Setup(kind, dynamic(kind, plane.port, is_delta=is_delta), is_early=True)
        proxy = Proxy(kind, setup, directory / f"{kind}-{case.message}")
        try:
            plane.set([kind], "0", case.resources(0, count, port))
            await proxy.start()
            empty = memory(proxy)
            with trio.fail_after(_LIMIT_S):
                while "main" not in proxy.ports:
                    await trio.sleep(0.05)
                    await proxy.learn_ports()
            await _until_served(proxy, *case.probe(0, count, port), _LIMIT_S)
            times, costs = [], []
            for turn in range(1, rounds + 1):
                resources = case.resources(turn, count, port)
                began = _cpu_s(proxy.pid)

                def update(turn: int = turn, resources: list[Any] = resources) -> None:
                    plane.set([kind], str(turn), resources)

                async with trio.open_nursery() as nursery:
                    nursery.start_soon(trio.to_thread.run_sync, update)
                    served = await _until_served(proxy, *case.probe(turn, count, port), _LIMIT_S)
                await trio.to_thread.run_sync(plane.settle, kind)
                sent = plane.state(kind)[case.message.rpartition(".")[2]]["sent_ns"]
                times.append((served - sent) / 1e6)
                costs.append((_cpu_s(proxy.pid) - began) * 1000)
            return {
                "ms": round(min(times), 1),
                "cpu_ms": round(min(costs), 1),
                "MiB": round(memory(proxy) / 2**20, 1),
                "MiB_empty": round(empty / 2**20, 1),
            }
        finally:
            proxy.stop()


async def _run(options: argparse.Namespace, directory: Path) -> dict[str, dict[str, dict[str, float]]]:
    found: dict[str, dict[str, dict[str, float]]] = {}
    kinds = (SIDECAR,) if options.alone else (SIDECAR, ENVOY)
    async with trio.open_nursery() as nursery:
        port = await _listen(nursery, options.rounds + 1)
        for name, case in CASES.items():
            if options.only in ("", name):
                count = max(3, int(case.count * options.scale))
                title = f"{case.title} {count:,}"
                found[title] = {}
                for kind in kinds:
                    found[title][kind] = await _measure(
                        case, count, kind, port, options.rounds, directory, is_delta=options.delta
                    )
                    print(f"{title}, {kind}: {found[title][kind]}", flush=True)
        nursery.cancel_scope.cancel()
    return found


def main(arguments: list[str]) -> int:
    """Print what was measured and write it as JSON; 1 where the bar is not met."""
    parser = argparse.ArgumentParser(prog="just bench-xds", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=["", *CASES], default="")
    parser.add_argument("--scale", type=float, default=1.0, help="of the numbers of things")
    parser.add_argument("--delta", action="store_true", help="over delta ADS, which sends only what is new")
    parser.add_argument("--alone", action="store_true", help="without Envoy")
    parser.add_argument("--output", default=str(ROOT / "bench-results" / "xds.json"))
    options = parser.parse_args(arguments)
    if envoy_binary() is None:
        print("bench-xds needs Envoy beside this interpreter (scripts/setup.sh dev)", file=sys.stderr)
        return 2
    for name in ("override_host.v3.OverrideHost", "round_robin.v3.RoundRobin"):
        message_class(f"{_POLICIES}.{name}")
    with tempfile.TemporaryDirectory(prefix="sidecar-bench-") as name:
        try:
            plane_binary()
        except CannotBuild as error:
            print(error, file=sys.stderr)
            return 2
        found = trio.run(_run, options, Path(name))
    output = Path(options.output)
    output.parent.mkdir(exist_ok=True)
    output.write_text(json.dumps(found, indent=1) + "\n")
    is_met = True
    for title, row in found.items():
        for what in ("ms", "cpu_ms", "MiB") if ENVOY in row else ():
            ratio = row[SIDECAR][what] / row[ENVOY][what]
            is_met = is_met and (what == "cpu_ms" or ratio <= _BAR)
            print(f"{title}: {what} {row[SIDECAR][what]} to Envoy's {row[ENVOY][what]}: {ratio:.2f} times")
    return 0 if is_met else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
