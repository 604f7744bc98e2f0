"""The filters of `filters_rust/` for scenarios: their modules, built when asked for, and their samples.

A scenario runs a filter in the listener of its sample, `filters_rust/<filter>/envoy.yaml`, as it stands there
but for ports, paths and the access log.
"""

from __future__ import annotations

import fcntl
import subprocess
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.support import yaml_text

from .configuration import LINE, file_log

WORKSPACE = Path(__file__).resolve().parents[2] / "filters_rust"
BUILT = WORKSPACE / "target" / "wasm32-wasip1" / "release"
FILTERS = tuple(sorted(path.parent.name for path in WORKSPACE.glob("*/envoy.yaml")))
_NO_TOOLCHAIN = 3


@cache
def built(name: str) -> bytes:
    """The module of a crate, built anew where a source is younger.

    Skips the test where nothing can build it.
    """
    path = BUILT / f"{name.replace('-', '_')}.wasm"
    sources = [*WORKSPACE.glob("*/src/**/*.rs"), *WORKSPACE.glob("*/Cargo.toml"), WORKSPACE / "Cargo.lock"]
    (WORKSPACE / "target").mkdir(exist_ok=True)
    with (WORKSPACE / "target" / "building").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists() or max(each.stat().st_mtime for each in sources) > path.stat().st_mtime:
            script = str(WORKSPACE.parent / "scripts" / "build_wasm.sh")
            made = subprocess.run([script], capture_output=True, text=True, check=False, timeout=600)
            if made.returncode == _NO_TOOLCHAIN:
                pytest.skip("no Rust toolchain here builds for wasm32")
            assert made.returncode == 0, made.stderr
            for each in BUILT.glob("*.wasm"):  # cargo leaves what did not change as old as it was
                each.touch()
    return path.read_bytes()


class Modules(Mapping[str, bytes]):
    """The files of a setup, `<filter>.wasm`: made when a proxy starts, not when scenarios are collected."""

    def __getitem__(self, name: str) -> bytes:
        return built(name.removesuffix(".wasm"))

    def __iter__(self) -> Iterator[str]:
        return (f"{name}.wasm" for name in FILTERS)

    def __len__(self) -> int:
        return len(FILTERS)


def build() -> None:
    """Build all of them.  Skips the test where nothing can."""
    for name in FILTERS:
        built(name)


def sample_listener(name: str) -> dict[str, Any]:
    """The first listener of a filter's sample, with what only a run knows in its place."""
    sample = yaml_text.load((WORKSPACE / name / "envoy.yaml").read_text())
    found: dict[str, Any] = sample["static_resources"]["listeners"][0]
    found["address"]["socket_address"]["port_value"] = 0
    for network_filter in found["filter_chains"][0]["filters"]:
        settings = network_filter["typed_config"]
        for each in (settings, *(each["typed_config"] for each in settings.get("http_filters", []))):
            if "config" in each and "vm_config" in each["config"]:
                each["config"]["vm_config"]["code"] = {"local": {"filename": f"FILE({name}.wasm)"}}
        if "http_filters" in settings:
            settings["access_log"] = [file_log(f"FILE({name}.log)", LINE)]
            settings["delayed_close_timeout"] = "0.1s"
    return found
