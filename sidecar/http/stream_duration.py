"""``max_stream_duration``: how long a stream may take from its first byte to its last.

The connection manager's (``common_http_protocol_options``) runs from the start of the stream; a route's
takes its place when the route is found, and with ``grpc_timeout_header_max`` the client's own grpc-timeout
(``ActiveStream::refreshDurationTimeout`` of Envoy, which also says what the upstream gets to read of it).
The cluster's is the router's: it runs from the moment when the upstream connection is there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.api.message import LocalReply
from sidecar.api.stream import Flag
from sidecar.core.errors import StreamAborted
from sidecar.http.local_reply import is_grpc
from sidecar.net.timer import start_timer, stop_timer
from sidecar.router.timeouts import grpc_timeout_s, set_grpc_timeout

if TYPE_CHECKING:
    from sidecar.api.stream import Stream
    from sidecar.core.headers import RequestHeaders
    from sidecar.http.hcm_stats import HcmStats
    from sidecar.net.reactor import Strand
    from sidecar.router.route import Route

__all__ = ["DURATION_TIMEOUT", "UPSTREAM_DETAILS", "StreamDurations", "limit_upstream"]

_DEADLINE_EXCEEDED = 4
_TEXT = b"downstream duration timeout"
_DETAILS = "max_duration_timeout"
#: While the request is still coming.
DURATION_TIMEOUT = LocalReply(408, _TEXT, details=_DETAILS, grpc_status=_DEADLINE_EXCEEDED)
_WHOLE_REQUEST = LocalReply(504, _TEXT, details=_DETAILS, grpc_status=_DEADLINE_EXCEEDED)

_UPSTREAM_TEXT = b"upstream max stream duration reached"
UPSTREAM_DETAILS = "upstream_max_stream_duration_reached"
_UPSTREAM_FLAG = Flag.UPSTREAM_MAX_STREAM_DURATION_REACHED
_UPSTREAM = LocalReply(408, _UPSTREAM_TEXT, details=UPSTREAM_DETAILS, flag=_UPSTREAM_FLAG)
_UPSTREAM_WHOLE = LocalReply(504, _UPSTREAM_TEXT, details=UPSTREAM_DETAILS, flag=_UPSTREAM_FLAG)


class StreamDurations:
    """The limits of one connection manager; it has none where neither it nor a route sets any."""

    __slots__ = ("_stats", "default_s")

    def __init__(self, default_s: float, stats: HcmStats) -> None:
        #: ``common_http_protocol_options.max_stream_duration``; 0 for none.
        self.default_s = default_s
        self._stats = stats

    def begin(self, stream: Stream, strand: Strand) -> None:
        """Find the route, and let the stream end when its time is up."""
        route: Route | None = stream.find_route()
        stream.duration_route = route
        limit: float | None = self.default_s or None
        if route is not None and route.is_forwarding:
            limit = self._of_route(route, stream.request.headers)
        if stream.duration_timer is not None:
            stop_timer(strand, stream.duration_timer)
            stream.duration_timer = None
        if limit is None:
            return
        stats = self._stats

        def fire() -> None:
            stats.downstream_rq_max_duration_reached.value += 1
            strand.fail(StreamAborted(_WHOLE_REQUEST if _is_whole(stream) else DURATION_TIMEOUT))

        when = (stream.first_start_ns or stream.start_ns) / 1e9 + limit
        if limit:
            stream.duration_timer = start_timer(strand, when, fire, "max_stream_duration")
        else:
            fire()  # a grpc-timeout of nothing

    def _of_route(self, route: Route, headers: RequestHeaders) -> float | None:
        """Seconds, None for no limit; brings grpc-timeout in line with it."""
        duration = route.durations
        if duration is None:
            return self.default_s or None
        limit = self.default_s if duration.max_s is None else duration.max_s
        cap = duration.grpc_header_max_s
        asked = None if cap is None else grpc_timeout_s(headers)
        content_type = headers.get(b"content-type")
        is_grpc_call = content_type is not None and is_grpc(content_type)
        if asked is None:
            if not limit:
                if is_grpc_call and self.default_s:
                    # Envoy takes it away where it stops a timer that ran.
                    headers.remove(b"grpc-timeout")
                return None
        else:
            limit = min(asked, cap) if cap else asked
            if limit and duration.grpc_header_offset_s is not None:
                limit = max(limit - duration.grpc_header_offset_s, 0.0)
        if is_grpc_call:
            set_grpc_timeout(headers, limit)
        return limit


def limit_upstream(stream: Stream, strand: Strand, seconds: float) -> None:
    """Let the exchange with the upstream end after ``seconds`` (the cluster's ``max_stream_duration``)."""
    stats = stream.cluster.stats

    def fire() -> None:
        stats.upstream_rq_max_duration_reached.value += 1
        strand.fail(StreamAborted(_UPSTREAM_WHOLE if _is_whole(stream) else _UPSTREAM))

    start_timer(strand, strand.reactor.clock() + seconds, fire, "upstream max_stream_duration")


def _is_whole(stream: Stream) -> bool:
    body = stream.request.body
    return body is None or body.ended
