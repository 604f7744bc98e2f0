"""``just bench-scale``: sidecar and Envoy by connections, routes, clusters and workers, as curves.

Writes ``docs/scale-*.svg`` and ``bench-results/scale.json``.  With one worker the proxy has a core and the
load another; with two workers both share both cores, and the share of the load generator is told.  µs of CPU
per request, one measurement each; ``--quick`` leaves out all but the ends of each curve.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.bench.curves import Curve, draw
from tests.bench.load import measure
from tests.bench.process import Process, free_ports
from tests.bench.proxies import CASES, ROOT, Case, start_command, upstream_command

__all__ = ["main"]

_PLAIN = CASES[0]
_CONNECTIONS = (10, 100, 1000, 10_000)
_ROUTES = (1, 10, 100, 1000, 10_000)
_CLUSTERS = (1, 10, 100, 1000)
_PROXIES = ("sidecar", "envoy")


@dataclass(frozen=True, slots=True)
class Point:
    """One measurement."""

    cpu_us: float
    requests_per_s: float
    rss_mb: float
    errors: int
    #: Of the cores that the load generator may use, what it took.
    load_share: float


def _children_s() -> float:
    """CPU seconds of the load generators that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


class Bench:
    """One upstream, and proxies that are started for a point of a curve each."""

    def __init__(self, directory: Path, upstream: int, seconds: float) -> None:
        self._directory = directory
        self._upstream = upstream
        self._seconds = seconds
        self._count = 0

    def point(
        self,
        proxy: str,
        case: Case,
        *,
        connections: int = 16,
        workers: int = 1,
        change: Callable[[dict[str, Any]], None] | None = None,
    ) -> Point:
        """Start ``proxy`` for ``case``, its file changed by ``change``, and load it."""
        self._count += 1
        [port] = free_ports(1)
        named = replace(case, name=f"scale-{self._count}")
        command = start_command(proxy, named, port, self._upstream, self._directory)
        if change is not None:
            path = Path(command[command.index("-c") + 1])
            config = json.loads(path.read_text(encoding="utf-8"))
            change(config)
            path.write_text(json.dumps(config), encoding="utf-8")
        command[command.index("--concurrency") + 1] = str(workers)
        log = self._directory / f"{proxy}-{self._count}.log"
        cores = "0" if workers == 1 else "0,1"
        load_cores = "1" if workers == 1 else "0,1"
        with Process(command, core=cores, log=log) as process:
            process.wait_for_port(port, 120)
            url = f"http://127.0.0.1:{port}{case.path}"
            measure(process, url, "get", 1, load_cores, self._directory, connections=min(connections, 16))
            before = _children_s()
            found = measure(
                process, url, "get", self._seconds, load_cores, self._directory, connections=connections
            )
            share = (_children_s() - before) / (found.seconds * workers)
        return Point(
            found.cpu_us_per_request, found.requests_per_s, found.rss_bytes / 1e6, found.errors, share
        )


