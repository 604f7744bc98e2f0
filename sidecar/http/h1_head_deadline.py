"""How long the head of a request may take once its first byte is here, and what a late one is answered.

Envoy makes the stream with that byte, so every limit of a stream counts from it.  HTTP/2 heads come in one
piece nearly always; a driver that waits for the rest of one asks here too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sidecar.api.message import LocalReply
from sidecar.api.stream import Flag
from sidecar.http.h1_request_body import REQUEST_TIMEOUT
from sidecar.http.stream_duration import DURATION_TIMEOUT

if TYPE_CHECKING:
    from sidecar.http.connection_manager import ConnectionManager

__all__ = ["IDLE_TIMEOUT", "HeadLimit", "head_limit"]

IDLE_TIMEOUT = LocalReply(
    408, b"stream timeout", details="stream_idle_timeout", flag=Flag.STREAM_IDLE_TIMEOUT, close=True
)
_HEADERS_TIMEOUT = LocalReply(408, b"request header timeout", details="request_header_timeout", close=True)

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
