"""A request body that is still to come: whose fault its failures are, and how long it may take."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.api.message import Body, LocalReply
from sidecar.api.stream import Flag, Stream
from sidecar.core.errors import DeadlineExceeded, Disconnected, RemoteProtocolError, StreamAborted
from sidecar.http.local_reply import reply_for
from sidecar.net.reactor import Signal

if TYPE_CHECKING:
    from sidecar.http.connection_manager import HcmStats
    from sidecar.net.reactor import Strand

__all__ = ["REQUEST_TIMEOUT", "IncomingBody", "watch_request"]

REQUEST_TIMEOUT = LocalReply(408, b"request timeout", details="request_overall_timeout", close=True)


class IncomingBody(Body):
    """A request body whose broken connection is a Disconnected and whose nonsense ends its stream.

    Both are told apart from failures of the upstream, which is spoken to at the same time.
    """

    __slots__ = ("_source", "_stats", "stream")

    def __init__(self, source: Body, stats: HcmStats) -> None:
        self.whole = source.whole
        self.ended = source.ended
        self.trailers = None
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


def watch_request(strand: Strand, stats: HcmStats, deadline: float) -> Signal:
    """End the stream that ``strand`` runs with 408 at ``deadline`` (``request_timeout``).

    Fire the signal that this gives when the request is complete, or the stream over.
    """
    signal = Signal(strand.reactor)

    async def watch(watcher: Strand) -> None:
        watcher.deadline = deadline
        try:
            await signal.wait()
        except DeadlineExceeded:
            stats.downstream_rq_timeout.value += 1
            strand.fail(StreamAborted(REQUEST_TIMEOUT))

    strand.reactor.spawn("request timeout", watch)
    return signal
