"""How calls cross the border: two bindings to wasmtime with one interface.

``UncheckedBinding`` uses wasmtime's unchecked C API through ctypes: a call into a guest costs half a
microsecond where the public API costs twenty-five. ``PublicBinding`` uses wasmtime's documented Python API;
it is the reference, chosen with ``WASM_ABI_SAFE=1`` or ``Vm(safe=True)``, and every test runs on both.

A binding knows nothing of proxy-wasm. It defines host functions in a linker and makes callables of exports;
whatever goes wrong in a host function is caught here, kept as ``pending`` and turned into a trap: ctypes
would swallow it otherwise and the guest would run on with garbage. This module and ``vm`` are the sandbox.
"""

import ctypes
import sys
from collections.abc import Callable
from struct import Struct
from typing import Any, NoReturn, Protocol

import wasmtime
from wasmtime import _bindings as capi

from wasm_abi.errors import HostCallForbidden, MemoryFault
from wasm_abi.hostcalls.table import HostFunction
from wasm_abi.memory import GuestMemory, MappedMemory, PublicMemory

_LANES = 4  # 32-bit lanes of one wasmtime_val_raw
if ctypes.sizeof(capi.wasmtime_val_raw) != 4 * _LANES or sys.byteorder != "little":
    raise ImportError(
        "wasm_abi does not know this build of wasmtime: wasmtime_val_raw is not 16 bytes, little endian"
    )

_ADDRESS = ctypes.c_void_p
_CALLBACK = ctypes.CFUNCTYPE(_ADDRESS, _ADDRESS, _ADDRESS, _ADDRESS, ctypes.c_size_t)
#: How a parameter lies in its slot of sixteen bytes.
_SLOT = {"i": "I12x", "I": "Q8x"}
#: Slots of arguments come from the guest's stack: a guest that calls from the same depth has them at the same
#: address, so a few views serve all calls.
_MAX_VIEWS = 64
#: Callbacks into guests have no more parameters than this.
_USUAL_PARAMS = 3

# Function objects of our own: wasmtime-py's carry its argument types, which cost as much as the call.
_call = capi.dll["wasmtime_func_call_unchecked"]
_call.restype = _ADDRESS
_new_trap = capi.dll["wasmtime_trap_new"]
_new_trap.restype = _ADDRESS
_new_trap.argtypes = [ctypes.c_char_p, ctypes.c_size_t]
_define = capi.dll["wasmtime_linker_define_func_unchecked"]
_define.restype = _ADDRESS
_define.argtypes = [
    _ADDRESS,
    ctypes.c_char_p,
    ctypes.c_size_t,
    ctypes.c_char_p,
    ctypes.c_size_t,
    *[_ADDRESS] * 4,
]

GuestFunction = Callable[..., int]
#: A call into the guest in pieces: slots of 32 bits for its arguments and its result, what calls it with them
#: (an error or None), what it takes for that, and whether it trapped.
DirectCall = tuple[Any, Callable[..., int | None], tuple[Any, ...], Any]


class Sandboxed(Protocol):
    """What a binding needs to know of the VM it serves."""

    is_restricted: bool


class Binding(Protocol):
    """Calls in and out of one store at a time.

    Offering some forty functions to a guest costs more than everything else that a new VM needs. So a binding
    keeps its linker, and serves one VM after another.
    """

    pending: BaseException | None
    linker: Any

    def attach(self, store: Any, vm: Sandboxed) -> None:
        """Serve this VM from now on."""

    def detach(self) -> None:
        """The VM is gone."""

    def define(self, module: str, function: HostFunction) -> None:
        """Offer a host function to guests under that module name."""

    def function(self, export: Any, params: int, has_result: bool) -> GuestFunction:
        """A callable for a guest export: unsigned numbers in, a number out (0 without result).

        An argument that is left out is 0; up to three may be given whether the guest takes them or not.
        Raises: wasmtime.Trap, wasmtime.WasmtimeError; ``pending`` then holds what a host function raised.
        """

    def direct(self, export: Any, params: int, has_result: bool) -> DirectCall | None:
        """The same for who wants to save a call of ours; None where the export cannot be called so.

        Arguments stand in every fourth slot, three at most; the result is in the first.
        """

    def memory(self, memory: Any) -> GuestMemory: ...


