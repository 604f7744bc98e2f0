"""Requests of the proxy's own: mirrors of what passes, and whatever else has to ask a cluster something.

A call goes the way of any request (:mod:`sidecar.router.exchange`), so it gets the cluster's load balancing,
pools, limits and stats; it has no listener, no filters and no log.  It runs in a strand of its own: who
starts it may wait for it in any strand, be told, or forget it.  Envoy's ``Http::AsyncClient``; its stats are
``http.async-client.``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sidecar.api.message import Body, LocalReply, RequestMessage
from sidecar.api.stream import Stream
from sidecar.core.errors import DeadlineExceeded, Disconnected, SidecarError, UpstreamError
from sidecar.core.headers import ResponseHeaders
from sidecar.http.local_reply import reply_for
from sidecar.net.interfaces import local_address
from sidecar.net.reactor import Signal
from sidecar.net.timer import Timer, end_stream_timers, start_timer, stop_timer
from sidecar.router.exchange import Router
from sidecar.router.push_body import PushBody
from sidecar.router.route import Route
from sidecar.router.try_spans import finish_call_span

if TYPE_CHECKING:
    from sidecar.api.message import ResponseMessage
    from sidecar.core.headers import HeaderMap, RequestHeaders
    from sidecar.net.reactor import Reactor, Strand
    from sidecar.observability.span import Span
    from sidecar.router.retry_policy import RetryPolicy

__all__ = ["ClientResponse", "HttpCall", "HttpClient", "PushBody"]

_COUNTERS = (
    *("no_cluster", "no_route", "rq_direct_response", "rq_overload_local_reply", "rq_redirect"),
    *("rq_reset_after_downstream_response_started", "rq_total"),
    *(
        f"passthrough_internal_redirect_{name}"
        for name in ("bad_location", "no_route", "predicate", "too_many_redirects", "unsafe_scheme")
    ),
)
#: Routes that are kept, one per cluster, timeout and retry policy.
_KEPT_ROUTES = 256


class _Stats:
    """``http.async-client.``; the router counts here what it counts for a connection manager."""

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...

    def __init__(self, store: Any) -> None:
        scope = store.scope("http.async-client")
        for name in _COUNTERS:
            setattr(self, name, scope.counter(name))
        #: A connection manager's alone.
        self.downstream_rq_response_before_rq_complete = type(self.rq_total)("")


class _Proxy:
    """The peer of a call: this proxy, which stays."""

    connection_id = 0
    filter_state = dynamic_metadata = typed_metadata = None
    is_local_address_restored = False
    remote_address = direct_remote_address = local_address = direct_local_address = ""
    listener_name = filter_chain_name = requested_server_name = local_close_reason = ""
    detected_close_type = "Normal"
    agent: Any = False
    traffic_direction = "UNSPECIFIED"
    listener_metadata: Any = {}  # noqa: RUF012 - nobody changes it
    tls = None
    transport_failure_reason = ""
    start_ns = 0

    def is_client_gone(self) -> bool:
        """Never."""
        return False


_PROXY: Any = _Proxy()


class ClientResponse:
    """What a call was answered with."""

    __slots__ = ("body", "headers", "trailers")

    def __init__(self, headers: ResponseHeaders, body: bytes, trailers: HeaderMap | None = None) -> None:
        self.headers = headers
        self.body = body
        self.trailers = trailers


def _answer(reply: LocalReply) -> ClientResponse:
    """The router's own reply as an answer."""
    headers = ResponseHeaders(reply.status, list(reply.headers))
    if reply.body:
        headers.add(b"content-length", b"%d" % len(reply.body))
        headers.add(b"content-type", b"text/plain")
    return ClientResponse(headers, reply.body)


