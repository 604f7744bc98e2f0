"""The proxy-wasm host ABI over wasmtime, as a library of its own: it never imports sidecar.

``Engine`` compiles a module, ``Vm`` runs it, ``Plugin`` is one configuration of it, ``StreamContext`` one
HTTP stream, ``TcpContext`` one TCP connection. The embedder implements the roles of ``wasm_abi.roles``. See
``docs/wasm-abi.md``.
"""

from wasm_abi.abi import (
    AbiVersion,
    BufferType,
    DataAction,
    HeadersAction,
    LogLevel,
    MapType,
    MetricType,
    NetworkAction,
    PeerType,
    Status,
    StreamType,
    TrailersAction,
)
from wasm_abi.calls import Callouts
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
    WasmOutputExceeded,
    WasmTrap,
)
from wasm_abi.module import GuestModule
from wasm_abi.module_cache import ModuleCache
from wasm_abi.plugin import Plugin, StreamContext
from wasm_abi.roles import CalloutHost, HttpStreamHost, Metric, PluginHost, TcpStreamHost
from wasm_abi.shared_store import SharedStore
from wasm_abi.tcp import TcpContext
from wasm_abi.vm import Limits, Vm

__all__ = [
    "AbiVersion",
    "BufferType",
    "CalloutHost",
    "Callouts",
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
    "ModuleCache",
    "ModuleError",
    "NetworkAction",
    "PeerType",
    "Plugin",
    "PluginHost",
    "ReentryError",
    "SharedStore",
    "StartError",
    "Status",
    "StreamContext",
    "StreamType",
    "TcpContext",
    "TcpStreamHost",
    "TrailersAction",
    "Vm",
    "VmFailedError",
    "WasmDeadlineExceeded",
    "WasmError",
    "WasmOutputExceeded",
    "WasmTrap",
]
