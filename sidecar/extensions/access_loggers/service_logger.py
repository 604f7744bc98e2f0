"""Access logs to a service (``envoy.service.accesslog.v3.AccessLogService``): in batches, by gRPC.

Loggers that say the same of the service share one stream, as in Envoy.  What cannot be sent is dropped and
counted, never waited for: the batch is what is kept, and nothing beyond it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sidecar.extensions.access_loggers.entry_messages import LogBatch

if TYPE_CHECKING:
    from sidecar.api.stream import Stream
    from sidecar.extensions.access_loggers.entry_messages import EntrySettings, Fill
    from sidecar.router.grpc_client import GrpcClient, GrpcStream

__all__ = ["METHOD", "Batches", "ServiceLogger", "ServiceStats"]

#: ``:path`` of the call.
METHOD = b"/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs"

logger = logging.getLogger("sidecar.grpc")


class ServiceStats:
    """``access_logs.grpc_access_log.``."""

    def __init__(self, store: Any) -> None:
        scope = store.scope("access_logs.grpc_access_log")
        self.logs_written = scope.counter("logs_written")
        self.logs_dropped = scope.counter("logs_dropped")


class Batches:
    """What several loggers share: the stream, and the entries that wait."""

    def __init__(
        self,
        client: GrpcClient,
        stats: ServiceStats,
        *,
        log_name: str,
        node: bytes,
        is_tcp: bool,
        buffer_bytes: int,
    ) -> None:
        """``node``: the serialized ``envoy.config.core.v3.Node``.  ``buffer_bytes``: what is sent at once."""
        self._client = client
        self._stats = stats
        self._log_name = log_name
        self._node = node
        self._is_tcp = is_tcp
        self._buffer_bytes = buffer_bytes
        self._stream: GrpcStream | None = None
        self._batch = LogBatch(is_tcp=is_tcp)
        self.users = 0
        #: Ends the flush timer.
        self.stop: Callable[[], None] | None = None

    def log(self, fill: Fill, stream: Stream, settings: EntrySettings) -> None:
        """Take an entry, and send the batch if it is large enough."""
        if not self._has_room():
            self._stats.logs_dropped.value += 1
            return
        self._stats.logs_written.value += 1
        batch = self._batch
        batch.add(fill, stream, settings)
        if batch.size >= self._buffer_bytes:
            self.flush()

    def _has_room(self) -> bool:
        if not self._buffer_bytes or self._batch.size < self._buffer_bytes:
            return True
        self.flush()
        return self._batch.size < self._buffer_bytes

    def flush(self) -> None:
        """Send the batch.  Where the peer does not read it stays; where there is none it is lost."""
        batch = self._batch
        if not batch.size:
            return
        stream = self._stream
        if stream is None:
            batch.identify(self._log_name, self._node)
            stream = self._stream = self._client.stream(METHOD)
            stream.on_event = self._on_event
        if stream.try_send(batch.encode()):
            self._batch = LogBatch(is_tcp=self._is_tcp)

    def _on_event(self, stream: GrpcStream) -> None:
        while stream.take_message() is not None:
            pass  # the service has nothing to say
        if stream.is_done and self._stream is stream:
            self._stream = None
            status = stream.status
            if status is not None and not status.is_ok:
                logger.debug("access log service: %s", status)

    def close(self) -> None:
        """Send what waits, and end the stream."""
        if self.stop is not None:
            self.stop()
        self.flush()
        if self._stream is not None:
            self._stream.end()


class ServiceLogger:
    """An :class:`sidecar.api.filters.AccessLogger` to a service."""

    __slots__ = ("_batches", "_fill", "_settings", "_wanted")

    def __init__(
        self,
        batches: Batches,
        fill: Fill,
        settings: EntrySettings,
        wanted: Callable[[Stream], bool] | None = None,
    ) -> None:
        batches.users += 1
        self._batches = batches
        self._fill = fill
        self._settings = settings
        self._wanted = wanted

    def filtered(self, wanted: Callable[[Stream], bool]) -> ServiceLogger:
        """This logger behind a filter, in its place."""
        self._wanted = wanted
        return self

    def log(self, stream: Stream) -> None:
        """Tell of a stream, if the filter wants it."""
        if self._wanted is None or self._wanted(stream):
            self._batches.log(self._fill, stream, self._settings)

    def flush(self) -> None:
        """Batches have a time of their own (``buffer_flush_interval``)."""

    def close(self) -> None:
        """The last logger of a service ends its stream."""
        self._batches.users -= 1
        if self._batches.users <= 0:
            self._batches.close()
