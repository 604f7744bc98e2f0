"""Buffers: bodies and configuration (proxy_get_buffer_bytes, _status, proxy_set_buffer_bytes).

Spec: proxy-wasm 0.2.1, "Buffers". As in Envoy: the VM's configuration can be read at any time, a plugin's
while it is being configured, neither can be written; a body that is not there reads as empty, while a
missing call response or plugin configuration is NOT_FOUND. A body can be used in its own phase.
"""

from typing import TYPE_CHECKING

from wasm_abi.abi import BufferType, Status
from wasm_abi.memory import Bytes

if TYPE_CHECKING:
    from wasm_abi.context import Context
    from wasm_abi.roles import HttpStreamHost
    from wasm_abi.vm import Vm

_BUFFERS = tuple(BufferType)


def _open(context: "Context", buffer_type: int) -> "HttpStreamHost | None":
    """The stream, if that buffer of it can be used now."""
    return context.stream if context.open_buffers >> buffer_type & 1 else None


def _buffer(vm: "Vm", buffer_type: int) -> Bytes | None:
    if buffer_type == BufferType.VM_CONFIGURATION:
        return vm.configuration
    if buffer_type == BufferType.PLUGIN_CONFIGURATION:
        return vm.configuring
    if buffer_type >= BufferType.HTTP_CALL_RESPONSE_BODY:
        return _of_delivery(vm, buffer_type)
    stream = _open(vm.context, buffer_type)
    buffer = None if stream is None else stream.get_buffer(_BUFFERS[buffer_type])
    return b"" if buffer is None else buffer


def _of_delivery(vm: "Vm", buffer_type: int) -> Bytes | None:
    """What a guest is being told of: the answer to a call, the arguments of a foreign function."""
    if buffer_type == BufferType.FOREIGN_FUNCTION_ARGUMENTS:
        return vm.foreign_arguments
    plugin = vm.context.plugin
    if buffer_type == BufferType.HTTP_CALL_RESPONSE_BODY:
        return None if plugin is None else plugin.calls.body
    return (None if plugin is None else plugin.calls.message) or b""


def get_buffer_bytes(
    vm: "Vm", buffer_type: int, start: int, max_size: int, data_out: int, size_out: int
) -> int:
    """What is asked for is cut to what is there; behind the end there is nothing, which is OK as in Envoy."""
    if buffer_type >= len(_BUFFERS):
        return Status.BAD_ARGUMENT
    buffer = _buffer(vm, buffer_type)
    if buffer is None:
        return Status.NOT_FOUND
    if buffer_type == 1 and vm.inside is not None:
        vm.inside.wants_body = True
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
    stream = _open(vm.context, buffer_type)
    if buffer is None:
        return Status.NOT_FOUND
    replacement = vm.read(data, data_size)
    plugin = vm.context.plugin
    # Of what is delivered a guest can change a gRPC message, which is its own.
    calls = None if plugin is None or buffer_type != BufferType.GRPC_CALL_MESSAGE else plugin.calls
    if stream is None and (calls is None or calls.message is None):
        return Status.BAD_ARGUMENT
    length = len(buffer)
    if start == 0:
        span = (0, min(size, length))
    elif start >= length:
        span = (length, length)
    else:
        return Status.BAD_ARGUMENT
    if stream is None:
        assert calls is not None
        calls.message = bytes(buffer[: span[0]]) + replacement + bytes(buffer[span[1] :])
    elif not stream.replace_buffer(_BUFFERS[buffer_type], *span, replacement):
        return Status.BAD_ARGUMENT
    return Status.OK


def get_configuration(vm: "Vm", data_out: int, size_out: int) -> int:
    """ABI 0.1.0: the plugin's configuration while it is configured, else the VM's."""
    vm.give(vm.configuration if vm.configuring is None else vm.configuring, data_out, size_out)
    return Status.OK
