"""The engine: compiled modules and the watchdog that stops endless guests.

Wasmtime stops a guest when the engine's epoch passes the store's deadline. Nobody moves the epoch while
guests behave: every VM counts its calls, and the watchdog moves the epoch only when it has seen one call
last longer than that VM's deadline. So a call costs two attribute writes instead of arming a deadline, and
an innocent VM is not cut short by somebody else's deadline: a deadline is two epochs away, the watchdog
moves one per look at the same call, and every VM arms itself again after a move.

A looping guest blocks its caller, so the watchdog is a thread; it sleeps for good while no guest has run for
a second. ``tick`` is one look, for embedders that bring their own thread, and for tests.
"""

import hashlib
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any

import wasmtime

from wasm_abi.abi import AbiVersion
from wasm_abi.errors import ModuleError
from wasm_abi.hostcalls.table import host_functions
from wasm_abi.inside_wat import DOORS, HOST_FUNCTIONS, ROOM
from wasm_abi.module import GuestModule
from wasm_abi.module_cache import ModuleCache
from wasm_abi.shared_store import SharedStore

if TYPE_CHECKING:
    from wasm_abi.binding import InsideModules
    from wasm_abi.vm import Vm

EPOCHS_TO_DEADLINE = 2
_MEMORY_RESERVATION = 1 << 32  # all of a 32-bit memory, so that it never has to move
#: How long no guest has run before it sleeps for good.
_IDLE_S = 1.0
#: Which engine compiled a module, for the cache: to be changed with the settings below.
_SETTINGS = "epochs, memories of 32 bits that do not move; 1"


class Watched:
    """A VM as its engine knows it, which must not keep it: a VM may be compiled, and has no weak references.

    It lives as long as its VM, which holds it, and is forgotten with it.
    """

    __slots__ = ("__weakref__", "vm")

    def __init__(self, vm: "Vm") -> None:
        self.vm = vm


