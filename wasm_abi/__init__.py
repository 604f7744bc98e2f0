"""The proxy-wasm host ABI over wasmtime, as a library of its own: it never imports sidecar.

``Engine`` compiles a module, ``Vm`` runs it, ``Plugin`` is one configuration of it, ``StreamContext`` one
HTTP stream. The embedder implements the roles of ``wasm_abi.roles``. See ``docs/wasm-abi.md``.
"""

from wasm_abi.abi import (
    AbiVersion,
    BufferType,
    DataAction,
    HeadersAction,
    LogLevel,
    MapType,
    MetricType,
    Status,
    StreamType,
    TrailersAction,
)
from wasm_abi.engine import Engine
from wasm_abi.errors import (
    ConfigureError,
    MissingImportsError,
    ModuleError,
    ReentryError,
    StartError,
    VmFailedError,
    WasmDeadlineExceeded,
    WasmError,
    WasmTrap,
)
from wasm_abi.module import GuestModule
from wasm_abi.plugin import Plugin, StreamContext
from wasm_abi.roles import HttpStreamHost, Metric, PluginHost
from wasm_abi.shared_store import SharedStore
from wasm_abi.vm import Limits, Vm

__all__ = [
    "AbiVersion",
    "BufferType",
    "ConfigureError",
    "DataAction",
    "Engine",
    "GuestModule",
    "HeadersAction",
    "HttpStreamHost",
    "Limits",
    "LogLevel",
    "MapType",
    "Metric",
    "MetricType",
    "MissingImportsError",
    "ModuleError",
    "Plugin",
    "PluginHost",
    "ReentryError",
    "SharedStore",
    "StartError",
    "Status",
    "StreamContext",
    "StreamType",
    "TrailersAction",
    "Vm",
    "VmFailedError",
    "WasmDeadlineExceeded",
    "WasmError",
    "WasmTrap",
]
