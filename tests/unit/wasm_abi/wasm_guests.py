"""Guests written in WAT and fakes of the roles, for the tests of wasm_abi."""

from collections.abc import Callable, Mapping
from typing import Any

from wasm_abi import (
    AbiVersion,
    BufferType,
    Engine,
    Limits,
    LogLevel,
    MapType,
    MetricType,
    Plugin,
    Status,
    StreamContext,
    StreamType,
    Vm,
)
from wasm_abi.hostcalls.table import host_functions

# A bump allocator behind the data area; it grows the memory when it must.
MALLOC = """
  (global $heap (mut i32) (i32.const 4096))
  (func (export "malloc") (param $size i32) (result i32) (local $at i32)
    (local.set $at (global.get $heap))
    (global.set $heap (i32.add (global.get $heap) (local.get $size)))
    (block $fits
      (br_if $fits (i32.le_u (global.get $heap) (i32.mul (memory.size) (i32.const 65536))))
      (drop (memory.grow (i32.add (i32.const 1) (i32.shr_u (local.get $size) (i32.const 16))))))
    (local.get $at))
"""
#: Where ``on_request_headers`` leaves the status of its body.
STATUS_AT = 0

CALLBACKS = {
    "proxy_on_context_create": "(param $context i32) (param $parent i32)",
    "proxy_on_vm_start": "(param $context i32) (param $size i32) (result i32)",
    "proxy_on_configure": "(param $context i32) (param $size i32) (result i32)",
    "proxy_on_tick": "(param $context i32)",
    "proxy_on_request_headers": "(param $context i32) (param $count i32) (param $end i32) (result i32)",
    "proxy_on_response_headers": "(param $context i32) (param $count i32) (param $end i32) (result i32)",
    "proxy_on_request_body": "(param $context i32) (param $size i32) (param $end i32) (result i32)",
    "proxy_on_response_body": "(param $context i32) (param $size i32) (param $end i32) (result i32)",
    "proxy_on_request_trailers": "(param $context i32) (param $count i32) (result i32)",
    "proxy_on_response_trailers": "(param $context i32) (param $count i32) (result i32)",
    "proxy_on_queue_ready": "(param $context i32) (param $queue i32)",
    "proxy_on_request_metadata": "(param $context i32) (param $count i32) (result i32)",
    "proxy_on_response_metadata": "(param $context i32) (param $count i32) (result i32)",
    "proxy_on_new_connection": "(param $context i32) (result i32)",
    "proxy_on_downstream_data": "(param $context i32) (param $size i32) (param $end i32) (result i32)",
    "proxy_on_upstream_data": "(param $context i32) (param $size i32) (param $end i32) (result i32)",
    "proxy_on_downstream_connection_close": "(param $context i32) (param $peer i32)",
    "proxy_on_upstream_connection_close": "(param $context i32) (param $peer i32)",
    "proxy_on_http_call_response": (
        "(param $context i32) (param $call i32) (param $headers i32) (param $size i32) (param $trailers i32)"
    ),
    "proxy_on_grpc_receive_initial_metadata": "(param $context i32) (param $call i32) (param $count i32)",
    "proxy_on_grpc_receive": "(param $context i32) (param $call i32) (param $size i32)",
    "proxy_on_grpc_receive_trailing_metadata": "(param $context i32) (param $call i32) (param $count i32)",
    "proxy_on_grpc_close": "(param $context i32) (param $call i32) (param $status i32)",
    "proxy_on_foreign_function": "(param $context i32) (param $function i32) (param $size i32)",
    "proxy_on_done": "(param $context i32) (result i32)",
    "proxy_on_log": "(param $context i32)",
    "proxy_on_delete": "(param $context i32)",
    "_initialize": "",
    "_start": "",
    "main": "(param $argc i32) (param $argv i32) (result i32)",
}


def wat_bytes(data: bytes) -> str:
    return "".join(f"\\{byte:02x}" for byte in data)


