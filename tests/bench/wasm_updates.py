"""What configuration updates of a Wasm filter leave behind.

`python -m tests.bench.wasm_updates [--updates N]`: each update starts the plugin anew with another
configuration and ends the one before it, as LDS does.  Memory is taken in ten steps.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import json
import time
from pathlib import Path
from typing import Any

from envoy.extensions.filters.http.wasm.v3.wasm_pb2 import Wasm
from google.protobuf.json_format import ParseDict

from sidecar.api.context import FactoryContext, NodeInfo
from sidecar.extensions.http.wasm_config import WasmFactory
from sidecar.observability.stats import Store

MODULE = Path(__file__).resolve().parents[2] / "sidecar" / "demo_assets" / "header_guard.wasm"


def resident_kb() -> int:
    """What the process occupies now."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4


class Updates:
    """One filter whose configuration changes."""

    def __init__(self, code: bytes = b"", *, vm_per_update: bool = True) -> None:
        self._code = code or MODULE.read_bytes()
        self._vm_per_update = vm_per_update
        self.factory = WasmFactory()
        self.store = Store()
        self._closers: list[Any] = []
        self._number = 0

    def update(self) -> None:
        """Start what is new, then end what was."""
        self._number += 1
        mark = hashlib.sha256(str(self._number).encode()).hexdigest()
        value = json.dumps({"response_header": {"value": mark}})
        vm_config: dict[str, Any] = {"code": {"local": {"inline_bytes": ""}}}
        if self._vm_per_update:
            vm_config["environment_variables"] = {"key_values": {"MARK": mark}}
        string = "type.googleapis.com/google.protobuf.StringValue"
        config = {"name": "guard", "configuration": {"@type": string, "value": value}, "vm_config": vm_config}
        closers: list[Any] = []
        context = FactoryContext(
            stats=self.store.scope("http.bench"),
            root_stats=self.store,
            node=NodeInfo(),
            path="",
            warn=lambda path, reason: None,
            read_data_source=lambda message, path: self._code,
            on_close=closers.append,
            find_cluster=lambda name: None,
        )
        self.factory.compile(ParseDict({"config": config}, Wasm()), context)
        for close in self._closers:
            close()
        self._closers = closers


def measure(count: int) -> list[tuple[int, int]]:
    """Updates done, and resident KiB."""
    updates = Updates()
    points = []
    for number in range(count + 1):
        updates.update()
        if number % max(1, count // 10) == 0:
            points.append((number, resident_kb()))
    return points


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--updates", type=int, default=10_000)
    parser.add_argument("--json", action="store_true", help="print MiB by the number of updates as JSON")
    options = parser.parse_args()
    count = options.updates
    begun = time.perf_counter()
    points = measure(count)
    took = time.perf_counter() - begun
    if options.json:
        print(json.dumps({number: round(kb / 1024, 1) for number, kb in points}))
        return
    for number, kb in points:
        print(f"{number:8} updates: {kb / 1024:8.1f} MiB")
    print(f"{took / count * 1e3:.2f} ms for each")


if __name__ == "__main__":
    main()
