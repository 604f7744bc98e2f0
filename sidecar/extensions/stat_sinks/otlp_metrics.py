"""Statistics to a collector of OpenTelemetry, over gRPC or HTTP, through a cluster of the proxy's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sidecar.extensions.stat_sinks.otlp_metric_messages import encode_metrics

if TYPE_CHECKING:
    from collections.abc import Callable

    from sidecar.extensions.stat_sinks.otlp_metric_messages import MetricsSettings
    from sidecar.observability.snapshot import Snapshot

__all__ = ["OtlpMetrics"]


class OtlpMetrics:
    """The sink; ``send`` takes the bytes of a request."""

    def __init__(self, send: Callable[[bytes], None], resource: Any, settings: MetricsSettings) -> None:
        self._send = send
        self._resource = resource
        self._settings = settings

    def flush(self, snapshot: Snapshot) -> None:
        """Export everything that was used."""
        for data in encode_metrics(snapshot, self._resource, self._settings):
            self._send(data)
