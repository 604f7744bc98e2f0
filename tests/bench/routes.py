"""``just bench-routes``: what a request costs by the number of routes, here and in Envoy.

One virtual host with N prefix routes; the request belongs to the last one.  CPU us per request, both proxies
pinned to one core, one measurement each per size.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from tests.bench.load import measure
from tests.bench.process import Process, free_ports
from tests.bench.proxies import ROOT, Case, start_command, upstream_command

SIZES = (1, 10, 100, 1000, 10_000)


def main(arguments: list[str]) -> int:
    """Print the two curves and write them as JSON; 1 when a request failed."""
    parser = argparse.ArgumentParser(prog="just bench-routes", description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0, help="length of one measurement")
    parser.add_argument("--output", default=str(ROOT / "bench-results" / "routes.json"))
    options = parser.parse_args(arguments)
    curves: dict[str, dict[int, float]] = {"sidecar": {}, "envoy": {}}
    failed = 0
    with tempfile.TemporaryDirectory(prefix="sidecar-bench-") as name, ExitStack() as stack:
        directory = Path(name)
        upstream, http2_upstream = free_ports(2)
        command = upstream_command(upstream, http2_upstream, directory)
        server = stack.enter_context(Process(command, core=1, log=directory / "upstream.log"))
        server.wait_for_port(upstream)
        print(f"{'routes':>8}  {'sidecar us':>10}  {'Envoy us':>10}")
        for size in SIZES:
            for proxy, curve in curves.items():
                case = Case(f"routes-{size}", f"{size} routes", routes=size, path=f"/path-{size - 1}/")
                [port] = free_ports(1)
                log = directory / f"{proxy}-{size}.log"
                started = start_command(proxy, case, port, upstream, directory)
                with Process(started, core=0, log=log) as process:
                    process.wait_for_port(port, 60)
                    url = f"http://127.0.0.1:{port}{case.path}"
                    measure(process, url, "get", 1, 1, directory)
                    found = measure(process, url, "get", options.seconds, 1, directory)
                failed += found.errors
                curve[size] = round(found.cpu_us_per_request, 1)
            print(f"{size:>8}  {curves['sidecar'][size]:>10}  {curves['envoy'][size]:>10}", flush=True)
    Path(options.output).write_text(json.dumps(curves, indent=1) + "\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
