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
from functools import cache
from struct import Struct
from typing import Any, Final, NoReturn, Protocol

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
#: Most exports of guests have no more parameters than this, and none more than that.
_USUAL_PARAMS = 3
_MOST_PARAMS = 8
_COUNTS = tuple(ctypes.c_size_t.from_param(count) for count in range(_MOST_PARAMS + 1))

# Function objects of our own: wasmtime-py's carry its argument types, which cost as much as the call.
_call = capi.dll["wasmtime_func_call_unchecked"]
_call.restype = _ADDRESS
_export = capi.dll["wasmtime_instance_export_get"]
_export.restype = ctypes.c_bool
_instantiate = capi.dll["wasmtime_instance_pre_instantiate"]
_instantiate.restype = _ADDRESS
_offer = capi.dll["wasmtime_linker_define"]
_offer.restype = _ADDRESS
_offer.argtypes = [
    _ADDRESS,
    _ADDRESS,
    ctypes.c_char_p,
    ctypes.c_size_t,
    ctypes.c_char_p,
    ctypes.c_size_t,
    _ADDRESS,
]
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
#: The doors and the room of ``inside``, compiled, and the host functions that they stand before.
InsideModules = tuple[Any, Any, tuple[HostFunction, ...]]
InsideNames = dict[str, tuple[str | None, str]]
#: What all direct calls of a binding share: slots of 32 bits for arguments and the result, what calls the
#: guest with a frame (an error or None), and whether that trapped.
DirectCalls = tuple[Any, Callable[..., int | None], Any]


class Sandboxed(Protocol):
    """What a binding needs to know of the VM it serves."""

    is_restricted: bool
    #: The first is not 0 where ``inside`` has to see to something before a host function is run.
    words: Any
    inside: Any


class Binding(Protocol):
    """Calls in and out of one store at a time.

    Offering some forty functions to a guest costs more than everything else that a new VM needs. So a binding
    keeps its linker, and serves one VM after another.
    """

    pending: BaseException | None
    linker: Any
    #: For who wants to save a function of ours: arguments stand in every fourth slot, the result is in the
    #: first. None where exports cannot be called so.
    direct: DirectCalls | None

    def attach(self, store: Any, vm: Sandboxed) -> None:
        """Serve this VM from now on."""

    def detach(self) -> None:
        """The VM is gone."""

    def define(self, module: str, function: HostFunction) -> None:
        """Offer a host function to guests under that module name."""

    def function(self, exports: Any, name: str, params: int, has_result: bool) -> GuestFunction:
        """A callable for a guest export: unsigned numbers in, a number out (0 without result).

        An argument that is left out is 0; up to three may be given whether the guest takes them or not.
        Raises: wasmtime.Trap, wasmtime.WasmtimeError; ``pending`` then holds what a host function raised.
        """

    def frame(self, exports: Any, name: str, params: int, has_result: bool) -> tuple[Any, ...]:
        """What ``direct`` calls that export with."""

    def instantiate(self, module: Any) -> Any:
        """An instance's exports, by name. Raises: wasmtime.Trap, wasmtime.WasmtimeError."""

    def instantiate_inside(
        self, module: Any, modules: InsideModules, names: InsideNames
    ) -> tuple[Any, Any, memoryview]:
        """The same with the two modules of ``inside`` beside it: also their exports, and their memory.

        ``names`` are the guest's exports by what ``inside`` calls them, and what stands for one that is not
        there.
        """

    def memory(self, memory: Any) -> GuestMemory: ...


#: What wasmtime-py makes anew for each store: there is nothing to free with it.
_NO_FINALIZER = ctypes.cast(0, ctypes.CFUNCTYPE(None, _ADDRESS))


def new_store(engine: Any) -> Any:
    """A ``wasmtime.Store``."""
    store: Any = wasmtime.Store.__new__(wasmtime.Store)
    pointer = capi.wasmtime_store_new(engine.ptr(), None, _NO_FINALIZER)
    store._set_ptr(pointer)
    store._Store__context = capi.wasmtime_store_context(pointer)
    store.engine = engine
    return store


_Extern = capi.wasmtime_extern_t
_Instance = capi.wasmtime_instance_t


