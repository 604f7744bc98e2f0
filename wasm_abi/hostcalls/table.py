"""THE list of host functions: name, parameters, versions, implementation.

``host_functions`` gives the table of one ABI version. The page ``docs/wasm-abi.md`` is checked against it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from types import MappingProxyType
from typing import Any

import wasmtime

from wasm_abi.abi import AbiVersion, Errno, LogLevel, Status
from wasm_abi.hostcalls import buffers, callouts, general, headers, metrics, properties, shared, streams, wasi

_U32 = 0xFFFFFFFF
_V01 = frozenset({AbiVersion.V0_1_0})
_V02 = frozenset({AbiVersion.V0_2_0, AbiVersion.V0_2_1})
_V021 = frozenset({AbiVersion.V0_2_1})
_ALL = _V01 | _V02


@dataclass(frozen=True, slots=True)
class HostFunction:
    """One importable function.

    ``params`` has one letter per parameter: ``i`` for i32, ``I`` for i64; both arrive unsigned.
    ``fault`` is what it returns when a guest pointer is bad. ``is_always_allowed`` functions may also be
    called while the guest starts or allocates.
    """

    group: str
    name: str
    params: str
    call: Callable[..., int]
    versions: frozenset[AbiVersion] = _ALL
    has_result: bool = True
    fault: int = Status.INVALID_MEMORY_ACCESS
    is_always_allowed: bool = False

    def wasmtime_type(self) -> Any:
        kinds = {"i": wasmtime.ValType.i32, "I": wasmtime.ValType.i64}
        return wasmtime.FuncType([kinds[kind]() for kind in self.params], [kinds["i"]()] * self.has_result)

    def fits(self, kind: Any) -> bool:
        """Whether an import of that wasmtime type can be linked to this function."""
        names = {"i": "i32", "I": "i64"}
        return [str(param) for param in kind.params] == [names[param] for param in self.params] and [
            str(result) for result in kind.results
        ] == ["i32"] * self.has_result

    @property
    def is_capability(self) -> bool:
        """Whether an operator can deny it (``PluginConfig.capability_restriction_config``)."""
        return self.group == "wasi" or self.name.startswith("proxy_")

    def denied(self) -> "HostFunction":
        """What stands in its place for a guest that may not use it: says so and fails."""
        kind = "WASI" if self.group == "wasi" else "proxy-wasm"
        text = f"Attempted call to restricted {kind} capability: {self.name}".encode()
        status = Errno.NOTCAPABLE if self.group == "wasi" else Status.INTERNAL_FAILURE

        def call(vm: Any, *_arguments: int) -> int:
            vm.context.host.log(LogLevel.ERROR, text)
            return status

        return replace(self, call=call)

    def describe(self) -> str:
        names = {"i": "i32", "I": "i64"}
        params = ", ".join(names[param] for param in self.params)
        return f"({params}) -> i32" if self.has_result else f"({params})"


def _proxy(
    name: str, params: str, call: Callable[..., int], versions: frozenset[AbiVersion] = _ALL
) -> HostFunction:
    return HostFunction("env", name, params, call, versions)


_PROXY = (
    HostFunction("env", "proxy_log", "iii", general.log, is_always_allowed=True),
    _proxy("proxy_get_log_level", "i", general.get_log_level, _V021),
    _proxy("proxy_get_current_time_nanoseconds", "i", general.get_current_time_nanoseconds),
    _proxy("proxy_set_tick_period_milliseconds", "i", general.set_tick_period_milliseconds),
    _proxy("proxy_get_status", "iii", general.get_status),
    _proxy("proxy_set_effective_context", "i", general.set_effective_context),
    _proxy("proxy_done", "", general.done),
    _proxy("proxy_call_foreign_function", "iiiiii", general.call_foreign_function),
    _proxy("proxy_get_configuration", "ii", buffers.get_configuration, _V01),
    _proxy("proxy_set_buffer_bytes", "iiiii", buffers.set_buffer_bytes),
    _proxy("proxy_get_buffer_bytes", "iiiii", buffers.get_buffer_bytes),
    _proxy("proxy_get_buffer_status", "iii", buffers.get_buffer_status),
    _proxy("proxy_get_header_map_size", "ii", headers.get_header_map_size),
    _proxy("proxy_get_header_map_pairs", "iii", headers.get_header_map_pairs),
    _proxy("proxy_set_header_map_pairs", "iii", headers.set_header_map_pairs),
    _proxy("proxy_get_header_map_value", "iiiii", headers.get_header_map_value),
    _proxy("proxy_add_header_map_value", "iiiii", headers.add_header_map_value),
    _proxy("proxy_replace_header_map_value", "iiiii", headers.replace_header_map_value),
    _proxy("proxy_remove_header_map_value", "iii", headers.remove_header_map_value),
    _proxy("proxy_continue_stream", "i", streams.continue_stream, _V02),
    _proxy("proxy_close_stream", "i", streams.close_stream, _V02),
    _proxy("proxy_continue_request", "", streams.continue_request, _V01),
    _proxy("proxy_continue_response", "", streams.continue_response, _V01),
    _proxy("proxy_clear_route_cache", "", streams.clear_route_cache, _V01),
    _proxy("proxy_send_local_response", "iiiiiiii", streams.send_local_response),
    _proxy("proxy_http_call", "iiiiiiiiii", callouts.http_call),
    _proxy("proxy_grpc_call", "iiiiiiiiiiii", callouts.grpc_call),
    _proxy("proxy_grpc_stream", "iiiiiiiii", callouts.grpc_stream),
    _proxy("proxy_grpc_send", "iiii", callouts.grpc_send),
    _proxy("proxy_grpc_cancel", "i", callouts.grpc_cancel),
    _proxy("proxy_grpc_close", "i", callouts.grpc_close),
    _proxy("proxy_set_shared_data", "iiiii", shared.set_shared_data),
    _proxy("proxy_get_shared_data", "iiiii", shared.get_shared_data),
    _proxy("proxy_register_shared_queue", "iii", shared.register_shared_queue),
    _proxy("proxy_resolve_shared_queue", "iiiii", shared.resolve_shared_queue),
    _proxy("proxy_enqueue_shared_queue", "iii", shared.enqueue_shared_queue),
    _proxy("proxy_dequeue_shared_queue", "iii", shared.dequeue_shared_queue),
    _proxy("proxy_define_metric", "iiii", metrics.define_metric),
    _proxy("proxy_record_metric", "iI", metrics.record_metric),
    _proxy("proxy_increment_metric", "iI", metrics.increment_metric),
    _proxy("proxy_get_metric", "ii", metrics.get_metric),
    _proxy("proxy_get_property", "iiii", properties.get_property),
    _proxy("proxy_set_property", "iiii", properties.set_property),
    HostFunction("env", "pthread_equal", "ii", general.pthread_equal, is_always_allowed=True),
    HostFunction(
        "env",
        "emscripten_notify_memory_growth",
        "i",
        general.emscripten_notify_memory_growth,
        has_result=False,
        is_always_allowed=True,
    ),
)

_WASI = tuple(
    HostFunction(
        "wasi", name, params, call, has_result=name != "proc_exit", fault=Errno.FAULT, is_always_allowed=True
    )
    for name, params, call in wasi.FUNCTIONS
)


@cache
def host_functions(version: AbiVersion) -> Mapping[tuple[str, str], HostFunction]:
    """The functions of that ABI by (group, name); the group of both WASI module names is ``wasi``."""
    return MappingProxyType(
        {(item.group, item.name): item for item in (*_PROXY, *_WASI) if version in item.versions}
    )
