"""Shared data and shared queues, as host functions; the store itself is ``wasm_abi.shared_store``.

Where there is no room for more, guests are told INTERNAL_FAILURE. Spec: proxy-wasm 0.2.1, "Shared Key-Value
Store", "Shared Queues".
"""

from typing import TYPE_CHECKING

from wasm_abi.abi import LogLevel, Status
from wasm_abi.shared_store import StoreFullError

if TYPE_CHECKING:
    from wasm_abi.vm import Vm


def get_shared_data(vm: "Vm", key: int, key_size: int, value_out: int, size_out: int, cas_out: int) -> int:
    found = vm.shared.get(vm.vm_id, vm.read(key, key_size))
    if found is None:
        return Status.NOT_FOUND
    value, cas = found
    vm.give(value, value_out, size_out)
    vm.write_u32(cas_out, cas)
    return Status.OK


def _full(vm: "Vm", error: StoreFullError) -> int:
    vm.log(LogLevel.ERROR, str(error).encode())
    return Status.INTERNAL_FAILURE


def set_shared_data(vm: "Vm", key: int, key_size: int, value: int, value_size: int, cas: int) -> int:
    try:
        is_set = vm.shared.set(vm.vm_id, vm.read(key, key_size), vm.read(value, value_size), cas)
    except StoreFullError as error:
        return _full(vm, error)
    return Status.OK if is_set else Status.CAS_MISMATCH


def register_shared_queue(vm: "Vm", name: int, name_size: int, id_out: int) -> int:
    plugin = vm.context.plugin
    listener = None if plugin is None else plugin.queue_ready_soon
    try:
        number = vm.shared.register_queue(vm.vm_id, vm.read(name, name_size), listener)
    except StoreFullError as error:
        return _full(vm, error)
    vm.write_u32(id_out, number)
    return Status.OK


def resolve_shared_queue(
    vm: "Vm", vm_id: int, vm_id_size: int, name: int, name_size: int, id_out: int
) -> int:
    """An empty vm_id is the guest's own."""
    number = vm.shared.resolve_queue(vm.read(vm_id, vm_id_size) or vm.vm_id, vm.read(name, name_size))
    if number is None:
        return Status.NOT_FOUND
    vm.write_u32(id_out, number)
    return Status.OK


def enqueue_shared_queue(vm: "Vm", number: int, value: int, value_size: int) -> int:
    data = vm.read(value, value_size)
    try:
        return Status.OK if vm.shared.enqueue(number, data) else Status.NOT_FOUND
    except StoreFullError as error:
        return _full(vm, error)


def dequeue_shared_queue(vm: "Vm", number: int, value_out: int, size_out: int) -> int:
    item = vm.shared.take(number)
    if isinstance(item, bool):
        return Status.EMPTY if item else Status.NOT_FOUND
    is_given = False
    try:
        vm.give(item, value_out, size_out)
        is_given = True
    finally:
        if not is_given:  # a bad pointer, or an allocator that traps, must not lose the item
            vm.shared.put_back(number, item)
    return Status.OK
