"""The roles an embedder plays towards a guest.

``PluginHost`` serves a plugin as a whole, ``CalloutHost`` makes its calls to others, ``HttpStreamHost`` is
one HTTP stream, ``TcpStreamHost`` one TCP connection. Every method is called synchronously, on the embedder's
thread, while the guest is suspended in a host call, except those marked
*deferred*, which are called after the guest has returned and before the context's method returns. No
method may call back into the guest; ``PluginHost.defer`` is the way to do something later.

An exception from a role traps the guest and comes out of the context's method as the cause of ``WasmTrap``.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from wasm_abi.abi import BufferType, LogLevel, MapType, MetricType, Status, StreamType


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

    def get_property(self, path: tuple[bytes, ...], /) -> bytes | Status | None:
        """A property asked for outside a stream; None = there is none, a status = why not."""

    def define_metric(self, kind: MetricType, name: bytes, /) -> Metric:
        """The metric of that name, created when need be."""

    def defer(self, action: Callable[[], None], /) -> None:
        """Call ``action`` soon, on the same thread, when no guest is running (queue readiness)."""


class CalloutHost(Protocol):
    """Who makes a plugin's HTTP and gRPC calls.

    Starting one answers OK, BAD_ARGUMENT (an HTTP call's upstream is unknown), PARSE_FAILURE (a gRPC call's
    is) or INTERNAL_FAILURE. Names in ``headers`` are lower case; ``:method``, ``:path`` and ``:authority``
    are there. What comes of a call is told to ``Plugin.calls`` (``calls.Callouts``) by its number.
    """

    def http_call(
        self,
        call: int,
        upstream: bytes,
        headers: Sequence[tuple[bytes, bytes]],
        body: bytes,
        trailers: Sequence[tuple[bytes, bytes]],
        timeout_ms: int,
        /,
    ) -> Status:
        """Start a request; a timeout of 0 is none."""

    def grpc_call(
        self,
        call: int,
        upstream: bytes,
        service: bytes,
        method: bytes,
        metadata: Sequence[tuple[bytes, bytes]],
        message: bytes,
        timeout_ms: int,
        /,
    ) -> Status:
        """Start a unary call; ``upstream`` is a name or a serialized envoy.config.core.v3.GrpcService."""

    def grpc_stream(
        self,
        call: int,
        upstream: bytes,
        service: bytes,
        method: bytes,
        metadata: Sequence[tuple[bytes, bytes]],
        /,
    ) -> Status:
        """Start a stream."""

    def grpc_send(self, call: int, message: bytes, end_of_stream: bool, /) -> None:
        """Send a message on a stream."""

    def grpc_close(self, call: int, /) -> None:
        """End our half of a stream."""

    def cancel_call(self, call: int, /) -> None:
        """Give a call or a stream up; nothing more is told of it."""


class TcpStreamHost(Protocol):
    """What a plugin may ask of the TCP connection it is called for."""

    def get_buffer(self, buffer_type: BufferType, /) -> bytes | bytearray | memoryview | None:
        """DOWNSTREAM_DATA or UPSTREAM_DATA as it is now; None = nothing can be had now."""

    def replace_buffer(self, buffer_type: BufferType, start: int, stop: int, data: bytes, /) -> bool:
        """Put ``data`` in place of bytes start to stop; False = this buffer cannot be changed now."""

    def get_property(self, path: tuple[bytes, ...], /) -> bytes | Status | None:
        """The property in its serialized form; None = there is none, a status = why not."""

    def set_property(self, path: tuple[bytes, ...], value: bytes, /) -> Status:
        """Keep a property on the connection: OK, NOT_FOUND where there is none, BAD_ARGUMENT."""

    def continue_stream(self, stream_type: StreamType, /) -> None:
        """Read on (DOWNSTREAM). *Deferred.*"""

    def close_stream(self, stream_type: StreamType, /) -> None:
        """Close the connection once all is written. *Deferred.*"""


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

    def hide_maps(self) -> None:
        """No map can be had any more: asked where callbacks share a call, and this one has none."""

    def show_response_body(self, is_end: bool, is_empty: bool, /) -> None:
        """The response's headers are closed, its body is open: all of it, or nothing more at its end.

        Asked where callbacks share a call, and this one does something.
        """

    def get_buffer(self, buffer_type: BufferType, /) -> bytes | bytearray | memoryview | None:
        """What is buffered now; None = nothing can be had now."""

    def replace_buffer(self, buffer_type: BufferType, start: int, stop: int, data: bytes, /) -> bool:
        """Put ``data`` in place of bytes start to stop; False = this buffer cannot be changed now."""

    def get_property(self, path: tuple[bytes, ...], /) -> bytes | Status | None:
        """The property in its serialized form; None = there is none, a status = why not."""

    def set_property(self, path: tuple[bytes, ...], value: bytes, /) -> Status:
        """Keep a property on the stream: OK, NOT_FOUND where there is none, BAD_ARGUMENT."""

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
