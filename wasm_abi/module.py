"""A compiled module, checked: which ABI it speaks, what it exports, what it needs.

Everything that can be refused is refused here, before a VM exists: an unknown ABI, no allocator, no memory,
exports or imports of the wrong type, imports that the host does not have.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import wasmtime

from wasm_abi.abi import AbiVersion
from wasm_abi.errors import MissingImportsError, ModuleError
from wasm_abi.hostcalls.table import HostFunction, host_functions

if TYPE_CHECKING:
    from wasm_abi.binding import Binding
    from wasm_abi.engine import Engine

#: Guest exports: number of i32 parameters, whether there is an i32 result (proxy-wasm 0.2.1, "Callbacks").
EXPORTS: Mapping[str, tuple[int, bool]] = MappingProxyType(
    {
        "_initialize": (0, False),
        "_start": (0, False),
        "main": (2, True),
        "__main_void": (0, True),
        "malloc": (1, True),
        "proxy_on_memory_allocate": (1, True),
        "proxy_on_context_create": (2, False),
        "proxy_on_vm_start": (2, True),
        "proxy_on_configure": (2, True),
        "proxy_on_tick": (1, False),
        "proxy_on_request_headers": (3, True),
        "proxy_on_request_body": (3, True),
        "proxy_on_request_trailers": (2, True),
        "proxy_on_response_headers": (3, True),
        "proxy_on_response_body": (3, True),
        "proxy_on_response_trailers": (2, True),
        "proxy_on_request_metadata": (2, True),
        "proxy_on_response_metadata": (2, True),
        "proxy_on_new_connection": (1, True),
        "proxy_on_downstream_data": (3, True),
        "proxy_on_upstream_data": (3, True),
        "proxy_on_downstream_connection_close": (2, False),
        "proxy_on_upstream_connection_close": (2, False),
        "proxy_on_queue_ready": (2, False),
        "proxy_on_http_call_response": (5, False),
        "proxy_on_grpc_receive_initial_metadata": (3, False),
        "proxy_on_grpc_receive": (3, False),
        "proxy_on_grpc_receive_trailing_metadata": (3, False),
        "proxy_on_grpc_close": (3, False),
        "proxy_on_foreign_function": (3, False),
        "proxy_on_done": (1, True),
        "proxy_on_log": (1, False),
        "proxy_on_delete": (1, False),
    }
)
_HEADERS_CALLBACKS = ("proxy_on_request_headers", "proxy_on_response_headers")
_WASI_MODULES = ("wasi_snapshot_preview1", "wasi_unstable")


class GuestModule:
    """A module that can run here. Immutable and shared by the VMs made of it.

    ``digest`` is the SHA-256 of the code as it was given.
    """

    __slots__ = (
        "__weakref__",
        "abi",
        "allocator",
        "digest",
        "engine",
        "exports",
        "imports",
        "spare_bindings",
        "wasmtime_module",
    )

    def __init__(self, engine: "Engine", module: Any, digest: bytes) -> None:
        self.engine = engine
        self.wasmtime_module = module
        self.digest = digest
        types = {export.name: export.type for export in module.exports}
        self.abi = _abi_version(types)
        self.exports = {name: _signature(self.abi, name) for name in EXPORTS if name in types}
        for name, signature in self.exports.items():
            _check_export(name, types[name], *signature)
        if not isinstance(types.get("memory"), wasmtime.MemoryType):
            raise ModuleError("module does not export its memory under the name 'memory'")
        allocator = next(
            (name for name in ("malloc", "proxy_on_memory_allocate") if name in self.exports), None
        )
        if allocator is None:
            raise ModuleError("module exports neither malloc nor proxy_on_memory_allocate")
        self.allocator = allocator
        self.imports = _resolve_imports(self.abi, module)
        #: What calls across the border need and no VM uses now, by what it was made for (``vm``).
        self.spare_bindings: dict[tuple[bool, frozenset[str]], list[Binding]] = {}


def _abi_version(types: Mapping[str, Any]) -> AbiVersion:
    for version in reversed(AbiVersion):
        if version.value in types:
            return version
    others = sorted(name for name in types if name.startswith("proxy_abi_version_"))
    if others:
        raise ModuleError(f"module speaks an ABI that the host does not know: {', '.join(others)}")
    raise ModuleError("module exports no proxy_abi_version_X_Y_Z marker: not a proxy-wasm module")


def _signature(abi: AbiVersion, name: str) -> tuple[int, bool]:
    if abi is AbiVersion.V0_1_0 and name in _HEADERS_CALLBACKS:
        return (2, True)  # no end_of_stream yet
    return EXPORTS[name]


def _check_export(name: str, export: Any, params: int, has_result: bool) -> None:
    fits = (
        isinstance(export, wasmtime.FuncType)
        and [str(kind) for kind in export.params] == ["i32"] * params
        and [str(kind) for kind in export.results] == ["i32"] * has_result
    )
    if not fits:
        result = " -> i32" if has_result else ""
        raise ModuleError(f"export {name} is not a function of {params} i32{result}")


def _resolve_imports(abi: AbiVersion, module: Any) -> tuple[tuple[str, HostFunction], ...]:
    """Which host function stands for each import, with the import's module name."""
    found: dict[tuple[str, str], HostFunction] = {}
    missing = []
    for item in module.imports:
        group = "wasi" if item.module in _WASI_MODULES else item.module
        function = host_functions(abi).get((group, item.name))
        if function is None:
            missing.append(f"{item.module}.{item.name}")
        elif not isinstance(item.type, wasmtime.FuncType) or not function.fits(item.type):
            missing.append(f"{item.module}.{item.name} (here it is {function.describe()})")
        else:
            found[item.module, item.name] = function
    if missing:
        raise MissingImportsError(missing)
    return tuple((module_name, function) for (module_name, _), function in found.items())
