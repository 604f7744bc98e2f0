"""``upstream_log`` of the router: lines about single tries, written by loggers of its own.

A line tells of a try what others tell of a request (``UpstreamRequest::upstreamLog`` of Envoy): its own
times, bytes, flags and response, the request's head as it is then, and nothing of what filters kept.

A router that logs lets every try be a :class:`sidecar.router.upstream_filters.FilteredTry`, which calls the
methods of a :class:`TryLog`; others have none.
"""

from __future__ import annotations

import time
from time import monotonic_ns
from typing import TYPE_CHECKING, Any

from sidecar.api.message import ResponseMessage
from sidecar.api.stream import Flag
from sidecar.core.errors import UpstreamError
from sidecar.core.headers import ResponseHeaders
from sidecar.net.timer import start_timer, stop_timer

if TYPE_CHECKING:
    from sidecar.api.filters import AccessLogger
    from sidecar.api.stream import Stream
    from sidecar.core.headers import HeaderMap
    from sidecar.net.reactor import Strand
    from sidecar.net.timer import Timer

__all__ = ["TryLog", "UpstreamLog"]

#: What a response that breaks off is flagged with.
_BROKEN = (
    Flag.UPSTREAM_REMOTE_RESET
    | Flag.UPSTREAM_CONNECTION_TERMINATION
    | Flag.UPSTREAM_PROTOCOL_ERROR
    | Flag.STREAM_IDLE_TIMEOUT
)


class UpstreamLog:
    """What one router logs of its tries."""

    __slots__ = ("interval_s", "loggers", "on_pool_ready")

    def __init__(
        self, loggers: tuple[AccessLogger, ...], interval_s: float = 0.0, *, on_pool_ready: bool = False
    ) -> None:
        self.loggers = loggers
        #: ``upstream_log_flush_interval``; 0 for none.
        self.interval_s = interval_s
        #: ``flush_upstream_log_on_upstream_stream``.
        self.on_pool_ready = on_pool_ready

    def write(self, facts: TryFacts, log_type: str) -> None:
        """Write a line about a try as it is now."""
        facts.access_log_type = log_type
        stream: Any = facts
        for logger in self.loggers:
            logger.log(stream)


class TryFacts:
    """A try as loggers see it: what is the request's, and in the place of the rest what is its own.

    (:class:`sidecar.api.stream.Stream`.)
    """

    access_log_type = ""
    #: A try has none of these.
    attempt_count = 0
    connection_termination_details = details = upstream_filter_state = ""
    virtual_cluster_name = ""
    local_reply_body = b""
    dynamic_metadata = filter_state = request_id = span = try_span = typed_metadata = None
    first_start_ns = request_last_rx_ns = downstream_last_tx_ns = 0
    response_trailers = None
    #: What is known when there is a connection.
    protocol = upstream_protocol = upstream_local_address = upstream_transport_failure = ""
    upstream_connection_id = 0
    upstream_tls = None
    upstream_first_tx_ns = upstream_last_tx_ns = upstream_first_rx_ns = upstream_last_rx_ns = 0
    bytes_received = bytes_sent = 0
    response: ResponseMessage | None = None
    response_code = 0
    flags = 0

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self.start_time = time.time()
        self.start_ns = monotonic_ns()
        self.upstream_host = stream.upstream_host
        self.cluster = stream.cluster
        self.route = stream.route

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @property
    def response_headers(self) -> HeaderMap | None:
        return None if self.response is None else self.response.headers


class _Received:
    """Counts the bytes of a response."""

    __slots__ = ("_facts",)

    def __init__(self, facts: TryFacts) -> None:
        self._facts = facts

    def push(self, data: bytes, end_stream: bool) -> bytes:
        self._facts.bytes_received += len(data)
        if end_stream:
            self._facts.upstream_last_rx_ns = monotonic_ns()
        return data

    def end(self, trailers: HeaderMap) -> bytes:
        self._facts.upstream_last_rx_ns = monotonic_ns()
        return b""


class TryLog:
    """What is written about one try.  Its methods are called in this order, each once at most."""

    __slots__ = ("_facts", "_log", "_strand", "_timer")

    def __init__(self, log: UpstreamLog, stream: Stream, strand: Strand) -> None:
        """The try begins; ``strand`` waits for its answer."""
        self._log = log
        self._facts = TryFacts(stream)
        self._strand = strand
        self._timer: Timer | None = None
        if log.interval_s:
            self._start_timer()

    def _start_timer(self) -> None:
        def fire() -> None:
            self._log.write(self._facts, "UpstreamPeriodic")
            self._start_timer()

        when = self._strand.reactor.clock() + self._log.interval_s
        self._timer = start_timer(self._strand, when, fire, "upstream_log_flush_interval")

    def ready(self, upstream: Any) -> None:
        """There is a connection for it."""
        facts = self._facts
        facts.protocol = facts.upstream_protocol = upstream.protocol
        facts.upstream_connection_id = upstream.connection_id
        facts.upstream_local_address = upstream.local_address
        facts.upstream_tls = upstream.tls
        facts.upstream_first_tx_ns = monotonic_ns()
        if self._log.on_pool_ready:
            self._log.write(facts, "UpstreamPoolReady")

    def sent(self, size: int, *, is_end: bool) -> None:
        """So much of the request's body went to the codec."""
        facts = self._facts
        facts.bytes_sent += size
        if is_end:
            facts.upstream_last_tx_ns = monotonic_ns()

    def answered(self, response: ResponseMessage) -> None:
        """The head of its response is here; what is added to it later is not the try's."""
        facts = self._facts
        facts.response = ResponseMessage(
            ResponseHeaders(response.headers.status, list(response.headers.fields)), None
        )
        facts.response_code = response.headers.status
        facts.upstream_first_rx_ns = monotonic_ns()
        if response.body is None:
            facts.upstream_last_rx_ns = facts.upstream_first_rx_ns
        else:
            response.pipe_body(_Received(facts))

    def failed(self, error: BaseException) -> None:
        """Something else came in the place of a response."""
        facts = self._facts
        if isinstance(error, UpstreamError):
            facts.flags = error.flag
            _, _, facts.upstream_transport_failure = error.details.partition("|")
        else:
            facts.flags = getattr(error, "try_flag", 0)

    def end(self, stream: Stream) -> None:
        """The try is over."""
        if self._timer is not None:
            stop_timer(self._strand, self._timer)
        facts = self._facts
        if facts.response is not None and not facts.upstream_last_rx_ns:
            facts.flags |= stream.flags & _BROKEN
        self._log.write(facts, "UpstreamEnd")