@cache
def _text(name: str) -> tuple[bytes, Any]:
    """A name of the ABI, and its length, as arguments."""
    text = name.encode()
    return text, ctypes.c_size_t.from_param(len(text))


#: Where in an export the function is, and how many exports a guest is usually asked for.
_FUNCTION_AT: Final = _Extern.of.offset
_EXTERN_SIZE: Final = ctypes.sizeof(_Extern)
_USUAL_EXPORTS: Final = 16
_Externs = _Extern * _USUAL_EXPORTS


class _Exports:
    """The exports of an instance, each looked up when it is asked for: most are never used."""

    __slots__ = ("_context", "_instance", "_room", "_used")

    def __init__(self, context: Any, instance: Any) -> None:
        self._context = context
        self._instance = ctypes.byref(instance)
        self._room = _Externs()
        self._used = 0

    def function(self, name: str) -> Any:
        """A reference to the function of that name, as a call takes it."""
        used = self._used
        if used == _USUAL_EXPORTS:
            self._room = _Externs()  # who refers to the one before keeps it
            used = 0
        at = used * _EXTERN_SIZE
        room = self._room
        if not _export(self._context, self._instance, *_text(name), ctypes.byref(room, at)):
            raise KeyError(name)
        self._used = used + 1
        return ctypes.byref(room, at + _FUNCTION_AT)

    def __getitem__(self, name: str) -> Any:
        """What the export is: a ``wasmtime_extern_union``."""
        return self.extern(name).of

    def extern(self, name: str) -> Any:
        """The export as a linker takes it."""
        item = _Extern()
        if not _export(self._context, self._instance, *_text(name), ctypes.byref(item)):
            raise KeyError(name)
        return item