class UncheckedBinding:
    """Calls through the unchecked C API."""

    def __init__(self, engine: Any) -> None:
        self.pending: BaseException | None = None
        self.linker: Any = wasmtime.Linker(engine)
        self._store: Any = None
        self._vm: Any = None
        self._callbacks: list[Any] = []  # the guest holds bare pointers to these

    def attach(self, store: Any, vm: Sandboxed) -> None:
        self._store, self._vm, self.pending = store, vm, None

    def detach(self) -> None:
        self._store = self._vm = self.pending = None

    def memory(self, memory: Any) -> GuestMemory:
        return MappedMemory(self._store, memory)

    def define(self, module: str, function: HostFunction) -> None:
        callback = self._callback(function)
        self._callbacks.append(callback)
        kind = function.wasmtime_type()
        error = _define(
            ctypes.cast(self.linker.ptr(), _ADDRESS),
            module.encode(),
            len(module.encode()),
            function.name.encode(),
            len(function.name.encode()),
            ctypes.cast(kind.ptr(), _ADDRESS),
            ctypes.cast(callback, _ADDRESS),
            None,
            None,
        )
        if error is not None:
            raise _wasmtime_error(error)

    def _callback(self, function: HostFunction) -> Any:
        call, fault, is_guarded = function.call, function.fault, not function.is_always_allowed
        count = len(function.params)
        unpack = Struct("<" + "".join(_SLOT[kind] for kind in function.params)).unpack_from
        slots = ctypes.c_ubyte * (4 * _LANES * max(count, 1))
        views: dict[int, Any] = {}

        def view_of(address: int) -> Any:
            if len(views) >= _MAX_VIEWS:
                views.clear()
            view = views[address] = memoryview(slots.from_address(address)).cast("B").cast("I")
            return view

        def callback(_env: int, _caller: int, address: int, _count: int) -> int | None:
            try:
                view = views.get(address)
                if view is None:
                    view = view_of(address)
                vm = self._vm
                if is_guarded and vm.is_restricted:
                    _forbid(function)
                try:
                    # The commonest by name: a call with stars goes a longer way.
                    if count == 5:
                        first, second, third, fourth, fifth = unpack(view)
                        view[0] = call(vm, first, second, third, fourth, fifth)
                    elif count == 3:
                        first, second, third = unpack(view)
                        view[0] = call(vm, first, second, third)
                    else:
                        view[0] = call(vm, *unpack(view))
                except MemoryFault:
                    view[0] = fault
            except BaseException as error:  # the sandbox: nothing may pass ctypes
                if self.pending is None:  # else a call into the guest from here failed on account of it
                    self.pending = error
                return _trap_address()
            return None

        return _CALLBACK(callback)

    def _frame(self, export: Any, params: int, has_result: bool) -> tuple[Any, tuple[Any, ...], Any]:
        """Slots for arguments, what the call takes, and where a trap is put."""
        slots = max(params, _USUAL_PARAMS)
        arguments = (ctypes.c_uint32 * (_LANES * slots))()
        lanes = memoryview(arguments).cast("B").cast("I")
        trap = _ADDRESS()
        raw_function = export._func
        # Made to arguments once: ctypes would do it for every call.
        store = _ADDRESS.from_param(ctypes.cast(self._store._context(), _ADDRESS).value)
        count = ctypes.c_size_t.from_param(max(params, int(has_result)))
        frame = (store, ctypes.byref(raw_function), ctypes.byref(arguments), count, ctypes.byref(trap))
        return lanes, frame, trap

    def direct(self, export: Any, params: int, has_result: bool) -> DirectCall | None:
        if params > _USUAL_PARAMS:
            return None
        lanes, frame, trap = self._frame(export, params, has_result)
        return lanes, _call, frame, trap

    def function(self, export: Any, params: int, has_result: bool) -> GuestFunction:
        lanes: memoryview
        lanes, frame, trap = self._frame(export, params, has_result)
        call = _call

        def guest(first: int = 0, second: int = 0, third: int = 0) -> int:
            lanes[0] = first
            lanes[_LANES] = second
            lanes[2 * _LANES] = third
            error = call(*frame)
            if error is not None or trap:
                raise_failure(error, trap)
            return lanes[0]

        def guest_of_one(value: int, _second: int = 0, _third: int = 0) -> int:
            lanes[0] = value
            error = call(*frame)
            if error is not None or trap:
                raise_failure(error, trap)
            return lanes[0]

        def guest_of_many(*values: int) -> int:
            for slot, value in enumerate(values):
                lanes[_LANES * slot] = value
            return guest(*values[:_USUAL_PARAMS])

        if params > _USUAL_PARAMS:
            return guest_of_many
        return guest_of_one if params == 1 else guest


