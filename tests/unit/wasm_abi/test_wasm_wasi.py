"""WASI preview 1 as guests get it."""

import struct

import pytest
from wasm_guests import Runner, calling

from wasm_abi import LogLevel
from wasm_abi.abi import AbiVersion, Errno
from wasm_abi.hostcalls.table import host_functions

BEYOND = 0x7FFF0000
IOVECS = struct.pack("<IIII", 100, 3, 110, 3)


@pytest.mark.parametrize("module", ["wasi_snapshot_preview1", "wasi_unstable"])
@pytest.mark.parametrize(("fd", "level"), [(1, LogLevel.INFO), (2, LogLevel.ERROR)])
def test_write_to_stdio_is_one_log_line_without_its_newline(
    run: Runner, module: str, fd: int, level: LogLevel
) -> None:
    code = calling("fd_write", fd, 64, 2, 8, data={64: IOVECS, 100: b"one", 110: b"to\n"}, wasi=module)
    assert run.status(code) == Errno.SUCCESS
    assert run.u32(8) == 6
    assert run.host.lines == [(level, b"oneto")]


def test_write_of_nothing_is_not_logged(run: Runner) -> None:
    assert run.status(calling("fd_write", 1, 64, 0, 8)) == Errno.SUCCESS
    assert run.host.lines == []


@pytest.mark.parametrize(
    ("arguments", "errno"),
    [
        ((3, 64, 2, 8), Errno.BADF),
        ((1, BEYOND, 1, 8), Errno.FAULT),
        ((1, 64, 1, BEYOND), Errno.FAULT),
        ((1, 80, 1, 8), Errno.FAULT),
        ((1, 64, 1025, 8), Errno.INVAL),
    ],
)
def test_write_that_cannot_be_done_says_why(run: Runner, arguments: tuple[int, ...], errno: Errno) -> None:
    data = {64: IOVECS, 80: struct.pack("<II", BEYOND, 4)}
    assert run.status(calling("fd_write", *arguments, data=data)) == errno
    assert run.host.lines == []


def test_write_that_repeats_one_large_buffer_is_refused(run: Runner) -> None:
    vectors = struct.pack("<II", 0, 60_000) * 20
    assert run.status(calling("fd_write", 1, 64, 20, 8, data={64: vectors})) == Errno.INVAL


def test_pwrite_writes_like_write(run: Runner) -> None:
    assert (
        run.status(calling("fd_pwrite", 1, 64, 1, 1 << 40, 8, data={64: IOVECS, 100: b"one"}))
        == Errno.SUCCESS
    )
    assert run.host.lines == [(LogLevel.INFO, b"one")]


def test_environment_is_shown_as_given(run: Runner) -> None:
    environment = {"A": "1", "LONG": "value"}
    assert run.status(calling("environ_sizes_get", 8, 12), environment=environment) == Errno.SUCCESS
    assert (run.u32(8), run.u32(12)) == (2, 15)
    assert run.status(calling("environ_get", 8, 100), environment=environment) == Errno.SUCCESS
    assert (run.u32(8), run.u32(12)) == (100, 104)
    assert run.vms[-1].memory.read(100, 15) == b"A=1\0LONG=value\0"
    assert run.status(calling("environ_get", 8, 65530), environment=environment) == Errno.FAULT


def test_there_are_no_arguments(run: Runner) -> None:
    assert run.status(calling("args_sizes_get", 8, 12, data={8: b"\xff" * 8})) == Errno.SUCCESS
    assert (run.u32(8), run.u32(12)) == (0, 0)
    assert run.status(calling("args_get", 8, 12)) == Errno.SUCCESS


def test_clocks_are_the_hosts_wall_clock_and_a_monotonic_one(run: Runner) -> None:
    assert run.status(calling("clock_time_get", 0, 1 << 40, 8)) == Errno.SUCCESS
    assert run.u64(8) == 1_700_000_000_123_456_789
    assert run.status(calling("clock_time_get", 1, 0, 8)) == Errno.SUCCESS
    assert run.u64(8) > 0
    assert run.status(calling("clock_time_get", 2, 0, 8)) == Errno.NOTSUP
    assert run.status(calling("clock_res_get", 1, 8)) == Errno.SUCCESS
    assert run.u64(8) == 1
    assert run.status(calling("clock_res_get", 2, 8)) == Errno.NOTSUP


