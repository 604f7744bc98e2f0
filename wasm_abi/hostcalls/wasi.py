"""WASI preview 1 as a proxy-wasm guest gets it: clocks, random numbers, environment, and stdio as the log.

There are no files and no sockets; asking for them gives the error numbers of Envoy's host, on which the C
libraries and language run times rely. Argument counts are those of the WASI preview 1 witx. Both module
names, ``wasi_snapshot_preview1`` and ``wasi_unstable``, get the same functions.
"""

import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from wasm_abi.abi import Errno, LogLevel

if TYPE_CHECKING:
    from wasm_abi.vm import Vm

_MAX_RANDOM_BYTES = 64 * 1024
_MAX_IOVECS = 1024
_MAX_WRITE_BYTES = 1024 * 1024
_RIGHTS_FD_WRITE = 64
_STDIO = {1: LogLevel.INFO, 2: LogLevel.ERROR}


def _fd_write(vm: "Vm", fd: int, iovecs: int, count: int, written_out: int) -> int:
    level = _STDIO.get(fd)
    if level is None:
        return Errno.BADF
    if count > _MAX_IOVECS:
        return Errno.INVAL
    parts = []
    total = 0
    for index in range(count):
        vector = vm.read(iovecs + 8 * index, 8)
        size = int.from_bytes(vector[4:], "little")
        total += size
        if total > _MAX_WRITE_BYTES:
            return Errno.INVAL
        parts.append(vm.read(int.from_bytes(vector[:4], "little"), size))
    message = b"".join(parts).removesuffix(b"\n")
    vm.write_u32(written_out, total)
    if message:
        vm.log(level, message)
    return Errno.SUCCESS


def _fd_pwrite(vm: "Vm", fd: int, iovecs: int, count: int, _offset: int, written_out: int) -> int:
    return _fd_write(vm, fd, iovecs, count, written_out)


def _fd_fdstat_get(vm: "Vm", fd: int, stat_out: int) -> int:
    if fd not in _STDIO:
        return Errno.BADF
    vm.write(stat_out, bytes(8) + _RIGHTS_FD_WRITE.to_bytes(8, "little") + bytes(8))
    return Errno.SUCCESS


def _only_stdio(_vm: "Vm", fd: int, *_rest: int) -> int:
    return Errno.SUCCESS if fd in _STDIO else Errno.BADF


def _fd_tell(vm: "Vm", fd: int, offset_out: int) -> int:
    if fd not in _STDIO:
        return Errno.BADF
    vm.write_u64(offset_out, 0)
    return Errno.SUCCESS


def _path_readlink(
    vm: "Vm", _fd: int, _path: int, _path_size: int, _buffer: int, _size: int, used_out: int
) -> int:
    vm.write_u32(used_out, 0)
    return Errno.NOTSUP


def _fd_readdir(vm: "Vm", _fd: int, _buffer: int, _size: int, _cookie: int, used_out: int) -> int:
    vm.write_u32(used_out, 0)
    return Errno.DOM  # what Envoy's host returns; it means to say NOTDIR, which is 54


def _fd_renumber(_vm: "Vm", fd: int, to: int) -> int:
    return Errno.NOTSUP if fd in _STDIO and to in _STDIO else Errno.BADF


def _logged(name: str) -> Callable[..., int]:
    def call(vm: "Vm", *_arguments: int) -> int:
        vm.log(LogLevel.TRACE, f"WASI {name} called: there are no files here".encode())
        return Errno.SUCCESS

    return call


def _fails(errno: Errno) -> Callable[..., int]:
    def call(_vm: "Vm", *_arguments: int) -> int:
        return errno

    return call


def _environ_sizes_get(vm: "Vm", count_out: int, bytes_out: int) -> int:
    vm.write_u32(count_out, len(vm.environment))
    vm.write_u32(bytes_out, sum(len(entry) for entry in vm.environment))
    return Errno.SUCCESS


def _environ_get(vm: "Vm", pointers: int, buffer: int) -> int:
    for index, entry in enumerate(vm.environment):
        vm.write_u32(pointers + 4 * index, buffer)
        vm.write(buffer, entry)
        buffer += len(entry)
    return Errno.SUCCESS


def _args_sizes_get(vm: "Vm", count_out: int, bytes_out: int) -> int:
    vm.write_u32(count_out, 0)
    vm.write_u32(bytes_out, 0)
    return Errno.SUCCESS


