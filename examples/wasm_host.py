"""A proxy-wasm host in a few lines: `wasm_abi` without sidecar.

`python examples/wasm_host.py [MODULE [CONFIGURATION]]` shows one request to a guest, and prints what became
of it. Without a module it is the one below, written as text.
"""

import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from wasm_abi import (
    BufferType,
    Engine,
    HeadersAction,
    Limits,
    LogLevel,
    MapType,
    Metric,
    MetricType,
    Plugin,
    Status,
    StreamType,
    Vm,
)

GUEST = b"""
(module
  (import "env" "proxy_add_header_map_value" (func $add (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "x-guesthello from the guest")
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "malloc") (param i32) (result i32) (i32.const 1024))
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
    (drop (call $log (i32.const 2) (i32.const 7) (i32.const 20)))
    (drop (call $add (i32.const 0) (i32.const 0) (i32.const 7) (i32.const 7) (i32.const 5)))
    (i32.const 0)))
"""

Pairs = list[tuple[bytes, bytes]]


class Counter:
    """A metric of a guest."""

    def __init__(self) -> None:
        self._value = 0

    def add(self, offset: int, /) -> None:
        self._value += offset

    def record(self, value: int, /) -> None:
        self._value = value

    def value(self) -> int:
        return self._value


class Host:
    """What a plugin may ask for outside of streams."""

    def log(self, level: LogLevel, message: bytes, /) -> None:
        print(f"{level.name.lower()}: {message.decode(errors='replace')}")

    def log_level(self) -> LogLevel:
        return LogLevel.TRACE

    def now_ns(self) -> int:
        return time.time_ns()

    def set_tick_period(self, milliseconds: int, /) -> None:
        print(f"the guest wants a tick each {milliseconds} ms; there are no timers here")

    def get_property(self, path: tuple[bytes, ...], /) -> bytes | Status | None:
        return b"example" if path == (b"plugin_name",) else None

    def define_metric(self, kind: MetricType, name: bytes, /) -> Metric:
        return Counter()

    def defer(self, action: Callable[[], None], /) -> None:
        action()  # nothing of the guest runs between the calls below


class Request:
    """One stream: its headers, and what the guest asked for."""

    def __init__(self, headers: Pairs) -> None:
        self.headers = headers
        self.answer: tuple[int, bytes] | None = None

    def get_header_map(self, map_type: MapType, /) -> Iterable[tuple[bytes, bytes]] | None:
        return self.headers if map_type is MapType.HTTP_REQUEST_HEADERS else None

    def get_header_value(self, map_type: MapType, name: bytes, /) -> bytes | None:
        return next((value for each, value in self.get_header_map(map_type) or () if each == name), None)

    def set_header_map(self, map_type: MapType, pairs: Pairs, /) -> bool:
        self.headers = pairs
        return True

    def add_header_value(self, map_type: MapType, name: bytes, value: bytes, /) -> bool:
        self.headers.append((name, value))
        return True

    def replace_header_value(self, map_type: MapType, name: bytes, value: bytes, /) -> bool:
        self.remove_header_value(map_type, name)
        return self.add_header_value(map_type, name, value)

    def remove_header_value(self, map_type: MapType, name: bytes, /) -> bool:
        self.headers = [pair for pair in self.headers if pair[0] != name]
        return True

    def hide_maps(self) -> None:
        """Maps are never hidden here: nothing goes on before the calls are over."""

    def show_response_body(self, is_end: bool, is_empty: bool, /) -> None:
        """There is none."""

    def get_buffer(self, buffer_type: BufferType, /) -> bytes | None:
        return None

    def replace_buffer(self, buffer_type: BufferType, start: int, stop: int, data: bytes, /) -> bool:
        return False

    def get_property(self, path: tuple[bytes, ...], /) -> bytes | Status | None:
        return self.get_header_value(MapType.HTTP_REQUEST_HEADERS, b":path") if path[-1] == b"path" else None

    def set_property(self, path: tuple[bytes, ...], value: bytes, /) -> Status:
        return Status.NOT_FOUND

    def clear_route_cache(self) -> None:
        """There are no routes."""

    def send_local_response(
        self, status: int, details: bytes, body: bytes, headers: Pairs, grpc_status: int | None, /
    ) -> None:
        self.answer = (status, body)

    def continue_stream(self, stream_type: StreamType, /) -> None:
        """Nothing waits here."""

    def close_stream(self, stream_type: StreamType, /) -> None:
        self.answer = (0, b"")


def main(module: bytes = GUEST, configuration: bytes = b"") -> Request:
    """Show one request to the guest."""
    host = Host()
    engine = Engine()
    vm = Vm(engine.compile(module), host=host, limits=Limits(memory_bytes=64 << 20, call_deadline_s=0.5))
    plugin = Plugin(vm, host, name=b"example", configuration=configuration)
    plugin.start()
    request = Request([(b":method", b"GET"), (b":path", b"/"), (b":authority", b"example.com")])
    stream = plugin.create_stream(request)
    action = stream.on_request_headers(len(request.headers), end_of_stream=True)
    stream.finish()
    plugin.shutdown()
    vm.close()
    engine.close()
    if request.answer is not None:
        print(f"answered with {request.answer[0]}")
    elif action is HeadersAction.CONTINUE:
        print(*(f"{name.decode()}: {value.decode()}" for name, value in request.headers), sep="\n")
    return request


if __name__ == "__main__":
    arguments = sys.argv[1:]
    code = Path(arguments[0]).read_bytes() if arguments else GUEST
    main(code, arguments[1].encode() if len(arguments) > 1 else b"")