def guest(
    callbacks: Mapping[str, str] | None = None,
    *,
    imports: tuple[str, ...] = (),
    data: Mapping[int, bytes] | None = None,
    malloc: str = MALLOC,
    extra: str = "",
    pages: int = 1,
    abi: AbiVersion = AbiVersion.V0_2_1,
    wasi: str = "wasi_snapshot_preview1",
) -> bytes:
    """A module: imports by name, callbacks by name with their bodies, data by address."""
    functions = {item.name: item for item in host_functions(abi).values()}
    lines = ["(module"]
    for name in imports:
        item = functions[name]
        kinds = " ".join("i64" if kind == "I" else "i32" for kind in item.params)
        module = "env" if item.group == "env" else wasi
        result = "(result i32)" if item.has_result else ""
        lines.append(f'(import "{module}" "{name}" (func ${name} (param {kinds}) {result}))')
    lines.append(f'(memory (export "memory") {pages})')
    lines.append(f'(func (export "{abi.value}"))')
    lines.append(malloc)
    lines.extend(
        f'(data (i32.const {address}) "{wat_bytes(text)}")' for address, text in (data or {}).items()
    )
    for name, body in (callbacks or {}).items():
        signature = CALLBACKS[name]
        if abi is AbiVersion.V0_1_0:
            signature = signature.replace(" (param $end i32)", "")
        lines.append(f'(func ${name} (export "{name}") {signature} {body})')
    lines.append(extra + ")")
    return "\n".join(lines).encode()


def calling(
    name: str, *arguments: int | str, callback: str = "proxy_on_request_headers", **options: object
) -> bytes:
    """A guest whose callback calls one host function and keeps its status at address 0."""
    functions = {item.name: item for item in host_functions(options.get("abi", AbiVersion.V0_2_1)).values()}
    kinds = functions[name].params
    values = " ".join(
        value if isinstance(value, str) else f"({'i64' if kind == 'I' else 'i32'}.const {value})"
        for kind, value in zip(kinds, arguments, strict=True)
    )
    body = f"(i32.store (i32.const {STATUS_AT}) (call ${name} {values})) (i32.const 0)"
    return guest({callback: body}, imports=(name,), **options)  # type: ignore[arg-type]


class FakeMetric:
    def __init__(self) -> None:
        self.total = 0
        self.samples: list[int] = []

    def add(self, offset: int) -> None:
        self.total += offset

    def record(self, value: int) -> None:
        self.total = value
        self.samples.append(value)

    def value(self) -> int:
        return self.total


class FakePluginHost:
    def __init__(self) -> None:
        self.lines: list[tuple[LogLevel, bytes]] = []
        self.tick_period: int | None = None
        self.metrics: dict[tuple[MetricType, bytes], FakeMetric] = {}
        self.properties: dict[tuple[bytes, ...], bytes] = {}
        self.deferred: list[Callable[[], None]] = []
        self.on_log: Callable[[], None] | None = None
        self.level = LogLevel.TRACE

    def log(self, level: LogLevel, message: bytes) -> None:
        self.lines.append((level, message))
        if self.on_log is not None:
            self.on_log()

    def log_level(self) -> LogLevel:
        return self.level

    def now_ns(self) -> int:
        return 1_700_000_000_123_456_789

    def set_tick_period(self, milliseconds: int) -> None:
        self.tick_period = milliseconds

    def get_property(self, path: tuple[bytes, ...]) -> bytes | None:
        return self.properties.get(path)

    def define_metric(self, kind: MetricType, name: bytes) -> FakeMetric:
        return self.metrics.setdefault((kind, name), FakeMetric())

    def defer(self, action: Callable[[], None]) -> None:
        self.deferred.append(action)


