"""HTTP and gRPC calls that a guest makes: linked, since modules import them, but not served yet.

Every one returns the status that the SDKs take for "cannot be done" (never UNIMPLEMENTED, which makes the
Rust SDK panic), and the VM's log says so once.
"""

from typing import TYPE_CHECKING

from wasm_abi.abi import LogLevel, Status

if TYPE_CHECKING:
    from wasm_abi.vm import Vm

# The kind of a call stands in the low two bits of its id.
_KIND_MASK = 3
_GRPC_CALL = 1
_GRPC_STREAM = 2


def _refuse(vm: "Vm", name: str) -> int:
    if name not in vm.warned:
        vm.warned.add(name)
        text = f"{name}: call-outs of Wasm plugins are not supported by this release; the call fails"
        vm.context.host.log(LogLevel.WARN, text.encode())
    return Status.INTERNAL_FAILURE


def http_call(vm: "Vm", *_arguments: int) -> int:
    return _refuse(vm, "proxy_http_call")


def grpc_call(vm: "Vm", *_arguments: int) -> int:
    return _refuse(vm, "proxy_grpc_call")


def grpc_stream(vm: "Vm", *_arguments: int) -> int:
    return _refuse(vm, "proxy_grpc_stream")


def grpc_send(_vm: "Vm", call: int, _message: int, _size: int, _end_of_stream: int) -> int:
    return Status.NOT_FOUND if call & _KIND_MASK == _GRPC_STREAM else Status.BAD_ARGUMENT


def grpc_cancel(_vm: "Vm", call: int) -> int:
    return Status.NOT_FOUND if call & _KIND_MASK in (_GRPC_CALL, _GRPC_STREAM) else Status.BAD_ARGUMENT


def grpc_close(vm: "Vm", call: int) -> int:
    return grpc_cancel(vm, call)
