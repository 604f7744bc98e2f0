"""The proxy's own calls of gRPC (docs/adr/0004): one message and its answer, and streams both ways.

A call is a :class:`sidecar.router.http_client.HttpCall`: it goes over the pools of its cluster, is counted
and limited there, and runs in a strand.  Messages are bytes: whoever calls knows what they mean.  Nothing
raises for how a call ends: that is its :class:`sidecar.router.grpc_status.GrpcStatus`
(``source/common/grpc/async_client_impl.cc``).

Who waits (``result``, ``send``, ``receive``) stands in a strand; a trio task gets one with
:func:`sidecar.net.reactor.drive`, or is told by ``on_done`` and ``on_event``, which are plain functions.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sidecar.api.message import Body, FixedBody
from sidecar.codec.grpc_frames import GrpcFrameError, GrpcFrameReader, frame
from sidecar.core.errors import DeadlineExceeded, Disconnected, SidecarError, UpstreamError
from sidecar.http.local_reply import reply_for
from sidecar.net.reactor import Signal
from sidecar.router.grpc_status import (
    CANCELLED,
    INTERNAL,
    RESOURCE_EXHAUSTED,
    UNAVAILABLE,
    UNKNOWN,
    GrpcStatus,
    grpc_status_of,
    status_in,
)
from sidecar.router.http_client import ClientResponse, HttpCall, HttpClient, PushBody
from sidecar.upstream.metadata_match import NAMESPACE

if TYPE_CHECKING:
    from sidecar.api.message import ResponseMessage
    from sidecar.api.stream import Stream
    from sidecar.core.headers import HeaderMap, ResponseHeaders
    from sidecar.net.reactor import Strand
    from sidecar.observability.span import Span
    from sidecar.router.grpc_service import GrpcService

__all__ = ["GrpcClient", "GrpcStream", "GrpcUnaryCall"]

#: Bytes of messages that wait to be sent, and that wait to be taken, where the caller says nothing else.
_BUFFER_BYTES = 1024 * 1024
#: A message that waits costs this much besides its bytes.
_ENTRY_BYTES = 64


class _Refused(SidecarError):
    """The answer is not what it has to be; the status that stands for that."""

    def __init__(self, status: GrpcStatus) -> None:
        super().__init__(status.message.decode("latin-1"))
        self.status = status


class _GrpcCall(HttpCall):
    """What both kinds of call have in common: reading the answer, and how it ends."""

    __slots__ = ("_has_head", "_reader", "count_end", "head", "status", "trailers")

    def __init__(self, client: HttpClient, stream: Stream, limit_bytes: int) -> None:
        super().__init__(client, stream, 0)
        self._reader = GrpcFrameReader(limit_bytes)
        self._has_head = False
        #: Told of the status, on a channel that counts.
        self.count_end: Callable[[int], None] | None = None
        #: How the call ended; None while it goes on.
        self.status: GrpcStatus | None = None
        #: Initial and trailing metadata, as far as they came.
        self.head: ResponseHeaders | None = None
        self.trailers: HeaderMap | None = None

    async def _run(self, strand: Strand) -> None:
        if self._client.router.find_cluster(self.stream.route.cluster_name) is None:
            self.status = GrpcStatus(UNAVAILABLE, b"Cluster not available")
        else:
            await super()._run(strand)

    async def take(self, response: ResponseMessage) -> ClientResponse:
        """Read the answer.  Raises: _Refused, UpstreamError."""
        self._has_head = True
        headers = self.head = response.headers
        body = response.body
        if body is None:
            # A head alone, which says everything; what is not 200 may say it, too.
            status = status_in(headers)
            if status is None:
                status = GrpcStatus(UNKNOWN if headers.status == 200 else grpc_status_of(headers.status))
            self.trailers = headers
            self.status = status
            return ClientResponse(headers, b"")
        if headers.status != 200:
            raise _Refused(GrpcStatus(grpc_status_of(headers.status)))
        self.head_came()
        while data := await body.receive():
            try:
                messages = self._reader.feed(data)
            except GrpcFrameError as error:
                code = RESOURCE_EXHAUSTED if error.is_too_long else INTERNAL
                raise _Refused(GrpcStatus(code, str(error).encode())) from error
            for message in messages:
                await self.message_came(message)
        trailers = self.trailers = body.trailers
        if trailers is None:
            raise _Refused(GrpcStatus(UNKNOWN))
        self.status = status_in(trailers) or GrpcStatus(UNKNOWN)
        return ClientResponse(headers, b"", trailers)

    def finish_span(self) -> None:
        """How it ended, as Envoy's ``AsyncRequestImpl`` has it."""
        span: Span = self.stream.span
        if not span.is_sampled:
            return
        status = self.status
        if self.is_cancelled:
            span.set_tag("status", "canceled")
        elif status is not None:
            span.set_tag("grpc.status_code", str(status.code))
            span.is_error = not status.is_ok
            if not status.is_ok:
                span.set_tag("error", "true")
            elif self.describe is not None:
                self.describe(span, self)
        span.finish()

    def head_came(self) -> None:
        """The head is here, and a good one."""

    async def message_came(self, message: bytes) -> None:
        """Another message is here."""
        raise NotImplementedError

    def _over(self, error: BaseException | None) -> None:
        if self.status is None:
            self.status = self._status_of(self.error or error)
        if self.count_end is not None:
            self.count_end(self.status.code)
        super()._over(error)

    def _status_of(self, error: BaseException | None) -> GrpcStatus:
        if isinstance(error, _Refused):
            return error.status
        if isinstance(error, Disconnected):
            return GrpcStatus(CANCELLED, str(error).encode())
        if self._has_head:
            return GrpcStatus(INTERNAL)
        if self.count_end is not None and isinstance(error, UpstreamError):
            return GrpcStatus(INTERNAL)  # what Envoy makes of a call of Google's client that did not begin
        if isinstance(error, UpstreamError | DeadlineExceeded):
            reply = reply_for(error, self.stream)
            self.stream.details = reply.details
            return GrpcStatus(grpc_status_of(reply.status), reply.body)
        if error is None and self.response is not None:
            # The router answered: there is no cluster, or no host.
            reply_status = self.response.headers.status
            return GrpcStatus(grpc_status_of(reply_status), self.response.body)
        return GrpcStatus(INTERNAL)


