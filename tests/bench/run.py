"""Measures the proxies in turns and prints the table (``just bench``).

The proxy runs on one core; the load and the upstream share another.  In each round every proxy of a case
is measured once, so that what disturbs the machine disturbs all; the table shows medians.  What counts
is CPU time per request: ``ratio`` is requests per CPU second over Envoy's.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.bench.load import Measure, measure
from tests.bench.process import Process, free_ports
from tests.bench.proxies import CASES, PROXIES, ROOT, Case, start_command, upstream_command

__all__ = ["main", "run_cases"]

_COLUMNS = ("proxy", "CPU µs/request", "requests/s", "p50 ms", "p99 ms", "RSS MB", "ratio", "errors")


def main(arguments: list[str]) -> int:
    """Run what the arguments ask for; 1 when nothing was compared, a request failed or the bar was missed."""
    options = _parse(arguments)
    missing = [tool for tool in ("taskset", "wrk", "h2load", "nginx") if shutil.which(tool) is None]
    if missing:
        packages = "Debian: util-linux wrk nghttp2-client nginx haproxy"
        print(f"bench needs {', '.join(missing)} ({packages})", file=sys.stderr)
        return 1
    cases = [case for case in CASES if not options.case or case.name in options.case]
    results = run_cases(cases, options)
    if options.markdown:
        print(f"\n{_markdown(results)}")
    path = _write(results, options)
    print(f"written to {path}")
    return _verdict(results, options.bar)


def run_cases(cases: list[Case], options: argparse.Namespace) -> dict[str, dict[str, list[Measure]]]:
    """Measure each case and print its table; what is not reached within ``max_seconds`` is left out."""
    deadline = time.monotonic() + options.max_seconds
    results: dict[str, dict[str, list[Measure]]] = {}
    with tempfile.TemporaryDirectory(prefix="sidecar-bench-") as name, ExitStack() as stack:
        directory = Path(name)
        upstream, http2_upstream = free_ports(2)
        command = upstream_command(upstream, http2_upstream, directory)
        server = stack.enter_context(Process(command, core=options.load_core, log=directory / "upstream.log"))
        server.wait_for_port(upstream)
        for case in cases:
            if time.monotonic() > deadline:
                print(f"out of time: {case.name} and what follows was not measured", file=sys.stderr)
                break
            port = http2_upstream if case.http2_up else upstream
            results[case.name] = _run_case(case, port, directory, options, deadline)
            print(_table(case, results[case.name]), flush=True)
    return results


def _run_case(
    case: Case, upstream: int, directory: Path, options: argparse.Namespace, deadline: float
) -> dict[str, list[Measure]]:
    names = [name for name in case.proxies if not options.proxy or name in options.proxy]
    found: dict[str, list[Measure]] = {}
    with ExitStack() as stack:
        running: dict[str, tuple[Process, str]] = {}
        for name, port in zip(names, free_ports(len(names)), strict=True):
            try:
                command = start_command(name, case, port, upstream, directory)
                log = directory / f"{name}-{case.name}.log"
                process = Process(command, core=options.proxy_core, log=log)
                stack.enter_context(process).wait_for_port(port)
            except (OSError, RuntimeError) as error:
                print(f"{case.name}: {name} takes no part: {error}", file=sys.stderr)
                continue
            scheme = "https" if case.tls else "http"
            running[name] = (process, f"{scheme}://127.0.0.1:{port}{case.path}")
        core = options.load_core
        if options.rounds > 1:
            for process, url in running.values():
                measure(process, url, case.load, 1, core, directory)  # warm: connections, caches
        for _ in range(options.rounds):
            for name, (process, url) in running.items():
                if time.monotonic() > deadline:
                    break
                found.setdefault(name, []).append(
                    measure(process, url, case.load, options.seconds, core, directory)
                )
    return found


def _summary(measures: list[Measure]) -> dict[str, float]:
    return {
        "cpu_us_per_request": statistics.median(each.cpu_us_per_request for each in measures),
        "requests_per_s": statistics.median(each.requests_per_s for each in measures),
        "p50_ms": statistics.median(each.p50_ms for each in measures),
        "p99_ms": statistics.median(each.p99_ms for each in measures),
        "rss_bytes": statistics.median(each.rss_bytes for each in measures),
        "errors": sum(each.errors for each in measures),
    }


def _ratio(found: dict[str, list[Measure]], name: str) -> float | None:
    """Requests per CPU second over Envoy's."""
    if "envoy" not in found or name not in found:
        return None
    ours = _summary(found[name])["cpu_us_per_request"]
    return _summary(found["envoy"])["cpu_us_per_request"] / ours if ours else None