class UncheckedBinding:
    """Calls through the unchecked C API."""

    def __init__(self, engine: Any) -> None:
        self.pending: BaseException | None = None
        self.linker: Any = wasmtime.Linker(engine)
        self._store: Any = None
        self._vm: Any = None
        self._callbacks: list[Any] = []  # the guest holds bare pointers to these
        self._pre: Any = None
        self._pre_pointer: Any = None
        #: Where a guest and what stands beside it are linked.
        self._beside: Any = None
        # One set of slots for all calls: wasmtime takes arguments out before the guest runs, and puts the
        # result in when it has returned, so a call in the middle of another one does no harm.
        arguments = (ctypes.c_uint32 * (_LANES * _MOST_PARAMS))()
        self._lanes = memoryview(arguments).cast("B").cast("I")
        self._trap = _ADDRESS()
        self._references = ctypes.byref(arguments), ctypes.byref(self._trap)
        self._context: Any = None
        self.direct: DirectCalls | None = (self._lanes, _call, self._trap)

    def attach(self, store: Any, vm: Sandboxed) -> None:
        self._store, self._vm, self.pending = store, vm, None
        # Made to an argument once: ctypes would do it for every call, here and below.
        # (A cast would leave a pointer that refers to itself, for the collector.)
        self._context = _ADDRESS.from_param(ctypes.addressof(store._context().contents))

    def detach(self) -> None:
        self._store = self._vm = self.pending = self._context = None

    def instantiate(self, module: Any) -> Any:
        if self._pre is None:  # a binding serves VMs of one module
            self._pre = self.linker.instantiate_pre(module)
            self._pre_pointer = _ADDRESS.from_param(ctypes.cast(self._pre.ptr(), _ADDRESS).value)
        instance = _Instance()
        trap = self._trap
        error = _instantiate(self._pre_pointer, self._context, ctypes.byref(instance), self._references[1])
        if error is not None or trap:
            raise_failure(error, trap)
        return _Exports(self._context, instance)

    def instantiate_inside(
        self, module: Any, modules: InsideModules, names: InsideNames
    ) -> tuple[Any, Any, memoryview]:
        doors_module, room_module, functions = modules
        if self._beside is None:
            self._beside = self._make_beside(functions)
        doors = self._instance_beside(doors_module)
        for function in functions:
            self._offer("env", function.name, doors.extern(function.name))
        self._offer("doors", "doors", doors.extern("doors"))
        guest = self._instance_beside(module)
        for name, (export, otherwise) in names.items():
            found = doors.extern(otherwise) if export is None else guest.extern(export)
            self._offer("guest", name, found)
        room = self._instance_beside(room_module)
        memory = wasmtime.Memory._from_raw(room["room"].memory)
        return guest, room, MappedMemory(self._store, memory).view

    def _make_beside(self, functions: tuple[HostFunction, ...]) -> Any:
        """A linker of what all VMs are offered, to which each of them adds what is its own.

        The next one takes its place: looking forty functions up anew would cost more than the rest.
        """
        linker: Any = wasmtime.Linker.__new__(wasmtime.Linker)
        linker._set_ptr(capi.wasmtime_linker_clone(self.linker.ptr()))
        linker.allow_shadowing = True
        for function in functions:
            self._define(linker, "host", function)
        return linker

    def _instance_beside(self, module: Any) -> _Exports:
        instance = self._beside.instantiate(self._store, module)
        return _Exports(self._context, instance._instance)

    def _offer(self, module: str, name: str, item: Any) -> None:
        """Offer an export of this VM's to the modules that are made after it."""
        linker = ctypes.cast(self._beside.ptr(), _ADDRESS)
        place = module.encode(), len(module), name.encode(), len(name)
        error = _offer(linker, self._context, *place, ctypes.byref(item))
        if error is not None:
            raise _wasmtime_error(error)

    def memory(self, memory: Any) -> GuestMemory:
        return MappedMemory(self._store, wasmtime.Memory._from_raw(memory.memory))

    def define(self, module: str, function: HostFunction) -> None:
        self._define(self.linker, module, function)

    def _define(self, linker: Any, module: str, function: HostFunction) -> None:
        callback = self._callback(function)
        self._callbacks.append(callback)
        kind = function.wasmtime_type()
        error = _define(
            ctypes.cast(linker.ptr(), _ADDRESS),
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

        def trap(error: BaseException) -> int:
            if self.pending is None:  # else a call into the guest from here failed on account of it
                self.pending = error
            return _trap_address()

        def callback(_env: int, _caller: int, address: int, _count: int) -> int | None:
            try:
                view = views.get(address)
                if view is None:
                    view = view_of(address)
                vm = self._vm
                if is_guarded and vm.is_restricted:
                    _forbid(function)
                if vm.words[0] and vm.inside.attend(vm.context) and is_guarded:
                    _forbid(function)
                try:
                    view[0] = call(vm, *unpack(view))
                except MemoryFault:
                    view[0] = fault
            except BaseException as error:  # the sandbox: nothing may pass ctypes
                return trap(error)
            return None

        def callback_of_five(_env: int, _caller: int, address: int, _count: int) -> int | None:
            # The same for the commonest: a call with stars goes a longer way.
            try:
                view = views.get(address)
                if view is None:
                    view = view_of(address)
                vm = self._vm
                if is_guarded and vm.is_restricted:
                    _forbid(function)
                if vm.words[0] and vm.inside.attend(vm.context) and is_guarded:
                    _forbid(function)
                first, second, third, fourth, fifth = unpack(view)
                try:
                    view[0] = call(vm, first, second, third, fourth, fifth)
                except MemoryFault:
                    view[0] = fault
            except BaseException as error:  # the sandbox, as above
                return trap(error)
            return None

        return _CALLBACK(callback_of_five if count == 5 else callback)

    def frame(self, exports: Any, name: str, params: int, has_result: bool) -> tuple[Any, ...]:
        arguments, trap = self._references
        count = _COUNTS[params or has_result]
        return self._context, exports.function(name), arguments, count, trap

    def function(self, exports: Any, name: str, params: int, has_result: bool) -> GuestFunction:
        lanes, trap = self._lanes, self._trap
        frame = self.frame(exports, name, params, has_result)
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
        self.direct: DirectCalls | None = None

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

    def instantiate(self, module: Any) -> Any:
        return self.linker.instantiate(self._store, module).exports(self._store)

    def instantiate_inside(
        self, module: Any, modules: InsideModules, names: InsideNames
    ) -> tuple[Any, Any, memoryview]:
        raise NotImplementedError("nothing is answered inside here")

    def frame(self, exports: Any, name: str, params: int, has_result: bool) -> tuple[Any, ...]:
        raise NotImplementedError("nothing is called directly here")

    def function(self, exports: Any, name: str, params: int, has_result: bool) -> GuestFunction:
        store, export = self._store, exports[name]

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
