"""``just soak``: many requests of every kind, and whether memory stays where it was.

HTTP/1.1 and HTTP/2, bodies both ways, connections that come and go, a JSON access log, Lua and RBAC; two
million requests by default.  Resident memory is looked at after each round; the last quarter of the rounds
must not lie more than ``--growth`` MB above the second quarter (the first fills tables and pools).
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from tests.bench.load import measure
from tests.bench.process import Process, free_ports
from tests.bench.proxies import Case, start_command, upstream_command

__all__ = ["main"]

_ROUND_S = 2.0
_LOADS = ("get", "post", "traced", "close", "h2", "grpc")


def main(arguments: list[str]) -> int:
    """Load until the requests or the time are spent; 1 where memory grew or a request failed."""
    parser = argparse.ArgumentParser(prog="just soak", description=__doc__)
    parser.add_argument("--requests", type=int, default=2_000_000)
    parser.add_argument("--max-seconds", type=float, default=900.0)
    parser.add_argument("--growth", type=float, default=2.0, help="MB that are taken for noise")
    parser.add_argument("--proxy", default="sidecar", choices=("sidecar", "envoy"))
    options = parser.parse_args(arguments)
    requests = errors = 0
    sizes: list[float] = []
    with tempfile.TemporaryDirectory(prefix="sidecar-soak-") as name, ExitStack() as stack:
        directory = Path(name)
        upstream, http2_upstream = free_ports(2)
        command = upstream_command(upstream, http2_upstream, directory)
        server = stack.enter_context(Process(command, core=1, log=directory / "upstream.log"))
        server.wait_for_port(upstream)
        running: dict[bool, tuple[Process, str]] = {}
        for http2, port in zip((False, True), free_ports(2), strict=True):
            case = Case(
                f"soak-{http2}",
                "soak",
                access_log=True,
                json_log=True,
                filter="lua+rbac",
                http2=http2,
                http2_up=http2,
            )
            command = start_command(
                options.proxy, case, port, http2_upstream if http2 else upstream, directory
            )
            log = directory / f"{options.proxy}-{http2}.log"
            process = stack.enter_context(Process(command, core=0, log=log))
            process.wait_for_port(port, 60)
            running[http2] = process, f"http://127.0.0.1:{port}/"
        until = time.monotonic() + options.max_seconds
        while requests < options.requests and time.monotonic() < until:
            for load in _LOADS:
                process, url = running[load in ("h2", "grpc")]
                found = measure(process, url, load, _ROUND_S, 1, directory)
                requests += found.requests
                errors += found.errors
            sizes.append(sum(process.rss_bytes() for process, _ in running.values()) / 1e6)
            print(f"{requests:>9} requests, {errors} errors, {sizes[-1]:.1f} MB in two processes", flush=True)
    quarter = max(1, len(sizes) // 4)
    before = statistics.median(sizes[quarter : 2 * quarter] or sizes)
    growth = statistics.median(sizes[-quarter:]) - before
    print(f"{requests} requests, {errors} errors, grown by {growth:.1f} MB")
    return int(growth > options.growth or errors > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
