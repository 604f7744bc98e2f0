"""Logging, time, ticks, status, contexts and foreign functions.

Spec: proxy-wasm 0.2.1, "Integration", "Logging", "Timers", "Foreign function interface".
"""

from typing import TYPE_CHECKING

from wasm_abi.abi import LogLevel, Status
from wasm_abi.hostcalls.streams import clear_route_cache
from wasm_abi.inside_wat import FAST

if TYPE_CHECKING:
    from wasm_abi.vm import Vm

_LEVELS = tuple(LogLevel)


def log(vm: "Vm", level: int, message: int, size: int) -> int:
    if level >= len(_LEVELS):
        return Status.BAD_ARGUMENT
    if vm.inside is not None and not vm.inside.has_idle_lines:
        vm.inside.note_line(level, vm.context.host.log_level())
    vm.log(_LEVELS[level], vm.read(message, size))
    return Status.OK


def get_log_level(vm: "Vm", level_out: int) -> int:
    vm.write_u32(level_out, vm.context.host.log_level())
    return Status.OK


def get_current_time_nanoseconds(vm: "Vm", time_out: int) -> int:
    vm.write_u64(time_out, vm.context.host.now_ns())
    return Status.OK


def set_tick_period_milliseconds(vm: "Vm", milliseconds: int) -> int:
    vm.context.host.set_tick_period(milliseconds)
    return Status.OK


def get_status(vm: "Vm", code_out: int, message_out: int, size_out: int) -> int:
    """The outcome of the last call that failed; its text is there only while the guest is told of it."""
    plugin = vm.context.plugin
    code, message = (0, b"") if plugin is None else plugin.calls.status
    vm.write_u32(code_out, code)
    vm.give(message, message_out, size_out)
    return Status.OK


def set_effective_context(vm: "Vm", context_id: int) -> int:
    """Host functions act on that context until the guest returns; 0 is the one that it was called for."""
    if vm.entered[0] != vm.serial:
        vm.entered = (vm.serial, vm.context)
    context = vm.contexts.get(context_id) if context_id else vm.entered[1]
    if context is None:
        return Status.BAD_ARGUMENT
    vm.context = context
    vm.words[FAST] = 0  # of the context that was called alone
    return Status.OK


def done(vm: "Vm") -> int:
    """A plugin that answered proxy_on_done with false is now done."""
    plugin = vm.context.plugin
    if plugin is None or not plugin.is_done_pending:
        return Status.NOT_FOUND
    plugin.is_done_pending = False
    vm.after_call(plugin.finish_shutdown)
    return Status.OK


def call_foreign_function(
    vm: "Vm", name: int, name_size: int, arguments: int, arguments_size: int, results_out: int, size_out: int
) -> int:
    function = vm.read(name, name_size)
    data = vm.read(arguments, arguments_size)
    if function == b"clear_route_cache":
        return clear_route_cache(vm)
    foreign = vm.foreign_functions.get(function)
    if foreign is None:
        return Status.NOT_FOUND
    result = foreign(data, vm)
    if isinstance(result, Status):
        return result
    if results_out and size_out:
        vm.give(result, results_out, size_out)
    return Status.OK


def pthread_equal(_vm: "Vm", left: int, right: int) -> int:
    return int(left == right)


def emscripten_notify_memory_growth(_vm: "Vm", _memory: int) -> int:
    """The view of the memory looks after itself."""
    return 0