class PublicBinding:
    """Calls through wasmtime's public Linker and Func."""

    def __init__(self, engine: Any) -> None:
        self.pending: BaseException | None = None
        self.linker: Any = wasmtime.Linker(engine)
        self._store: Any = None
        self._vm: Any = None

    def attach(self, store: Any, vm: Sandboxed) -> None:
        self._store, self._vm, self.pending = store, vm, None

    def detach(self) -> None:
        self._store = self._vm = self.pending = None

    def memory(self, memory: Any) -> GuestMemory:
        return PublicMemory(self._store, memory)

    def define(self, module: str, function: HostFunction) -> None:
        masks = [0xFFFFFFFFFFFFFFFF if kind == "I" else 0xFFFFFFFF for kind in function.params]

        def callback(*values: int) -> int | None:
            try:
                if not function.is_always_allowed and self._vm.is_restricted:
                    _forbid(function)
                unsigned = [value & mask for value, mask in zip(values, masks, strict=True)]
                result = int(function.call(self._vm, *unsigned))
            except MemoryFault:
                result = function.fault
            except BaseException as error:  # the sandbox, as above
                if self.pending is None:
                    self.pending = error
                raise
            return _signed(result) if function.has_result else None

        self.linker.define_func(module, function.name, function.wasmtime_type(), callback)

    def direct(self, export: Any, params: int, has_result: bool) -> DirectCall | None:
        return None

    def function(self, export: Any, params: int, has_result: bool) -> GuestFunction:
        store = self._store

        def guest(*values: int) -> int:
            given = [*map(_signed, values[:params])]
            result = export(store, *given, *[0] * (params - len(given)))
            return result & 0xFFFFFFFF if has_result else 0

        return guest


def _forbid(function: HostFunction) -> NoReturn:
    raise HostCallForbidden(f"{function.name} called while the guest starts or allocates")


def _signed(value: int) -> int:
    return value - 0x1_0000_0000 if value > 0x7FFF_FFFF else value


def _trap_address() -> int:
    message = b"exception in a host function"
    address: int = _new_trap(message, len(message))
    return address


def _wasmtime_error(address: int) -> Exception:
    error: Exception = wasmtime.WasmtimeError._from_ptr(
        ctypes.cast(address, ctypes.POINTER(capi.wasmtime_error_t))
    )
    return error


def raise_failure(error: int | None, trap: Any) -> NoReturn:
    """Raise what a failed call left behind, taking it over."""
    if error is not None:
        raise _wasmtime_error(error)
    address = trap.value
    trap.value = None
    raise wasmtime.Trap._from_ptr(ctypes.cast(address, ctypes.POINTER(capi.wasm_trap_t)))
