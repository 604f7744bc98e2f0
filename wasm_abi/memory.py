"""Bounds-checked access to a guest's linear memory.

Two implementations of one interface: ``MappedMemory`` reads and writes the mapping itself through a cached
view; ``PublicMemory`` goes through wasmtime's public ``Memory`` and is the reference the tests hold the
first one to. Pointers and lengths are unsigned. Whatever lies outside raises ``MemoryFault``; nothing is
ever truncated.

The cached view stays valid because the engine forbids memories to move (``engine.Engine``) and a memory
never shrinks: a cached size can only be too small, so it is read again before an access is refused.
"""

import ctypes
from collections.abc import Callable
from struct import Struct
from typing import Any, Protocol

from wasmtime import _bindings as capi

from wasm_abi.errors import MemoryFault

# Function objects of our own, as in ``binding``.
_size = capi.dll["wasmtime_memory_data_size"]
_size.restype = ctypes.c_size_t
_data = capi.dll["wasmtime_memory_data"]
_data.restype = ctypes.c_void_p
_U32 = Struct("<I").pack_into
_U64 = Struct("<Q").pack_into

Bytes = bytes | bytearray | memoryview
#: What is counted of each read besides its bytes, since what is made of them is an object.
OVERHEAD = 64


def _never() -> None:
    """In the place of ``over`` until somebody limits what is read."""


class GuestMemory(Protocol):
    """One guest's memory; every method raises MemoryFault for what lies outside of it.

    Up to ``limit`` it can be read in ``view`` without a call. Who does that looks at the limit first, and
    takes both anew each time, and takes what is read off ``left``.
    """

    limit: int
    view: memoryview
    #: How much the guest may still hand over; what is read is taken off, and some for each time.  Below zero
    #: ``over`` is asked, which gives new or raises.
    left: int
    over: Callable[[], None]

    def read(self, pointer: int, length: int) -> bytes:
        """A copy of that many bytes."""

    def write(self, pointer: int, data: Bytes) -> None:
        """Copy the bytes in."""

    def write_u32(self, pointer: int, value: int) -> None: ...

    def write_u64(self, pointer: int, value: int) -> None: ...

    def hand_over(self, data: Bytes, pointer: int, pointer_out: int, size_out: int) -> None:
        """Copy the bytes to ``pointer``, and write pointer and size where the guest asked."""

    def size(self) -> int:
        """The size in bytes now."""

    def detach(self) -> None:
        """Forget the memory, which is about to go away: every later access faults."""


class MappedMemory:
    """The mapping of a memory that neither moves nor shrinks, seen through a cached view."""

    __slots__ = ("_memory", "_store", "left", "limit", "over", "view")

    def __init__(self, store: Any, memory: Any) -> None:
        self._store: Any = store
        self._memory: Any = memory
        self.limit = 0
        self.view = memoryview(b"")
        self.left = 0
        self.over: Callable[[], None] = _never
        self._refresh()

    def _refresh(self) -> int:
        """Take the size again, and the view with it; returns the size."""
        if self._memory is None:
            return 0
        place = self._store._context(), ctypes.byref(self._memory._memory)
        size: int = _size(*place)
        if size != self.limit:
            base = _data(*place)
            self.view = memoryview((ctypes.c_ubyte * size).from_address(base)).cast("B")
            self.limit = size
        return size

    def size(self) -> int:
        return self._refresh()

    def detach(self) -> None:
        self._memory = self._store = None
        self.limit = 0
        self.view = memoryview(b"")

    def read(self, pointer: int, length: int) -> bytes:
        end = pointer + length
        if end > self.limit and end > self._refresh():
            raise MemoryFault(f"guest memory: read of {length} bytes at {pointer}")
        self.left = left = self.left - length - OVERHEAD
        if left < 0:
            self.over()
        return self.view[pointer:end].tobytes()

    def write(self, pointer: int, data: Bytes) -> None:
        end = pointer + len(data)
        if end > self.limit and end > self._refresh():
            raise MemoryFault(f"guest memory: write of {len(data)} bytes at {pointer}")
        self.view[pointer:end] = data

    def write_u32(self, pointer: int, value: int) -> None:
        if pointer + 4 > self.limit and pointer + 4 > self._refresh():
            raise MemoryFault(f"guest memory: write of 4 bytes at {pointer}")
        _U32(self.view, pointer, value)

    def write_u64(self, pointer: int, value: int) -> None:
        if pointer + 8 > self.limit and pointer + 8 > self._refresh():
            raise MemoryFault(f"guest memory: write of 8 bytes at {pointer}")
        _U64(self.view, pointer, value)

    def hand_over(self, data: Bytes, pointer: int, pointer_out: int, size_out: int) -> None:
        size = len(data)
        end = pointer + size
        here = self.limit
        # Three comparisons: max() costs more than the copy.
        if (end > here or pointer_out + 4 > here or size_out + 4 > here) and (
            max(end, pointer_out + 4, size_out + 4) > self._refresh()
        ):
            raise MemoryFault(f"guest memory: write of {size} bytes at {pointer}, reported at {pointer_out}")
        view = self.view
        view[pointer:end] = data
        _U32(view, pointer_out, pointer)
        _U32(view, size_out, size)


