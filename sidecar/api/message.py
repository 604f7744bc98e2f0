"""Messages and bodies: what filters read and change.

A :class:`Message` is one half of a stream.  Its body is *pulled*: ``await body.receive()`` gives the
next chunk and ``b""`` exactly once, at the end; then ``body.trailers`` is valid.  Nobody pulls, nobody
sends: the peer's window closes by itself, so back-pressure needs no watermarks.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from mypy_extensions import mypyc_attr

from sidecar.core.errors import StreamAborted

if TYPE_CHECKING:
    from sidecar.core.headers import Field, HeaderMap, RequestHeaders, ResponseHeaders

__all__ = [
    "BegunBody",
    "Body",
    "BodyStage",
    "FixedBody",
    "GatheredBody",
    "LocalReply",
    "Message",
    "ReadBody",
    "RequestMessage",
    "ResponseMessage",
    "held_bytes",
    "origin_of",
    "wrap_stages",
]


@dataclass(frozen=True, slots=True)
class LocalReply:
    """An answer made by the proxy itself (Envoy's ``sendLocalReply``).

    ``details`` are Envoy's response code details, ``flag`` bits of :class:`sidecar.api.stream.Flag`.
    ``headers`` are added to the answer; a body brings ``content-length`` and, unless they have one,
    ``content-type: text/plain``.
    """

    status: int
    body: bytes = b""
    details: str = ""
    flag: int = 0
    headers: list[Field] = field(default_factory=list)
    #: gRPC status for a gRPC request; None maps the HTTP status as Envoy does.
    grpc_status: int | None = None
    #: Close the downstream HTTP/1 connection after it.
    close: bool = False
    #: The response headers of the route are added, also where it leads to no cluster.
    has_route_headers: bool = False
    #: A filter's own answer instead of the upstream's (Envoy's ``encodeHeaders``): the headers are these, and
    #: neither the route nor ``local_reply_config`` changes it.
    is_answer: bool = False
    #: The headers stand in the place of the route's of the same names.
    overrides: bool = False


@mypyc_attr(allow_interpreted_subclasses=True)
class Body:
    """A body to pull.  Subclasses implement :meth:`receive`.

    ``whole`` is the entire rest of the body where it is already at hand (no waiting needed, no trailers
    behind it), else None: it lets a small message leave in one send.  ``ended`` becomes True with the last
    bytes, which may be before ``b""`` is returned.
    """

    __slots__ = ("ended", "trailers", "whole")

    def __init__(self) -> None:
        self.whole: bytes | None = None
        self.ended = False
        self.trailers: HeaderMap | None = None

    async def receive(self) -> bytes:
        """The next chunk (at least one byte), or ``b""`` once at the end.

        Raises: Disconnected, RemoteProtocolError, UpstreamError, StreamAborted.
        If cancelled: nothing is lost, the next call continues.
        """
        raise NotImplementedError

    @property
    def can_pass_by(self) -> bool:
        """Whether much of it waits in a socket: then ``pass_by`` costs less than ``receive``."""
        return False

    async def pass_by(self, target: Any, most: int, count: Callable[[int], None]) -> None:
        """Move ``most`` bytes or less, which nobody looks at, into ``target``, a transport of the reactor.

        ``count`` is told of them.  What else there is, the end at the least, is to be received.
        Raises: what ``receive`` does; :class:`sidecar.net.splice.Broken` where the target fails.
        """
        raise NotImplementedError

    @property
    def early_bytes(self) -> int:
        """What has come and nobody has taken, as far as that is known without waiting (``whole`` apart)."""
        return 0


class FixedBody(Body):
    """Bytes at hand, and perhaps trailers behind them."""

    __slots__ = ("_data",)

    def __init__(self, data: bytes, trailers: HeaderMap | None = None) -> None:
        self.trailers = trailers
        self.ended = True
        self.whole = data if trailers is None else None
        self._data = data

    async def receive(self) -> bytes:
        data = self._data
        self._data = b""
        if self.whole is not None:
            self.whole = b""
        return data


class GatheredBody(Body):
    """A body that is being read to its end: what stands for it until then says how much is here."""

    __slots__ = ("_source", "size")

    def __init__(self, source: Body) -> None:
        self.whole = None
        self.ended = False
        self.trailers = None
        self._source = source
        self.size = 0

    async def receive(self) -> bytes:
        return await self._source.receive()

    @property
    def early_bytes(self) -> int:
        return self.size + self._source.early_bytes


class ReadBody(FixedBody):
    """A body that a filter has read to its end: its bytes were received, whatever becomes of them."""

    __slots__ = ("size",)

    def __init__(self, data: bytes, trailers: HeaderMap | None = None) -> None:
        super().__init__(data, trailers)
        self.size = len(data)


class BegunBody(Body):
    """A body whose first piece was already taken, and is given again."""

    __slots__ = ("_first", "_rest")

    def __init__(self, first: bytes, rest: Body) -> None:
        self.whole = None
        self._first = first
        self._rest = rest
        self.ended = rest.ended
        self.trailers = rest.trailers

    async def receive(self) -> bytes:
        first, self._first = self._first, b""
        if first:
            return first
        data = await self._rest.receive()
        self.ended = self._rest.ended
        self.trailers = self._rest.trailers
        return data


class BodyStage(Protocol):
    """A transformation of one body, chunk by chunk, installed with :meth:`Message.pipe_body`."""

    def push(self, data: bytes, end_stream: bool) -> bytes | Awaitable[bytes]:
        """Take a chunk, give what may go on now; ``b""`` holds everything back for the moment.

        The last call has ``end_stream`` True, unless trailers follow: then :meth:`end` comes instead.
        Raises: StreamAborted, to answer in place of going on.
        """
        ...

    def end(self, trailers: HeaderMap) -> bytes | Awaitable[bytes]:
        """The body is over and these trailers follow (they may be changed); give what was held back."""
        ...


class _PipedBody(Body):
    """A body seen through a stage."""

    __slots__ = ("_done", "_source", "_stage")

    def __init__(self, source: Body, stage: BodyStage) -> None:
        self.whole = None
        self.ended = False
        self.trailers = None
        self._source = source
        self._stage = stage
        self._done = False

    async def receive(self) -> bytes:
        if self._done:
            return b""
        source = self._source
        while True:
            data = await source.receive()
            if not data or source.ended:
                trailers = source.trailers
                result = self._stage.push(data, trailers is None) if data or trailers is None else b""
                out = result if isinstance(result, bytes) else await result
                if trailers is not None:
                    result = self._stage.end(trailers)
                    out += result if isinstance(result, bytes) else await result
                # A stage may make trailers where there are none.
                self.trailers = getattr(self._stage, "made_trailers", None) if trailers is None else trailers
                self._done = self.ended = True
                return out
            result = self._stage.push(data, False)
            out = result if isinstance(result, bytes) else await result
            if out:
                return out


def wrap_stages(body: Body | None, until: Body | None, wrap: Callable[[BodyStage], BodyStage]) -> None:
    """Put ``wrap`` around the stages of ``body`` that were installed behind ``until``."""
    while body.__class__ is _PipedBody and body is not until:
        body._stage = wrap(body._stage)
        body = body._source


def held_bytes(body: Body | None) -> int:
    """How much of a body is in memory, as far as that is known: what stages hold back is not."""
    while body.__class__ is _PipedBody:
        body = body._source
    return 0 if body is None else len(body.whole or b"") or body.early_bytes


def origin_of(body: Body | None) -> Body | None:
    """The body that is seen through the stages of filters, and of one that reads it whole."""
    while body.__class__ is _PipedBody or body.__class__ is GatheredBody:
        body = body._source
    return body


class Message:
    """One half of a stream: headers, and a body unless it ends with them."""

    __slots__ = ("body",)

    def __init__(self, body: Body | None = None) -> None:
        #: None: the message ends with its headers.
        self.body = body

    @property
    def end_stream(self) -> bool:
        """Whether the message ends with its headers."""
        return self.body is None

    def pipe_body(self, stage: BodyStage) -> None:
        """Let the body of this message pass through ``stage`` (behind stages installed before)."""
        if self.body is not None:
            self.body = _PipedBody(self.body, stage)

    async def buffer_body(self, limit_bytes: int, overflow: LocalReply) -> bytes:
        """Read the whole body and keep it for whoever pulls next.

        Raises: StreamAborted(overflow) when it is longer than ``limit_bytes``.
        If cancelled: what was read is gone; the stream is over anyway.
        """
        body = self.body
        if body is None:
            return b""
        if body.whole is not None:
            data = body.whole
            if len(data) > limit_bytes:
                raise StreamAborted(overflow, received=len(data))
            self.body = ReadBody(data)
            return data
        chunks: list[bytes] = []
        size = 0
        gathered = self.body = GatheredBody(body)
        while chunk := await body.receive():
            size += len(chunk)
            if size > limit_bytes:
                self.body = body
                raise StreamAborted(overflow, received=size)
            gathered.size = size
            chunks.append(chunk)
        data = b"".join(chunks)
        self.body = ReadBody(data, body.trailers)
        return data


class RequestMessage(Message):
    """The half that goes upstream."""

    __slots__ = ("headers",)

    def __init__(self, headers: RequestHeaders, body: Body | None = None) -> None:
        self.headers = headers
        self.body = body


class ResponseMessage(Message):
    """The half that goes downstream."""

    __slots__ = ("headers", "reason")

    def __init__(self, headers: ResponseHeaders, body: Body | None = None) -> None:
        self.headers = headers
        self.body = body
        #: HTTP/1 reason phrase set by a filter, else None for the standard one.
        self.reason: bytes | None = None
