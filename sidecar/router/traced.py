"""What tracing does where a request meets an upstream: the trace goes along, and tries have spans.

A connection manager that traces has this router, and the proxy's own client always has it, so that others pay
nothing (``UpstreamRequest`` of Envoy's router).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.router.exchange import Router
from sidecar.router.try_spans import begin_try, finish_try

if TYPE_CHECKING:
    from sidecar.api.stream import Stream
    from sidecar.core.errors import UpstreamError
    from sidecar.upstream.pool import UpstreamStream

__all__ = ["TracedRouter"]


class TracedRouter(Router):
    """See the module."""

    __slots__ = ()

    def attach(self, upstream: UpstreamStream, stream: Stream) -> None:
        Router.attach(self, upstream, stream)
        span = stream.span
        if span is None:
            return
        tracing = stream.hcm.tracing
        if tracing is not None:
            habits = self.habits
            if tracing.spawns_upstream_span or (habits is not None and habits.starts_child_span):
                made = begin_try(stream)
                made.protocol = upstream.protocol
                span = made.span
            if not tracing.propagates_context:
                return
        span.inject(stream.request.headers)

    def part(self, stream: Stream) -> UpstreamStream:
        if stream.try_span is not None:
            finish_try(stream)
        return Router.part(self, stream)

    def take_error(self, stream: Stream, error: UpstreamError) -> None:
        if stream.try_span is not None:
            stream.try_span.error = error
        super().take_error(stream, error)