class GrpcUnaryCall(_GrpcCall):
    """One message, and the one that answers it."""

    __slots__ = ("message",)

    def __init__(self, client: HttpClient, stream: Stream, limit_bytes: int) -> None:
        super().__init__(client, stream, limit_bytes)
        #: The answer, where ``status`` is good; of several the last, as Envoy has it.
        self.message: bytes | None = None

    async def message_came(self, message: bytes) -> None:
        self.message = message

    async def outcome(self) -> GrpcStatus:
        """Wait for the end; one strand may.  If cancelled: the call goes on."""
        await self.ended()
        assert self.status is not None
        return self.status

    def _over(self, error: BaseException | None) -> None:
        if self.status is not None and self.status.is_ok and self.message is None:
            self.status = GrpcStatus(INTERNAL)  # good, and no answer
        super()._over(error)


class GrpcStream(_GrpcCall):
    """Messages both ways for as long as both sides like.

    Neither direction keeps more than ``buffer_bytes`` and the message that goes over it: ``send`` waits,
    ``try_send`` says no, and a reader that is slow is waited for by not reading, so that the peer's window
    closes.
    """

    __slots__ = ("_arrived", "_buffer_bytes", "_has_room", "_messages", "_out", "_waiting_bytes", "on_event")

    def __init__(
        self, client: HttpClient, stream: Stream, limit_bytes: int, out: PushBody, buffer_bytes: int
    ) -> None:
        super().__init__(client, stream, limit_bytes)
        self._out = out
        self._buffer_bytes = buffer_bytes
        self._messages: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._arrived = Signal(client.reactor)
        self._has_room = Signal(client.reactor)
        #: Called when there is something new: the head, a message, room to send, or the end.
        self.on_event: Callable[[GrpcStream], None] | None = None

    # -- sending ------------------------------------------------------------------------------
    async def send(self, message: bytes) -> None:
        """Send a message; returns once it is not more than the buffer that waits.  One strand may.

        After the end it is dropped: ``receive`` and ``status`` tell.  If cancelled: it is sent all the same.
        """
        await self._out.push(frame(message))

    def try_send(self, message: bytes) -> bool:
        """Send a message if there is room for it now; whether there was."""
        return self._out.try_push(frame(message))

    def end(self) -> None:
        """Nothing more is sent."""
        self._out.end()

    # -- receiving ----------------------------------------------------------------------------
    async def receive(self) -> bytes | None:
        """The next message, or None at the end, whose ``status`` is then there.  One strand may.

        If cancelled: nothing is lost.
        """
        while not self._messages:
            if self.is_done:
                return None
            await self._arrived.wait()
        return self.take_message()

    def take_message(self) -> bytes | None:
        """The next message if it is here."""
        if not self._messages:
            return None
        message = self._messages.popleft()
        self._waiting_bytes -= len(message) + _ENTRY_BYTES
        if self._waiting_bytes <= self._buffer_bytes:
            self._has_room.fire()
        return message

    async def message_came(self, message: bytes) -> None:
        self._messages.append(message)
        self._waiting_bytes += len(message) + _ENTRY_BYTES
        self._tell()
        while self._waiting_bytes > self._buffer_bytes:
            await self._has_room.wait()

    def head_came(self) -> None:
        self._tell()

    def _tell(self) -> None:
        self._arrived.fire()
        if self.on_event is not None:
            self.on_event(self)

    def _over(self, error: BaseException | None) -> None:
        super()._over(error)
        self._tell()


