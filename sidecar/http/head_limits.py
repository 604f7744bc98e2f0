"""How long the head of a request may take once its first byte is here, and what a late one is answered.

Envoy makes the stream with that byte, so every limit of a stream counts from it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sidecar.api.message import LocalReply
from sidecar.api.stream import Flag
from sidecar.core.errors import DeadlineExceeded
from sidecar.http.h1_request_body import REQUEST_TIMEOUT
from sidecar.http.stream_duration import DURATION_TIMEOUT
from sidecar.net.timer import start_timer

if TYPE_CHECKING:
    from sidecar.http.connection_manager import ConnectionManager
    from sidecar.http.h2_driver import H2Driver

__all__ = ["IDLE_TIMEOUT", "HeadLimit", "head_limit", "limit_partial_head"]

IDLE_TIMEOUT = LocalReply(
    408, b"stream timeout", details="stream_idle_timeout", flag=Flag.STREAM_IDLE_TIMEOUT
)
_HEADERS_TIMEOUT = LocalReply(408, b"request header timeout", details="request_header_timeout")

#: Seconds, the answer, and the counter that it moves.
HeadLimit = tuple[float, LocalReply, Any]


def head_limit(manager: ConnectionManager) -> HeadLimit | None:
    """The limit that runs out first, without the idle one; None where there is none."""
    stats = manager.stats
    durations = manager.durations
    limits: list[HeadLimit] = [
        (manager.request_headers_timeout_s, _HEADERS_TIMEOUT, stats.downstream_rq_header_timeout),
        (manager.request_timeout_s, REQUEST_TIMEOUT, stats.downstream_rq_timeout),
    ]
    if durations is not None:
        limits.append((durations.default_s, DURATION_TIMEOUT, stats.downstream_rq_max_duration_reached))
    return min((limit for limit in limits if limit[0]), key=lambda limit: limit[0], default=None)


def limit_partial_head(driver: H2Driver, stream_id: int) -> None:
    """An HTTP/2 head waits for its CONTINUATION; until that comes nothing else may (RFC 9113 §6.10).

    One that is late ends the connection, which is of no use to anybody.
    """
    manager = driver.manager
    limits = [limit] if (limit := head_limit(manager)) is not None else []
    if manager.stream_idle_timeout_s:
        counter = manager.stats.downstream_rq_idle_timeout
        limits.append((manager.stream_idle_timeout_s, IDLE_TIMEOUT, counter))
    if not limits:
        return
    seconds, reply, counter = min(limits, key=lambda each: each[0])

    def fire() -> None:
        if driver.codec.pending_head == stream_id:
            counter.value += 1
            driver.log_refused(reply.details, reply.flag)
            driver.strand.fail(DeadlineExceeded("head"))

    when = manager.reactor.clock() + seconds
    start_timer(driver.strand, when, fire, "request_headers_timeout", is_of_stream=False)
