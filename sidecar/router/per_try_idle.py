"""``per_try_idle_timeout`` behind the head of an answer: its body may not pause for longer.

Before the head the limit is one of the try (:mod:`sidecar.router.retrying`).  Behind it no other try follows:
an answer that pauses too long is cut off (Envoy's ``UpstreamRequest::resetPerTryIdleTimer``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sidecar.api.message import Body, LocalReply
from sidecar.api.stream import Flag
from sidecar.core.errors import StreamAborted
from sidecar.net.timer import start_timer, stop_timer

if TYPE_CHECKING:
    from sidecar.api.stream import Stream
    from sidecar.net.reactor import Strand

__all__ = ["WatchedBody", "try_timeout_reply"]


def try_timeout_reply(stream: Stream, *, is_idle: bool) -> LocalReply:
    """What answers a request whose last try took too long."""
    return LocalReply(
        204 if stream.is_timeout_204 else 504,
        b"" if stream.is_timeout_204 else b"upstream request timeout",
        details="upstream_per_try_idle_timeout" if is_idle else "upstream_per_try_timeout",
        flag=Flag.UPSTREAM_REQUEST_TIMEOUT,
        has_route_headers=True,
    )


class WatchedBody(Body):
    """A response's body whose pauses are limited."""

    __slots__ = ("_limit_s", "_source", "_strand", "_timer")

    def __init__(self, source: Body, stream: Stream, strand: Strand, limit_s: float) -> None:
        self.whole = None
        self.ended = source.ended
        self.trailers = source.trailers
        self._source = source
        self._strand = strand
        self._limit_s = limit_s

        def fire() -> None:
            host: Any = stream.upstream_host
            stream.cluster.stats.upstream_rq_per_try_idle_timeout.value += 1
            host.rq_timeout += 1
            if host.outlier is not None:
                host.outlier.put_timeout(was_connected=True, status=504)
            strand.fail(StreamAborted(try_timeout_reply(stream, is_idle=True)))

        self._timer = start_timer(strand, strand.reactor.clock() + limit_s, fire, "per_try_idle_timeout")

    async def receive(self) -> bytes:
        source = self._source
        data = await source.receive()
        self.ended = source.ended
        self.trailers = source.trailers
        if not data or source.ended:
            stop_timer(self._strand, self._timer)
        else:
            self._timer.when = self._strand.reactor.clock() + self._limit_s
        return data
