"""What the spans of tries say, and of the proxy's own calls (``HttpTracerUtility::finalizeUpstreamSpan``)."""

from __future__ import annotations

from time import monotonic_ns
from typing import TYPE_CHECKING, Any

from sidecar.core.errors import SidecarError
from sidecar.http.local_reply import reply_for
from sidecar.observability.span_tags import set_common_tags, set_grpc_status, set_upstream_tags

if TYPE_CHECKING:
    from sidecar.api.stream import Stream
    from sidecar.core.errors import UpstreamError
    from sidecar.observability.span import Span
    from sidecar.router.http_client import HttpCall

__all__ = ["TrySpan", "begin_try", "finish_call_span", "finish_try", "note_lost_try"]


class TrySpan:
    """The span of one try, and what is known of the try."""

    __slots__ = ("answered_ns", "error", "protocol", "span", "status")

    def __init__(self, span: Span) -> None:
        self.span = span
        self.protocol = ""
        #: Of the response that this try got, where another follows; 0 for none.
        self.status = 0
        self.answered_ns = 0
        #: What it met in the place of a response.
        self.error: UpstreamError | None = None

    def answer(self, status: int) -> None:
        """It got a response, which is not the one that is handed on."""
        self.status = status
        self.answered_ns = monotonic_ns()


def note_lost_try(stream: Stream, error: UpstreamError) -> None:
    """A try got no connection: its span is over."""
    tracing = stream.hcm.tracing
    if stream.span is None or tracing is None or not tracing.spawns_upstream_span:
        return
    begin_try(stream).error = error
    finish_try(stream)


def finish_call_span(call: HttpCall) -> None:
    """A call of the proxy's own is over.  What its client would be answered with counts as its answer."""
    stream = call.stream
    span: Span = stream.span
    if not span.is_sampled:
        return
    status = call.answer_status
    error = call.error
    if isinstance(error, SidecarError) and not call.is_cancelled:
        if stream.response is None:
            stream.flags |= reply_for(error, stream).flag
        else:
            span.set_tag("error.reason", "Reset")
    if call.is_cancelled:
        span.set_tag("canceled", "true")
    # Envoy's client speaks HTTP/1.1 with itself, whatever the host speaks.
    _describe(span, stream, stream.protocol, status)
    if call.describe is not None:
        call.describe(span, call)
    span.finish()


def begin_try(stream: Stream) -> TrySpan:
    """A try of a request begins."""
    tracing = stream.hcm.tracing
    made = stream.try_span = TrySpan(stream.span.spawn(tracing.upstream_name(stream)))
    if stream.attempt_count > 1:
        made.span.set_tag("retry.count", str(stream.attempt_count - 1))
    return made


def finish_try(stream: Stream) -> None:
    """The try of a request is over, whatever came of it."""
    made: TrySpan = stream.try_span
    stream.try_span = None
    span = made.span
    if not span.is_sampled:
        return
    status = made.status
    if not status and stream.upstream_first_rx_ns and stream.response is not None:
        status = stream.response.headers.status
    flags = 0
    if made.error is not None:
        flags = made.error.flag
        reason = made.error.details.partition("|")[0]
        span.set_tag("error.reason", reason)
    elif not status:
        span.set_tag("canceled", "true")
    own, stream.flags = stream.flags, flags
    first_ns = stream.upstream_first_rx_ns
    if made.answered_ns:
        stream.upstream_first_rx_ns = stream.upstream_last_rx_ns = made.answered_ns
    try:
        _describe(span, stream, made.protocol, status)
        tracing = stream.hcm.tracing
        for tag in tracing.tags_of(stream):
            tag(span, stream)
    finally:
        stream.flags = own
        if made.answered_ns:
            stream.upstream_first_rx_ns, stream.upstream_last_rx_ns = first_ns, 0
    span.finish()


def _describe(span: Span, stream: Stream, protocol: str, status: int) -> None:
    set_upstream_tags(span, stream, protocol)
    tracing: Any = stream.hcm.tracing
    annotates = tracing is not None and tracing.is_verbose and bool(protocol)
    set_common_tags(span, stream, status=status, annotates=annotates, is_upstream=True)
    if status >= 500 or not status:
        span.set_tag("error", "true")
    response = stream.response
    if response is not None and status:
        set_grpc_status(span, response.headers, stream.response_trailers)
