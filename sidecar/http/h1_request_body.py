"""A request body that is still to come: whose fault its failures are, and how long it may take."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from sidecar.api.message import Body, LocalReply
from sidecar.api.stream import Flag, Stream
from sidecar.core.errors import Disconnected, RemoteProtocolError, StreamAborted
from sidecar.http.local_reply import reply_for
from sidecar.net.timer import start_timer

if TYPE_CHECKING:
    from sidecar.http.hcm_stats import HcmStats
    from sidecar.net.reactor import Strand

__all__ = ["REQUEST_TIMEOUT", "IncomingBody", "limit_request"]

REQUEST_TIMEOUT = LocalReply(408, b"request timeout", details="request_overall_timeout")


class IncomingBody(Body):
    """A request body whose broken connection is a Disconnected and whose nonsense ends its stream.

    Both are told apart from failures of the upstream, which is spoken to at the same time.
    """

    __slots__ = ("_source", "_stats", "stream")

    def __init__(self, source: Body, stats: HcmStats) -> None:
        self.whole = source.whole
        self.ended = source.ended
        self.trailers = source.trailers
        self._source = source
        self._stats = stats
        #: The stream whose request this is, as soon as there is one.
        self.stream: Stream | None = None

    async def receive(self) -> bytes:
        source = self._source
        try:
            data = await source.receive()
        except RemoteProtocolError as error:
            if error.status == 0:
                raise Disconnected("the client left inside the request") from error
            stream = self.stream
            assert stream is not None
            self._stats.downstream_cx_protocol_error.value += 1
            stream.flags |= Flag.DOWNSTREAM_PROTOCOL_ERROR
            if stream.response_started:
                stream.details = error.details
            raise StreamAborted(reply_for(error, stream)) from error
        except OSError as error:
            raise Disconnected(str(error)) from error
        self.whole = source.whole
        self.ended = source.ended
        self.trailers = source.trailers
        return data


def limit_request(strand: Strand, stream: Stream, deadline: float, is_complete: Callable[[], bool]) -> None:
    """End the stream that ``strand`` runs with 408 at ``deadline`` (``request_timeout``).

    Unless the request is complete by then, or its response has begun.
    """
    stats: HcmStats = stream.hcm.stats

    def fire() -> None:
        if not is_complete() and not stream.response_started:
            stats.downstream_rq_timeout.value += 1
            strand.fail(StreamAborted(REQUEST_TIMEOUT))

    start_timer(strand, deadline, fire, "request_timeout")
