"""The shipped Wasm module and the sources it was built from belong together."""

import importlib.util
import json
import shutil
from pathlib import Path
from types import ModuleType

import pytest
import wasmtime

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wasm_record() -> ModuleType:
    spec = importlib.util.spec_from_file_location("wasm_record", ROOT / "scripts" / "wasm_record.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """A copy of the Rust sources that a test may spoil."""
    shutil.copytree(ROOT / "filters_rust", tmp_path / "filters_rust", ignore=shutil.ignore_patterns("target"))
    return tmp_path


def test_shipped_module_matches_its_sources(wasm_record: ModuleType) -> None:
    assert wasm_record.problems() == []


def test_shipped_module_imports_the_proxy_abi_only(wasm_record: ModuleType) -> None:
    module = wasmtime.Module(wasmtime.Engine(), wasm_record.MODULE.read_bytes())
    assert {each.module for each in module.imports} == {"env"}
    assert "proxy_abi_version_0_2_1" in {each.name for each in module.exports}


def test_shipped_module_holds_no_path_of_the_machine_that_built_it(wasm_record: ModuleType) -> None:
    module = wasm_record.MODULE.read_bytes()
    assert b"/registry/proxy-wasm-" in module
    for trace in (b"/.cargo/", b"/.rustup/", b"/home/"):
        assert trace not in module


def test_record_when_a_source_changes_names_it(wasm_record: ModuleType, sources: Path) -> None:
    changed = sources / "filters_rust" / "header-guard" / "src" / "guard.rs"
    changed.write_text(changed.read_text() + "\n")
    assert wasm_record.problems(root=sources) == [
        "filters_rust/header-guard/src/guard.rs has changed since the module was built"
    ]


def test_record_when_a_source_appears_or_goes_names_it(wasm_record: ModuleType, sources: Path) -> None:
    source_directory = sources / "filters_rust" / "header-guard" / "src"
    (source_directory / "extra.rs").touch()
    (source_directory / "guard.rs").unlink()
    assert wasm_record.problems(root=sources) == [
        "filters_rust/header-guard/src/extra.rs is new since the module was built",
        "filters_rust/header-guard/src/guard.rs is gone since the module was built",
    ]


def test_record_when_the_module_is_another_says_so(wasm_record: ModuleType, tmp_path: Path) -> None:
    module = tmp_path / "header_guard.wasm"
    module.write_bytes(b"\0asm\1\0\0\0")
    assert wasm_record.problems(module=module) == [
        "header_guard.wasm is not the module that header_guard.wasm.json describes"
    ]


def test_record_names_the_target_and_the_compiler(wasm_record: ModuleType) -> None:
    record = json.loads(wasm_record.RECORD.read_text())
    assert record["target"] == "wasm32-unknown-unknown"
    assert record["rustc"].startswith("rustc ")
