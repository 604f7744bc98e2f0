"""HTTP and gRPC calls that a guest makes, as host functions; their state is ``wasm_abi.calls``.

Spec: proxy-wasm 0.2.1, "HTTP calls", "gRPC calls". A call is the plugin's, whichever context asks for it.
Where nobody makes calls (``Plugin(calls=None)``) every one fails with INTERNAL_FAILURE, never UNIMPLEMENTED,
at which the Rust SDK panics, and the VM's log says so once.
"""

from typing import TYPE_CHECKING

from wasm_abi.abi import LogLevel, Status
from wasm_abi.pairs import decode_pairs

if TYPE_CHECKING:
    from wasm_abi.calls import Callouts
    from wasm_abi.vm import Vm

_SIGN_BIT = 1 << 31
_REQUIRED = frozenset({b":method", b":path", b":authority"})

Pairs = list[tuple[bytes, bytes]]


def _callouts(vm: "Vm", name: str) -> "Callouts | None":
    """The calls of the plugin that is running; None where none can be made."""
    plugin = vm.context.plugin
    if plugin is not None and plugin.calls.host is not None:
        return plugin.calls
    if name not in vm.warned:
        vm.warned.add(name)
        vm.context.host.log(LogLevel.WARN, f"{name}: nobody makes calls for this plugin; it fails".encode())
    return None


def _read_pairs(vm: "Vm", pointer: int, size: int) -> Pairs:
    return [(name.lower(), value) for name, value in decode_pairs(vm.read(pointer, size))]


def http_call(
    vm: "Vm",
    upstream: int,
    upstream_size: int,
    headers: int,
    headers_size: int,
    body: int,
    body_size: int,
    trailers: int,
    trailers_size: int,
    timeout_ms: int,
    call_out: int,
) -> int:
    name = vm.read(upstream, upstream_size)
    content = vm.read(body, body_size)
    fields = [
        (b":authority" if key == b"host" else key, value)
        for key, value in _read_pairs(vm, headers, headers_size)
    ]
    trailing = _read_pairs(vm, trailers, trailers_size)
    vm.write_u32(call_out, 0)  # before anything starts: the pointer may be bad
    calls = _callouts(vm, "proxy_http_call")
    if calls is None:
        return Status.INTERNAL_FAILURE
    if timeout_ms & _SIGN_BIT or not _REQUIRED.issubset({key for key, _ in fields}):
        return Status.BAD_ARGUMENT
    status, number = calls.http_call(name, fields, content, trailing, timeout_ms)
    if status is Status.OK:
        vm.write_u32(call_out, number)
    return status


def grpc_call(
    vm: "Vm",
    upstream: int,
    upstream_size: int,
    service: int,
    service_size: int,
    method: int,
    method_size: int,
    metadata: int,
    metadata_size: int,
    message: int,
    message_size: int,
    timeout_ms: int,
    call_out: int,
) -> int:
    where = vm.read(upstream, upstream_size)
    service_name, method_name = vm.read(service, service_size), vm.read(method, method_size)
    initial = _read_pairs(vm, metadata, metadata_size)
    content = vm.read(message, message_size)
    vm.check_u32(call_out)
    calls = _callouts(vm, "proxy_grpc_call")
    if calls is None:
        return Status.INTERNAL_FAILURE
    status, number = calls.grpc_call(where, service_name, method_name, initial, content, timeout_ms)
    if status is Status.OK:
        vm.write_u32(call_out, number)
    return status


def grpc_stream(
    vm: "Vm",
    upstream: int,
    upstream_size: int,
    service: int,
    service_size: int,
    method: int,
    method_size: int,
    metadata: int,
    metadata_size: int,
    call_out: int,
) -> int:
    where = vm.read(upstream, upstream_size)
    service_name, method_name = vm.read(service, service_size), vm.read(method, method_size)
    initial = _read_pairs(vm, metadata, metadata_size)
    vm.check_u32(call_out)
    calls = _callouts(vm, "proxy_grpc_stream")
    if calls is None:
        return Status.INTERNAL_FAILURE
    status, number = calls.grpc_stream(where, service_name, method_name, initial)
    if status is Status.OK:
        vm.write_u32(call_out, number)
    return status


def grpc_send(vm: "Vm", call: int, message: int, size: int, end_of_stream: int) -> int:
    content = vm.read(message, size)
    plugin = vm.context.plugin
    return (
        Status.BAD_ARGUMENT if plugin is None else plugin.calls.grpc_send(call, content, end_of_stream != 0)
    )


def grpc_cancel(vm: "Vm", call: int) -> int:
    plugin = vm.context.plugin
    return Status.BAD_ARGUMENT if plugin is None else plugin.calls.grpc_cancel(call)


def grpc_close(vm: "Vm", call: int) -> int:
    plugin = vm.context.plugin
    return Status.BAD_ARGUMENT if plugin is None else plugin.calls.grpc_close(call)