def test_random_bytes_are_written_up_to_64_kib(run: Runner) -> None:
    assert run.status(calling("random_get", 8, 32)) == Errno.SUCCESS
    assert run.vms[-1].memory.read(8, 32) != bytes(32)
    assert run.status(calling("random_get", 8, 65537)) == Errno.INVAL
    assert run.status(calling("random_get", 65530, 32)) == Errno.FAULT


def test_poll_reports_no_events(run: Runner) -> None:
    assert run.status(calling("poll_oneoff", 100, 200, 1, 8, data={8: b"\xff" * 4})) == Errno.SUCCESS
    assert run.u32(8) == 0


def test_fdstat_of_stdio_allows_writing(run: Runner) -> None:
    assert run.status(calling("fd_fdstat_get", 1, 8, data={8: b"\xff" * 24})) == Errno.SUCCESS
    assert [run.u64(8), run.u64(16), run.u64(24)] == [0, 64, 0]
    assert run.status(calling("fd_fdstat_get", 0, 8)) == Errno.BADF


def test_readdir_uses_nothing_and_fails(run: Runner) -> None:
    assert run.status(calling("fd_readdir", 3, 100, 10, 0, 8, data={8: b"\xff" * 4})) == Errno.DOM
    assert run.u32(8) == 0


@pytest.mark.parametrize(
    ("name", "fd", "errno"),
    [
        ("fd_advise", 1, 0), ("fd_advise", 3, 0), ("fd_allocate", 2, 0), ("fd_allocate", 0, 8),
        ("fd_datasync", 1, 0), ("fd_sync", 5, 8), ("fd_filestat_set_size", 1, 0),
        ("fd_filestat_set_times", 9, 8), ("fd_fdstat_set_rights", 1, 0), ("fd_tell", 4, 8),
        ("fd_fdstat_set_flags", 1, 52), ("fd_filestat_get", 1, 8), ("fd_prestat_get", 3, 8),
        ("fd_prestat_dir_name", 3, 52), ("fd_read", 0, 52), ("fd_pread", 0, 52), ("fd_renumber", 1, 8),
        ("path_open", 3, 44), ("path_filestat_get", 3, 58), ("path_link", 3, 58), ("path_symlink", 3, 58),
        ("path_rename", 3, 58), ("path_readlink", 3, 58), ("path_unlink_file", 3, 58),
        ("path_create_directory", 3, 58), ("path_remove_directory", 3, 58),
        ("path_filestat_set_times", 3, 58),
        ("sock_accept", 3, 58), ("sock_recv", 3, 58), ("sock_send", 3, 58), ("sock_shutdown", 3, 58),
    ],
)  # fmt: skip
def test_files_and_sockets_fail_with_the_expected_number(run: Runner, name: str, fd: int, errno: int) -> None:
    params = host_functions(AbiVersion.V0_2_1)["wasi", name].params
    assert run.status(calling(name, fd, *[0] * (len(params) - 1))) == errno


def test_renumber_between_stdio_is_not_supported(run: Runner) -> None:
    assert run.status(calling("fd_renumber", 1, 2)) == Errno.NOTSUP


def test_sched_yield_succeeds(run: Runner) -> None:
    assert run.status(calling("sched_yield")) == Errno.SUCCESS


@pytest.mark.parametrize(("name", "arguments"), [("fd_close", (3,)), ("fd_seek", (1, 0, 0, 8))])
def test_close_and_seek_succeed_and_are_logged(run: Runner, name: str, arguments: tuple[int, ...]) -> None:
    assert run.status(calling(name, *arguments)) == Errno.SUCCESS
    assert [level for level, _ in run.host.lines] == [LogLevel.TRACE]


def test_exit_is_logged_and_the_guest_goes_on(run: Runner) -> None:
    code = calling("pthread_equal", 1, 1).replace(
        b"(module",
        b'(module (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))',
        1,
    )
    code = code.replace(
        b"(i32.store (i32.const 0)", b"(call $exit (i32.const 3)) (i32.store (i32.const 0)", 1
    )
    assert run.status(code) == 1
    assert run.host.lines == [(LogLevel.TRACE, b"WASI proc_exit(3) called")]


def test_tell_and_readlink_report_nothing(run: Runner) -> None:
    assert run.status(calling("fd_tell", 1, 8, data={8: b"\xff" * 8})) == Errno.SUCCESS
    assert run.u64(8) == 0
    code = calling("path_readlink", 3, 100, 1, 200, 4, 8, data={8: b"\xff" * 4})
    assert run.status(code) == Errno.NOTSUP
    assert run.u32(8) == 0
