"""Shared data and shared queues, as host functions; the store itself is ``wasm_abi.shared_store``.

Spec: proxy-wasm 0.2.1, "Shared Key-Value Store", "Shared Queues".
"""

from typing import TYPE_CHECKING

from wasm_abi.abi import Status

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


def set_shared_data(vm: "Vm", key: int, key_size: int, value: int, value_size: int, cas: int) -> int:
    if not vm.shared.set(vm.vm_id, vm.read(key, key_size), vm.read(value, value_size), cas):
        return Status.CAS_MISMATCH
    return Status.OK


def register_shared_queue(vm: "Vm", name: int, name_size: int, id_out: int) -> int:
    plugin = vm.context.plugin
    listener = None if plugin is None else plugin.queue_ready_soon
    vm.write_u32(id_out, vm.shared.register_queue(vm.vm_id, vm.read(name, name_size), listener))
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
    return Status.OK if vm.shared.enqueue(number, data) else Status.NOT_FOUND


def dequeue_shared_queue(vm: "Vm", number: int, value_out: int, size_out: int) -> int:
    queue = vm.shared.queue(number)
    if queue is None:
        return Status.NOT_FOUND
    if not queue:
        return Status.EMPTY
    vm.give(queue[0], value_out, size_out)
    queue.popleft()  # only now: a bad pointer must not lose the item
    return Status.OK
