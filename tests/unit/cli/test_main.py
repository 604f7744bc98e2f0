"""The command: exit statuses and what is printed where.  The server behind it is a fake."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from sidecar.cli.main import main
from sidecar.config.errors import ConfigErrors, Mark, Problem
from sidecar.config.registry import Registry
from sidecar.core import log

GOOD = "static_resources: {clusters: [{name: a, connect_timeout: 1s}]}\n"
BAD = "static_resources:\n  clusters:\n  - nam: a\n"


class FakeServer(ModuleType):
    """``sidecar.server.main`` without a server."""

    def __init__(self) -> None:
        super().__init__("sidecar.server.main")
        self.served: list[Any] = []
        self.compiled: list[Any] = []
        self.errors: ConfigErrors | None = None

    def serve(self, options: Any, loaded: Any, *_: Any) -> int:
        if self.errors is not None:
            raise self.errors
        self.served.append(options)
        return 7

    def prepare_workers(self, options: Any) -> list[Any]:
        return []

    def compile_only(self, options: Any, loaded: Any) -> None:
        if self.errors is not None:
            raise self.errors
        self.compiled.append(options)


@pytest.fixture(autouse=True)
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeServer]:
    fake = FakeServer()
    catalog = ModuleType("sidecar.extensions.catalog")
    catalog.make_registry = Registry  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sidecar.server.main", fake)
    monkeypatch.setitem(sys.modules, "sidecar.extensions.catalog", catalog)
    yield fake
    log.set_all_levels("info")
    log.close()


def write(tmp_path: Path, text: str) -> str:
    path = tmp_path / "envoy.yaml"
    path.write_text(text)
    return str(path)


def test_main_serves_the_file_and_gives_the_servers_status(tmp_path: Path, server: FakeServer) -> None:
    path = write(tmp_path, GOOD)
    assert main(["-c", path, "-l", "off"]) == 7
    assert [options.config_path for options in server.served] == [path]


def test_main_validate_of_a_good_file_says_ok(
    tmp_path: Path, server: FakeServer, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, GOOD)
    assert main(["-c", path, "--mode", "validate"]) == 0
    assert capsys.readouterr().out == f"configuration '{path}' OK\n"
    assert len(server.compiled) == 1
    assert server.served == []


def test_main_validate_subcommand_is_the_same(tmp_path: Path, server: FakeServer) -> None:
    assert main(["validate", write(tmp_path, GOOD)]) == 0
    assert len(server.compiled) == 1


def test_main_validate_of_a_bad_file_prints_place_and_path(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, BAD)
    assert main(["-c", path, "--mode", "validate"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"{path}:3:5 static_resources.clusters[0].nam: ")
    assert err.splitlines()[-1].startswith(f"error initializing configuration '{path}': ")


def test_main_with_format_json_prints_problems_for_editors(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, BAD)
    assert main(["-c", path, "--mode", "validate", "--format", "json"]) == 1
    out, err = capsys.readouterr()
    report = json.loads(out)
    assert (report["file"], report["ok"], err) == (path, False, "")
    first = report["problems"][0]
    assert (first["severity"], first["line"], first["column"]) == ("error", 3, 5)


@pytest.mark.parametrize("mode", ["serve", "validate"])
def test_main_with_an_error_of_the_compiler_prints_it(
    mode: str, tmp_path: Path, server: FakeServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.errors = ConfigErrors([Problem("error", Mark("f.yaml", 1, 2), "a.b", "not so", "but so")])
    assert main(["-c", write(tmp_path, GOOD), "--mode", mode, "-l", "off"]) == 1
    assert capsys.readouterr().err.startswith("f.yaml:1:2 a.b: not so (but so)\n")


def test_main_serving_what_may_only_be_validated_is_refused(
    tmp_path: Path, server: FakeServer, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, GOOD.replace("connect_timeout: 1s", "lrs_server: {self: {}}"))
    assert main(["-c", path, "-l", "off"]) == 1
    assert server.served == []
    assert "lrs_server" in capsys.readouterr().err
    assert main(["-c", path, "--mode", "validate"]) == 0


def test_main_without_a_configuration_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 1
    assert "At least one of --config-path or --config-yaml" in capsys.readouterr().err


def test_main_with_a_missing_file_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-c", str(tmp_path / "none.yaml")]) == 1
    assert "unable to read file" in capsys.readouterr().err


def test_main_with_an_unknown_flag_fails_with_envoys_words(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--bogus"]) == 1
    assert "Couldn't find match for argument" in capsys.readouterr().err


def test_main_logs_flags_to_come_as_warnings(tmp_path: Path) -> None:
    path = tmp_path / "log"
    arguments = ["--log-path", str(path), "--log-format", "%l %n %v", "--enable-core-dump"]
    assert main(["-c", write(tmp_path, GOOD), *arguments]) == 7
    assert path.read_text().startswith("warning config --enable-core-dump: ")


def test_main_with_a_log_path_that_cannot_be_opened_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["-c", "x", "--log-path", str(tmp_path / "no" / "log")]) == 1
    assert "Failed to open log-file" in capsys.readouterr().err


def test_main_writes_the_base_id(tmp_path: Path) -> None:
    path = tmp_path / "base_id"
    arguments = ["-c", write(tmp_path, GOOD), "-l", "off", "--base-id-path", str(path)]
    assert main([*arguments, "--base-id", "5"]) == 7
    assert path.read_text() == "5"
    assert main([*arguments, "--use-dynamic-base-id"]) == 7
    assert path.read_text().isdecimal()
    arguments[-1] = str(tmp_path / "no" / "base_id")
    assert main(arguments) == 1


def test_main_version_has_envoys_shape(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("\nsidecar  version: ")
    assert len(text.split()[-1].split("/")) == 5


def test_main_help_names_the_flags(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert "--config-path" in capsys.readouterr().out


def test_version_imports_neither_protobuf_nor_trio() -> None:
    code = (
        "import sys; from sidecar.cli.main import main; main(['--version']);"
        "sys.exit(any(name in sys.modules for name in ('google.protobuf', 'trio', 'wasmtime')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, capture_output=True).returncode == 0
