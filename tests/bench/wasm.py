"""``just bench-wasm``: what Wasm guests cost beside Envoy's V8, in CPU time and in memory.

CPU us per request without a guest, with filters of headers and of bodies of 64 KiB: both proxies with the
same file on one core, the load on another, in turns; the cheapest round counts.  Then what an instance costs:
how much more CPU time and memory a proxy takes that starts with many plugins, each in a VM of its own; and,
here alone, an instance for each stream.  At last configuration updates by a file of listeners, each of which
starts a guest anew.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench.load import measure
from tests.bench.lua import PROXIES
from tests.bench.lua import _command as command_of
from tests.bench.process import Process, free_ports
from tests.bench.proxies import ROOT, Case, upstream_command, write_envoy

_GUARD = ROOT / "sidecar" / "demo_assets" / "header_guard.wasm"
_BUILT = ROOT / "filters_rust" / "target" / "wasm32-unknown-unknown" / "release"
_GUEST = ROOT / "tests" / "bench" / "guest"
#: A place of its own: its flags are not those of the filters, and cargo would build for each anew.
_GUEST_TARGET = ROOT / "filters_rust" / "target" / "bench"
_GUEST_BUILT = _GUEST_TARGET / "wasm32-unknown-unknown" / "release" / "bench_guest.wasm"
_FILTERS = "type.googleapis.com/envoy.extensions.filters.http"
_OWN = "type.googleapis.com/sidecar.extensions.filters.http.wasm.v1.Wasm"
_STRING = "type.googleapis.com/google.protobuf.StringValue"
_BODY_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Guest:
    """A module, what it is told, and what is asked for through it."""

    module: Path | None = None
    told: str = ""
    path: str = "/"
    per_stream: bool = False


def guests() -> dict[str, Guest]:
    """What is measured."""
    return {
        "no guest": Guest(),
        "a header each way": Guest(_GUARD),
        "all headers listed": Guest(_GUEST_BUILT, "headers"),
        "64 KiB, no guest": Guest(path="/body"),
        "64 KiB searched": Guest(
            _BUILT / "body_guard.wasm", json.dumps({"patterns": ["attack"], "on": ["response"]}), "/body"
        ),
        "64 KiB replaced": Guest(_GUEST_BUILT, "body", "/body"),
        "a header, own instance": Guest(_GUARD, per_stream=True),
    }


def build() -> None:
    """Build what has changed of the filters and of the bench's own guest.  Needs cargo."""
    subprocess.run([str(ROOT / "scripts" / "build_wasm.sh")], check=True, stdout=subprocess.DEVNULL)
    cargo = ["cargo", "build", "--quiet", "--locked", "--release", "--target", "wasm32-unknown-unknown"]
    subprocess.run([*cargo, "--target-dir", str(_GUEST_TARGET)], cwd=_GUEST, check=True)


def plugin(guest: Guest, vm_id: str = "", name: str = "guest") -> dict[str, Any]:
    """An HTTP filter with this guest."""
    config = {
        "name": name,
        "vm_config": {"vm_id": vm_id, "code": {"local": {"filename": str(guest.module)}}},
        "configuration": {"@type": _STRING, "value": guest.told},
    }
    message: dict[str, Any] = {"@type": f"{_FILTERS}.wasm.v3.Wasm", "config": config}
    if guest.per_stream:
        message = {"@type": _OWN, "wasm": {"config": config}, "isolation": "STREAM"}
    return {"name": name, "typed_config": message}


def write(
    name: str, port: int, upstream: int, directory: Path, filters: list[dict[str, Any]]
) -> tuple[Path, dict[str, Any]]:
    """A configuration with these filters: where it is, and what it says."""
    path = write_envoy(Case(name, name), port, upstream, directory, name)
    config: dict[str, Any] = json.loads(path.read_text())
    [chain] = config["static_resources"]["listeners"][0]["filter_chains"]
    manager = chain["filters"][0]["typed_config"]
    manager["http_filters"][:0] = filters
    path.write_text(json.dumps(config))
    return path, config


