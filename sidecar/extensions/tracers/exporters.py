"""How spans leave: as requests of OTLP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sidecar.extensions.tracers.otlp import encode_spans

if TYPE_CHECKING:
    from collections.abc import Callable

    from sidecar.observability.span import Span

__all__ = ["SpanExporter"]


class SpanExporter:
    """Spans by either way (``opentelemetry.proto.collector.trace.v1.TraceService/Export``)."""

    def __init__(self, send: Callable[[bytes], None], resource: Any, scope: tuple[str, str]) -> None:
        self._send = send
        self._resource = resource
        self._scope = scope

    def send(self, spans: list[Span]) -> None:
        """Send a batch."""
        self._send(encode_spans(spans, self._resource, self._scope))

    def close(self) -> None:
        """The reactor ends what is under way."""
