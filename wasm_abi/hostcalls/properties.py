"""proxy_get_property and proxy_set_property. Spec: proxy-wasm 0.2.1, "Properties".

A path is segments separated by NUL; one NUL at the end is tolerated. What a path means is the embedder's.
"""

from typing import TYPE_CHECKING

from wasm_abi.abi import Status

if TYPE_CHECKING:
    from wasm_abi.vm import Vm


def _segments(path: bytes) -> tuple[bytes, ...]:
    return tuple(path.removesuffix(b"\0").split(b"\0"))


def get_property(vm: "Vm", path: int, path_size: int, value_out: int, size_out: int) -> int:
    name = vm.read(path, path_size)
    if not name:
        return Status.SERIALIZATION_FAILURE  # nothing is no value, says Envoy
    context = vm.context
    role = context.host if context.stream is None else context.stream
    value = role.get_property(_segments(name))
    if value is None:
        return Status.NOT_FOUND
    if isinstance(value, Status):
        return value
    vm.give(value, value_out, size_out)
    return Status.OK


def set_property(vm: "Vm", path: int, path_size: int, value: int, value_size: int) -> int:
    segments = _segments(vm.read(path, path_size))
    data = vm.read(value, value_size)
    stream = vm.context.stream
    return Status.NOT_FOUND if stream is None else stream.set_property(segments, data)
