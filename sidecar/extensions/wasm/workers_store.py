"""What Wasm guests share across the processes of a server: data, exactly, and queues.

Every process has a copy; a log (:mod:`sidecar.core.shared_log`) tells what was done.  The process that
registered a queue last is sent a note of each item that comes into it, as in Envoy its thread is told.  How
many VMs a vm_id has is counted in words of each process's own, which are zeroed when it ends, so that what a
vm_id has goes with the last VM of all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sidecar.core.shared_log import SharedLog
from sidecar.core.shared_memory import make_count
from wasm_abi.shared_store import MAX_SHARED_BYTES, SharedState, SharedStore

if TYPE_CHECKING:
    from sidecar.core.notes import Notes
    from sidecar.core.shared_memory import Count, SharedMemory

__all__ = ["make_store"]

_ITEM = "wasm queue"


def make_store(
    memory: SharedMemory | None, notes: Notes | None, max_bytes: int = MAX_SHARED_BYTES
) -> SharedStore:
    """The store of this process, or this one's end of that of all."""
    if memory is None or notes is None:
        return SharedStore(max_bytes)
    state = SharedState(max_bytes)
    log = SharedLog.make(memory, f"wasm {max_bytes}", max_bytes, state)
    return SharedStore(max_bytes) if log is None else _StoreOfWorkers(state, log, memory, notes)


class _StoreOfWorkers(SharedStore):
    """See the module."""

    def __init__(self, state: SharedState, log: SharedLog, memory: SharedMemory, notes: Notes) -> None:
        super().__init__()
        self.state = state
        self._log = log
        self._memory = memory
        self._notes = notes
        self.process = memory.process
        self._counts: dict[bytes, Count] = {}
        notes.read(_ITEM, self.told)

    def acquire(self, vm_id: bytes) -> None:
        super().acquire(vm_id)
        self._count(vm_id).add(1)

    def release(self, vm_id: bytes) -> None:
        self._count(vm_id).add(-1)
        super().release(vm_id)

    def _count(self, vm_id: bytes) -> Count:
        count = self._counts.get(vm_id)
        if count is None:
            count = self._counts[vm_id] = make_count(self._memory, f"wasm vm {vm_id!r}")
        return count

    def do(self, *operation: Any) -> Any:
        return self._log.do(operation)

    def look(self) -> SharedState:
        self._log.catch_up()
        return self.state

    def drop(self, vm_id: bytes) -> None:
        count = self._count(vm_id)
        self._log.do(("drop", vm_id), lambda: not count.total())

    def tell(self, process: int, number: int) -> None:
        if process == self.process:
            self.told(number)
        else:
            self._notes.send(process, _ITEM, number)
