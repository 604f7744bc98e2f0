"""``track_cluster_stats`` of a cluster: sizes of requests and responses, shares of timeouts.

Every try is measured, by the last of its filters (:mod:`sidecar.router.upstream_filters`), so that clusters
that measure nothing do not even ask (envoy ``source/common/router/upstream_request.cc``, ``cleanUp``).
"""

from __future__ import annotations

from time import monotonic_ns
from typing import TYPE_CHECKING, Any

from sidecar.api.filters import HttpFilter
from sidecar.api.message import origin_of
from sidecar.net.h1_stream import ChunkedBody

if TYPE_CHECKING:
    from sidecar.api.stream import Stream
    from sidecar.core.headers import HeaderMap

__all__ = ["BudgetStats", "MeasureFilter", "SizeStats"]


class SizeStats:
    """``request_response_sizes``."""

    def __init__(self, scope: Any) -> None:
        self.rq_headers_size = scope.histogram("upstream_rq_headers_size", "bytes")
        self.rq_headers_count = scope.histogram("upstream_rq_headers_count", "unspecified")
        self.rq_body_size = scope.histogram("upstream_rq_body_size", "bytes")
        self.rs_headers_size = scope.histogram("upstream_rs_headers_size", "bytes")
        self.rs_headers_count = scope.histogram("upstream_rs_headers_count", "unspecified")
        self.rs_body_size = scope.histogram("upstream_rs_body_size", "bytes")


class BudgetStats:
    """``timeout_budgets``."""

    def __init__(self, scope: Any) -> None:
        name = "upstream_rq_timeout_budget"
        self.whole = scope.histogram(f"{name}_percent_used", "unspecified")
        self.per_try = scope.histogram(f"{name}_per_try_percent_used", "unspecified")


class _Try:
    """What is known of one try."""

    __slots__ = ("has_ended", "head", "received", "sent", "start_ns")

    def __init__(self) -> None:
        self.start_ns = monotonic_ns()
        self.sent = 0
        self.received = 0
        #: Bytes and number of the response's headers, before the proxy adds its own.
        self.head: tuple[int, int] | None = None
        #: Whether all of the response came.
        self.has_ended = False


class _Sent:
    __slots__ = ("_try",)

    def __init__(self, made: _Try) -> None:
        self._try = made

    def push(self, data: bytes, end_stream: bool) -> bytes:
        self._try.sent += len(data)
        return data

    def end(self, trailers: HeaderMap) -> bytes:
        return b""


class _Received:
    __slots__ = ("_try",)

    def __init__(self, made: _Try) -> None:
        self._try = made

    def push(self, data: bytes, end_stream: bool) -> bytes:
        self._try.received += len(data)
        self._try.has_ended = end_stream
        return data

    def end(self, trailers: HeaderMap) -> bytes:
        self._try.has_ended = True
        return b""


class MeasureFilter(HttpFilter):
    """Measures tries; either of the two may be None."""

    uses_trio = False

    def __init__(self, sizes: SizeStats | None, budgets: BudgetStats | None) -> None:
        self._sizes = sizes
        self._budgets = budgets

    def decode_headers(self, stream: Stream) -> None:
        made = _Try()
        stream.set_slot(self.slot, made)
        stream.request.pipe_body(_Sent(made))

    def encode_headers(self, stream: Stream) -> None:
        made: _Try | None = stream.get_slot(self.slot)
        response = stream.response
        if made is None or response is None:
            return
        headers = response.headers
        size, count = headers.byte_size(), len(headers)
        if isinstance(origin_of(response.body), ChunkedBody):
            # The codec has taken the field away, which Envoy takes away behind the router.
            size, count = size + len(b"transfer-encodingchunked"), count + 1
        made.head = size, count
        made.has_ended = response.body is None
        response.pipe_body(_Received(made))

    def on_complete(self, stream: Stream) -> None:
        made: _Try | None = stream.get_slot(self.slot)
        if made is None:
            return
        if self._sizes is not None:
            self._record_sizes(self._sizes, made, stream.request.headers)
        if self._budgets is not None:
            self._record_budgets(self._budgets, made, stream)

    def _record_sizes(self, sizes: SizeStats, made: _Try, headers: HeaderMap) -> None:
        sizes.rq_headers_size.record(headers.byte_size())
        sizes.rq_headers_count.record(len(headers))
        sizes.rq_body_size.record(made.sent)
        if made.head is not None:
            size, count = made.head
            sizes.rs_headers_size.record(size)
            sizes.rs_headers_count.record(count)
            sizes.rs_body_size.record(made.received)

    def _record_budgets(self, budgets: BudgetStats, made: _Try, stream: Stream) -> None:
        now = monotonic_ns()
        tries = stream.tries
        budgets.per_try.record(_percent(now - made.start_ns, tries.per_try_s))
        if made.has_ended and stream.upstream_first_rx_ns:  # and no other try took its place
            budgets.whole.record(_percent(now - stream.start_ns, tries.timeout_s))


def _percent(elapsed_ns: int, timeout_s: float) -> int:
    """How much of a timeout was used; 0 where there is none."""
    return int(elapsed_ns / timeout_s / 1e7) if timeout_s else 0
