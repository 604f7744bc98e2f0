"""Access logs by Wasm (``envoy.access_loggers.wasm``): ``proxy_on_log`` of the root context.

As in Envoy a plugin is told once for a stream, at its end, whatever else is logged in the middle of it.
Headers and properties are those of the stream that is logged.  A plugin that failed logs nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from sidecar.extensions.http.wasm_host import StreamSide
from wasm_abi import Status, WasmError

if TYPE_CHECKING:
    from sidecar.api.stream import Stream
    from sidecar.extensions.wasm.live import LivePlugin

__all__ = ["WasmLogger"]

#: ``AccessLogType`` at the end of a request, of a TCP connection, and of one that a listener logs.
_AT_END = frozenset({"DownstreamEnd", "TcpConnectionEnd", "NotSet"})


class LoggedSide(StreamSide):
    """A stream as a logger sees it: it is told of it, and can neither reach it nor its connection."""

    __slots__ = ()

    def get_property(self, path: tuple[bytes, ...]) -> bytes | Status | None:
        if path[0] == b"connection_id":
            return None
        if path == (b"request", b"duration") and self.stream.hcm is None:  # of a connection, which is over
            return (time.monotonic_ns() - self.stream.start_ns).to_bytes(8, "little")
        return super().get_property(path)

    @property
    def stateful_stream(self) -> None:
        return None

    def set_property(self, path: tuple[bytes, ...], value: bytes) -> Status:
        return Status.NOT_FOUND


class WasmLogger:
    """Tells a plugin of streams, where a filter of the configuration lets them pass."""

    def __init__(self, live: LivePlugin, passes: Callable[[Stream], bool] | None = None) -> None:
        self.live = live
        self._passes = passes

    def with_filter(self, passes: Callable[[Stream], bool]) -> WasmLogger:
        """The same, for the streams that pass."""
        return WasmLogger(self.live, passes)

    def log(self, stream: Stream) -> None:
        """Tell of one stream."""
        live = self.live
        if stream.access_log_type not in _AT_END or (self._passes is not None and not self._passes(stream)):
            return
        if not live.revive():
            return
        assert live.plugin is not None
        assert live.side is not None
        side = LoggedSide(live.side, stream)
        side.live = live
        side.maps[0] = stream.request.headers if stream.hcm is not None else None
        side.maps[2] = stream.response_headers
        side.maps[3] = stream.response_trailers
        try:
            live.plugin.on_log(side)
        except WasmError as error:
            live.side.report("in an access log", error)

    def flush(self) -> None:
        """A guest keeps what it keeps."""

    def close(self) -> None:
        """The plugin ends with its configuration."""
