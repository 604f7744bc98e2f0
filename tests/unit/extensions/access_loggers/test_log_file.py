"""Lines in batches, rotation, and readers that do not read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sidecar.extensions.access_loggers import log_file
from sidecar.extensions.access_loggers.log_file import FilesystemStats, LogFile
from sidecar.observability.stats import Store


@pytest.fixture
def stats() -> FilesystemStats:
    return FilesystemStats(Store().scope("filesystem"))


def test_lines_wait_for_the_flush(tmp_path: Path, stats: FilesystemStats) -> None:
    path = tmp_path / "log"
    file = LogFile(str(path), stats)
    file.write(b"one\n")
    file.write_text("caf\udce9\n")
    assert path.read_bytes() == b""
    assert stats.write_total_buffered.value == 9
    file.flush()
    assert path.read_bytes() == b"one\ncaf\xe9\n"
    assert stats.write_buffered.value == 2
    assert stats.write_completed.value == 1
    assert stats.flushed_by_timer.value == 1
    assert stats.write_total_buffered.value == 0
    file.close()


def test_flush_of_nothing_writes_and_counts_nothing(tmp_path: Path, stats: FilesystemStats) -> None:
    file = LogFile(str(tmp_path / "log"), stats)
    file.flush()
    assert stats.flushed_by_timer.value == 0
    file.close()


def test_enough_bytes_leave_at_once(tmp_path: Path, stats: FilesystemStats) -> None:
    path = tmp_path / "log"
    file = LogFile(str(path), stats, min_flush_bytes=10)
    file.write(b"12345\n")
    file.write(b"67890\n")
    assert path.read_bytes() == b"12345\n67890\n"
    file.close()


def test_close_writes_the_rest_and_may_come_twice(tmp_path: Path, stats: FilesystemStats) -> None:
    path = tmp_path / "log"
    file = LogFile(str(path), stats)
    file.write(b"x\n")
    file.close()
    file.close()
    assert path.read_bytes() == b"x\n"


def test_reopen_goes_on_in_a_new_file(tmp_path: Path, stats: FilesystemStats) -> None:
    path = tmp_path / "log"
    file = LogFile(str(path), stats)
    file.write(b"old\n")
    path.rename(tmp_path / "log.1")
    file.reopen()
    file.write(b"new\n")
    file.close()
    assert (tmp_path / "log.1").read_bytes() == b"old\n"
    assert path.read_bytes() == b"new\n"


def test_reopen_that_fails_is_counted_and_keeps_the_old_file(tmp_path: Path, stats: FilesystemStats) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    file = LogFile(str(folder / "log"), stats)
    folder.rename(tmp_path / "moved")
    file.reopen()
    file.write(b"x\n")
    file.close()
    assert stats.reopen_failed.value == 1
    assert (tmp_path / "moved" / "log").read_bytes() == b"x\n"


def test_full_disk_is_counted_and_harms_nothing(stats: FilesystemStats) -> None:
    file = LogFile("/dev/full", stats)
    file.write(b"x\n")
    file.flush()
    assert stats.write_failed.value == 1
    assert stats.write_completed.value == 0
    assert stats.write_total_buffered.value == 0
    file.close()


def test_slow_reader_gets_the_rest_later_and_is_given_up_at_the_bound(
    tmp_path: Path, stats: FilesystemStats, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_file, "_MAX_PENDING_BYTES", 300_000)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    file = LogFile(str(fifo), stats)
    file.write(b"a" * 200_000)  # more than a pipe holds, and the writer must not wait
    file.flush()
    waiting = stats.write_total_buffered.value
    assert 0 < waiting < 200_000
    file.write(b"b" * 250_000)
    assert stats.write_failed.value == 1
    assert stats.write_total_buffered.value == waiting
    received = b""
    while len(received) < 200_000:
        received += os.read(reader, 1 << 20)
        file.flush()
    assert received == b"a" * 200_000
    assert stats.write_completed.value == 1
    file.close()
    os.close(reader)
