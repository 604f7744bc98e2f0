"""Access logs to a service (``envoy.service.accesslog.v3.AccessLogService``): batches over a stream of gRPC.

Loggers that say the same of the service share one stream, as in Envoy.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from sidecar.extensions.access_loggers.entry_messages import LogBatch

if TYPE_CHECKING:
    from sidecar.router.grpc_client import GrpcClient, GrpcStream

__all__ = ["METHOD", "LogStream"]

#: ``:path`` of the call.
METHOD = b"/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs"

logger = logging.getLogger("sidecar.grpc")


class LogStream:
    """An :class:`sidecar.extensions.access_loggers.batches.Outlet`: one stream, made anew when it ends."""

    def __init__(self, client: GrpcClient, *, log_name: str, node: bytes, is_tcp: bool) -> None:
        """``node``: the serialized ``envoy.config.core.v3.Node``."""
        self._client = client
        self._log_name = log_name
        self._node = node
        self._is_tcp = is_tcp
        self._stream: GrpcStream | None = None

    def new_batch(self) -> LogBatch:
        """An empty message."""
        return LogBatch(is_tcp=self._is_tcp)

    def send(self, batch: LogBatch) -> bool:
        """Send a batch, unless the service does not read what was sent.  Where there is none it is lost."""
        stream = self._stream
        if stream is None:
            batch.identify(self._log_name, self._node)
            stream = self._stream = self._client.stream(METHOD)
            stream.on_event = self._on_event
        return stream.try_send(batch.encode())

    def _on_event(self, stream: GrpcStream) -> None:
        while stream.take_message() is not None:
            pass  # the service has nothing to say
        if stream.is_done and self._stream is stream:
            self._stream = None
            status = stream.status
            if status is not None and not status.is_ok:
                logger.debug("access log service: %s", status)

    def close(self) -> None:
        """End the stream."""
        if self._stream is not None:
            self._stream.end()
