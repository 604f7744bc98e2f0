"""``just bench-all``: the whole table, written into docs/performance.md.

Every case of ``just bench`` with every proxy that can do it, TCP, what a start takes and what memory is
occupied at rest.  Proxies take turns in each round; medians with the least and the greatest of the rounds.
``--quick`` is one round of a second each.  What is not installed is left out by name.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

from tests.bench.at_rest import Rest, measure_rest
from tests.bench.load import Measure
from tests.bench.proxies import CASES, MITMPROXY, ROOT
from tests.bench.run import run_cases
from tests.bench.tcp import measure_tcp

__all__ = ["main", "page"]

PAGE = ROOT / "docs" / "performance.md"
_BEGIN, _END = "<!-- bench-all -->", "<!-- /bench-all -->"
_OTHERS = ("nginx", "haproxy", "aiohttp", "mitmproxy")

Results = dict[str, dict[str, list[Measure]]]


def main(arguments: list[str]) -> int:
    """Measure, print and write; 1 where a request through sidecar failed."""
    parser = argparse.ArgumentParser(prog="just bench-all", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.5)
    parser.add_argument(
        "--max-seconds", type=float, default=1800.0, help="stop measuring requests after this long"
    )
    parser.add_argument("--quick", action="store_true", help="one round of a second: some four minutes")
    parser.add_argument("--case", action="append", help="only this (repeatable)")
    parser.add_argument("--no-mitmproxy", action="store_true", help="do not install it")
    parser.add_argument("--dry", action="store_true", help="do not write docs/performance.md")
    options = parser.parse_args(arguments)
    options.proxy, options.proxy_core, options.load_core = None, 0, 1
    if options.quick:
        options.rounds, options.seconds = 1, 1.0
    if not options.no_mitmproxy:
        _install_mitmproxy()
    cases = [case for case in CASES if not options.case or case.name in options.case]
    results = run_cases(cases, options)
    tcp = {} if options.case else measure_tcp(options.rounds, 2 if options.quick else 4, options.proxy_core)
    rest = {} if options.case else measure_rest()
    text = page(results, tcp, rest, _how(arguments))
    print(text)
    if not options.dry:
        write(PAGE, text)
    return int(any(each.errors for found in results.values() for each in found.get("sidecar", ())))


def _install_mitmproxy() -> None:
    """It pins libraries that others need newer: an environment of its own."""
    if (MITMPROXY / "bin" / "mitmdump").exists():
        return
    MITMPROXY.parent.mkdir(exist_ok=True)
    try:
        subprocess.run([sys.executable, "-m", "venv", str(MITMPROXY)], check=True, timeout=120)
        pip = [str(MITMPROXY / "bin" / "pip"), "install", "--quiet", "mitmproxy"]
        subprocess.run(pip, check=True, timeout=300)
    except (OSError, subprocess.SubprocessError) as error:
        print(f"mitmproxy takes no part: {error}", file=sys.stderr)


def _version(command: list[str], pattern: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except OSError:
        return "not there"
    found = re.search(pattern, done.stdout + done.stderr)
    return found[1] if found else "unknown"


def _how(arguments: list[str]) -> list[str]:
    """The machine, the versions and the command."""
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    envoy = shutil.which("envoy") or str(Path(sys.executable).with_name("envoy"))
    mitmdump = str(MITMPROXY / "bin" / "mitmdump")
    versions = [
        f"Python {platform.python_version()}",
        f"Envoy {_version([envoy, '--version'], r'/([0-9.]+)/')}",
        f"nginx {_version(['nginx', '-v'], r'nginx/([0-9.]+)')}",
        f"haproxy {_version(['haproxy', '-v'], r'version ([0-9.]+)')}",
        f"aiohttp {importlib.metadata.version('aiohttp')}",
        f"mitmproxy {_version([mitmdump, '--version'], r'Mitmproxy: ([0-9.]+)')}",
    ]
    load = os.getloadavg()[1]
    return [
        f"{cpu[1] if cpu else platform.machine()}, {os.cpu_count()} cores, Linux {platform.release()}; "
        + ", ".join(versions)
        + ".",
        f"{time.strftime('%Y-%m-%d', time.gmtime())}, `{' '.join(['just bench-all', *arguments])}`;"
        f" load average at the end {load:.1f} (2 is what the measuring itself makes).",
    ]


def _spread(measures: list[Measure]) -> str:
    values = [each.cpu_us_per_request for each in measures]
    digits = 1 if statistics.median(values) < 200 else 0
    if len(values) == 1:
        return f"{values[0]:.{digits}f}"
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def _ratio(found: dict[str, list[Measure]], other: str) -> str:
    if other not in found or "sidecar" not in found:
        return ""
    ours, theirs = (
        statistics.median(each.cpu_us_per_request for each in found[name]) for name in ("sidecar", other)
    )
    return f"{theirs / ours:.2f}"


def page(
    results: Results, tcp: dict[tuple[str, str], list[float]], rest: dict[str, Rest], how: list[str]
) -> str:
    """The part of the page that is generated."""
    lines = [
        *how,
        "",
        "µs of CPU per request: the median of the rounds, the least and the greatest; then what sidecar does"
        " in a second of CPU over what each other proxy does (above 1 sidecar is ahead).",
        "",
        "| | sidecar µs | Envoy µs | to Envoy | to nginx | to haproxy | to aiohttp | to mitmproxy |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for case in CASES:
        found = results.get(case.name, {})
        if "sidecar" not in found or "envoy" not in found:
            continue
        cells = [case.title, _spread(found["sidecar"]), _spread(found["envoy"]), _ratio(found, "envoy")]
        lines.append(f"| {' | '.join([*cells, *(_ratio(found, name) for name in _OTHERS)])} |")
    for way, title in (("down", "TCP, 64 MiB down"), ("up", "TCP, 64 MiB up")):
        if ("sidecar", way) in tcp:
            ours, theirs = (statistics.median(tcp[name, way]) for name in ("sidecar", "envoy"))
            both = [f"{value / 1e9:.2f} GB per CPU second" for value in (ours, theirs)]
            lines.append(f"| {title} | {both[0]} | {both[1]} | {ours / theirs:.2f} | | | | |")
    if rest:
        lines += [
            "",
            "| at rest | start to serving, s | RSS, MB | everything loaded, MB | an idle connection, KiB |",
            "|---|---|---|---|---|",
        ]
        for name, each in rest.items():
            cells = [name, f"{each.start_s:.2f}", f"{each.rss_mb:.0f}", f"{each.loaded_mb:.0f}"]
            lines.append(f"| {' | '.join([*cells, f'{each.connection_kib:.1f}'])} |")
    return "\n".join(lines)


def write(path: Path, text: str) -> None:
    """Put ``text`` between the marks of the page."""
    old = path.read_text(encoding="utf-8")
    head, rest = old.split(_BEGIN)
    tail = rest.split(_END)[1]
    path.write_text(f"{head}{_BEGIN}\n{text}\n{_END}{tail}", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