def _clusters(count: int) -> Callable[[dict[str, Any]], None]:
    """A file with so many clusters of one host, and a route to each; the request goes to the last."""

    def change(config: dict[str, Any]) -> None:
        resources = config["static_resources"]
        [cluster] = resources["clusters"]
        resources["clusters"] = []
        for number in range(count):
            copy = json.loads(json.dumps(cluster))
            copy["name"] = copy["load_assignment"]["cluster_name"] = f"cluster-{number}"
            resources["clusters"].append(copy)
        manager = resources["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
        [host] = manager["route_config"]["virtual_hosts"]
        host["routes"] = [
            {"match": {"prefix": f"/path-{number}/"}, "route": {"cluster": f"cluster-{number}"}}
            for number in range(count)
        ]

    return change


def main(arguments: list[str]) -> int:
    """Measure the curves, draw them; 1 where a request through sidecar failed."""
    parser = argparse.ArgumentParser(prog="just bench-scale", description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0, help="length of one measurement")
    parser.add_argument("--quick", action="store_true", help="the ends of each curve, a second each")
    parser.add_argument("--only", action="append", choices=("connections", "routes", "clusters", "workers"))
    parser.add_argument("--output", default=str(ROOT / "docs"), help="where the pictures go")
    options = parser.parse_args(arguments)
    ends = (lambda sizes: (sizes[0], sizes[-1])) if options.quick else (lambda sizes: sizes)
    seconds = 1.0 if options.quick else options.seconds
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    most = hard // 3
    found: dict[str, dict[str, dict[int, Point]]] = {}
    with tempfile.TemporaryDirectory(prefix="sidecar-bench-") as name, ExitStack() as stack:
        directory = Path(name)
        upstream, http2_upstream = free_ports(2)
        server_command = upstream_command(upstream, http2_upstream, directory)
        server = stack.enter_context(Process(server_command, core=1, log=directory / "upstream.log"))
        server.wait_for_port(upstream)
        bench = Bench(directory, upstream, seconds)

        def curve(kind: str, sizes: tuple[int, ...], point: Callable[[str, int], Point]) -> None:
            if options.only and kind not in options.only:
                return
            curves = found[kind] = {proxy: {} for proxy in _PROXIES}
            for size in ends(sizes):
                for proxy in _PROXIES:
                    curves[proxy][size] = made = point(proxy, size)
                    print(
                        f"{kind:12} {size:>6} {proxy:8} {made.cpu_us:8.1f} us {made.requests_per_s:8.0f}/s"
                        f" {made.rss_mb:6.0f} MB, load {made.load_share:.0%}, {made.errors} errors",
                        flush=True,
                    )

        curve(
            "connections",
            tuple(size for size in _CONNECTIONS if size <= most),
            lambda proxy, size: bench.point(proxy, _PLAIN, connections=size),
        )
        curve(
            "routes",
            _ROUTES,
            lambda proxy, size: bench.point(
                proxy, replace(_PLAIN, routes=size, path=f"/path-{size - 1}/" if size > 1 else "/")
            ),
        )
        curve(
            "clusters",
            _CLUSTERS,
            lambda proxy, size: bench.point(
                proxy, replace(_PLAIN, path=f"/path-{size - 1}/"), change=_clusters(size)
            ),
        )
        curve("workers", (1, 2), lambda proxy, size: bench.point(proxy, _PLAIN, connections=64, workers=size))
    _write(found, Path(options.output))
    return int(any(each.errors for curves in found.values() for each in curves["sidecar"].values()))


_TITLES = {
    "connections": ("µs of CPU per request by connections", "connections"),
    "routes": ("µs of CPU per request by routes (the last one matches)", "routes"),
    "clusters": ("µs of CPU per request by clusters", "clusters"),
    "workers": ("requests per second by workers, the load on the same two cores", "workers"),
}


def _write(found: dict[str, dict[str, dict[int, Point]]], directory: Path) -> None:
    results = ROOT / "bench-results"
    results.mkdir(exist_ok=True)
    plain = {
        kind: {
            proxy: {
                size: {
                    "cpu_us": round(each.cpu_us, 1) if each.requests_per_s else None,
                    "requests_per_s": round(each.requests_per_s),
                    "rss_mb": round(each.rss_mb),
                    "load_share": round(each.load_share, 2),
                }
                for size, each in curve.items()
            }
            for proxy, curve in curves.items()
        }
        for kind, curves in found.items()
    }
    (results / "scale.json").write_text(json.dumps(plain, indent=1) + "\n", encoding="utf-8")
    for kind, curves in found.items():
        # Where no request was answered within the time there is no point.
        title, axis = _TITLES[kind]
        lines = [
            Curve(
                proxy,
                [
                    (size, each.requests_per_s if kind == "workers" else each.cpu_us)
                    for size, each in curve.items()
                    if each.requests_per_s
                ],
            )
            for proxy, curve in curves.items()
        ]
        path = directory / f"scale-{kind}.svg"
        path.write_text(draw(title, axis, lines, is_logarithmic=kind != "workers"), encoding="utf-8")
        print(f"written to {path}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
