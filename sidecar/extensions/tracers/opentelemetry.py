"""Envoy's OpenTelemetry tracer: spans are gathered and sent as OTLP, off the requests' way.

A span is sampled where its parent was and the connection manager decided so; a sampler decides in its place
(``source/extensions/tracers/opentelemetry/tracer.cc``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from sidecar.observability.span import BadContext, Parent, Span, UnsampledSpan, extract

if TYPE_CHECKING:
    from sidecar.core.headers import HeaderMap

__all__ = ["Exporter", "OpenTelemetryTracer", "Sampler", "TracerStats"]

#: ``should_sample(parent, trace id or empty, stream)``: whether, and the state that goes along.
Sampler = Callable[[Parent | None, str, Any], tuple[bool, bytes]]


class Exporter(Protocol):
    """Sends spans away."""

    def send(self, spans: list[Span]) -> None:
        """Send a batch; returns at once and never raises."""

    def close(self) -> None:
        """Nothing more is sent."""


class TracerStats:
    """``tracing.opentelemetry.``."""

    def __init__(self, store: Any) -> None:
        scope = store.scope("tracing.opentelemetry")
        self.spans_sent = scope.counter("spans_sent")
        self.spans_dropped = scope.counter("spans_dropped")
        self.timer_flushed = scope.counter("timer_flushed")


class OpenTelemetryTracer:
    """See the module."""

    def __init__(
        self,
        exporter: Exporter,
        stats: TracerStats,
        *,
        sampler: Sampler | None,
        min_flush: int,
        max_cache: int,
    ) -> None:
        self._exporter = exporter
        self._stats = stats
        self._sampler = sampler
        self._min_flush = min_flush
        self._max_cache = max_cache
        self._spans: list[Span] = []

    def start(
        self, name: str, kind: int, start_ns: int, headers: HeaderMap, *, is_traced: bool, stream: Any
    ) -> Span | None:
        """A span for a request; None where its ``traceparent`` cannot be read."""
        try:
            parent = extract(headers)
        except BadContext:
            return None
        if not is_traced:
            if parent is None:
                return UnsampledSpan(self, "", b"")
            return UnsampledSpan(self, parent.trace_id, parent.trace_state)
        if parent is None:
            span = Span(
                self, name, kind, start_ns, trace_id="", parent_id="", trace_state=b"", is_sampled=True
            )
        else:
            span = Span(
                self,
                name,
                kind,
                start_ns,
                trace_id=parent.trace_id,
                parent_id=parent.span_id,
                trace_state=parent.trace_state,
                is_sampled=parent.is_sampled,
            )
        if self._sampler is not None:
            span.is_sampled, span.trace_state = self._sampler(parent, span.trace_id, stream)
        return span

    def take(self, span: Span) -> None:
        """Keep a finished span until there are enough to be sent."""
        spans = self._spans
        if len(spans) >= self._max_cache:
            self._stats.spans_dropped.value += 1
            return
        spans.append(span)
        if len(spans) >= self._min_flush:
            self.flush()

    def on_timer(self) -> None:
        """The flush interval is over."""
        self._stats.timer_flushed.value += 1
        self.flush()

    def flush(self) -> None:
        """Send what was kept."""
        spans = self._spans
        if spans:
            self._spans = []
            self._stats.spans_sent.value += len(spans)
            self._exporter.send(spans)

    def close(self) -> None:
        """Send what was kept, and end."""
        self.flush()
        self._exporter.close()