class FakeStream:
    """A stream with request headers, a request body and a record of what was asked of it."""

    def __init__(self, *headers: tuple[bytes, bytes], body: bytes | None = None) -> None:
        self.maps = {MapType.HTTP_REQUEST_HEADERS: list(headers)}
        self.buffers: dict[BufferType, bytes] = {} if body is None else {BufferType.HTTP_REQUEST_BODY: body}
        self.properties: dict[tuple[bytes, ...], bytes] = {}
        self.events: list[object] = []

    def get_header_map(self, map_type: MapType) -> list[tuple[bytes, bytes]] | None:
        return self.maps.get(map_type)

    def get_header_value(self, map_type: MapType, name: bytes) -> bytes | None:
        return next((value for key, value in self.maps.get(map_type, ()) if key == name), None)

    def set_header_map(self, map_type: MapType, pairs: list[tuple[bytes, bytes]]) -> bool:
        if map_type not in self.maps:
            return False
        self.maps[map_type] = pairs
        return True

    def add_header_value(self, map_type: MapType, name: bytes, value: bytes) -> bool:
        if map_type not in self.maps:
            return False
        self.maps[map_type].append((name, value))
        return True

    def replace_header_value(self, map_type: MapType, name: bytes, value: bytes) -> bool:
        return self.remove_header_value(map_type, name) and self.add_header_value(map_type, name, value)

    def remove_header_value(self, map_type: MapType, name: bytes) -> bool:
        if map_type not in self.maps:
            return False
        self.maps[map_type] = [pair for pair in self.maps[map_type] if pair[0] != name]
        return True

    def hide_maps(self) -> None:
        self.maps = {}

    def show_response_body(self, is_end: bool, is_empty: bool) -> None:
        self.events.append("end of the body" if is_end else "body")

    def get_buffer(self, buffer_type: BufferType) -> bytes | None:
        return self.buffers.get(buffer_type)

    def replace_buffer(self, buffer_type: BufferType, start: int, stop: int, data: bytes) -> bool:
        old = self.buffers[buffer_type]
        self.buffers[buffer_type] = old[:start] + data + old[stop:]
        return True

    def get_property(self, path: tuple[bytes, ...]) -> bytes | None:
        return self.properties.get(path)

    def set_property(self, path: tuple[bytes, ...], value: bytes) -> Status:
        if path == (b"refused",):
            return Status.NOT_FOUND
        self.properties[path] = value
        return Status.OK

    def clear_route_cache(self) -> None:
        self.events.append("clear_route_cache")

    def send_local_response(
        self,
        status: int,
        details: bytes,
        body: bytes,
        headers: list[tuple[bytes, bytes]],
        grpc_status: int | None,
    ) -> None:
        self.events.append(("local_response", status, details, body, headers, grpc_status))

    def continue_stream(self, stream_type: StreamType) -> None:
        self.events.append(("continue", stream_type))

    def close_stream(self, stream_type: StreamType) -> None:
        self.events.append(("close", stream_type))


class Runner:
    """Starts guests on one binding and keeps the fakes they talk to."""

    def __init__(self, engine: Engine, safe: bool) -> None:
        self.engine = engine
        self.safe = safe
        self.host = FakePluginHost()
        self.vms: list[Vm] = []

    def vm(self, code: bytes, **options: Any) -> Vm:
        options.setdefault("limits", Limits(memory_bytes=4 << 20))
        vm = Vm(self.engine.compile(code), host=self.host, safe=self.safe, **options)
        self.vms.append(vm)
        return vm

    def plugin(
        self,
        code: bytes,
        *,
        configuration: bytes = b"",
        vm_configuration: bytes = b"",
        allow: bool = False,
        **options: Any,
    ) -> Plugin:
        vm = self.vm(code, configuration=vm_configuration, **options)
        plugin = Plugin(
            vm, self.host, name=b"p", configuration=configuration, allow_on_headers_stop_iteration=allow
        )
        plugin.start()
        return plugin

    def stream(self, code: bytes, fake: FakeStream | None = None, **options: Any) -> StreamContext:
        return self.plugin(code, **options).create_stream(fake or FakeStream())

    def status(self, code: bytes, fake: FakeStream | None = None, **options: Any) -> int:
        """What the host function called by ``wasm_guests.calling`` returned."""
        stream = self.stream(code, fake, **options)
        stream.on_request_headers(0, False)
        stream.on_request_body(0, False)
        return self.u32(0)

    def u32(self, address: int) -> int:
        return int.from_bytes(self.vms[-1].memory.read(address, 4), "little")

    def u64(self, address: int) -> int:
        return int.from_bytes(self.vms[-1].memory.read(address, 8), "little")

    def given(self, pointer_at: int, size_at: int) -> bytes:
        """The bytes a host function handed over through these two out parameters."""
        return self.vms[-1].memory.read(self.u32(pointer_at), self.u32(size_at))