class Engine:
    """Compiles modules and watches over the VMs made of them. One per process and worker.

    ``cache`` keeps compiled modules from one process to the next; ``shared`` is what VMs share.
    """

    def __init__(
        self, *, watchdog: bool = True, cache: ModuleCache | None = None, shared: SharedStore | None = None
    ) -> None:
        config = wasmtime.Config()
        config.epoch_interruption = True
        config.memory_may_move = False
        config.memory_reservation = _MEMORY_RESERVATION
        config.wasm_memory64 = False
        config.wasm_threads = False
        self.wasmtime_engine: Any = wasmtime.Engine(config)
        self.shared = SharedStore() if shared is None else shared
        self._cache = cache
        self._modules: weakref.WeakValueDictionary[bytes, GuestModule] = weakref.WeakValueDictionary()
        self._vms: weakref.WeakSet[Watched] = weakref.WeakSet()
        self._has_watchdog = watchdog
        self._thread: threading.Thread | None = None
        self._awake = threading.Event()
        self._closed = False
        self._inside: InsideModules | None = None
        self._seen: weakref.WeakKeyDictionary[Watched, tuple[int, float]] = weakref.WeakKeyDictionary()

    def compile(self, code: bytes) -> GuestModule:
        """The module of these bytes (binary, or WAT text), compiled once while anybody holds it.

        Raises: ModuleError, with every missing import named in MissingImportsError.
        """
        key = hashlib.sha256(code).digest()
        module = self._modules.get(key)
        if module is None:
            try:
                compiled = self._compiled(code)
            except wasmtime.WasmtimeError as error:
                raise ModuleError(f"not a WebAssembly module: {error}") from error
            module = GuestModule(self, compiled, key)
            self._modules[key] = module
        return module

    def inside_modules(self) -> "InsideModules":
        """The modules of ``inside``, and the host functions that they stand before."""
        if self._inside is None:
            table = host_functions(AbiVersion.V0_2_1)
            doors, room = (self._compiled(text.encode()) for text in (DOORS, ROOM))
            self._inside = doors, room, tuple(table["env", name] for name in HOST_FUNCTIONS)
        return self._inside

    def _compiled(self, code: bytes) -> Any:
        """Compiled, or from the cache.  Raises: wasmtime.WasmtimeError."""
        key = hashlib.sha256(code).digest()
        compiled = self._load(key)
        if compiled is None:
            binary = code if code.startswith(b"\0asm") else bytes(wasmtime.wat2wasm(code))
            compiled = wasmtime.Module(self.wasmtime_engine, binary)
            if self._cache is not None:
                self._cache.store(key, _SETTINGS, bytes(compiled.serialize()))
        return compiled

    def _load(self, key: bytes) -> Any:
        """The compiled module from the disk; None where there is none that fits."""
        serialized = None if self._cache is None else self._cache.load(key, _SETTINGS)
        if serialized is None:
            return None
        try:
            return wasmtime.Module.deserialize(self.wasmtime_engine, serialized)
        except wasmtime.WasmtimeError:  # of another kind of processor, say
            return None

    def tick(self, now: float | None = None) -> None:
        """Look at every VM once; ``now`` is seconds of a monotonic clock."""
        now = time.monotonic() if now is None else now
        for watched in list(self._vms):
            vm = watched.vm
            serial = vm.serial
            if not vm.is_running:
                continue
            seen = self._seen.get(watched)
            if seen is None or seen[0] != serial:
                self._seen[watched] = (serial, now)
            elif now - seen[1] >= vm.deadline_s:
                self._move_epoch()

    def _move_epoch(self) -> None:
        self._call_attention()
        self.wasmtime_engine.increment_epoch()
        self._call_attention()

    def _call_attention(self) -> None:
        """Make every VM arm its deadline, and wake the watchdog, before its next call."""
        for watched in list(self._vms):
            watched.vm.needs_attention = True

    def attach(self, vm: "Vm") -> Watched:
        """Watch over a VM for as long as it holds what it gets; called by the VM."""
        watched = Watched(vm)
        self._vms.add(watched)
        self.wake()
        return watched

    def detach(self, watched: Watched) -> None:
        """Stop watching over a VM; called by the VM when it closes."""
        self._vms.discard(watched)

    def wake(self) -> None:
        """Have the watchdog look again; called by a VM that is about to run after a rest."""
        if self._has_watchdog and not self._closed:
            if self._thread is None:
                self._thread = threading.Thread(target=self._watch, name="wasm-watchdog", daemon=True)
                self._thread.start()
            if not self._awake.is_set():
                self._awake.set()

    def close(self) -> None:
        """End the watchdog. VMs that still run are not watched any more."""
        self._closed = True
        self._awake.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _watch(self) -> None:
        last, idle_s, pause_s = -1, 0.0, 0.0
        while not self._closed:
            vms = [watched.vm for watched in list(self._vms)]
            calls = sum(vm.serial for vm in vms)
            busy = any(vm.is_running for vm in vms)
            idle_s = 0.0 if busy or calls != last else idle_s + pause_s
            last = calls
            if idle_s >= _IDLE_S:
                self._awake.clear()
                self._call_attention()
                # A call that started before it could see the flag shows in the counts, and who attached since
                # then among the VMs: look once more.
                vms = [watched.vm for watched in list(self._vms)]
                still = calls == sum(vm.serial for vm in vms) and not any(vm.is_running for vm in vms)
                del vms
                if still:
                    self._awake.wait()
                idle_s = 0.0
                continue
            shortest = min((vm.deadline_s for vm in vms), default=1.0)
            del vms
            self.tick()
            # A plain wait on the clock: the event is set while awake.  Each look takes the interpreter away
            # from whoever runs: a hundred of them a second cost a proxy that is busy some 3 % of its time.
            pause_s = min(max(shortest / 20, 0.002), 0.05)
            time.sleep(pause_s)
