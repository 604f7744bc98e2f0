"""One running guest: an instance of a module with its memory, limits and border control.

The VM enters the guest, keeps which context it was entered for (host functions act on that one), runs what
host functions put off until the guest has returned, and turns every failure into ``WasmTrap``. After a trap
it takes no more calls. What the callbacks mean is said in ``plugin``; how calls cross the border, in
``binding``. One VM is used from one thread and is never re-entered.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from struct import Struct
from types import MappingProxyType
from typing import Any, Final, NoReturn, cast

import wasmtime

from wasm_abi import inside_wat as room
from wasm_abi.abi import AbiVersion, LogLevel, Status
from wasm_abi.binding import (
    Binding,
    GuestFunction,
    PublicBinding,
    UncheckedBinding,
    new_store,
    raise_failure,
)
from wasm_abi.calls import GRPC_CALL, GRPC_STREAM, HTTP_CALL, STEP
from wasm_abi.context import Context
from wasm_abi.engine import EPOCHS_TO_DEADLINE, Watched
from wasm_abi.errors import (
    MemoryFault,
    ModuleError,
    ReentryError,
    VmFailedError,
    WasmOutputExceeded,
    WasmTrap,
)
from wasm_abi.failure import describe_failure
from wasm_abi.inside import CALLBACKS, HEADERS, Inside
from wasm_abi.memory import Bytes, GuestMemory, NoMemory
from wasm_abi.module import GuestModule
from wasm_abi.roles import Metric, PluginHost
from wasm_abi.shared_store import SharedStore

_MAX_TABLE_ELEMENTS = 1_000_000
_MAX_PANIC_BYTES = 4096
_MAX_SPARE_BINDINGS = 64
#: No context has a greater number, nor has a call.
MAX_CONTEXT_ID: Final = 0xFFFF_FFFF
#: What a callback's entry returns instead of the guest's result once the guest has answered the stream.
ANSWERED: Final = 0xFFFF_FFFF

NO_ENVIRONMENT: Mapping[str, str] = MappingProxyType({})
ALL_CAPABILITIES: frozenset[str] = frozenset()
#: Takes its arguments and the VM that asks; a status is what the guest gets in the place of a result.
ForeignFunction = Callable[[bytes, "Vm"], "bytes | Status"]
NO_FUNCTIONS: Mapping[bytes, ForeignFunction] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Limits:
    """What one guest may use. The start deadline holds while it starts and is configured.

    ``output_bytes`` is what it may hand to the host in one call, headers, bodies, lines, whatever it is; it
    is stopped between once and twice as much.
    """

    memory_bytes: int = 1 << 30
    call_deadline_s: float = 1.0
    start_deadline_s: float = 10.0
    output_bytes: int = 256 << 20


def _take_binding(module: GuestModule, safe: bool, allowed: frozenset[str]) -> Binding:
    """A binding that has served another VM of this module, or a new one."""
    spare = module.spare_bindings.get((safe, allowed))
    if spare:
        return spare.pop()
    binding: Binding = (PublicBinding if safe else UncheckedBinding)(module.engine.wasmtime_engine)
    for module_name, function in module.imports:
        denied = allowed and function.name not in allowed and function.is_capability
        binding.define(module_name, function.denied() if denied else function)
    return binding


_PUT: Final = Struct("<I").pack_into

_IDLE: Final = Context(0, cast(PluginHost, None))
_DEAD: Final = Context(0, cast(PluginHost, None))


class Vm:
    """A guest that has been instantiated and initialised.

    ``host`` serves the guest while no plugin runs in it. ``environment`` is what WASI shows.
    ``foreign_functions`` take bytes and the VM, and return bytes or a status. ``allowed`` names the host
    functions and callbacks that are to be had (empty: all): the others fail, and are not called. ``safe``
    chooses the public binding; None asks the environment variable ``WASM_ABI_SAFE``. ``on_close`` is called
    once, when it is closed or cannot be made.

    Raises: ModuleError when it cannot be instantiated within the limits; WasmTrap when it traps at start.
    """

    __slots__ = (
        "_allocate", "_binding", "_call_numbers", "_direct", "_entries", "_exports", "_frames",
        "_on_close", "_output_serial", "_panic", "_panic_serial", "_spare_key", "_store", "_watched",
        "abi", "after", "allowed", "configuration", "configuring", "context", "contexts", "deadline_s",
        "engine", "entered", "environment", "failure", "foreign_arguments", "foreign_functions", "host",
        "inside", "is_answered", "is_restricted", "is_started", "limits", "memory", "metric_ids",
        "metrics", "module", "needs_attention", "next_context_id", "read", "serial", "shared", "vm_id",
        "warned", "words", "write", "write_u32", "write_u64",
    )  # fmt: skip

    def __init__(
        self,
        module: GuestModule,
        *,
        host: PluginHost,
        limits: Limits | None = None,
        vm_id: bytes = b"",
        configuration: bytes = b"",
        environment: Mapping[str, str] = NO_ENVIRONMENT,
        foreign_functions: Mapping[bytes, ForeignFunction] = NO_FUNCTIONS,
        shared: SharedStore | None = None,
        allowed: frozenset[str] = ALL_CAPABILITIES,
        safe: bool | None = None,
        inside: bool = True,
        on_close: Callable[[], None] | None = None,
    ) -> None:
        self.module = module
        self.engine = module.engine
        self.abi = module.abi
        self.host = host
        self.limits = Limits() if limits is None else limits
        self.vm_id = vm_id
        self.configuration = configuration
        self.configuring: bytes | None = None
        self.environment = tuple(f"{key}={value}\0".encode() for key, value in environment.items())
        self.foreign_functions = foreign_functions
        self.foreign_arguments = b""
        self.allowed = allowed
        self.shared = self.engine.shared if shared is None else shared
        self.contexts: dict[int, Context] = {}
        self.metrics: dict[int, Metric] = {}
        self.metric_ids: dict[tuple[int, bytes], int] = {}
        self.warned: set[str] = set()
        self.failure: BaseException | None = None
        self.is_answered = False
        self.is_restricted = False
        self.is_started = False
        self.serial = 0
        self.needs_attention = True
        self.deadline_s = self.limits.start_deadline_s
        self.context = _IDLE
        #: Whom the guest was called for, once it has chosen another context, and in which call that was.
        self.entered: tuple[int, Context] = (-1, _IDLE)
        self._on_close = on_close
        self.after: list[tuple[Callable[..., None], tuple[Any, ...]]] = []
        self._entries: dict[str, Callable[..., int] | None] = {}
        self._frames: dict[str, tuple[Any, ...]] = {}
        self.next_context_id = 1
        self._call_numbers = [HTTP_CALL, GRPC_CALL, GRPC_STREAM]
        self._panic = b""
        self._panic_serial = -1
        self._output_serial = -1
        self._use_memory(NoMemory())
        if safe is None:
            safe = os.environ.get("WASM_ABI_SAFE", "") not in ("", "0")
        #: What is answered beside the guest, and the words that say what has to be seen to because of it.
        self.inside: Inside | None = None
        self.words: Any = [0] * 16
        is_inside = (
            inside
            and not safe
            and not allowed
            and self.abi is not AbiVersion.V0_1_0
            and self.limits.memory_bytes >= room.BYTES
        )
        self._store: Any = new_store(self.engine.wasmtime_engine)
        self._store.set_limits(
            memory_size=self.limits.memory_bytes,
            table_elements=_MAX_TABLE_ELEMENTS,
            instances=3 if is_inside else 1,
            memories=2 if is_inside else 1,
        )
        self._binding = _take_binding(module, safe, allowed)
        self._binding.attach(self._store, self)
        self._direct: Any = self._binding.direct
        self._spare_key = (safe, allowed)
        self._watched: Watched | None = self.engine.attach(self)
        self.shared.acquire(vm_id)
        try:
            self._instantiate(is_inside)
        except BaseException:
            self.close()
            raise

    # -- Starting ---------------------------------------------------------------------------------------

    def _instantiate(self, is_inside: bool) -> None:
        """Instantiate and initialise, with only harmless host functions open to the guest."""
        self.is_restricted = True
        context = Context(0, self.host)
        self.attend()
        self.context = context
        try:
            if is_inside:
                self._exports, beside, view = self._binding.instantiate_inside(
                    self.module.wasmtime_module, self.engine.inside_modules(), self._names_inside()
                )
                self.inside = Inside(self, self._binding, beside, view)
                self.words = self.inside.words
            else:
                self._exports = self._binding.instantiate(self.module.wasmtime_module)
        except wasmtime.WasmtimeError as error:
            self._die(error)
            raise ModuleError(f"module cannot be instantiated: {error}") from error
        except BaseException as error:
            self.fail(error)
        self._use_memory(self._binding.memory(self._exports["memory"]))
        self.memory.over = self._over_output
        self._allocate = self._guest_function(self.module.allocator)
        self.context = _IDLE
        exports = self.module.exports
        if "_initialize" in exports:
            self._start(context, "_initialize")
            if "main" in exports:
                self._start(context, "main")
            elif "__main_void" in exports:
                self._start(context, "__main_void")
        elif "_start" in exports:
            self._start(context, "_start")
        self.is_restricted = False

    def _names_inside(self) -> dict[str, tuple[str | None, str]]:
        """The guest's exports by their names inside, and what stands for those that are not there."""
        names: dict[str, tuple[str | None, str]] = {
            name: (export if export in self.module.exports else None, otherwise)
            for name, (export, otherwise) in CALLBACKS.items()
        }
        return {**names, "memory": ("memory", ""), "allocate": (self.module.allocator, "")}

    def begin_entry(self) -> Callable[[Context, int, int, int], int | None] | None:
        """``Inside.begin_entry``, where there is one."""
        direct = self._binding.direct
        has_it = self.inside is not None and "proxy_on_request_headers" in self.module.exports
        return self.inside.begin_entry(direct) if has_it and self.inside and direct else None

    def respond_entry(self) -> Callable[[Context, int, bytes], int] | None:
        """``Inside.respond_entry``, where there is one and the guest looks at both headers and body."""
        direct, exports = self._binding.direct, self.module.exports
        if self.inside is None or direct is None:
            return None
        has_both = "proxy_on_response_headers" in exports and "proxy_on_response_body" in exports
        return self.inside.respond_entry(direct) if has_both else None

    def finish_entry(self) -> Callable[[Context], int] | None:
        """``Inside.finish_entry``, where there is one."""
        direct = self._binding.direct
        return None if self.inside is None or direct is None else self.inside.finish_entry(direct)

    def _start(self, context: Context, name: str) -> None:
        function = self._guest_function(name)
        self._enter(lambda *_no_arguments: function(), context, name)

    def _use_memory(self, memory: GuestMemory) -> None:
        self.memory = memory
        self.read, self.write = memory.read, memory.write
        self.write_u32, self.write_u64 = memory.write_u32, memory.write_u64

    def _over_output(self) -> None:
        """All that the guest may hand over is used up: in this call, or in those since it was so before."""
        limit = self.limits.output_bytes
        if self._output_serial == self.serial:
            raise WasmOutputExceeded(f"the guest handed more than {limit} bytes to the host in one call")
        self._output_serial = self.serial
        self.memory.left = limit

    def _guest_function(self, name: str) -> GuestFunction:
        return self._binding.function(self._exports, name, *self.module.exports[name])

    # -- Into the guest ---------------------------------------------------------------------------------

    def entry(self, name: str) -> Callable[..., int] | None:
        """The way into a callback: ``entry(context, *arguments after the context id)``; None = not exported.

        It returns the guest's result, or ``ANSWERED``. Raises: WasmTrap, VmFailedError, ReentryError, and
        what a deferred action of the embedder raises. A callback that is not allowed counts as not exported.
        """
        entries = self._entries
        if name not in entries:
            entries[name] = self._entry_of(name) if self.has_entry(name) else None
        return entries[name]

    def has_entry(self, name: str) -> bool:
        """Whether the guest exports that callback, and it is allowed."""
        return name in self.module.exports and (not self.allowed or name in self.allowed)

    def _entry_of(self, name: str) -> Callable[..., int]:
        params, _ = self.module.exports[name]
        direct = self._binding.direct
        if direct is not None and self.inside is not None and name in HEADERS:
            return self.inside.headers_entry(name, direct)
        if direct is not None and params <= 3:
            return partial(self._call, name)
        make = self._make_long_entry if params > 3 else self._make_entry
        return make(self._guest_function(name), name)

    def _call(self, name: str, context: Context, first: int = 0, second: int = 0) -> int:
        """What ``_make_entry`` makes, without a function for each callback, nor for the call itself."""
        if self.context is not _IDLE:
            self.refuse()
        self.serial += 1
        if self.needs_attention:
            self.attend()
        self.context = context
        try:
            frame = self._frames.get(name)
            if frame is None:
                frame = self._binding.frame(self._exports, name, *self.module.exports[name])
                self._frames[name] = frame
            lanes, call, trap = self._direct
            lanes[0] = context.id
            lanes[4] = first  # what a callback does not take does no harm
            lanes[8] = second
            error = call(*frame)
            if error is not None or trap:
                raise_failure(error, trap)
            result: int = lanes[0]
        except BaseException as failure:  # the sandbox: a trap, or what a host function raised
            self.fail(failure, name)
        self.context = _IDLE
        return self.finish_call(result) if self.after else result

    def _make_entry(self, guest: GuestFunction, name: str) -> Callable[..., int]:
        # Two plain arguments whatever most callbacks take: stars would cost as much as the rest of this.
        def entry(context: Context, first: int = 0, second: int = 0) -> int:
            if self.context is not _IDLE:
                self.refuse()
            self.serial += 1
            if self.needs_attention:
                self.attend()
            self.context = context
            try:
                result = guest(context.id, first, second)
            except BaseException as error:  # the sandbox: a trap, or what a host function raised
                self.fail(error, name)
            self.context = _IDLE
            return self.finish_call(result) if self.after else result

        return entry

    def _make_long_entry(self, guest: GuestFunction, name: str) -> Callable[..., int]:
        """The same for a callback of more arguments."""

        def entry(context: Context, *arguments: int) -> int:
            return self._enter(lambda number, *_two: guest(number, *arguments), context, name)

        return entry

    def _enter(self, guest: GuestFunction, context: Context, name: str) -> int:
        return self._make_entry(guest, name)(context)

    @property
    def is_running(self) -> bool:
        """Whether the guest is being executed; the watchdog asks, from its own thread."""
        return self.context is not _IDLE and self.context is not _DEAD

    def attend(self) -> None:
        """Arm the deadline afresh and see to it that the watchdog is awake."""
        self.needs_attention = False
        self._store.set_epoch_deadline(EPOCHS_TO_DEADLINE)
        self.engine.wake()

    def refuse(self) -> NoReturn:
        if self.context is _DEAD:
            refused = VmFailedError("the VM failed or was closed and takes no more calls")
            refused.__cause__ = self.failure  # as "from" does, which a compiled form leaves out; below, too
            raise refused
        raise ReentryError("a role called into the guest that was calling it")

    def finish_call(self, result: int) -> int:
        """Run what was put off until the guest returned; tell whether it answered the stream."""
        if not self.after:
            return result
        actions, self.after = self.after, []
        is_answered, self.is_answered = self.is_answered, False
        for action, arguments in actions:
            action(*arguments)
        return ANSWERED if is_answered else result

    def fail(self, error: BaseException, callback: str = "") -> NoReturn:
        """Mark the VM failed and raise what a failed call means."""
        pending, self._binding.pending = self._binding.pending, None
        panic = self._panic.decode(errors="replace") if self._panic_serial == self.serial else None
        failure = describe_failure(error, pending, panic, self.deadline_s)
        if isinstance(failure, WasmTrap):
            failure.callback = callback
        self._die(failure)
        if failure is error or failure is pending:
            raise failure
        failure.__cause__ = error if pending is None else pending
        raise failure

    def _die(self, failure: BaseException) -> None:
        self.failure = failure
        self.context = _DEAD
        self.after.clear()
        self.is_answered = False

    def next_call_number(self, kind: int) -> int:
        """The number of a new call of that kind (``calls``)."""
        number = self._call_numbers[kind] + STEP
        if number > MAX_CONTEXT_ID:
            number = kind + STEP
        self._call_numbers[kind] = number
        return number

    @property
    def called_context(self) -> Context:
        """Whom the guest was called for, whatever context it has chosen since."""
        return self.entered[1] if self.entered[0] == self.serial else self.context

    def new_context_id(self) -> int:
        """A number no live context has."""
        number = self.next_context_id
        while number in self.contexts:
            number = number + 1 if number < MAX_CONTEXT_ID else 1
        self.next_context_id = number + 1 if number < MAX_CONTEXT_ID else 1
        return number

    def started(self) -> None:
        """The guest is configured: from now on the deadline of ordinary calls holds."""
        self.deadline_s = self.limits.call_deadline_s

    def close(self) -> None:
        """Free the instance and its memory. The VM takes no more calls.

        Raises: ReentryError from inside a call out of the guest.
        """
        if self.is_running:
            self.refuse()
        if self._store is None:
            return
        self.context = _DEAD
        if self._watched is not None:
            self.engine.detach(self._watched)
            self._watched = None
        self.shared.release(self.vm_id)
        self.memory.detach()
        self._use_memory(NoMemory())
        self.inside, self.words = None, [0] * 16
        self._entries.clear()
        self._frames.clear()
        self._store.close()
        self._store = None
        if self._on_close is not None:
            self._on_close()
        self._binding.detach()
        spare = self.module.spare_bindings.setdefault(self._spare_key, [])
        if len(spare) < _MAX_SPARE_BINDINGS:
            spare.append(self._binding)

    # -- For host functions -----------------------------------------------------------------------------

    def after_call(self, action: Callable[..., None], *arguments: Any) -> None:
        """Run this once the guest has returned to the host."""
        self.after.append((action, arguments))

    def give(self, data: Bytes, pointer_out: int, size_out: int) -> None:
        """Hand bytes to the guest: copied to memory it allocates, address and size written where it asked.

        No bytes are address 0, size 0. Raises: MemoryFault, when the guest has no memory to give as well;
        whatever the guest's allocator traps with.
        """
        pointer = 0
        if data:
            words = self.words
            fast, words[room.FAST] = (
                words[room.FAST],
                0,
            )  # what is forbidden now is not answered inside either
            self.is_restricted = True
            pointer = self._allocate(len(data))
            self.is_restricted = False
            words[room.FAST] = fast
            if not pointer:
                raise MemoryFault(f"guest could not allocate {len(data)} bytes")
        memory, size = self.memory, len(data)
        end, limit = pointer + size, memory.limit
        if end <= limit and pointer_out + 4 <= limit and size_out + 4 <= limit:
            # As memory.hand_over does, without the call.
            view = memory.view
            view[pointer:end] = data
            _PUT(view, pointer_out, pointer)
            _PUT(view, size_out, size)
        else:
            memory.hand_over(data, pointer, pointer_out, size_out)

    def check_u32(self, pointer: int) -> None:
        """Raises: MemoryFault, where no number can be written there."""
        self.read(pointer, 4)

    def log(self, level: LogLevel, message: bytes) -> None:
        """Pass a line on, and remember errors: should the guest trap now, they say why."""
        if level >= LogLevel.ERROR:
            earlier = self._panic + b"\n" if self._panic_serial == self.serial else b""
            self._panic = (earlier + message)[:_MAX_PANIC_BYTES]
            self._panic_serial = self.serial
        self.context.host.log(level, message)
