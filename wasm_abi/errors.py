"""What can go wrong with a guest, as exceptions.

``ModuleError`` and its kin come out of compiling and linking; ``StartError`` and ``ConfigureError`` when
the guest refuses its configuration; ``WasmTrap`` out of any call into the guest. ``MemoryFault`` and
``HostCallForbidden`` are raised inside host functions and never reach the embedder as such.
"""

from collections.abc import Sequence


class WasmError(Exception):
    """Base of everything this library raises on account of a guest."""


class ModuleError(WasmError):
    """The module cannot run here: not Wasm, no known ABI marker, a missing or ill-typed export."""


class MissingImportsError(ModuleError):
    """The module imports what this host does not offer; ``imports`` names each of them."""

    def __init__(self, imports: Sequence[str]) -> None:
        self.imports = tuple(imports)
        super().__init__("module imports what the host does not have: " + ", ".join(self.imports))


class StartError(WasmError):
    """``proxy_on_vm_start`` returned false."""


class ConfigureError(WasmError):
    """``proxy_on_configure`` returned false."""


class VmFailedError(WasmError):
    """The VM trapped earlier and takes no more calls; ``__cause__`` is that first trap."""


class ReentryError(WasmError):
    """The embedder called into a guest from inside a call out of it."""


class WasmTrap(WasmError):
    """A call into the guest ended in a trap; the VM is failed from now on.

    ``reason`` is one line; ``backtrace`` the guest's functions, innermost first, twenty at most; ``panic``
    what the guest said last at error level during that call (a panic's text), or None. A Python exception
    from a host function or a role is the ``__cause__``. ``callback`` is the export that was called,
    ``proxy_on_request_headers`` say; it is known once the error comes out of the library.
    """

    callback = ""

    def __init__(self, reason: str, backtrace: Sequence[str] = (), panic: str | None = None) -> None:
        self.reason = reason
        self.backtrace = tuple(backtrace)
        self.panic = panic
        text = reason if panic is None else f"{reason}: {panic}"
        if self.backtrace:
            text += " (in " + " < ".join(self.backtrace) + ")"
        super().__init__(text)


class WasmDeadlineExceeded(WasmTrap):
    """The guest ran longer than its deadline and was stopped."""


class WasmOutputExceeded(WasmTrap):
    """The guest handed more to the host in one call than it may."""


class MemoryFault(WasmError):
    """A guest pointer does not lie inside the guest's memory."""


class HostCallForbidden(WasmError):
    """A ``proxy_`` function was called while the guest starts or allocates."""
