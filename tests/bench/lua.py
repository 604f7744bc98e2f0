"""``just bench-lua``: what Lua scripts cost beside Envoy's, in CPU time and in memory.

CPU us per request without a filter, with one header edit each way, and with a body that is rewritten; both
proxies on one core, the load on another, in turns.  Memory: 1,000 routes that bring a script each by
``LuaPerRoute``, all different or all the same, above the same routes without.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.bench.load import measure
from tests.bench.process import Process, free_ports
from tests.bench.proxies import LUA, ROOT, Case, upstream_command, write_envoy

_LUA = "type.googleapis.com/envoy.extensions.filters.http.lua.v3"
EDIT, BODY = LUA["lua-edits"], LUA["lua-body"]
OWN = """
local number = %d
function envoy_on_request(handle)
  handle:headers():add("x-route", tostring(number))
end
"""
PROXIES = ("sidecar", "envoy")
ROUTES = 1000


def _lua(code: str = "") -> dict[str, Any]:
    config: dict[str, Any] = {"@type": f"{_LUA}.Lua"}
    if code:
        config["default_source_code"] = {"inline_string": code}
    return {"name": "lua", "typed_config": config}


def _command(proxy: str, config: Path) -> list[str]:
    if proxy == "sidecar":
        return [sys.executable, "-m", "sidecar", "-c", str(config), "--concurrency", "1", "-l", "warning"]
    program = shutil.which("envoy") or str(Path(sys.executable).with_name("envoy"))
    return [program, "-c", str(config), "--concurrency", "1", "--use-dynamic-base-id", "-l", "warning"]


def _write(
    name: str, port: int, upstream: int, directory: Path, code: str | None, own: str | None = None
) -> Path:
    """A configuration; ``own`` is the text that each of the routes brings."""
    case = Case(name, name, routes=1 if own is None else ROUTES)
    path = write_envoy(case, port, upstream, directory, name)
    config = json.loads(path.read_text())
    [chain] = config["static_resources"]["listeners"][0]["filter_chains"]
    manager = chain["filters"][0]["typed_config"]
    if code is not None:
        manager["http_filters"].insert(0, _lua(code))
    if own:
        for number, route in enumerate(manager["route_config"]["virtual_hosts"][0]["routes"]):
            text = own % number if "%d" in own else own
            route["typed_per_filter_config"] = {
                "lua": {"@type": f"{_LUA}.LuaPerRoute", "source_code": {"inline_string": text}}
            }
    path.write_text(json.dumps(config))
    return path


def main(arguments: list[str]) -> int:
    """Print the tables and write them as JSON; 1 when a request failed."""
    parser = argparse.ArgumentParser(prog="just bench-lua", description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0, help="length of one measurement")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each")
    parser.add_argument("--output", default=str(ROOT / "bench-results" / "lua.json"))
    options = parser.parse_args(arguments)
    result: dict[str, Any] = {"cpu_us": {}, "memory_mib": {}}
    failed = 0
    with tempfile.TemporaryDirectory(prefix="sidecar-bench-") as name, ExitStack() as stack:
        directory = Path(name)
        upstream, http2_upstream = free_ports(2)
        command = upstream_command(upstream, http2_upstream, directory)
        server = stack.enter_context(Process(command, core=1, log=directory / "upstream.log"))
        server.wait_for_port(upstream)
        print(f"{'CPU us per request':<28}{'sidecar':>10}{'Envoy':>10}", flush=True)
        for title, code in (("no filter", None), ("a header edit each way", EDIT), ("a body edit", BODY)):
            found: dict[str, list[float]] = {proxy: [] for proxy in PROXIES}
            for _ in range(options.rounds):
                for proxy in PROXIES:
                    [port] = free_ports(1)
                    config = _write(f"{proxy}-{title.replace(' ', '-')}", port, upstream, directory, code)
                    log = directory / f"{proxy}.log"
                    with Process(_command(proxy, config), core=0, log=log) as process:
                        process.wait_for_port(port, 60)
                        url = f"http://127.0.0.1:{port}/"
                        measure(process, url, "get", 1, 1, directory)
                        one = measure(process, url, "get", options.seconds, 1, directory)
                    failed += one.errors
                    found[proxy].append(one.cpu_us_per_request)
            middle = {proxy: round(statistics.median(values), 1) for proxy, values in found.items()}
            result["cpu_us"][title] = middle
            print(f"{title:<28}{middle['sidecar']:>10}{middle['envoy']:>10}", flush=True)
        print(f"\n{f'MiB with {ROUTES} routes':<28}{'sidecar':>10}{'Envoy':>10}", flush=True)
        for title, own in (("without scripts", ""), ("a script each", OWN), ("the same script", EDIT)):
            sizes = {}
            for proxy in PROXIES:
                [port] = free_ports(1)
                config = _write(
                    f"{proxy}-memory-{title.replace(' ', '-')}", port, upstream, directory, "", own
                )
                log = directory / f"{proxy}.log"
                with Process(_command(proxy, config), core=0, log=log) as process:
                    process.wait_for_port(port, 120)
                    measure(process, f"http://127.0.0.1:{port}/path-{ROUTES - 1}/", "get", 1, 1, directory)
                    sizes[proxy] = round(process.rss_bytes() / 2**20, 1)
            result["memory_mib"][title] = sizes
            print(f"{title:<28}{sizes['sidecar']:>10}{sizes['envoy']:>10}", flush=True)
    Path(options.output).parent.mkdir(exist_ok=True)
    Path(options.output).write_text(json.dumps(result, indent=1) + "\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
