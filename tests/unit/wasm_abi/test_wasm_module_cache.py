"""Compiled modules on disk: kept, trusted, replaced and limited."""

import os
from pathlib import Path

import pytest
import wasmtime
from wasm_guests import guest

from wasm_abi import Engine, ModuleCache
from wasm_abi.module_cache import user_directory

CODE = guest({})
OTHER = guest({"proxy_on_request_headers": "(i32.const 0)"})


class Compiler:
    """Counts what is compiled and not read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        module = wasmtime.Module

        def compiled(*arguments: object) -> object:
            self.count += 1
            return module(*arguments)  # type: ignore[arg-type]

        compiled.deserialize = module.deserialize  # type: ignore[attr-defined]
        monkeypatch.setattr(wasmtime, "Module", compiled)


@pytest.fixture
def compiler(monkeypatch: pytest.MonkeyPatch) -> Compiler:
    return Compiler(monkeypatch)


def compile_anew(directory: Path, code: bytes = CODE) -> None:
    """What another process would do."""
    engine = Engine(watchdog=False, cache=ModuleCache(directory))
    assert engine.compile(code).exports is not None


def files(directory: Path) -> list[Path]:
    return sorted(each for each in directory.iterdir() if each.name.endswith(".module"))


def test_module_is_compiled_once_for_all_processes(tmp_path: Path, compiler: Compiler) -> None:
    directory = tmp_path / "made" / "when needed"
    compile_anew(directory)
    compile_anew(directory)
    assert compiler.count == 1
    compile_anew(directory, OTHER)
    assert compiler.count == 2
    assert directory.stat().st_mode & 0o777 == 0o700
    assert [each.stat().st_mode & 0o777 for each in files(directory)] == [0o600, 0o600]
    assert len(list(directory.iterdir())) == 2  # nothing is left of the writing


@pytest.mark.parametrize("damage", ["cut", "bit", "empty", "other", "not wasmtime's"])
def test_damaged_entry_is_compiled_and_kept_anew(tmp_path: Path, compiler: Compiler, damage: str) -> None:
    directory = tmp_path / "cache"
    compile_anew(directory)
    (path,) = files(directory)
    whole = path.read_bytes()
    if damage == "not wasmtime's":
        ModuleCache(directory).store(bytes.fromhex(path.name[:64]), "another", b"no module")
        (made,) = [each for each in files(directory) if each != path]
        made.replace(path)
    else:
        path.write_bytes(
            {
                "cut": whole[:-1],
                "bit": whole[:-1] + bytes([whole[-1] ^ 1]),
                "empty": b"",
                "other": b"\x7fELF" + whole[4:],
            }[damage]
        )
    compile_anew(directory)
    assert compiler.count == 2
    assert path.read_bytes() == whole
    compile_anew(directory)
    assert compiler.count == 2


@pytest.mark.parametrize("mode", [0o666, 0o620])
def test_file_that_others_may_write_to_is_not_run(tmp_path: Path, compiler: Compiler, mode: int) -> None:
    directory = tmp_path / "cache"
    compile_anew(directory)
    files(directory)[0].chmod(mode)
    compile_anew(directory)
    assert compiler.count == 2
    assert files(directory)[0].stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o701])
def test_directory_that_others_may_enter_is_not_used(tmp_path: Path, compiler: Compiler, mode: int) -> None:
    directory = tmp_path / "cache"
    compile_anew(directory)
    directory.chmod(mode)
    compile_anew(directory)
    compile_anew(directory, OTHER)
    assert compiler.count == 3
    assert len(files(directory)) == 1


def test_links_are_not_followed(tmp_path: Path, compiler: Compiler) -> None:
    directory, elsewhere = tmp_path / "cache", tmp_path / "elsewhere"
    compile_anew(directory)
    (path,) = files(directory)
    path.rename(elsewhere)
    path.symlink_to(elsewhere)
    compile_anew(directory)
    assert compiler.count == 2
    assert not path.is_symlink()
    directory.rename(tmp_path / "real")
    directory.symlink_to(tmp_path / "real")
    compile_anew(directory)
    assert compiler.count == 3


def test_what_was_used_longest_ago_goes_when_there_is_too_much(tmp_path: Path) -> None:
    cache = ModuleCache(tmp_path / "cache", limit_bytes=2500)
    digests = [bytes([number]) * 32 for number in range(3)]
    for digest in digests[:2]:
        assert cache.store(digest, "engine", b"x" * 1000)
    for number, path in enumerate(files(tmp_path / "cache")):
        os.utime(path, (number, number))
    (tmp_path / "cache" / ".new-left-behind").touch()
    os.utime(tmp_path / "cache" / ".new-left-behind", (0, 0))
    assert cache.load(digests[0], "engine") == b"x" * 1000  # used: now it is the younger one
    assert cache.store(digests[2], "engine", b"x" * 1000)
    assert [cache.load(digest, "engine") is not None for digest in digests] == [True, False, True]
    assert not (tmp_path / "cache" / ".new-left-behind").exists()
    assert cache.load(digests[0], "another engine") is None


def test_without_a_disk_everything_is_compiled(tmp_path: Path, compiler: Compiler) -> None:
    (tmp_path / "file").touch()
    compile_anew(tmp_path / "file" / "cache")
    compile_anew(tmp_path / "file")
    assert compiler.count == 2


def test_the_place_is_the_users_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/cache/somebody")
    assert user_directory() == Path("/var/cache/somebody/wasm_abi")
    monkeypatch.setenv("XDG_CACHE_HOME", "not/absolute")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert user_directory() == Path("/home/somebody/.cache/wasm_abi")
