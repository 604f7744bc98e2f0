"""The exchange of a request that may be tried more than once, or whose tries have limits of their own.

:meth:`Tries.run` stands in the place of what ``Router.begin`` does for other requests: it sends the request
to host after host until an answer is final, which then waits for the connection manager (:class:`Answered`).
When there is another try is :mod:`sidecar.router.retry_policy`'s to say.  The request's body is kept as it
goes by (:mod:`sidecar.router.replay`); a pump for each try sends what is kept, then what still comes
(``source/common/router/router.cc``: ``onUpstreamHeaders``, ``maybeRetryReset``, ``doRetry``).
"""

from __future__ import annotations

import logging
from dataclasses import replace
from time import monotonic_ns
from typing import TYPE_CHECKING, Any

from sidecar.api.message import Body, FixedBody, LocalReply, ResponseMessage
from sidecar.api.stream import Flag, Stream
from sidecar.core.errors import Disconnected, SidecarError, StreamAborted, UpstreamError
from sidecar.http.local_reply import NO_HEALTHY_UPSTREAM
from sidecar.http.stream_duration import UPSTREAM_DETAILS, limit_upstream
from sidecar.net.pause import pause
from sidecar.net.reactor import turn
from sidecar.net.timer import Timer, start_timer, stop_timer
from sidecar.router.grpc_call import GrpcCall, is_grpc_request
from sidecar.router.header_mutation import AttemptCount
from sidecar.router.no_pool import refuse_without_pool
from sidecar.router.outliers import IMMEDIATE_FAIL, put_error, put_response, put_timeout
from sidecar.router.override_host import choose_override
from sidecar.router.per_try_idle import WatchedBody, try_timeout_reply
from sidecar.router.retry_policy import BACK_OFF, LIMIT, NO, OVERFLOW, RetryState
from sidecar.router.timeouts import set_grpc_timeout
from sidecar.router.tunnel import choose_pool, open_tunnel
from sidecar.router.upstream_filters import FilteredTry, body_of_try

if TYPE_CHECKING:
    from sidecar.core.headers import HeaderMap
    from sidecar.http.connection_manager import ConnectionManager, Responder
    from sidecar.net.reactor import Strand
    from sidecar.router.exchange import Router
    from sidecar.router.route import Route
    from sidecar.upstream.host import Host

__all__ = ["Answered", "Tries", "last_error"]

logger = logging.getLogger("sidecar.router")

_EXPECTED_TIMEOUT = b"x-envoy-expected-rq-timeout-ms"
_TOO_LARGE = LocalReply(
    507,
    b"exceeded request buffer limit while retrying upstream",
    details="request_payload_exceeded_retry_buffer_limit",
    has_route_headers=True,
)


class _TryTimeout(SidecarError):
    """A limit of one try passed.  ``is_idle`` says which: ``per_try_idle_timeout``."""

    def __init__(self, *, is_idle: bool) -> None:
        super().__init__("per try timeout")
        self.is_idle = is_idle
        #: What the log of the try shows.
        self.try_flag = Flag.STREAM_IDLE_TIMEOUT if is_idle else Flag.UPSTREAM_REQUEST_TIMEOUT


class Answered:
    """An upstream's stream whose final answer is here already (``UpstreamStream``)."""

    __slots__ = ("_inner", "_response")

    def __init__(self, inner: Any, response: ResponseMessage) -> None:
        self._inner = inner
        self._response = response

    async def response(self, stream: Stream | None = None) -> ResponseMessage:
        return self._response

    def release(self) -> None:
        self._inner.release()

    def reset(self) -> None:
        self._inner.reset()

    @property
    def is_answered(self) -> bool:
        """Whether all of the answer has come."""
        return bool(self._inner.is_answered)

    @property
    def grpc_status(self) -> bytes | None:
        """Of its trailers."""
        found: bytes | None = self._inner.grpc_status
        return found


