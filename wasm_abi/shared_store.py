"""Key-value data and queues that VMs share, by vm_id.

:class:`SharedState` is what is shared, and everything that changes it is an operation on it, so that an
embedder of several processes can have each of them do the same in the same order.  :class:`SharedStore` is
what the VMs of a process hold; as it stands it is for one process, used from one thread.  What a vm_id has
is dropped when its last VM closes.  Spec: proxy-wasm 0.2.1, "Shared Key-Value Store", "Shared Queues".
"""

from collections import Counter, deque
from collections.abc import Callable
from typing import Any

__all__ = ["MAX_SHARED_BYTES", "QueueListener", "SharedState", "SharedStore", "StoreFullError"]

QueueListener = Callable[[int], None]
#: What all data and queues may take.
MAX_SHARED_BYTES = 64 << 20
#: What an entry, an item or a name takes besides its bytes.
_OVERHEAD = 64
#: Numbers of queues and of values are 32 bits, and not 0.
_NUMBERS = 0xFFFF_FFFF


class StoreFullError(ValueError):
    """There is no room for what a guest wants kept."""


class SharedState:
    """The data and the queues.  A process is whoever made a queue: it is told of what comes into it."""

    def __init__(self, max_bytes: int = MAX_SHARED_BYTES) -> None:
        self._max_bytes = max_bytes
        self._size = 0
        #: vm_id → key → value and its compare-and-swap number.
        self.data: dict[bytes, dict[bytes, tuple[bytes, int]]] = {}
        self._last_cas = 0
        #: (vm_id, name) → number.
        self.queue_numbers: dict[tuple[bytes, bytes], int] = {}
        self._last_queue = 0
        #: number → process, items.
        self._queues: dict[int, tuple[int, deque[bytes]]] = {}

    def apply(self, operation: tuple[Any, ...]) -> Any:
        """Do an operation: the name of one of the methods below, and its arguments."""
        name, *arguments = operation
        return getattr(self, name)(*arguments)

    def _grow(self, size: int) -> None:
        if size > 0 and self._size + size > self._max_bytes:
            raise StoreFullError(f"{self._size} bytes are shared, and {self._max_bytes} may be")
        self._size += size

    # -- data ---------------------------------------------------------------------------------------------
    def set(self, vm_id: bytes, key: bytes, value: bytes, cas: int) -> bool:
        """False when ``cas`` is neither 0 nor the number of what is there.  Raises: StoreFullError."""
        data = self.data.get(vm_id)
        current = None if data is None else data.get(key)
        if cas and current is not None and current[1] != cas:
            return False
        if current is not None:
            self._grow(len(value) - len(current[0]))
        else:
            self._grow(len(key) + len(value) + _OVERHEAD + (len(vm_id) + _OVERHEAD if data is None else 0))
        if data is None:
            data = self.data[vm_id] = {}
        self._last_cas = self._last_cas % _NUMBERS + 1
        data[key] = (value, self._last_cas)
        return True

    def drop(self, vm_id: bytes) -> None:
        """Forget what a vm_id has."""
        data = self.data.pop(vm_id, None)
        if data is not None:
            self._size -= len(vm_id) + _OVERHEAD
            self._size -= sum(len(key) + len(value) + _OVERHEAD for key, (value, _) in data.items())
        for owner, name in [each for each in self.queue_numbers if each[0] == vm_id]:
            _, items = self._queues.pop(self.queue_numbers.pop((owner, name)))
            self._size -= len(vm_id) + len(name) + _OVERHEAD
            self._size -= sum(len(item) + _OVERHEAD for item in items)

    # -- queues -------------------------------------------------------------------------------------------
    def register(self, vm_id: bytes, name: bytes, process: int) -> int:
        """The number of a queue, which is this process's from now on.  Raises: StoreFullError."""
        number = self.queue_numbers.get((vm_id, name))
        if number is None:
            self._grow(len(vm_id) + len(name) + _OVERHEAD)
            number = self._last_queue % _NUMBERS + 1
            while number in self._queues:
                number = number % _NUMBERS + 1
            self._last_queue = self.queue_numbers[vm_id, name] = number
            self._queues[number] = process, deque()
        else:
            self._queues[number] = process, self._queues[number][1]
        return number

    def has_queue(self, number: int) -> bool:
        """Whether there is such a queue."""
        return number in self._queues

    def enqueue(self, number: int, value: bytes) -> int | None:
        """Append an item: whose the queue is; None = no such queue.  Raises: StoreFullError."""
        found = self._queues.get(number)
        if found is None:
            return None
        self._grow(len(value) + _OVERHEAD)
        found[1].append(value)
        return found[0]

    def take(self, number: int) -> bytes | bool:
        """The first item, which is gone then; True = it is empty, False = no such queue."""
        found = self._queues.get(number)
        if found is None:
            return False
        if not found[1]:
            return True
        item = found[1].popleft()
        self._size -= len(item) + _OVERHEAD
        return item

    def put_back(self, number: int, item: bytes) -> None:
        """Have an item that was taken be the first again."""
        found = self._queues.get(number)
        if found is not None:
            found[1].appendleft(item)
            self._size += len(item) + _OVERHEAD

    # -- as one value -------------------------------------------------------------------------------------
    def save(self) -> Any:
        """All of it, of what ``marshal`` knows."""
        queues = [(number, process, list(items)) for number, (process, items) in self._queues.items()]
        return self.data, self.queue_numbers, queues, self._last_cas, self._last_queue, self._size

    def restore(self, saved: Any) -> None:
        """Be what ``save`` gave."""
        self.data, self.queue_numbers, queues, self._last_cas, self._last_queue, self._size = saved
        self._queues = {number: (process, deque(items)) for number, process, items in queues}