def requests(upstream: int, directory: Path, options: argparse.Namespace) -> tuple[dict[str, Any], int]:
    """CPU us per request by guest and proxy, and how many requests failed."""
    running: dict[tuple[str, str], tuple[Process, str]] = {}
    found: dict[tuple[str, str], list[float]] = {}
    chosen = {name: guest for name, guest in guests().items() if options.only in name}
    failed = 0
    with ExitStack() as stack:
        for number, (title, guest) in enumerate(chosen.items()):
            for proxy in PROXIES:
                if guest.per_stream and proxy == "envoy":
                    continue
                [port] = free_ports(1)
                filters = [] if guest.module is None else [plugin(guest)]
                path, _ = write(f"{proxy}-{number}", port, upstream, directory, filters)
                log = directory / f"{proxy}-{number}.log"
                process = Process(command_of(proxy, path), core=0, log=log)
                stack.enter_context(process).wait_for_port(port, 180)
                running[title, proxy] = process, f"http://127.0.0.1:{port}{guest.path}"
        for turn in range(options.rounds + 1):
            for key, (process, url) in running.items():
                one = measure(process, url, "get", options.seconds if turn else 1, 1, directory)
                failed += one.errors
                if turn:
                    found.setdefault(key, []).append(one.cpu_us_per_request)
    table: dict[str, Any] = {}
    for (title, proxy), values in found.items():
        table.setdefault(title, {})[proxy] = round(min(values), 1)
    return table, failed


def instances(upstream: int, directory: Path, count: int) -> dict[str, Any]:
    """ms of CPU time and KiB that a plugin in a VM of its own costs a proxy that starts with ``count``.

    Envoy makes three of each: one that it keeps, and one for each thread, its main thread's and the worker's.
    """
    found: dict[str, Any] = {"ms": {}, "KiB": {}}
    for proxy in PROXIES:
        seen = {}
        for number in (1, count + 1):
            [port] = free_ports(1)
            filters = [plugin(Guest(_GUARD), f"vm-{each}", f"guest-{each}") for each in range(number)]
            path, _ = write(f"{proxy}-start-{number}", port, upstream, directory, filters)
            log = directory / f"{proxy}-start-{number}.log"
            with Process(command_of(proxy, path), core=0, log=log) as process:
                process.wait_for_port(port, 300)
                seen[number] = process.cpu_s(), process.rss_bytes()
        (first_s, first_bytes), (all_s, all_bytes) = seen[1], seen[count + 1]
        found["ms"][proxy] = round((all_s - first_s) * 1e3 / count, 2)
        found["KiB"][proxy] = round((all_bytes - first_bytes) / 1024 / count)
    return found


def starts(upstream: int, directory: Path) -> dict[str, Any]:
    """ms of CPU time until a proxy with a guest listens: with no cache of modules, and the next time."""
    found: dict[str, Any] = {"start": {}, "start again": {}}
    for proxy in PROXIES:
        [port] = free_ports(1)
        path, _ = write(f"{proxy}-start", port, upstream, directory, [plugin(Guest(_GUARD))])
        command = command_of(proxy, path)
        if proxy == "sidecar":
            command += ["--wasm-cache-dir", str(directory / "modules")]
        for title, row in found.items():
            with Process(command, core=0, log=directory / f"{proxy}-{title}.log") as process:
                process.wait_for_port(port, 180)
                row[proxy] = round(process.cpu_s() * 1e3)
    return found


class Updates:
    """A proxy whose listener, and the guest in it, come from a file that changes."""

    def __init__(self, proxy: str, upstream: int, directory: Path) -> None:
        self._port, self._admin = free_ports(2)
        self._path, self._config = write(f"{proxy}-updates", self._port, upstream, directory, [])
        self._listeners = directory / f"{proxy}-listeners.json"
        [self._listener] = self._config["static_resources"].pop("listeners")
        self._config["dynamic_resources"] = {
            "lds_config": {"path_config_source": {"path": str(self._listeners)}}
        }
        address = {"socket_address": {"address": "127.0.0.1", "port_value": self._admin}}
        self._config["admin"] = {"address": address}
        self._config["node"] = {"id": "bench", "cluster": "bench"}
        self._path.write_text(json.dumps(self._config))
        self._filters = self._listener["filter_chains"][0]["filters"][0]["typed_config"]["http_filters"]
        self._number = 0
        self._put()
        command = [*command_of(proxy, self._path), "--drain-time-s", "1"]
        self.process = Process(command, core=0, log=directory / f"{proxy}-updates.log")

    def _put(self) -> None:
        """Write the listener with a guest that no listener had before."""
        self._number += 1
        told = json.dumps({"response_header": {"value": f"update-{self._number}"}})
        filters = [plugin(Guest(_GUARD, told), f"vm-{self._number}"), *self._filters]
        self._listener["filter_chains"][0]["filters"][0]["typed_config"]["http_filters"] = filters
        self._listener["metadata"] = {"filter_metadata": {"bench": {"number": self._number}}}
        kind = "type.googleapis.com/envoy.config.listener.v3.Listener"
        answer = {"version_info": str(self._number), "resources": [{"@type": kind, **self._listener}]}
        written = self._listeners.with_suffix(".new")
        written.write_text(json.dumps(answer))
        os.replace(written, self._listeners)

    def wait(self) -> None:
        """Until the newest listener is in use.  Raises: RuntimeError."""
        url = f"http://127.0.0.1:{self._port}/"
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                with urllib.request.urlopen(url, timeout=5) as reply:
                    if reply.headers["x-wasm-filter"] == f"update-{self._number}":
                        return
            except OSError:
                pass
            time.sleep(0.002)
        raise RuntimeError(f"update {self._number} was not taken")

    def run(self, until: int, seconds: float) -> tuple[int, float]:
        """Update until there were so many, for so long at most: how many, and MiB once none drains."""
        deadline = time.monotonic() + seconds
        while self._number < until and time.monotonic() < deadline:
            self._put()
            self.wait()
        time.sleep(3)
        return self._number, round(self.process.rss_bytes() / 2**20, 1)