def _clock_time_get(vm: "Vm", clock: int, _precision: int, time_out: int) -> int:
    if clock == 0:
        now = vm.context.host.now_ns()
    elif clock == 1:
        now = time.monotonic_ns()
    else:
        return Errno.NOTSUP
    vm.write_u64(time_out, now)
    return Errno.SUCCESS


def _clock_res_get(vm: "Vm", clock: int, resolution_out: int) -> int:
    if clock > 1:
        return Errno.NOTSUP
    vm.write_u64(resolution_out, 1)
    return Errno.SUCCESS


def _random_get(vm: "Vm", buffer: int, size: int) -> int:
    if size > _MAX_RANDOM_BYTES:
        return Errno.INVAL
    vm.write(buffer, os.urandom(size))
    return Errno.SUCCESS


def _poll_oneoff(vm: "Vm", _subscriptions: int, _events: int, _count: int, events_out: int) -> int:
    vm.write_u32(events_out, 0)
    return Errno.SUCCESS


def _proc_exit(vm: "Vm", code: int) -> int:
    """Logged, at Envoy's level; the VM goes on, and compilers put a trap behind the call."""
    vm.log(LogLevel.TRACE, f"WASI proc_exit({code}) called".encode())
    return 0


_NOSYS, _NOTSUP, _BADF = _fails(Errno.NOSYS), _fails(Errno.NOTSUP), _fails(Errno.BADF)
_SUCCESS = _fails(Errno.SUCCESS)

#: Name, parameters (see ``HostFunction.params``), implementation.
FUNCTIONS: tuple[tuple[str, str, Callable[..., int]], ...] = (
    ("args_get", "ii", _SUCCESS),
    ("args_sizes_get", "ii", _args_sizes_get),
    ("clock_res_get", "ii", _clock_res_get),
    ("clock_time_get", "iIi", _clock_time_get),
    ("environ_get", "ii", _environ_get),
    ("environ_sizes_get", "ii", _environ_sizes_get),
    ("fd_advise", "iIIi", _SUCCESS),
    ("fd_allocate", "iII", _only_stdio),
    ("fd_close", "i", _logged("fd_close")),
    ("fd_datasync", "i", _only_stdio),
    ("fd_fdstat_get", "ii", _fd_fdstat_get),
    ("fd_fdstat_set_flags", "ii", _NOSYS),
    ("fd_fdstat_set_rights", "iII", _only_stdio),
    ("fd_filestat_get", "ii", _BADF),
    ("fd_filestat_set_size", "iI", _only_stdio),
    ("fd_filestat_set_times", "iIIi", _only_stdio),
    ("fd_pread", "iiiIi", _NOSYS),
    ("fd_prestat_dir_name", "iii", _NOSYS),
    ("fd_prestat_get", "ii", _BADF),
    ("fd_pwrite", "iiiIi", _fd_pwrite),
    ("fd_read", "iiii", _NOSYS),
    ("fd_readdir", "iiiIi", _fd_readdir),
    ("fd_renumber", "ii", _fd_renumber),
    ("fd_seek", "iIii", _logged("fd_seek")),
    ("fd_sync", "i", _only_stdio),
    ("fd_tell", "ii", _fd_tell),
    ("fd_write", "iiii", _fd_write),
    ("path_create_directory", "iii", _NOTSUP),
    ("path_filestat_get", "iiiii", _NOTSUP),
    ("path_filestat_set_times", "iiiiIIi", _NOTSUP),
    ("path_link", "iiiiiii", _NOTSUP),
    ("path_open", "iiiiiIIii", _fails(Errno.NOENT)),
    ("path_readlink", "iiiiii", _path_readlink),
    ("path_remove_directory", "iii", _NOTSUP),
    ("path_rename", "iiiiii", _NOTSUP),
    ("path_symlink", "iiiii", _NOTSUP),
    ("path_unlink_file", "iii", _NOTSUP),
    ("poll_oneoff", "iiii", _poll_oneoff),
    ("proc_exit", "i", _proc_exit),
    ("random_get", "ii", _random_get),
    ("sched_yield", "", _SUCCESS),
    ("sock_accept", "iii", _NOTSUP),
    ("sock_recv", "iiiiii", _NOTSUP),
    ("sock_send", "iiiii", _NOTSUP),
    ("sock_shutdown", "ii", _NOTSUP),
)