class GrpcClient:
    """Starts calls of one service."""

    def __init__(self, client: HttpClient, service: GrpcService) -> None:
        channel = service.channel
        self._client: HttpClient = client if channel is None else channel.client
        self.service = service
        self._channel = channel

    def call(
        self,
        path: bytes,
        message: bytes,
        *,
        parent: Stream | None = None,
        describe: Callable[[Span, Any], None] | None = None,
    ) -> GrpcUnaryCall:
        """A call that is under way; ``path`` is ``/package.Service/Method``, ``parent`` whom it is for.

        In the trace of the parent it has a span, of which ``describe`` says what a good answer means.
        """
        service = self.service
        span = None
        if parent is not None and parent.span is not None:
            span = self._span(path, parent.span)
        stream = self._stream(path, FixedBody(frame(message)), service.timeout_s, parent, span)
        call = GrpcUnaryCall(self._client, stream, service.max_receive_message_length)
        call.describe = describe
        self._count(call)
        # A filter that asks nobody has its answer at once: its request is not waited for.
        asks_nobody = parent is not None and self._client.router.find_cluster(service.cluster) is None
        call.start(now=asks_nobody)
        return call

    def stream(
        self, path: bytes, *, parent: Stream | None = None, buffer_bytes: int = _BUFFER_BYTES
    ) -> GrpcStream:
        """A stream that is under way, without a limit of its time."""
        out = PushBody(self._client.reactor, buffer_bytes)
        stream = self._stream(path, out, 0.0, parent)
        call = GrpcStream(self._client, stream, self.service.max_receive_message_length, out, buffer_bytes)
        out.on_room = lambda: None if call.on_event is None else call.on_event(call)
        self._count(call)
        call.start()
        return call

    def _count(self, call: _GrpcCall) -> None:
        channel = self._channel
        if channel is not None:
            channel.stats.total.value += 1
            call.count_end = channel.count_closed

    def _span(self, path: bytes, parent: Span) -> Span:
        method = path[1:].replace(b"/", b".").decode("latin-1")
        span = parent.spawn(f"async {method} egress")
        service = self.service
        span.set_tag("upstream_cluster", service.cluster)
        span.set_tag("upstream_address", service.authority.decode("latin-1") or service.cluster)
        span.set_tag("component", "proxy")
        return span

    def _stream(
        self, path: bytes, body: Body, timeout_s: float, parent: Stream | None, span: Span | None = None
    ) -> Stream:
        service = self.service
        stream = self._client.stream_for(
            service.cluster,
            service.head(path, timeout_s, parent),
            body,
            timeout_s=timeout_s,
            retry_policy=service.retry_policy,
            send_internal=not service.skip_envoy_headers,
            send_xff=not service.skip_envoy_headers,
            span=span,
        )
        if parent is not None and parent.route is not None and parent.route.metadata_match is not None:
            # What the request's route wants of hosts, its calls do, too.
            stream.dynamic_metadata = {NAMESPACE: parent.route.metadata_match.values}
        return stream
