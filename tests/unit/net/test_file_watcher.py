"""Moves into a directory are told, nothing else is."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from sidecar.net.file_watcher import FileWatcher


@pytest.fixture
def watcher() -> Iterator[FileWatcher]:
    watcher = FileWatcher()
    yield watcher
    watcher.close()


def move(path: Path, text: str = "x") -> None:
    fresh = path.with_name("fresh")
    fresh.write_text(text)
    fresh.rename(path)


def test_file_that_is_moved_into_place_is_told(watcher: FileWatcher, tmp_path: Path) -> None:
    told: list[str] = []
    watcher.watch_file(f"{tmp_path}/a", lambda: told.append("a"))
    watcher.watch_file(f"{tmp_path}/b", lambda: told.append("b"))
    move(tmp_path / "a")
    watcher.dispatch()
    assert told == ["a"]
    move(tmp_path / "a")
    move(tmp_path / "b")
    move(tmp_path / "a")
    watcher.dispatch()
    assert told == ["a", "a", "b"]


def test_file_that_is_written_linked_or_removed_is_not_told(watcher: FileWatcher, tmp_path: Path) -> None:
    told: list[str] = []
    watcher.watch_file(f"{tmp_path}/a", lambda: told.append("a"))
    (tmp_path / "a").write_text("1")
    (tmp_path / "a").write_text("2")
    (tmp_path / "a").unlink()
    (tmp_path / "other").write_text("3")
    os.link(tmp_path / "other", tmp_path / "a")
    watcher.dispatch()
    assert told == []


def test_directory_is_told_of_every_move(watcher: FileWatcher, tmp_path: Path) -> None:
    told: list[str] = []
    watcher.watch_directory(str(tmp_path), lambda: told.append("directory"))
    (tmp_path / "v1").mkdir()
    (tmp_path / "new").symlink_to("v1")
    (tmp_path / "new").rename(tmp_path / "..data")
    watcher.dispatch()
    assert told == ["directory"]


def test_link_tells_when_it_is_replaced_and_not_when_its_target_is(
    watcher: FileWatcher, tmp_path: Path
) -> None:
    told: list[str] = []
    real = tmp_path / "real"
    real.mkdir()
    move(real / "a")
    (tmp_path / "a").symlink_to("real/a")
    watcher.watch_file(f"{tmp_path}/a", lambda: told.append("a"))
    move(real / "a")
    watcher.dispatch()
    assert told == []
    (tmp_path / "link").symlink_to("real/a")
    (tmp_path / "link").rename(tmp_path / "a")
    watcher.dispatch()
    assert told == ["a"]


def test_watch_that_is_closed_is_silent_and_leaves_the_others(watcher: FileWatcher, tmp_path: Path) -> None:
    told: list[str] = []
    first = watcher.watch_file(f"{tmp_path}/a", lambda: told.append("a"))
    second = watcher.watch_file(f"{tmp_path}/b", lambda: told.append("b"))
    first.close()
    first.close()
    move(tmp_path / "a")
    move(tmp_path / "b")
    watcher.dispatch()
    assert told == ["b"]
    second.close()
    move(tmp_path / "b")
    watcher.dispatch()
    assert told == ["b"]


def test_place_that_cannot_be_watched_raises(watcher: FileWatcher, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="invalid file path a"):
        watcher.watch_file("a.yaml", lambda: None)
    with pytest.raises(FileNotFoundError):
        watcher.watch_directory(f"{tmp_path}/missing", lambda: None)


async def test_running_watcher_tells_and_ends_when_cancelled(watcher: FileWatcher, tmp_path: Path) -> None:
    told = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watcher.run)
        await wait_all_tasks_blocked()
        watcher.watch_file(f"{tmp_path}/a", told.set)
        move(tmp_path / "a")
        with trio.fail_after(5):
            await told.wait()
        nursery.cancel_scope.cancel()
    assert told.is_set()
