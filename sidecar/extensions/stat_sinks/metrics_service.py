"""Statistics to a service (``envoy.service.metrics.v3.MetricsService``), over one stream of gRPC."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from sidecar.extensions.stat_sinks.metrics_service_messages import METHOD, encode_families

if TYPE_CHECKING:
    from sidecar.extensions.stat_sinks.metrics_service_messages import MetricsServiceSettings
    from sidecar.observability.snapshot import Snapshot
    from sidecar.router.grpc_client import GrpcClient, GrpcStream

__all__ = ["MetricsServiceSink"]

logger = logging.getLogger("sidecar.grpc")


class MetricsServiceSink:
    """The sink; its stream is made anew when it ends, and says then who sends.

    What a service does not read is lost: the next flush tells of the same counters.
    """

    def __init__(self, client: GrpcClient, node: bytes, settings: MetricsServiceSettings) -> None:
        """``node``: the serialized ``envoy.config.core.v3.Node``."""
        self._client = client
        self._node = node
        self._settings = settings
        self._stream: GrpcStream | None = None

    def flush(self, snapshot: Snapshot) -> None:
        """Send everything that was used."""
        for message in encode_families(snapshot, self._settings):
            stream = self._stream
            if stream is None:
                stream = self._stream = self._client.stream(METHOD)
                stream.on_event = self._on_event
                message.identifier.node = self._node
            stream.try_send(message.SerializeToString())

    def close(self) -> None:
        """End the stream."""
        if self._stream is not None:
            self._stream.end()

    def _on_event(self, stream: GrpcStream) -> None:
        while stream.take_message() is not None:
            pass  # the service has nothing to say
        if stream.is_done and self._stream is stream:
            self._stream = None
            status = stream.status
            if status is not None and not status.is_ok:
                logger.debug("metrics service: %s", status)