def updates(upstream: int, directory: Path, count: int, seconds: float) -> dict[str, Any]:
    """MiB after a hundred updates and after ``count``, or as many as there is time for."""
    found: dict[str, Any] = {}
    for proxy in PROXIES:
        served = Updates(proxy, upstream, directory)
        with served.process:
            served.wait()
            _, before = served.run(100, seconds)
            number, after = served.run(count, seconds)
            found[proxy] = {"after 100": before, "at the end": after, "updates": number}
    return found


def updates_in_one_process(count: int) -> dict[str, Any]:
    """MiB as updates go on that start a guest anew in this proxy's filter, without listeners around it."""
    command = [sys.executable, "-m", "tests.bench.wasm_updates", "--updates", str(count), "--json"]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main(arguments: list[str]) -> int:
    """Print the tables and write them as JSON; 1 when a request failed."""
    parser = argparse.ArgumentParser(prog="just bench-wasm", description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0, help="length of one measurement")
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each")
    parser.add_argument("--instances", type=int, default=50, help="plugins to start with; 0 leaves it out")
    parser.add_argument("--updates", type=int, default=10_000, help="0 leaves them out")
    parser.add_argument("--update-seconds", type=float, default=240.0, help="the longest time for each proxy")
    parser.add_argument("--only", default="", help="a part of the names of the guests")
    parser.add_argument("--output", default=str(ROOT / "bench-results" / "wasm.json"))
    options = parser.parse_args(arguments)
    build()
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="sidecar-bench-") as name, ExitStack() as stack:
        directory = Path(name)
        upstream, http2_upstream = free_ports(2)
        command = upstream_command(upstream, http2_upstream, directory)
        (directory / "files" / "body").write_bytes(os.urandom(_BODY_BYTES))
        server = stack.enter_context(Process(command, core=1, log=directory / "upstream.log"))
        server.wait_for_port(upstream)
        result["cpu_us"], failed = requests(upstream, directory, options)
        print(f"{'CPU us per request':<28}{'sidecar':>10}{'Envoy':>10}{'ratio':>10}")
        for title, row in result["cpu_us"].items():
            envoy = row.get("envoy")
            ratio = f"{envoy / row['sidecar']:.2f}" if envoy else ""
            print(f"{title:<28}{row['sidecar']:>10}{envoy or '':>10}{ratio:>10}", flush=True)
        if options.instances:
            result["instances"] = instances(upstream, directory, options.instances)
            result["instances"] |= {
                f"ms to {title}": row for title, row in starts(upstream, directory).items()
            }
            print(f"\n{'an instance':<28}{'sidecar':>10}{'Envoy':>10}")
            for unit, row in result["instances"].items():
                print(f"{unit:<28}{row['sidecar']:>10}{row['envoy']:>10}", flush=True)
        if options.updates:
            result["updates_in_one_process_mib"] = grown = updates_in_one_process(options.updates)
            print(f"\nMiB after updates in one process: {grown}", flush=True)
            result["updates_mib"] = updates(upstream, directory, options.updates, options.update_seconds)
            print(f"\n{'MiB after updates':<28}{'sidecar':>10}{'Envoy':>10}")
            for title in result["updates_mib"]["sidecar"]:
                row = {proxy: sizes[title] for proxy, sizes in result["updates_mib"].items()}
                print(f"{title:<28}{row['sidecar']:>10}{row['envoy']:>10}", flush=True)
    Path(options.output).parent.mkdir(exist_ok=True)
    Path(options.output).write_text(json.dumps(result, indent=1) + "\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
