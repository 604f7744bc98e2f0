"""HTTP filters on the way to an upstream: every try of a request passes them, out and back.

``HttpProtocolOptions.http_filters`` of a cluster, which take the place of ``Router.upstream_http_filters``
(envoy ``source/common/router/upstream_request.cc``).  A request that has any is tried by
:class:`sidecar.router.retrying.Tries`, which opens a :class:`FilteredTry` for each try before it asks for a
connection: the request's hooks run at once, and what they let pass is sent when the connection is there.  The
head of the request is the same for all tries, so what a filter adds is added again with the next; the body is
each try's own.  A local reply of these filters is the request's: no try follows.

A filter is fit for it when its factory says ``is_upstream``.  It is given an :class:`UpstreamView` of the
stream.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from sidecar.api.filters import HttpFilter
from sidecar.api.message import Body, FixedBody, LocalReply, RequestMessage, ResponseMessage
from sidecar.core.errors import Disconnected, StreamAborted, UpstreamError
from sidecar.http.varying_chain import FilterHooks, Hooks, hooks_of
from sidecar.net.reactor import Signal, run_adopted
from sidecar.router.actions import missing_header
from sidecar.router.push_body import PushBody
from sidecar.router.upstream_log import TryLog

if TYPE_CHECKING:
    from sidecar.api.stream import Stream
    from sidecar.api.stream_metadata import StreamMetadata
    from sidecar.api.wire import WireBytes
    from sidecar.core.headers import HeaderMap
    from sidecar.net.reactor import Reactor, Strand
    from sidecar.router.upstream_log import UpstreamLog

__all__ = ["FilteredTry", "UpstreamFilters", "UpstreamView", "body_of_try"]


class UpstreamFilters:
    """The filters of one cluster, or of one router, up to the codec that ends them."""

    def __init__(
        self,
        filters: tuple[HttpFilter, ...],
        closers: Sequence[Callable[[], None]] = (),
        log: UpstreamLog | None = None,
        tail: tuple[HttpFilter, ...] = (),
    ) -> None:
        """``tail`` are filters behind those of the configuration."""
        #: What the router logs of tries; None for nothing.
        self.log = log
        self._closers = closers
        self._tail = tail
        #: The same filters for others, who hear of new ones.
        self._others: WeakSet[UpstreamFilters] = WeakSet()
        #: Asks for filters that are discovered; what has to be there before these filters are used.
        self.start: Callable[[], None] = _nothing
        self.awaited: list[Callable[[], Awaitable[object]]] = []
        self.set_filters(filters)

    def set_filters(self, filters: tuple[HttpFilter, ...]) -> None:
        """Let tries that begin from now on pass these."""
        self.filters = (*filters, *self._tail)
        self._all = hooks_of(self.filters)
        self._varies = any(each.is_disabled for each in self.filters)
        self._hooks: dict[tuple[HttpFilter, ...], FilterHooks] = {}
        for number, each in enumerate(self.filters):
            each.slot = number
        for other in self._others:
            other.set_filters(self.filters)

    def then(self, *tail: HttpFilter, log: UpstreamLog | None = None) -> UpstreamFilters:
        """The same filters with others behind them, now and when they change."""
        made = UpstreamFilters(self.filters, log=log, tail=tail)
        self._others.add(made)
        return made

    def hooks(self, route: Any) -> FilterHooks:
        """Those of the filters that are on for a route."""
        switches = {} if route is None else route.filter_switches
        if not switches and not self._varies:
            return self._all
        active = tuple(each for each in self.filters if not switches.get(each.config_name, each.is_disabled))
        hooks = self._hooks.get(active)
        if hooks is None:
            hooks = self._hooks[active] = hooks_of(active)
        return hooks

    def logged(self, log: UpstreamLog) -> UpstreamFilters:
        """The same filters, with a log of the tries."""
        return self.then(log=log)

    def close(self) -> None:
        """Give back what the filters hold."""
        for closer in reversed(self._closers):
            closer()
        self._closers = ()


def _nothing() -> None:
    """Nothing is discovered."""


class UpstreamView:
    """A stream as filters of one of its tries see it: all of the stream, but what belongs to the try.

    (:class:`sidecar.api.stream.Stream`.)
    """

    #: What is not the stream's own.
    _OWN = frozenset(
        ("filter_hooks", "override_host", "request", "resolve_route", "response", "response_code", "slots")
    )
    filter_hooks = override_host = response = slots = None
    response_code = 0
    is_try = True
    #: The route is found: there is no other for a request that is on its way.
    resolve_route = False

    def __init__(self, stream: Stream, request: RequestMessage, chain: tuple[HttpFilter, ...]) -> None:
        self.__dict__.update(_stream=stream, request=request, chain=chain)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self._OWN:
            setattr(self._stream, name, value)
        elif name != "resolve_route":
            self.__dict__[name] = value

    def get_slot(self, slot: int) -> Any:
        """What the filter with this slot number kept for this try, or None."""
        return None if self.slots is None else self.slots[slot]

    def set_slot(self, slot: int, value: Any) -> None:
        """Keep ``value`` until the try ends."""
        if self.slots is None:
            self.slots = [None] * len(self.chain)
        self.slots[slot] = value

    def clear_route_cache(self) -> None:
        """There is no other route any more, as in Envoy."""

    def find_route(self) -> Any:
        """The route."""
        return self._stream.route

    @property
    def response_headers(self) -> Any:
        response: Any = self.response
        return None if response is None else response.headers

    @property
    def response_trailers(self) -> Any:
        response: Any = self.response
        return None if response is None or response.body is None else response.body.trailers


class FilteredTry:
    """One try; to the router, the upstream's stream (:class:`sidecar.upstream.pool.UpstreamStream`)."""

    def __init__(
        self,
        filters: UpstreamFilters,
        stream: Stream,
        strand: Strand,
        request: RequestMessage,
        body: Body | None,
    ) -> None:
        """``strand`` waits for the answer.  ``body`` is what this try sends; a PushBody is filled by it."""
        self._reactor: Reactor = strand.reactor
        self._strand = strand
        self._stream = stream
        self._pushed = body if isinstance(body, PushBody) else None
        self._message = RequestMessage(request.headers, body)
        view: Any = UpstreamView(stream, self._message, filters.filters)
        self._view = view
        self._hooks = filters.hooks(stream.route)
        self._log = None if filters.log is None else TryLog(filters.log, stream, strand)
        self._inner: Any = None
        #: What the filters answer in the place of the upstream, or what went wrong on the way.
        self.error: BaseException | None = None
        #: What carries the request through filters that wait, or its body.
        self._carrier: Strand | None = None
        self._passed = False
        self._joined = Signal(self._reactor)
        #: The head went out, or never will.
        self._decided = Signal(self._reactor)
        self._is_decided = False
        self._is_awaited = False
        self._is_tunnel = False
        self._tunnel_stays = True
        self._ended = Signal(self._reactor)
        self._is_over = False
        #: A filter took all of the response's body before its head went on.
        self._is_read = False
        self._decode()
        self._note_early(stream)

    # -- what the router asks of an upstream's stream ------------------------------------------------
    @property
    def connection_id(self) -> int:
        return self._inner.connection_id  # type: ignore[no-any-return]

    @property
    def local_address(self) -> str:
        return self._inner.local_address  # type: ignore[no-any-return]

    @property
    def protocol(self) -> str:
        return self._inner.protocol  # type: ignore[no-any-return]

    @property
    def tls(self) -> Any:
        return self._inner.tls

    @property
    def is_answered(self) -> bool:
        return bool(self._inner.is_answered)

    @property
    def grpc_status(self) -> bytes | None:
        return self._inner.grpc_status  # type: ignore[no-any-return]

    def check(self) -> None:
        """Whether the filters let the request pass so far.  Raises: StreamAborted."""
        if self.error is not None:
            raise self.error

    async def wait_for(self, pool: Any) -> Any:
        """What ``pool.wait()`` gives, unless a filter answers before."""
        try:
            self.check()
            self._is_awaited = True
            return await pool.wait()
        except BaseException as error:
            self._note_failure(error)
            self.abandon()
            raise

    def join(self, inner: Any) -> FilteredTry:
        """There is a connection."""
        self._inner = inner
        self._is_awaited = False
        return self

    def begin(self) -> None:
        """The stream is on its connection.  Raises: StreamAborted, as ``check`` does."""
        if self._log is not None:
            self._log.ready(self._inner)
        self.check()

    def measure(self, wire: WireBytes) -> None:
        self._inner.measure(wire)

    def carry(self, metadata: StreamMetadata) -> None:
        self._inner.carry(metadata)

    def start(self, request: RequestMessage, body: bytes | None) -> Awaitable[None] | None:
        self.check()
        if body is not None and self._pushed is not None:
            # It was still coming when the filters began.
            if body:
                self._pushed.try_push(body)
            self._pushed.end()
        message = self._message
        if self._passed and (message.body is None or message.body.whole is not None):
            self._check_head()
            self._decide()
            whole = None if message.body is None else message.body.whole
            if self._log is not None:
                self._log.sent(0 if whole is None else len(whole), is_end=True)
            return self._inner.start(message, whole)  # type: ignore[no-any-return]
        self._go_on()
        return None

    def start_tunnel(self, request: RequestMessage) -> Awaitable[None] | None:
        self.check()
        self._is_tunnel = True
        self._go_on()
        return None

    def _go_on(self) -> None:
        if self._carrier is None:
            self._carry(None)
        else:
            self._joined.fire()

    async def send_data(self, data: bytes) -> None:
        assert self._pushed is not None
        await self._pushed.push(data)

    async def send_end(self, trailers: HeaderMap | None) -> None:
        assert self._pushed is not None
        self._pushed.end(trailers)

    async def end_tunnel(self, trailers: HeaderMap | None) -> bool:
        assert self._pushed is not None
        self._pushed.end(trailers)
        await self._ended.wait()
        return self._tunnel_stays

    async def response(self, stream: Stream | None = None) -> ResponseMessage:
        return await self._answer(self._inner.response, stream)

    async def tunnel_response(self, stream: Stream | None) -> ResponseMessage:
        return await self._answer(self._inner.tunnel_response, stream)

    async def _answer(
        self, receive: Callable[[Stream | None], Awaitable[ResponseMessage]], stream: Stream | None
    ) -> ResponseMessage:
        try:
            await self._wait_for_head()
            self._is_awaited = True
            response = await self._encode(await receive(stream))
        except BaseException as error:
            self._note_failure(error)
            raise
        if self._log is not None:
            self._log.answered(response)
        return response

    def _note_failure(self, error: BaseException) -> None:
        if self._log is not None and not self._is_over:
            self._log.failed(error)

    def release(self) -> None:
        self.abandon()
        if self._is_decided and self.error is None:
            self._inner.release()
        else:
            self._inner.reset()

    def reset(self) -> None:
        self.abandon()
        if self._is_read and self._inner.is_answered:
            self._inner.release()
        else:
            self._inner.reset()

    def abandon(self) -> None:
        """The try is over."""
        if self._is_over:
            return
        self._is_over = True
        carrier, self._carrier = self._carrier, None
        if carrier is not None and not carrier.done:
            carrier.on_done = _ignore
            carrier.fail(Disconnected("the try is over"))
        if self._pushed is not None:
            self._pushed.abandon()
        for hook in self._hooks.complete:
            hook(self._view)
        if self._log is not None:
            self._log.end(self._stream)

    # -- the request -----------------------------------------------------------------------------------
    def _decode(self) -> None:
        hooks = self._hooks.decode
        for number, (hook, uses_trio) in enumerate(hooks):
            reply: Any = hook(self._view)
            if reply is None:
                continue
            if reply.__class__ is LocalReply:
                self.error = StreamAborted(reply)
                return
            self._carry((reply, uses_trio, hooks[number + 1 :]))
            return
        self._passed = True

    def _note_early(self, stream: Stream) -> None:
        """A filter that answers at once does so before the request's end, if it has a body."""
        if self.error is not None and self._message.body is not None and stream.attempt_count == 1:
            stream.is_cut_short = True

    def _carry(self, waiting: tuple[Any, bool, Hooks] | None) -> None:
        """Let a strand wait for the filters, and send what they let pass."""

        async def carry(_strand: Strand) -> None:
            if waiting is not None:
                await self._decode_rest(*waiting)
                self._passed = True
                if self._inner is None:
                    await self._joined.wait()
            await self._send()

        strand = self._reactor.spawn(
            "upstream filters", carry, on_done=self._carried, nursery=self._strand.nursery
        )
        if not strand.done:
            self._carrier = strand

    async def _decode_rest(self, waiting: Any, uses_trio: bool, rest: Hooks) -> None:
        reply = await (run_adopted(waiting) if uses_trio else waiting)
        for hook, uses_trio in rest:
            if reply is not None:
                break
            reply = hook(self._view)
            if reply is not None and reply.__class__ is not LocalReply:
                reply = await (run_adopted(reply) if uses_trio else reply)
        if reply is not None:
            raise StreamAborted(reply)

    async def _send(self) -> None:
        message, inner = self._message, self._inner
        body = message.body
        self._check_head()
        if self._is_tunnel:
            starting = inner.start_tunnel(message)
        else:
            starting = inner.start(message, None if body is None else body.whole)
        if starting is not None:
            await starting
        self._decide()
        log = self._log
        if body is None or (body.whole is not None and not self._is_tunnel):
            if log is not None:
                log.sent(0 if body is None or body.whole is None else len(body.whole), is_end=True)
            return
        while data := await body.receive():
            await inner.send_data(data)
            if log is not None:
                log.sent(len(data), is_end=False)
        if log is not None:
            log.sent(0, is_end=True)
        if self._is_tunnel:
            self._tunnel_stays = await inner.end_tunnel(body.trailers)
        else:
            await inner.send_end(body.trailers)

    def _carried(self, error: BaseException | None) -> None:
        self._carrier = None
        self._ended.fire()
        if self._pushed is not None:
            self._pushed.abandon()
        if error is None or (isinstance(error, UpstreamError) and self._is_decided):
            return  # an answer may be on its way all the same: reading it tells
        self.error = error
        if self._is_awaited:
            self._strand.fail(error)
        else:
            self._decided.fire()

    def _check_head(self) -> None:
        """What no codec can send.  Raises: StreamAborted."""
        headers = self._message.headers
        if (headers.method is None or headers.path is None) and headers.method != b"CONNECT":
            self.error = StreamAborted(missing_header(":method" if headers.method is None else ":path"))
            raise self.error

    def _decide(self) -> None:
        self._is_decided = True
        self._decided.fire()

    # -- the response ----------------------------------------------------------------------------------
    async def _wait_for_head(self) -> None:
        if not self._is_decided and self.error is None:
            await self._decided.wait()
        self.check()

    async def _encode(self, response: ResponseMessage) -> ResponseMessage:
        """Raises: StreamAborted, where a filter answers in its place."""
        self.check()
        view = self._view
        view.response = response
        view.details = "via_upstream"
        body = response.body
        for hook, uses_trio in self._hooks.encode:
            reply: Any = hook(view)
            if reply is not None and reply.__class__ is not LocalReply:
                reply = await (run_adopted(reply) if uses_trio else reply)
            if reply is not None:
                raise StreamAborted(reply)
        changed: ResponseMessage = view.response
        self._is_read = changed.body is not body and (changed.body is None or changed.body.whole is not None)
        return changed


def body_of_try(reactor: Reactor, whole: bytes | None, limit_bytes: int) -> Body:
    """What a try sends: ``whole``, or what will be pushed."""
    return PushBody(reactor, limit_bytes) if whole is None else FixedBody(whole)


def _ignore(error: BaseException | None) -> None:
    return