def _table(case: Case, found: dict[str, list[Measure]]) -> str:
    rows: list[tuple[str, ...]] = [_COLUMNS]
    for name, measures in found.items():
        row = _summary(measures)
        ratio = _ratio(found, name)
        rows.append(
            (
                name,
                f"{row['cpu_us_per_request']:.1f}",
                f"{row['requests_per_s']:.0f}",
                f"{row['p50_ms']:.2f}",
                f"{row['p99_ms']:.2f}",
                f"{row['rss_bytes'] / 1e6:.0f}",
                "-" if ratio is None else f"{ratio:.2f}",
                f"{row['errors']:.0f}",
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    lines = [f"\n{case.title}"]
    for row in rows:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join(cells))
    return "\n".join(lines)


def _markdown(results: dict[str, dict[str, list[Measure]]]) -> str:
    """The table of docs/performance.md: sidecar beside Envoy, a line for each case."""
    lines = ["| | sidecar µs | Envoy µs | ratio |", "|---|---|---|---|"]
    for case in CASES:
        found = results.get(case.name, {})
        ratio = _ratio(found, "sidecar")
        if ratio is None:
            continue
        ours, theirs = (_summary(found[name])["cpu_us_per_request"] for name in ("sidecar", "envoy"))
        digits = 1 if ours < 200 else 0
        lines.append(f"| {case.title} | {ours:.{digits}f} | {theirs:.{digits}f} | {ratio:.2f} |")
    return "\n".join(lines)


def _write(results: dict[str, dict[str, list[Measure]]], options: argparse.Namespace) -> Path:
    report: dict[str, Any] = {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": {
            "cores": os.cpu_count(),
            "kernel": platform.release(),
            "python": platform.python_version(),
        },
        "rounds": options.rounds,
        "seconds": options.seconds,
        "cases": {
            case: {
                name: {
                    **_summary(measures),
                    "ratio_to_envoy": _ratio(found, name),
                    "rounds": [asdict(each) for each in measures],
                }
                for name, measures in found.items()
            }
            for case, found in results.items()
        },
    }
    path = Path(options.output) if options.output else None
    if path is None:
        path = ROOT / "bench-results" / f"{report['time'].replace(':', '')}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=1) + "\n")
    return path


def _verdict(results: dict[str, dict[str, list[Measure]]], bar: float | None) -> int:
    compared = [case for case, found in results.items() if "sidecar" in found and len(found) > 1]
    if not compared:
        print("nothing was compared with sidecar", file=sys.stderr)
        return 1
    status = 0
    for case, found in results.items():
        for name, measures in found.items():
            errors = sum(each.errors for each in measures)
            if errors:
                print(f"{case}: {name} failed {errors} requests", file=sys.stderr)
                status = 1 if name == "sidecar" else status
    if bar is not None:
        ratio = _ratio(results.get("get", {}), "sidecar")
        if ratio is None or ratio < bar:
            print(f"the bar was missed: {ratio} is below {bar}", file=sys.stderr)
            status = 1
    return status


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="just bench", description="Compare the speed of proxies.")
    parser.add_argument("case", nargs="*", metavar="CASE", help=", ".join(case.name for case in CASES))
    parser.add_argument("--proxy", action="append", choices=sorted(PROXIES), help="only this (repeatable)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="length of one measurement")
    parser.add_argument("--quick", action="store_true", help="one short round: about a minute")
    parser.add_argument("--max-seconds", type=float, default=1200.0, help="stop measuring after this long")
    parser.add_argument("--proxy-core", type=int, default=0)
    parser.add_argument("--load-core", type=int, default=1)
    parser.add_argument("--markdown", action="store_true", help="print the table of docs/performance.md, too")
    parser.add_argument("--output", help="where the JSON goes; bench-results/<time>.json otherwise")
    parser.add_argument("--bar", type=float, help="fail when the ratio of the small GET is below this")
    options = parser.parse_args(arguments)
    unknown = set(options.case) - {case.name for case in CASES}
    if unknown:
        parser.error(f"no such case: {', '.join(sorted(unknown))}")
    if options.quick:
        options.rounds, options.seconds = 1, 1.0
    return options


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
