"""The filters in Rust build from source for both targets, and what comes out runs.

`scripts/test.sh` fetches a toolchain where it can; where there is none these tests are skipped.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import wasmtime
from proxy_process import PROXIES, ROOT, proxy_command, running_proxy

from tests.support.oracle_binary import envoy_binary

NO_TOOLCHAIN = 3
TARGETS = {
    "wasm32-unknown-unknown": {"env"},
    "wasm32-wasip1": {"env", "wasi_snapshot_preview1"},
}
FILTERS = ROOT / "filters_rust"
SHIPPED = "sidecar/demo_assets/header_guard.wasm"

# A build of the standard library, where it is needed, takes a minute of a fast machine.
pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def compiler() -> str:
    """Builds both targets; the version of the compiler that did."""
    built = subprocess.run(
        ["scripts/build_wasm.sh"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=800
    )
    if built.returncode == NO_TOOLCHAIN:
        pytest.skip("no Rust toolchain here builds for wasm32; scripts/build_wasm.sh --install fetches one")
    assert built.returncode == 0, built.stderr
    found = re.search(r"^build_wasm: (rustc [^,]*)", built.stderr, re.MULTILINE)
    assert found is not None, built.stderr
    return found[1]


def built_module(target: str) -> Path:
    return FILTERS / "target" / target / "release" / "header_guard.wasm"


@pytest.mark.parametrize("target", TARGETS)
def test_module_when_built_loads_and_has_the_abi(compiler: str, target: str) -> None:
    module = wasmtime.Module(wasmtime.Engine(), built_module(target).read_bytes())
    exports = {each.name for each in module.exports}
    assert {
        "memory",
        "_initialize",
        "proxy_abi_version_0_2_1",
        "proxy_on_context_create",
        "proxy_on_vm_start",
        "proxy_on_configure",
        "proxy_on_request_headers",
        "proxy_on_response_headers",
    } <= exports
    assert exports & {"malloc", "proxy_on_memory_allocate"}
    assert {each.module for each in module.imports} == TARGETS[target]


def test_module_when_built_by_the_same_compiler_is_the_shipped_one(compiler: str) -> None:
    record = json.loads((ROOT / SHIPPED).with_name("header_guard.wasm.json").read_text())
    built, shipped = built_module(record["target"]).read_bytes(), (ROOT / SHIPPED).read_bytes()
    assert (built == shipped) or compiler != record["rustc"]


@pytest.mark.parametrize("kind", PROXIES)
@pytest.mark.parametrize("target", TARGETS)
def test_module_when_built_serves(compiler: str, target: str, kind: str, tmp_path: Path) -> None:
    if kind == "envoy" and envoy_binary() is None:
        pytest.skip("there is no Envoy here")
    example = (ROOT / "examples" / "wasm_and_lua.yaml").read_text()
    assert SHIPPED in example
    configuration = example.replace(SHIPPED, str(built_module(target)))
    with running_proxy(kind, configuration, tmp_path) as proxy:
        answer = proxy.get("/")
        assert (answer.status, answer.headers["x-wasm-filter"]) == (200, "header-guard")
        assert answer.headers["x-seen-lua"] == "after header-guard"
        assert proxy.get("/admin").status == 403


@pytest.mark.parametrize("kind", PROXIES)
@pytest.mark.parametrize("sample", sorted(FILTERS.glob("*/envoy.yaml")), ids=lambda path: path.parent.name)
def test_sample_of_a_filter_is_valid(compiler: str, sample: Path, kind: str) -> None:
    if kind == "envoy" and envoy_binary() is None:
        pytest.skip("there is no Envoy here")
    command = [*proxy_command(kind), "--mode", "validate", "-c", str(sample)]
    checked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_logic_of_the_filters_passes_its_own_tests(compiler: str) -> None:
    cargo = shutil.which("cargo") or "/usr/bin/cargo"
    environment = {**os.environ, "PATH": f"{Path(cargo).parent}:{os.environ['PATH']}"}
    tested = subprocess.run(
        [cargo, "test", "--locked", "--quiet"],
        cwd=FILTERS,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    print(tested.stdout, tested.stderr, file=sys.stderr)
    assert tested.returncode == 0
    assert re.search(r"[1-9][0-9]* passed; 0 failed", tested.stdout)
