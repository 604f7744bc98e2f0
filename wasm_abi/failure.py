"""From wasmtime's traps to ``WasmTrap``: one line of reason and the names of the guest's functions."""

import ctypes
import re

import wasmtime
from wasmtime import _bindings as capi
from wasmtime._trap import Frame, FrameList

from wasm_abi.errors import WasmDeadlineExceeded, WasmTrap
from wasm_abi.inside_wat import DOORS_NAME, ROOM_NAME

_MAX_FRAMES = 20
_HASH = re.compile("h[0-9a-f]{16}")


def describe_failure(
    error: BaseException, pending: BaseException | None, panic: str | None, deadline_s: float
) -> BaseException:
    """What to raise for a failed call: a WasmTrap, or the very exception when it is not an Exception.

    ``error`` is what the call raised, ``pending`` what a host function raised inside of it, if one did.
    """
    cause = error if pending is None else pending
    if not isinstance(cause, Exception):
        return cause
    backtrace = _backtrace(error)
    if isinstance(cause, WasmTrap):
        return cause
    if not isinstance(cause, wasmtime.Trap | wasmtime.WasmtimeError):
        return WasmTrap(f"{type(cause).__name__} in a host function: {cause}", backtrace, panic)
    if pending is not None:
        backtrace = _backtrace(pending) + backtrace
    if isinstance(cause, wasmtime.Trap):
        code = cause.trap_code
        if code is wasmtime.TrapCode.INTERRUPT:
            return WasmDeadlineExceeded(f"the guest ran longer than {deadline_s:g} s", backtrace, panic)
        if code is not None:
            return WasmTrap(code.name.lower().replace("_", " "), backtrace, panic)
    lines = str(cause).strip().splitlines()
    return WasmTrap(lines[-1].strip() if lines else "trap", backtrace, panic)


def _backtrace(error: BaseException) -> list[str]:
    if isinstance(error, wasmtime.Trap):
        frames = error.frames
    elif isinstance(error, wasmtime.WasmtimeError):  # how a trap made by a host function comes back
        trace = FrameList(error)
        capi.wasmtime_error_wasm_trace(error.ptr(), ctypes.byref(trace.vec))
        frames = [Frame._from_ptr(trace.vec.data[index], trace) for index in range(trace.vec.size)]
    else:
        return []
    return [
        _readable(frame.func_name) if frame.func_name else f"function {frame.func_index}"
        for frame in frames[:_MAX_FRAMES]
        if frame.module_name not in (DOORS_NAME, ROOM_NAME)
    ]


def _readable(name: str) -> str:
    """A function's name; Rust's older mangling (``_ZN`` length text … ``E``) is taken apart."""
    if not name.startswith("_ZN") or not name.endswith("E"):
        return name
    parts, rest = [], name[3:-1]
    while rest:
        digits = len(rest) - len(rest.lstrip("0123456789"))
        size = int(rest[:digits] or 0)
        if not size or digits + size > len(rest):
            return name
        parts.append(rest[digits : digits + size])
        rest = rest[digits + size :]
    if parts and _HASH.fullmatch(parts[-1]):
        parts.pop()
    return "::".join(parts) or name
