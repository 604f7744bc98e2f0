"""Key-value data and queues that the VMs of one process share, by vm_id.

Lives in memory, in one process, used from one thread. The data of a vm_id is dropped when its last VM
closes; queues stay, since other VMs may hold their ids. Spec: proxy-wasm 0.2.1, "Shared Key-Value Store",
"Shared Queues".
"""

from collections import Counter, deque
from collections.abc import Callable
from itertools import count

QueueListener = Callable[[int], None]


class SharedStore:
    """What guests share. ``acquire`` and ``release`` count the VMs of a vm_id."""

    def __init__(self) -> None:
        self._users: Counter[bytes] = Counter()
        self._data: dict[bytes, dict[bytes, tuple[bytes, int]]] = {}
        self._cas = count(1)
        self._queue_ids: dict[tuple[bytes, bytes], int] = {}
        self._queues: dict[int, deque[bytes]] = {}
        self._listeners: dict[int, QueueListener | None] = {}

    def acquire(self, vm_id: bytes) -> None:
        self._users[vm_id] += 1

    def release(self, vm_id: bytes) -> None:
        self._users[vm_id] -= 1
        if self._users[vm_id] <= 0:
            del self._users[vm_id]
            self._data.pop(vm_id, None)

    def get(self, vm_id: bytes, key: bytes) -> tuple[bytes, int] | None:
        """The value and its compare-and-swap number."""
        return self._data.get(vm_id, {}).get(key)

    def set(self, vm_id: bytes, key: bytes, value: bytes, cas: int) -> bool:
        """False when ``cas`` is neither 0 nor the number of the value that is there."""
        data = self._data.setdefault(vm_id, {})
        current = data.get(key)
        if cas and current is not None and current[1] != cas:
            return False
        data[key] = (value, next(self._cas) % 0xFFFF_FFFF or 1)
        return True

    def register_queue(self, vm_id: bytes, name: bytes, listener: QueueListener | None) -> int:
        """The queue's id, never 0; the newest registrant is the one who is told of items."""
        number = self._queue_ids.setdefault((vm_id, name), len(self._queue_ids) + 1)
        self._queues.setdefault(number, deque())
        self._listeners[number] = listener
        return number

    def resolve_queue(self, vm_id: bytes, name: bytes) -> int | None:
        return self._queue_ids.get((vm_id, name))

    def queue(self, number: int) -> deque[bytes] | None:
        return self._queues.get(number)

    def enqueue(self, number: int, value: bytes) -> bool:
        """Append an item and tell the listener; False = no such queue."""
        queue = self._queues.get(number)
        if queue is None:
            return False
        queue.append(value)
        listener = self._listeners.get(number)
        if listener is not None:
            listener(number)
        return True