class Tries:
    """The tries of one request."""

    #: Whether a try goes on beside the one that follows it (:class:`sidecar.router.hedging.HedgedTries`).
    is_hedged = False

    __slots__ = (
        "_complete_s",
        "_follows_timeout",
        "_idle_timer",
        "_is_retry",
        "_responder",
        "_router",
        "_strand",
        "_stream",
        "_timer",
        "_tried_clusters",
        "_was_sent",
        "idle_s",
        "is_between",
        "per_try_s",
        "state",
        "timeout_s",
    )

    def __init__(
        self, stream: Stream, state: RetryState | None, timeout_s: float, per_try_s: float, idle_s: float
    ) -> None:
        self._stream = stream
        #: None where there are no retries, or no more of them.
        self.state = state
        self.timeout_s = timeout_s
        self.per_try_s = per_try_s
        self.idle_s = idle_s
        self._is_retry = False
        #: Whether the next try follows one that took too long.
        self._follows_timeout = False
        #: Whether no try is under way: the next waits for its time.
        self.is_between = False
        #: Whether a try got as far as its first byte.
        self._was_sent = False
        #: When all of the request was here; 0 before.
        self._complete_s = 0.0
        #: Where it was tried, where the route may choose another cluster.
        self._tried_clusters: set[str] | None = None
        self._timer: Timer | None = None
        self._idle_timer: Timer | None = None
        self._router: Router
        self._responder: Responder
        self._strand: Strand

    async def run(
        self, router: Router, manager: ConnectionManager, responder: Responder, strand: Strand
    ) -> LocalReply | None:
        """Try until an answer is final; then ``stream.upstream`` has it.  A LocalReply answers instead.

        Raises: UpstreamError, StreamAborted, DeadlineExceeded, Disconnected.
        """
        self._start(router, manager, responder, strand)
        try:
            while True:
                decision = await self._try(self._stream.route)
                if decision.__class__ is not int:
                    if decision is not None:
                        self._cancel_mirrors()
                    return decision  # type: ignore[return-value]
                await self._pass_time(decision)
                self._prepare_next()
        except BaseException:
            self._cancel_mirrors()
            raise
        finally:
            self._stop_timer()
            if self.state is not None:
                self.state.end()

    def _cancel_mirrors(self) -> None:
        """The request breaks off: copies that still wait for the rest of its body do, too."""
        mirrors = self._stream.mirrors
        if mirrors is not None and not self._complete_s:
            mirrors.cancel()

    def _start(
        self, router: Router, manager: ConnectionManager, responder: Responder, strand: Strand
    ) -> None:
        self._router, self._responder, self._strand = router, responder, strand
        stream = self._stream
        route: Route = stream.route
        start_s = stream.start_ns / 1e9
        idle = manager.stream_idle_timeout_s if route.idle_timeout_s is None else route.idle_timeout_s
        strand.idle_deadline = start_s + idle if idle else 0.0
        body = stream.request.body
        if stream.replay is not None and stream.replay.is_lost:
            self._give_up()
        if body is None or body.whole is not None:
            self._complete_s = start_s
            if self.timeout_s:
                strand.deadline = start_s + self.timeout_s

    def settle(self) -> None:
        """A 1xx of the upstream was taken: what is under way is the last try, however long it takes.

        Its pauses are still limited, as in Envoy.
        """
        state, self.state = self.state, None
        if state is not None:
            state.end()
        timer, self._timer = self._timer, None
        if timer is not None:
            stop_timer(self._strand, timer)

    # -- one try ---------------------------------------------------------------------------------------
    async def _try(self, route: Route) -> LocalReply | int | None:
        """None for a final answer, a LocalReply for none at all, else how the next try is to come about."""
        stream = self._stream
        cluster = stream.cluster
        host = self._choose_host()
        if host is None:
            cluster.stats.charge_response(503, stream.trees)
            for each in stream.route_counters:
                each.charge_response(503)
            return NO_HEALTHY_UPSTREAM
        stream.upstream_host = host
        stream.upstream_transport_failure = ""
        stream.upstream_connection_id = 0
        self._was_sent = self._follows_timeout = False
        try:
            upstream = await self._connect(route, host)
            if self.state is not None:
                self.state.attempted(host)
            await self._send(upstream)
            response: ResponseMessage = await stream.upstream.response(stream)
        except UpstreamError as error:
            return self._after_error(host, error)
        except _TryTimeout as timeout:
            return self._after_timeout(host, timeout)
        except StreamAborted as aborted:
            if aborted.reply.details != UPSTREAM_DETAILS:
                raise
            if not self._may_reset(host, error=None):
                raise
            return BACK_OFF
        self._stop_timer()
        return self._after_response(host, response)

    def _choose_host(self) -> Host | None:
        stream = self._stream
        cluster = stream.cluster
        state = self.state
        priorities = None if state is None else state.priorities
        if stream.override_host is not None and not self._is_retry:
            asked, is_strict = choose_override(cluster, stream)
            if asked is not None or is_strict:
                return asked
        host: Host | None = cluster.choose_host(stream, 0, priorities)
        if state is not None and self._is_retry and state.policy.host_predicates:
            for attempt in range(1, state.policy.host_selection_attempts + 1):
                if host is None or not state.rejects(host):
                    break
                host = cluster.choose_host(stream, attempt, priorities)
        return host

    async def _connect(self, route: Route, host: Host) -> Any:
        router, stream = self._router, self._stream
        headers = stream.request.headers
        passing = self._pass_filters(self._strand)
        pool = choose_pool(router, route, stream, headers, host)
        upstream = pool.acquire()
        if route.mirrors and not self._is_retry:
            stream.mirrors = router.mirror_now(route, stream, self.timeout_s)
        if route.auto_host_rewrite and host.hostname:
            router.set_host(route, headers, host.hostname.encode())
        if upstream is None:
            if self._responder.is_client_gone():
                if passing is not None:
                    passing.abandon()
                raise Disconnected("the client left")
            try:
                upstream = await (pool.wait() if passing is None else passing.wait_for(pool))
            except UpstreamError as error:
                refuse_without_pool(stream, error)
                if self.state is not None:
                    self.state.attempted(host)
                raise
        if passing is not None:
            upstream = passing.join(upstream)
        limit = stream.upstream_limit_s
        if limit:
            limit_upstream(stream, self._strand, limit)
        return upstream

    def _pass_filters(self, strand: Strand) -> FilteredTry | None:
        """Let the head of a try pass the filters of its cluster; None where there are none."""
        stream = self._stream
        filters = self._router.filters_of(stream.cluster)
        if filters is None:
            return None
        request = stream.request
        sent = request.body
        body: Body | None = None
        if sent is not None:
            whole = None if stream.upgrade is not None else sent.whole
            if whole is None and self._complete_s and sent.trailers is None and stream.replay is not None:
                whole = stream.replay.whole()
            body = body_of_try(strand.reactor, whole, stream.hcm.buffer_limit_bytes)
        return FilteredTry(filters, stream, strand, request, body)

    async def _send(self, upstream: Any) -> None:
        """Send the request, or begin to."""
        stream = self._stream
        self._router.attach(upstream, stream)
        self._was_sent = True
        request = stream.request
        body = request.body
        if isinstance(upstream, FilteredTry):
            upstream.begin()
        if stream.upgrade is not None:
            await open_tunnel(self._router, upstream, stream, self._responder, self._strand)
            if stream.upgrade.lower() == b"websocket":
                self._start_timer()  # of the handshake, which is all that is sent before the answer
            return
        if body is None:
            waiting = upstream.start(request, None)
        elif body.whole is not None:
            if not self._is_retry:
                stream.bytes_received += len(body.whole)
            waiting = upstream.start(request, body.whole)
        elif self._complete_s and body.trailers is None and stream.replay is not None:
            waiting = upstream.start(request, stream.replay.whole())
        else:
            waiting = upstream.start(request, None)
            if waiting is not None:
                await waiting
            self._start_pump(upstream)
            waiting = None
        if waiting is not None:
            await waiting
        if self._responder.is_client_gone():
            raise Disconnected("the client left")
        if self._complete_s:
            self._start_timer()

    # -- what comes of it ------------------------------------------------------------------------------
    def _after_response(self, host: Any, response: ResponseMessage) -> int | None:
        stream, state = self._stream, self.state
        status = response.headers.status
        decision = NO if state is None else state.after_response(response.headers, status)
        if decision in (NO, OVERFLOW, LIMIT):
            self._flag(decision)
            self._take_answer(response)
            return None
        if stream.try_span is not None:
            stream.try_span.answer(status)
        host.rq_error += 1
        if host.outlier is not None:
            put_response(host.outlier, stream, response.headers)
        if host.checks is not None and IMMEDIATE_FAIL in response.headers:
            host.checks.fail_immediately()
        stream.cluster.stats.charge_basic(status, stream.trees)
        self._leave(reset=response.body is not None)
        return decision

    def _take_answer(self, response: ResponseMessage) -> None:
        """``response`` is what the connection manager shall get of the stream's upstream."""
        stream = self._stream
        answered: Any = Answered(stream.upstream, response)
        if is_grpc_request(stream.request) and stream.request.body is not None and stream.upgrade is None:
            answered = GrpcCall(answered, stream)
        stream.upstream = answered
        if self.idle_s and not self.is_hedged and response.body is not None and response.body.whole is None:
            response.body = WatchedBody(response.body, stream, self._strand, self.idle_s)

    def _after_error(self, host: Any, error: UpstreamError) -> int:
        stream = self._stream
        if stream.try_span is not None:
            stream.try_span.error = error
        if stream.pump_error is not None:
            raise error
        if not self._may_reset(host, error=error):
            if not self._is_retry:
                raise error
            raise last_error(error) from error
        return BACK_OFF

    def _after_timeout(self, host: Any, timeout: _TryTimeout) -> int:
        stream = self._stream
        stats = stream.cluster.stats
        if timeout.is_idle:
            stats.upstream_rq_per_try_idle_timeout.value += 1
        else:
            stats.upstream_rq_per_try_timeout.value += 1
        host.rq_timeout += 1
        if host.outlier is not None:
            put_timeout(host.outlier, stream)
        if self._may_reset(host, error=None):
            self._follows_timeout = True
            return BACK_OFF
        if not stream.had_interim:
            host.rq_error += 1
            status = 204 if stream.is_timeout_204 else 504
            stats.charge_response(status, stream.trees)
            for each in stream.route_counters:
                each.charge_response(status)
        raise StreamAborted(try_timeout_reply(stream, is_idle=timeout.is_idle))

    def _may_reset(self, host: Any, *, error: UpstreamError | None) -> bool:
        """Whether there is another try behind one that broke off; it is left then."""
        self._stop_timer()
        if self.state is None:
            return False
        decision = self._decide_reset(error, sent=self._was_sent)
        if decision != BACK_OFF:
            self._flag(decision)
            return False
        host.rq_error += 1
        if host.outlier is not None and error is not None:
            put_error(host.outlier, self._stream, error.flag)
        self._leave(reset=error is None)
        return True

    def _decide_reset(self, error: UpstreamError | None, *, sent: bool) -> int:
        """What comes of a try that broke off, None for by a limit of its time."""
        assert self.state is not None
        flag = 0 if error is None else error.flag
        return self.state.after_reset(
            is_connect_failure=bool(flag & Flag.UPSTREAM_CONNECTION_FAILURE),
            is_refused=error is not None and error.details == "remote refused stream reset",
            is_overflow=bool(flag & Flag.UPSTREAM_OVERFLOW),
            sent=sent,
        )

    def _flag(self, decision: int) -> None:
        if decision == OVERFLOW:
            self._stream.flags |= Flag.UPSTREAM_OVERFLOW
        elif decision == LIMIT:
            self._stream.flags |= Flag.UPSTREAM_RETRY_LIMIT_EXCEEDED

    def _leave(self, *, reset: bool) -> None:
        """Part with the upstream of this try."""
        stream = self._stream
        was_whole = self._stop_pump()
        if stream.upstream is None:
            return
        for each in stream.route_counters:
            each.upstream_rq_total.value += 1
        upstream = self._router.part(stream)
        if reset or not was_whole:
            upstream.reset()
        else:
            upstream.release()

    # -- between tries ---------------------------------------------------------------------------------
    async def _pass_time(self, decision: int) -> None:
        stream, state = self._stream, self.state
        assert state is not None
        body = stream.request.body
        self.is_between = True
        if body is not None and not self._complete_s and stream.upgrade is None:
            self._start_pump(None)
        if decision == BACK_OFF:
            await pause(state.back_off_s())
        else:
            await turn()
        self.is_between = False
        self._stop_pump()
        if self._responder.is_client_gone():
            raise Disconnected("the client left")

    def _prepare_next(self) -> None:
        """Another try begins.  Raises: StreamAborted, where the cluster to try is none."""
        stream, state = self._stream, self.state
        self._is_retry = True
        stream.attempt_count += 1
        if state is not None:
            if state.policy.refresh_cluster_on_retry:
                self._refresh_cluster(state)
            state.begin_retry()
        route: Route = stream.route
        if stream.request.body is None and stream.hcm.is_client:
            stream.request.body = FixedBody(b"")  # to Envoy's own client, a body of nothing from now on
        headers = stream.request.headers
        for mutations in route.request_mutations:
            if mutations.__class__ is AttemptCount:
                mutations.apply(headers, stream)
        if route.tells_of_timeouts:
            headers.set(b"x-envoy-is-timeout-retry", b"true" if self._follows_timeout else b"false")
        expected = self.per_try_s or self.timeout_s
        if self.is_hedged:
            expected = self.timeout_s
        if not expected:
            return
        if self.timeout_s and self._complete_s:
            left = self.timeout_s - (self._router.reactor.clock() - self._complete_s)
            expected = min(expected, left) if left > 0 else 0.001
        expected_ms = max(1, int(expected * 1000))
        if not self._router.suppress_envoy_headers:
            headers.set(_EXPECTED_TIMEOUT, b"%d" % expected_ms)
        if route.grpc_timeouts is not None and is_grpc_request(stream.request):
            set_grpc_timeout(headers, expected_ms / 1000)

    def _refresh_cluster(self, state: RetryState) -> None:
        """Let the route choose again where the request goes."""
        stream, router = self._stream, self._router
        before = stream.route
        if before.chosen_by is None:
            return
        if self._tried_clusters is None:
            self._tried_clusters = set()
        self._tried_clusters.add(before.cluster_name)
        route = before.chosen_by.again(stream.request.headers, stream, self._tried_clusters)
        cluster = router.find_cluster(route.cluster_name)
        if cluster is None:
            stream.cluster.stats.charge_response(503, stream.trees)
            for each in stream.route_counters:
                each.charge_response(503)
            stream.route, stream.cluster = route, None
            raise StreamAborted(NO_HEALTHY_UPSTREAM)
        if cluster.policies is not None:
            route = cluster.policies.over(route)
        stream.route = route
        if cluster is not stream.cluster:
            if stream.upstream_limit_s == stream.cluster.max_stream_duration_s:
                stream.upstream_limit_s = cluster.max_stream_duration_s
            stream.cluster = cluster
            state.move(cluster.stats, cluster.resources[route.priority].retries)

    # -- the request body ------------------------------------------------------------------------------
    def _give_up(self) -> None:
        """The body is too long to be kept: what is under way is the last try."""
        state, self.state = self.state, None
        if state is not None:
            state.end()
            logger.debug("a request's body is longer than what is kept of it: it is not tried again")
            if self.is_between:
                # Envoy hears of the end of an HTTP/1 request behind its last piece, so it closes.
                is_http1 = self._stream.protocol != "HTTP/2"
                self._strand.fail(StreamAborted(replace(_TOO_LARGE, close=is_http1)))

    def _start_pump(self, upstream: Any) -> None:
        """Let a strand of its own send what is kept of the body, then read, keep and send the rest."""
        stream, main = self._stream, self._strand

        def done(error: BaseException | None) -> None:
            stream.pump = None
            if error is None or isinstance(error, UpstreamError):
                return  # the answer may be on its way all the same
            if stream.mirrors is not None:
                stream.mirrors.cancel()
            failure = Disconnected(str(error)) if isinstance(error, OSError) else error
            stream.pump_error = failure
            main.fail(failure)

        async def pump(_strand: Strand) -> None:
            await self._pump_body(upstream)

        strand = self._router.reactor.spawn("request body", pump, on_done=done, nursery=main.nursery)
        if not strand.done:
            stream.pump = strand

    def _stop_pump(self) -> bool:
        """Whether there was nothing more to send."""
        stream = self._stream
        pump, stream.pump = stream.pump, None
        if pump is None:
            return True
        pump.on_done = _ignore
        pump.fail(Disconnected("the try is over"))
        return False

    async def _pump_body(self, upstream: Any) -> None:
        stream, main = self._stream, self._strand
        body = stream.request.body
        assert body is not None
        replay, mirrors = stream.replay, stream.mirrors
        clock = self._router.reactor.clock
        idle = main.idle_deadline - stream.start_ns / 1e9 if main.idle_deadline else 0.0
        if upstream is not None and replay is not None:
            for data in replay.chunks():
                await upstream.send_data(data)
        if not self._complete_s:
            while data := await body.receive():
                stream.bytes_received += len(data)
                if replay is not None:
                    replay.keep(data)
                    if replay.is_lost:
                        self._give_up()
                if mirrors is not None:
                    await mirrors.push(data)
                if upstream is not None:
                    await upstream.send_data(data)
                if idle and main.idle_deadline:
                    main.idle_deadline = clock() + idle
            if mirrors is not None:
                mirrors.end(body.trailers)
            self._complete_s = clock()
            if self.timeout_s:
                main.deadline = self._complete_s + self.timeout_s
                main.stir()
            if upstream is not None:
                self._start_timer()
        if upstream is not None:
            trailers: HeaderMap | None = body.trailers
            await upstream.send_end(trailers)
        stream.request_last_rx_ns = stream.upstream_last_tx_ns = monotonic_ns()

    # -- the limits of a try ---------------------------------------------------------------------------
    def _start_timer(self) -> None:
        """Begin to count the time of this try: all of the request is here, and so is a connection."""
        strand = self._strand
        now = self._router.reactor.clock()
        if self.per_try_s and self._timer is None and not self._stream.had_interim:
            self._timer = start_timer(
                strand,
                now + self.per_try_s,
                lambda: strand.fail(_TryTimeout(is_idle=False)),
                "per_try_timeout",
            )
        if self.idle_s and self._idle_timer is None:
            self._idle_timer = start_timer(
                strand,
                now + self.idle_s,
                lambda: strand.fail(_TryTimeout(is_idle=True)),
                "per_try_idle_timeout",
            )

    def _stop_timer(self) -> None:
        for timer in (self._timer, self._idle_timer):
            if timer is not None:
                stop_timer(self._strand, timer)
        self._timer = self._idle_timer = None


def last_error(error: UpstreamError) -> UpstreamError:
    """That of the last of several tries; its own, since one of a connect is that of all who waited."""
    last = UpstreamError(str(error), flag=error.flag, details=error.details, retryable=error.retryable)
    last.was_retried = True
    return last


def _ignore(error: BaseException | None) -> None:
    return