class SharedStore:
    """What guests share.  ``acquire`` and ``release`` count who uses a vm_id, VMs for one."""

    def __init__(self, max_bytes: int = MAX_SHARED_BYTES) -> None:
        self.state = SharedState(max_bytes)
        self._users: Counter[bytes] = Counter()
        self._listeners: dict[int, QueueListener | None] = {}

    def acquire(self, vm_id: bytes) -> None:
        """One more uses it."""
        self._users[vm_id] += 1

    def release(self, vm_id: bytes) -> None:
        """One less uses it; with the last one goes what is kept for it."""
        self._users[vm_id] -= 1
        if self._users[vm_id] <= 0:
            del self._users[vm_id]
            self.drop(vm_id)
            for number in [each for each in self._listeners if not self.state.has_queue(each)]:
                del self._listeners[number]

    # -- for an embedder of several processes to do otherwise ---------------------------------------------
    def do(self, *operation: Any) -> Any:
        """Do an operation of the state."""
        return self.state.apply(operation)

    def look(self) -> SharedState:
        """The state as it is now."""
        return self.state

    def drop(self, vm_id: bytes) -> None:
        """Nobody here uses the vm_id any more."""
        self.state.drop(vm_id)

    def tell(self, process: int, number: int) -> None:
        """An item came into a queue of that process."""
        self.told(number)

    #: Which of the processes this is.
    process = 0

    # -- for host functions -------------------------------------------------------------------------------
    def get(self, vm_id: bytes, key: bytes) -> tuple[bytes, int] | None:
        """The value and its compare-and-swap number."""
        data = self.look().data.get(vm_id)
        return None if data is None else data.get(key)

    def set(self, vm_id: bytes, key: bytes, value: bytes, cas: int) -> bool:
        """``SharedState.set``."""
        is_set: bool = self.do("set", vm_id, key, value, cas)
        return is_set

    def register_queue(self, vm_id: bytes, name: bytes, listener: QueueListener | None) -> int:
        """The queue's id, never 0; the newest registrant is the one who is told of items."""
        number: int = self.do("register", vm_id, name, self.process)
        self._listeners[number] = listener
        return number

    def resolve_queue(self, vm_id: bytes, name: bytes) -> int | None:
        """The id of a queue that somebody has registered."""
        return self.look().queue_numbers.get((vm_id, name))

    def enqueue(self, number: int, value: bytes) -> bool:
        """Append an item and tell whose the queue is; False = no such queue."""
        process = self.do("enqueue", number, value)
        if process is None:
            return False
        self.tell(process, number)
        return True

    def take(self, number: int) -> bytes | bool:
        """``SharedState.take``."""
        item: bytes | bool = self.do("take", number)
        return item

    def put_back(self, number: int, item: bytes) -> None:
        """``SharedState.put_back``."""
        self.do("put_back", number, item)

    def told(self, number: int) -> None:
        """An item came into a queue that was registered here."""
        listener = self._listeners.get(number)
        if listener is not None:
            listener(number)