class HttpCall:
    """One request under way."""

    __slots__ = (
        "_client",
        "_done",
        "_keep_bytes",
        "_strand",
        "describe",
        "error",
        "is_cancelled",
        "is_done",
        "on_done",
        "response",
        "stream",
    )

    def __init__(self, client: HttpClient, stream: Stream, keep_bytes: int) -> None:
        self._client = client
        self._keep_bytes = keep_bytes
        self._strand: Strand | None = None
        self._done = Signal(client.reactor)
        self.stream = stream
        self.is_done = False
        self.response: ClientResponse | None = None
        #: Why there is no response.
        self.error: BaseException | None = None
        #: Whether it was given up.
        self.is_cancelled = False
        #: Called with the call when it is over.
        self.on_done: Callable[[HttpCall], None] | None = None
        #: Says more in its span, if it has one, before that ends: whoever made it knows what it means.
        self.describe: Callable[[Span, Any], None] | None = None

    def start(self, *, now: bool = False) -> None:
        """Send the request at the end of this pass of the reactor, or ``now``: it may be over at once."""
        self._strand = self._client.reactor.spawn("HTTP call", self._run, on_done=self._over, now=now)

    def cancel(self) -> None:
        """Give the call up: nothing more is sent or read."""
        if self._strand is not None and not self.is_done:
            self.is_cancelled = True
            self._strand.fail(Disconnected("the call was cancelled"))

    def after(self, seconds: float, fire: Callable[[], None], name: str) -> Timer:
        """Have ``fire``, which must not raise, called in so many seconds, unless the call is over by then."""
        assert self._strand is not None
        when = self._client.reactor.clock() + seconds
        return start_timer(self._strand, when, fire, name, is_of_stream=False)

    def forget(self, timer: Timer) -> None:
        """Have ``timer``, which may be over, not fire any more."""
        assert self._strand is not None
        stop_timer(self._strand, timer)

    async def ended(self) -> None:
        """Wait for the end; one strand may.  If cancelled: the call goes on."""
        while not self.is_done:
            await self._done.wait()

    async def result(self) -> ClientResponse:
        """Wait for the answer; one strand may.

        Raises: UpstreamError, DeadlineExceeded, or what else broke the call off.
        If cancelled: the call goes on.
        """
        await self.ended()
        if self.response is None:
            raise self.error or Disconnected("the call was cancelled")
        return self.response

    async def _run(self, strand: Strand) -> None:
        stream = self.stream
        router = self._client.router
        manager: Any = self._client  # it has all that the router asks of one
        try:
            reply = router.begin(manager, stream, _PROXY, strand)
            if reply is not None and not isinstance(reply, LocalReply):
                reply = await reply
            if reply is not None:
                stream.flags |= reply.flag
                self.response = _answer(reply)
                return
            response = await stream.upstream.response(stream)
            router.take_response(stream, response, strand)
            self.response = await self.take(response)
        except UpstreamError as error:
            router.take_error(stream, error)
            self.error = error
        except DeadlineExceeded as error:
            router.count_timeout(stream)
            self.error = error
        except SidecarError as error:
            self.error = error
        finally:
            if stream.upstream is not None:
                router.finish(stream)
            strand.deadline = strand.idle_deadline = 0.0
            if strand.timers is not None:
                end_stream_timers(strand)

    async def take(self, response: ResponseMessage) -> ClientResponse:
        """Read the rest of an answer whose head is here."""
        body = b"" if response.body is None else await self._read(response.body)
        trailers = None if response.body is None else response.body.trailers
        return ClientResponse(response.headers, body, trailers)

    async def _read(self, body: Body) -> bytes:
        """The body as far as it is kept, read to its end."""
        chunks: list[bytes] = []
        room = self._keep_bytes
        while data := await body.receive():
            if room:
                chunks.append(data[:room])
                room -= len(chunks[-1])
        return b"".join(chunks)

    @property
    def answer_status(self) -> int:
        """Of the answer, or of the one that stands for what went wrong; 0 where it was given up."""
        if self.stream.response is not None:
            return self.stream.response.headers.status
        if self.response is not None:
            return self.response.headers.status
        if self.is_cancelled or not isinstance(self.error, SidecarError):
            return 0
        return reply_for(self.error, self.stream).status

    def finish_span(self) -> None:
        """Its span is over."""
        finish_call_span(self)

    def _over(self, error: BaseException | None) -> None:
        self.is_done = True
        if error is not None and self.error is None:
            self.error = error
        body = self.stream.request.body
        if isinstance(body, PushBody):
            body.abandon()
        if self.stream.span is not None:
            self.finish_span()
        self._done.fire()
        if self.on_done is not None:
            self.on_done(self)


