"""Microseconds per crossing of the guest border: run ``python tests/bench/bench_wasm_abi.py [--json]``.

Each line is the best of five rounds. A host function is measured by a guest that calls it a hundred times;
the cost of the loop and of the one entry is spread over those calls.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "unit" / "wasm_abi")]

from wasm_guests import FakePluginHost, FakeStream, guest  # noqa: E402 - found on the path set above

from wasm_abi import Engine, MapType, Plugin, StreamContext, Vm  # noqa: E402

CALLS = 100
HEADERS = [(b"x-header-%d" % number, b"value-%d" % number) for number in range(7)] + [
    (b"x-id", b"0123456789")
]


class Headers(FakeStream):
    """A stream whose request headers are looked up as fast as a list of pairs allows."""

    def get_header_map(self, map_type: MapType) -> list[tuple[bytes, bytes]]:
        return HEADERS

    def get_header_value(self, map_type: MapType, name: bytes) -> bytes | None:
        for key, value in HEADERS:
            if key == name:
                return value
        return None

    def add_header_value(self, map_type: MapType, name: bytes, value: bytes) -> bool:
        return True


def best(function: Callable[[], object], rounds: int, per: int = 1) -> float:
    function()
    times = []
    for _ in range(5):
        begin = time.perf_counter()
        for _ in range(rounds):
            function()
        times.append((time.perf_counter() - begin) / rounds / per)
    return min(times) * 1e6


def stream(engine: Engine, safe: bool, body: str, *imports: str) -> StreamContext:
    # The allocator always returns one place: what is measured is the crossing, not an allocator.
    malloc = '(func (export "malloc") (param i32) (result i32) (i32.const 8192))'
    code = guest(
        {"proxy_on_request_headers": body}, imports=imports, data={100: b"x-id", 200: b"v"}, malloc=malloc
    )
    host = FakePluginHost()
    plugin = Plugin(Vm(engine.compile(code), host=host, safe=safe), host)
    plugin.start()
    return plugin.create_stream(Headers(*HEADERS))


def host_call(engine: Engine, safe: bool, name: str, *arguments: int) -> float:
    values = " ".join(f"(i32.const {value})" for value in arguments)
    body = f"""(local $i i32)
      (loop $again
        (drop (call ${name} {values}))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br_if $again (i32.lt_u (local.get $i) (i32.const {CALLS}))))
      (i32.const 0)"""
    context = stream(engine, safe, body, name)
    return best(lambda: context.on_request_headers(8, False), 20 if safe else 200, CALLS)


def measure(engine: Engine, safe: bool) -> dict[str, float]:
    nothing = stream(engine, safe, "(i32.const 0)")
    rounds = 1000 if safe else 20000
    return {
        "on_request_headers, no-op": best(lambda: nothing.on_request_headers(8, False), rounds),
        "proxy_get_header_map_value, last of 8": host_call(
            engine, safe, "proxy_get_header_map_value", 0, 100, 4, 8, 12
        ),
        "proxy_get_header_map_pairs, 8": host_call(engine, safe, "proxy_get_header_map_pairs", 0, 8, 12),
        "proxy_add_header_map_value": host_call(
            engine, safe, "proxy_add_header_map_value", 0, 100, 4, 200, 1
        ),
        "proxy_get_current_time_nanoseconds": host_call(
            engine, safe, "proxy_get_current_time_nanoseconds", 8
        ),
        "create_stream and finish": best(
            lambda: nothing.plugin.create_stream(Headers(*HEADERS)).finish(), rounds
        ),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON")
    as_json = parser.parse_args().json
    engine = Engine()
    results = {"unchecked": measure(engine, False), "public": measure(engine, True)}
    engine.close()
    if as_json:
        print(json.dumps(results, indent=2))
        return
    print(f"{'µs':44s}{'unchecked':>10s}{'public':>10s}")
    for name, fast in results["unchecked"].items():
        print(f"{name:44s}{fast:10.2f}{results['public'][name]:10.2f}")


if __name__ == "__main__":
    main()
