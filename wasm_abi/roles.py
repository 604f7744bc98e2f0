"""The roles an embedder plays towards a guest.

``PluginHost`` serves a plugin as a whole, ``HttpStreamHost`` one HTTP stream. Every method is called
synchronously, on the embedder's thread, while the guest is suspended in a host call, except those marked
*deferred*, which are called after the guest has returned and before the context's method returns. No
method may call back into the guest; ``PluginHost.defer`` is the way to do something later.

An exception from a role traps the guest and comes out of the context's method as the cause of ``WasmTrap``.
"""

from collections.abc import Callable, Iterable
from typing import Protocol

from wasm_abi.abi import BufferType, LogLevel, MapType, MetricType, StreamType


class Metric(Protocol):
    """One metric of a plugin. What the ABI allows per kind is checked before these are called."""

    def add(self, offset: int, /) -> None:
        """Add to a counter (offset > 0) or a gauge (any offset)."""

    def record(self, value: int, /) -> None:
        """Add to a counter, set a gauge, record a sample in a histogram."""

    def value(self) -> int:
        """The value of a counter or gauge now."""


class PluginHost(Protocol):
    """What a plugin may ask for outside any stream."""

    def log(self, level: LogLevel, message: bytes, /) -> None:
        """A line from the guest (proxy_log, or WASI's stdout as INFO and stderr as ERROR)."""

    def log_level(self) -> LogLevel:
        """The least level that is written anywhere."""

    def now_ns(self) -> int:
        """Wall-clock time, nanoseconds since the epoch."""

    def set_tick_period(self, milliseconds: int, /) -> None:
        """Call ``Plugin.on_tick`` this often from now on; 0 = never."""

    def get_property(self, path: tuple[bytes, ...], /) -> bytes | None:
        """A property asked for outside a stream; None = there is none."""

    def define_metric(self, kind: MetricType, name: bytes, /) -> Metric:
        """The metric of that name, created when need be."""

    def defer(self, action: Callable[[], None], /) -> None:
        """Call ``action`` soon, on the same thread, when no guest is running (queue readiness)."""


class HttpStreamHost(Protocol):
    """What a plugin may ask of the HTTP stream it is called for. Header names are lower case."""

    def get_header_map(self, map_type: MapType, /) -> Iterable[tuple[bytes, bytes]] | None:
        """All pairs in order; None = this map cannot be had now."""

    def get_header_value(self, map_type: MapType, name: bytes, /) -> bytes | None:
        """The first value of that name; None = no such header, or no such map."""

    def set_header_map(self, map_type: MapType, pairs: list[tuple[bytes, bytes]], /) -> bool:
        """Replace the whole map; False = this map cannot be changed now."""

    def add_header_value(self, map_type: MapType, name: bytes, value: bytes, /) -> bool:
        """Append a pair; False as above."""

    def replace_header_value(self, map_type: MapType, name: bytes, value: bytes, /) -> bool:
        """Leave exactly one pair of that name; False as above."""

    def remove_header_value(self, map_type: MapType, name: bytes, /) -> bool:
        """Remove every pair of that name, if any; False as above."""

    def get_buffer(self, buffer_type: BufferType, /) -> bytes | bytearray | memoryview | None:
        """What is buffered now; None = nothing can be had now."""

    def replace_buffer(self, buffer_type: BufferType, start: int, stop: int, data: bytes, /) -> bool:
        """Put ``data`` in place of bytes start to stop; False = this buffer cannot be changed now."""

    def get_property(self, path: tuple[bytes, ...], /) -> bytes | None:
        """The property in its serialized form; None = there is none."""

    def set_property(self, path: tuple[bytes, ...], value: bytes, /) -> bool:
        """Keep a property on the stream; False = it cannot be kept."""

    def clear_route_cache(self) -> None:
        """Choose the route again from the headers as they are."""

    def send_local_response(
        self,
        status: int,
        details: bytes,
        body: bytes,
        headers: list[tuple[bytes, bytes]],
        grpc_status: int | None,
        /,
    ) -> None:
        """Answer the stream from here. *Deferred.*"""

    def continue_stream(self, stream_type: StreamType, /) -> None:
        """Resume that direction. *Deferred*, so it may come before the callback's own action is known."""

    def close_stream(self, stream_type: StreamType, /) -> None:
        """Reset the stream. *Deferred.*"""