class HttpClient:
    """Starts calls.  It stands where the router expects a connection manager."""

    # What the router and the pools look at.
    durations = tracing = None
    is_client = True
    proxy_100_continue = False
    slot_count = 0
    stream_idle_timeout_s = 0.0

    def __init__(
        self,
        reactor: Reactor,
        find_cluster: Callable[[str], Any],
        get_pool: Callable[..., Any],
        store: Any,
        *,
        tells_timeout: bool = True,
    ) -> None:
        """``tells_timeout``: whether calls say in ``x-envoy-expected-rq-timeout-ms`` how long they wait."""
        self.reactor = reactor
        self.router = Router(reactor, find_cluster, get_pool)
        self.stats = _Stats(store)
        #: Bytes of a request body that wait at most, and of a response that are kept.
        self.buffer_limit_bytes = 1024 * 1024
        self._routes: dict[tuple[str, float, int], Route] = {}
        self._tells_timeout = tells_timeout

    def call(
        self,
        cluster: str,
        headers: RequestHeaders,
        body: Body | None = None,
        *,
        timeout_s: float = 0.0,
        keep_bytes: int | None = None,
        span: Span | None = None,
        retry_policy: RetryPolicy | None = None,
        send_xff: bool = True,
    ) -> HttpCall:
        """A call, to be started: ``headers`` are its own; it says that it is internal and whence it comes.

        ``timeout_s`` runs from the end of the request; 0 for none.  Of the response's body ``keep_bytes`` are
        kept (what a body may have by default), the rest is read and dropped.  ``send_xff``: whether it says
        whence it comes.
        """
        stream = self.stream_for(
            cluster,
            headers,
            body,
            timeout_s=timeout_s,
            retry_policy=retry_policy,
            send_xff=send_xff,
            span=span,
        )
        return HttpCall(self, stream, self.buffer_limit_bytes if keep_bytes is None else keep_bytes)

    def stream_for(
        self,
        cluster: str,
        headers: RequestHeaders,
        body: Body | None,
        *,
        timeout_s: float = 0.0,
        retry_policy: RetryPolicy | None = None,
        send_internal: bool = True,
        send_xff: bool = True,
        span: Span | None = None,
    ) -> Stream:
        """What a call is made of; its headers say that it is internal, and of whom, unless told otherwise.

        ``span`` is the call's own, which ends with it; its context goes along.
        """
        if span is not None:
            span.inject(headers)
        if send_internal:
            headers.set(b"x-envoy-internal", b"true")
        if send_xff:
            own = local_address().encode()
            forwarded = headers.get(b"x-forwarded-for")
            headers.set(b"x-forwarded-for", forwarded + b"," + own if forwarded else own)
        stream = Stream(_PROXY, self, RequestMessage(headers, body), "HTTP/1.1")
        stream.start_ns = time.monotonic_ns()
        stream.start_time = time.time()
        stream.internal = stream.trees = send_internal
        stream.span = span
        stream.resolve_route = False
        stream.route = self._route(cluster, timeout_s, retry_policy)
        return stream

    def _route(self, cluster: str, timeout_s: float, retry_policy: RetryPolicy | None) -> Route:
        # The route holds the policy, so its id is not another's while the route is kept.
        key = (cluster, timeout_s, id(retry_policy))
        route = self._routes.get(key)
        if route is None:
            route = Route()
            route.cluster_name = cluster
            route.timeout_s = timeout_s
            route.retry_policy = retry_policy
            route.freeze()
            if not self._tells_timeout:
                route.timeout_field = None
            if len(self._routes) < _KEPT_ROUTES:
                self._routes[key] = route
        return route
