"""Access logs that go away in batches: what is kept, when it is sent, what is dropped.

A batch goes when it is large enough, and in an interval.  What cannot be sent then stays, and what comes
while it does is dropped and counted (``source/extensions/access_loggers/common/grpc_access_logger.h``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from sidecar.api.stream import Stream

__all__ = ["Batch", "BatchLogger", "BatchStats", "Batches", "Outlet"]


class Batch(Protocol):
    """Entries that wait."""

    #: Bytes of the entries, about; 0 for none.
    size: int


class Outlet(Protocol):
    """Where batches go."""

    def new_batch(self) -> Any:
        """An empty batch."""

    def send(self, batch: Any) -> bool:
        """Send a batch; False where it has to stay.  Returns at once and never raises."""

    def close(self) -> None:
        """Nothing more is sent."""


#: Adds an entry about a stream: ``put(batch, stream)``.
Put = Callable[[Any, "Stream"], None]


class BatchStats:
    """``access_logs.<kind>.`` with a prefix of one's own behind it."""

    def __init__(self, store: Any, kind: str, prefix: str = "") -> None:
        scope = store.scope(f"access_logs.{kind}.{prefix}" if prefix else f"access_logs.{kind}")
        self.logs_written = scope.counter("logs_written")
        self.logs_dropped = scope.counter("logs_dropped")


class Batches:
    """What loggers of one service share: the batch and the outlet."""

    def __init__(self, outlet: Outlet, stats: BatchStats, buffer_bytes: int) -> None:
        """``buffer_bytes``: what is sent at once; 0 for every entry."""
        self._outlet = outlet
        self._stats = stats
        self._buffer_bytes = buffer_bytes
        self._batch = outlet.new_batch()
        self.users = 0
        #: Ends the flush timer.
        self.stop: Callable[[], None] | None = None

    def log(self, put: Put, stream: Stream) -> None:
        """Take an entry, and send the batch if it is large enough."""
        if not self._has_room():
            self._stats.logs_dropped.value += 1
            return
        self._stats.logs_written.value += 1
        batch = self._batch
        put(batch, stream)
        if batch.size >= self._buffer_bytes:
            self.flush()

    def _has_room(self) -> bool:
        if not self._buffer_bytes or self._batch.size < self._buffer_bytes:
            return True
        self.flush()
        return bool(self._batch.size < self._buffer_bytes)

    def flush(self) -> None:
        """Send the batch, if there is anything in it."""
        batch = self._batch
        if batch.size and self._outlet.send(batch):
            self._batch = self._outlet.new_batch()

    def close(self) -> None:
        """Send what waits, and end."""
        if self.stop is not None:
            self.stop()
        self.flush()
        self._outlet.close()


class BatchLogger:
    """An :class:`sidecar.api.filters.AccessLogger` to a service."""

    __slots__ = ("_batches", "_put", "_wanted", "reads_wire")

    def __init__(
        self,
        batches: Batches,
        put: Put,
        wanted: Callable[[Stream], bool] | None = None,
        *,
        reads_wire: bool = False,
    ) -> None:
        batches.users += 1
        self._batches = batches
        self._put = put
        self._wanted = wanted
        #: Whether what it tells has to be counted of a stream's wire.
        self.reads_wire = reads_wire

    def filtered(self, wanted: Callable[[Stream], bool]) -> BatchLogger:
        """This logger behind a filter, in its place."""
        self._wanted = wanted
        return self

    def log(self, stream: Stream) -> None:
        """Tell of a stream, if the filter wants it."""
        if self._wanted is None or self._wanted(stream):
            self._batches.log(self._put, stream)

    def flush(self) -> None:
        """Batches have a time of their own (``buffer_flush_interval``)."""

    def close(self) -> None:
        """The last logger of a service ends what they share."""
        self._batches.users -= 1
        if self._batches.users <= 0:
            self._batches.close()
