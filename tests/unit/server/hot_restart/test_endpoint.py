"""Where epochs meet: base ids, stale files, and the command line of the next one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from sidecar.core.options import Options
from sidecar.server.hot_restart.endpoint import RestartError, claim, connect, running_epochs
from sidecar.server.hot_restart.successor import next_command


def options(directory: Path, **values: object) -> Options:
    return replace(Options(socket_path=str(directory / "s")), **values)  # type: ignore[arg-type] # by name


def test_epoch_is_found_and_its_file_goes_with_it(tmp_path: Path) -> None:
    _, endpoint, _ = claim(options(tmp_path, base_id=7))
    assert endpoint is not None
    [(epoch, name)] = running_epochs(str(tmp_path / "s"), 7)
    assert epoch == 0
    assert Path(name).stat().st_mode & 0o777 == 0o600
    connect(name).close()
    endpoint.close()
    assert running_epochs(str(tmp_path / "s"), 7) == []


def test_base_id_that_is_taken_is_refused_where_it_was_asked_for(tmp_path: Path) -> None:
    first = claim(options(tmp_path, base_id=7))[1]
    default = claim(options(tmp_path))[1]
    assert first is not None
    assert default is not None
    with pytest.raises(RestartError, match="unable to bind domain socket with base_id=7"):
        claim(options(tmp_path, base_id=7))
    _, none, warning = claim(options(tmp_path))
    assert none is None
    assert "cannot be restarted hot" in warning
    first.close()
    default.close()


def test_file_of_a_process_that_is_gone_is_replaced(tmp_path: Path) -> None:
    _, endpoint, _ = claim(options(tmp_path, base_id=7))
    assert endpoint is not None
    endpoint.sock.close()
    _, again, _ = claim(options(tmp_path, base_id=7))
    assert again is not None
    again.close()


def test_epoch_without_a_parent_is_refused_unless_it_may_be(tmp_path: Path) -> None:
    with pytest.raises(RestartError, match="epoch 0 to take over from"):
        claim(options(tmp_path, restart_epoch=1))
    _, endpoint, _ = claim(options(tmp_path, restart_epoch=1, skip_hot_restart_on_no_parent=True))
    assert endpoint is not None
    assert endpoint.parent is None
    endpoint.close()


def test_dynamic_base_id_is_told_and_without_hot_restart_there_is_none(tmp_path: Path) -> None:
    found, endpoint, _ = claim(options(tmp_path, use_dynamic_base_id=True))
    assert endpoint is not None
    assert [epoch for epoch, _ in running_epochs(str(tmp_path / "s"), found.base_id)] == [0]
    endpoint.close()
    assert claim(options(tmp_path, disable_hot_restart=True))[1] is None


@pytest.mark.parametrize(
    "arguments",
    [
        ["-c", "f", "--use-dynamic-base-id"],
        ["--restart-epoch", "2", "-c", "f"],
        ["--restart-epoch=2", "-c", "f", "--base-id", "5"],
    ],
)
def test_next_epoch_has_the_command_line_of_this_one(arguments: list[str]) -> None:
    command = next_command(arguments, Options(restart_epoch=2, base_id=9))
    assert command[3:] == ["-c", "f", "--restart-epoch", "3", "--base-id", "9"]