class PublicMemory:
    """The same through wasmtime's public interface, a bounds check and a copy at every access."""

    __slots__ = ("_memory", "_store", "left", "limit", "over", "view")

    def __init__(self, store: Any, memory: Any) -> None:
        self._store: Any = store
        self._memory: Any = memory
        self.limit = 0  # nothing goes past the methods
        self.left = 0
        self.over: Callable[[], None] = _never
        self.view = memoryview(b"")

    def size(self) -> int:
        return 0 if self._memory is None else int(self._memory.data_len(self._store))

    def detach(self) -> None:
        self._memory = self._store = None

    def read(self, pointer: int, length: int) -> bytes:
        if pointer + length > self.size():
            raise MemoryFault(f"guest memory: read of {length} bytes at {pointer}")
        self.left -= length + OVERHEAD
        if self.left < 0:
            self.over()
        return bytes(self._memory.read(self._store, pointer, pointer + length)) if length else b""

    def write(self, pointer: int, data: Bytes) -> None:
        if pointer + len(data) > self.size():
            raise MemoryFault(f"guest memory: write of {len(data)} bytes at {pointer}")
        if data:
            self._memory.write(self._store, bytes(data), pointer)

    def write_u32(self, pointer: int, value: int) -> None:
        self.write(pointer, value.to_bytes(4, "little"))

    def write_u64(self, pointer: int, value: int) -> None:
        self.write(pointer, value.to_bytes(8, "little"))

    def hand_over(self, data: Bytes, pointer: int, pointer_out: int, size_out: int) -> None:
        if max(pointer + len(data), pointer_out + 4, size_out + 4) > self.size():
            raise MemoryFault(
                f"guest memory: write of {len(data)} bytes at {pointer}, reported at {pointer_out}"
            )
        self.write(pointer, data)
        self.write_u32(pointer_out, pointer)
        self.write_u32(size_out, len(data))


class NoMemory:
    """Stands in until the instance exists: a guest's start function has no memory we know of."""

    __slots__ = ("left", "limit", "over", "view")

    def __init__(self) -> None:
        self.limit = 0
        self.view = memoryview(b"")
        self.left = 0
        self.over: Callable[[], None] = _never

    def size(self) -> int:
        return 0

    def detach(self) -> None:
        """There is nothing to forget."""

    def read(self, pointer: int, length: int) -> bytes:
        raise MemoryFault(f"guest memory is not there yet: {length} bytes at {pointer}")

    def write(self, pointer: int, data: Bytes) -> None:
        raise MemoryFault(f"guest memory is not there yet: {len(data)} bytes at {pointer}")

    def write_u32(self, pointer: int, value: int) -> None:
        raise MemoryFault(f"guest memory is not there yet: {value} at {pointer}")

    def write_u64(self, pointer: int, value: int) -> None:
        raise MemoryFault(f"guest memory is not there yet: {value} at {pointer}")

    def hand_over(self, data: Bytes, pointer: int, pointer_out: int, size_out: int) -> None:
        raise MemoryFault(f"guest memory is not there yet: {len(data)} bytes at {pointer}")
