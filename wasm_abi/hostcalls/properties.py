"""proxy_get_property and proxy_set_property. Spec: proxy-wasm 0.2.1, "Properties".

A path is segments separated by NUL; one NUL at the end is tolerated. What a path means is the embedder's.
"""

from typing import TYPE_CHECKING

from wasm_abi.abi import Status

if TYPE_CHECKING:
    from wasm_abi.vm import Vm


def _path(vm: "Vm", pointer: int, size: int) -> tuple[bytes, ...]:
    return tuple(vm.read(pointer, size).removesuffix(b"\0").split(b"\0"))


def get_property(vm: "Vm", path: int, path_size: int, value_out: int, size_out: int) -> int:
    segments = _path(vm, path, path_size)
    if segments == (b"",):
        return Status.SERIALIZATION_FAILURE  # nothing is no value, says Envoy
    context = vm.context
    role = context.host if context.stream is None else context.stream
    value = role.get_property(segments)
    if value is None:
        return Status.NOT_FOUND
    vm.give(value, value_out, size_out)
    return Status.OK


def set_property(vm: "Vm", path: int, path_size: int, value: int, value_size: int) -> int:
    segments = _path(vm, path, path_size)
    data = vm.read(value, value_size)
    stream = vm.context.stream
    if stream is None or not stream.set_property(segments, data):
        return Status.NOT_FOUND
    return Status.OK
