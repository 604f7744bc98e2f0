"""Bytecode of many modules in one file: what is found there is what Python would find, or nothing."""

from __future__ import annotations

import compileall
import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import pytest

from sidecar.core.module_bundle import Bundle, bundle_path, leave_bundle, use_bundle, write_bundle

_NAMES = ("bundled", "bundled.inner", "bundled.inner.leaf", "bundled_alone")


def _age(root: Path) -> None:
    """Let everything have been there for an hour."""
    then = time.time() - 3600
    for path in (root, *root.rglob("*")):
        os.utime(path, (then, then))


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory on the path with two packages and a module."""
    there = tmp_path / "there"
    (there / "bundled" / "inner").mkdir(parents=True)
    (there / "bundled" / "__init__.py").write_text("WHO = 'bundled'\n")
    (there / "bundled" / "inner" / "__init__.py").write_text("WHO = 'inner'\n")
    (there / "bundled" / "inner" / "leaf.py").write_text("WHO = 'leaf'\n")
    (there / "bundled_alone.py").write_text("WHO = 'alone'\n")
    _age(there)
    monkeypatch.setattr(sys, "pycache_prefix", None)
    compileall.compile_dir(there, quiet=1)
    _age(there)
    monkeypatch.syspath_prepend(there)
    yield there
    _forget()


def _forget() -> None:
    for name in _NAMES:
        sys.modules.pop(name, None)


@pytest.fixture
def bundle(root: Path, tmp_path: Path) -> Iterator[Bundle]:
    """Of those modules, after they have been imported and forgotten."""
    made = _bundle_of(tmp_path / "bundle")
    yield made
    made.close()


def _bundle_of(path: Path) -> Bundle:
    imported = [importlib.import_module(name) for name in _NAMES]
    assert write_bundle(str(path), imported) == len(_NAMES)
    _forget()
    return Bundle(str(path))


def _spec(bundle: Bundle, name: str) -> ModuleSpec | None:
    parent = name.rpartition(".")[0]
    path = importlib.import_module(parent).__path__ if parent else None
    return bundle.find_spec(name, path)


def _load(spec: ModuleSpec | None) -> ModuleType:
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", _NAMES)
def test_module_is_what_pythons_finder_makes_of_it(bundle: Bundle, name: str) -> None:
    found, own = _load(_spec(bundle, name)), importlib.import_module(name)
    for attribute in ("__name__", "__file__", "__cached__", "__package__", "WHO"):
        assert getattr(found, attribute) == getattr(own, attribute)
    assert getattr(found, "__path__", None) == getattr(own, "__path__", None)
    assert found.__spec__ is not None
    assert found.__spec__.loader is not None
    assert found.__spec__.loader.get_source(name) == own.__loader__.get_source(name)  # type: ignore[attr-defined,union-attr]
    assert bundle.stale == 0


def test_code_is_read_from_the_bundle(bundle: Bundle, root: Path) -> None:
    for path in root.rglob("*.pyc"):
        path.write_bytes(b"")
    assert _load(_spec(bundle, "bundled_alone")).WHO == "alone"


def test_source_that_changed_is_read_anew(bundle: Bundle, root: Path) -> None:
    (root / "bundled_alone.py").write_text("WHO = 'changed'\n")
    assert _load(_spec(bundle, "bundled_alone")).WHO == "changed"
    assert bundle.stale == 1


def _add_beside(root: Path) -> str:
    (root / "bundled" / "inner" / "leaf").mkdir()
    return "bundled.inner.leaf"


def _shadow(root: Path) -> str:
    before = root.parent / "before"
    before.mkdir()
    (before / "bundled_alone.py").write_text("WHO = 'before'\n")
    sys.path.insert(0, str(before))
    importlib.invalidate_caches()
    importlib.util.find_spec("bundled_alone")
    return "bundled_alone"


def _take_away(root: Path) -> str:
    sys.path.remove(str(root))
    return "bundled_alone"


def _nothing(root: Path) -> str:
    return "bundled_other"


@pytest.mark.parametrize("change", [_add_beside, _shadow, _take_away, _nothing])
def test_what_another_finder_may_know_better_is_left_to_it(
    change: Callable[[Path], str], bundle: Bundle, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert _spec(bundle, change(root)) is None


def test_package_of_several_directories_is_left_to_pythons_finder(bundle: Bundle, root: Path) -> None:
    place = str(root / "bundled")
    assert bundle.find_spec("bundled.inner", [place]) is not None
    assert bundle.find_spec("bundled.inner", [place, str(root)]) is None
    assert bundle.find_spec("bundled.inner", [str(root)]) is None


def test_loader_goes_on_when_the_bundle_is_closed(bundle: Bundle) -> None:
    spec = _spec(bundle, "bundled_alone")
    bundle.close()
    assert _spec(bundle, "bundled_alone") is None
    assert _load(spec).WHO == "alone"


def test_bytecode_without_source_is_bundled_too(root: Path, tmp_path: Path) -> None:
    compileall.compile_dir(root, quiet=1, legacy=True, force=True)
    for path in root.rglob("*.py"):
        path.unlink()
    _age(root)
    importlib.invalidate_caches()
    bundle = _bundle_of(tmp_path / "bundle")
    assert _load(_spec(bundle, "bundled.inner")).WHO == "inner"
    assert _load(_spec(bundle, "bundled_alone")).WHO == "alone"
    bundle.close()


def test_what_changed_just_now_is_left_out(root: Path, tmp_path: Path) -> None:
    imported = [importlib.import_module(name) for name in _NAMES]
    os.utime(root)
    assert write_bundle(str(tmp_path / "bundle"), imported) == len(_NAMES) - 2


def test_what_another_process_wrote_stays_while_it_is_true(
    bundle: Bundle, root: Path, tmp_path: Path
) -> None:
    alone = importlib.import_module("bundled_alone")
    (root / "bundled" / "inner" / "leaf.py").write_text("WHO = 'changed'\n")
    assert write_bundle(str(tmp_path / "next"), [alone], before=bundle) == len(_NAMES) - 1
    _forget()
    after = Bundle(str(tmp_path / "next"))
    for path in root.rglob("*.pyc"):
        path.write_bytes(b"")
    assert _load(_spec(after, "bundled.inner")).WHO == "inner"
    assert _load(_spec(after, "bundled_alone")).WHO == "alone"
    assert after.stale == 0
    assert "bundled.inner.leaf" not in after
    after.close()


@pytest.mark.parametrize("size", [0, 5, 30, 200, -1])
def test_file_that_is_cut_off_or_of_another_python_is_none(bundle: Bundle, tmp_path: Path, size: int) -> None:
    data = (tmp_path / "bundle").read_bytes()
    (tmp_path / "other").write_bytes(data[:size])
    with pytest.raises(ValueError, match=r"."):
        Bundle(str(tmp_path / "other"))
    (tmp_path / "other").write_bytes(data.replace(importlib.util.MAGIC_NUMBER, b"\0\0\r\n", 1))
    with pytest.raises(ValueError, match="other"):
        Bundle(str(tmp_path / "other"))


def test_only_who_began_with_a_bundle_writes_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "pycache_prefix", str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    finders = list(sys.meta_path)
    Path(bundle_path()).parent.mkdir(parents=True)
    leave_bundle(write=True)
    assert not os.path.exists(bundle_path())
    use_bundle()
    assert len(sys.meta_path) == len(finders) + 1
    leave_bundle(write=False)
    assert not os.path.exists(bundle_path())
    use_bundle()
    leave_bundle(write=True)
    assert os.path.exists(bundle_path())
    assert sys.meta_path == finders


_SCRIPT = """
import json, sys
read = []
sys.addaudithook(lambda event, values: event == "open" and read.append(str(values[0])))
from sidecar.cli.start import entry_point
from sidecar.core.module_bundle import leave_bundle
sys.argv[1:] = ["--mode", "validate", "--config-yaml", "{static_resources: {clusters: [{name: a}]}}"]
try:
    entry_point()
except SystemExit as stop:
    leave_bundle(write=True)
    found = [each for each in read if each.endswith(".pyc")]
    sys.stderr.write(json.dumps([stop.code, len(found), len(sys.modules)]))
"""


def test_second_start_reads_one_file(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(tmp_path)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    found = []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", _SCRIPT], capture_output=True, text=True, check=True, env=environment
        )
        found.append(json.loads(done.stderr))
    (status, first, modules), (same_status, second, same_modules) = found
    assert status == same_status == 0
    assert modules == same_modules
    assert first > 500
    # Some that this finder itself needs; and directories that have changed within two seconds are left out.
    assert second < 120
