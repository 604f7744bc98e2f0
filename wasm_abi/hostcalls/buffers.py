"""Buffers: bodies and configuration (proxy_get_buffer_bytes, _status, proxy_set_buffer_bytes).

Spec: proxy-wasm 0.2.1, "Buffers". The VM's configuration can be read at any time, a plugin's while it is
being configured, as in Envoy; neither can be written.
"""

from typing import TYPE_CHECKING

from wasm_abi.abi import BufferType, Status

if TYPE_CHECKING:
    from wasm_abi.vm import Vm

_BUFFERS = tuple(BufferType)
_CONFIGURATION = (BufferType.VM_CONFIGURATION, BufferType.PLUGIN_CONFIGURATION)


def _buffer(vm: "Vm", buffer_type: int) -> bytes | bytearray | memoryview | None:
    if buffer_type == BufferType.VM_CONFIGURATION:
        return vm.configuration
    if buffer_type == BufferType.PLUGIN_CONFIGURATION:
        return vm.configuring
    stream = vm.context.stream
    return None if stream is None else stream.get_buffer(_BUFFERS[buffer_type])


def get_buffer_bytes(
    vm: "Vm", buffer_type: int, start: int, max_size: int, data_out: int, size_out: int
) -> int:
    """What is asked for is cut to what is there; a start behind the end is BAD_ARGUMENT."""
    if buffer_type >= len(_BUFFERS):
        return Status.BAD_ARGUMENT
    buffer = _buffer(vm, buffer_type)
    if buffer is None:
        return Status.NOT_FOUND
    if start > len(buffer):
        return Status.BAD_ARGUMENT
    vm.give(buffer[start : start + max_size], data_out, size_out)
    return Status.OK


def get_buffer_status(vm: "Vm", buffer_type: int, size_out: int, flags_out: int) -> int:
    if buffer_type >= len(_BUFFERS):
        return Status.BAD_ARGUMENT
    buffer = _buffer(vm, buffer_type)
    if buffer is None:
        return Status.NOT_FOUND
    vm.write_u32(size_out, len(buffer))
    vm.write_u32(flags_out, 0)
    return Status.OK


def set_buffer_bytes(vm: "Vm", buffer_type: int, start: int, size: int, data: int, data_size: int) -> int:
    """Start 0 replaces the first ``size`` bytes (0 prepends), a start at or behind the end appends."""
    if buffer_type >= len(_BUFFERS):
        return Status.BAD_ARGUMENT
    buffer = _buffer(vm, buffer_type)
    stream = vm.context.stream
    if buffer is None:
        return Status.NOT_FOUND
    replacement = vm.read(data, data_size)
    if stream is None or buffer_type in _CONFIGURATION:
        return Status.BAD_ARGUMENT
    length = len(buffer)
    if start == 0:
        span = (0, min(size, length))
    elif start >= length:
        span = (length, length)
    else:
        return Status.BAD_ARGUMENT
    if not stream.replace_buffer(_BUFFERS[buffer_type], *span, replacement):
        return Status.BAD_ARGUMENT
    return Status.OK


def get_configuration(vm: "Vm", data_out: int, size_out: int) -> int:
    """ABI 0.1.0: the plugin's configuration while it is configured, else the VM's."""
    vm.give(vm.configuration if vm.configuring is None else vm.configuring, data_out, size_out)
    return Status.OK
