"""Tries side by side: ``hedge_policy.hedge_on_per_try_timeout``.

A try that takes too long is not given up: another is sent beside it, and the first good answer wins.  Each
try is a *leg*, a strand of its own with a stream object for what belongs to it alone; legs tell the request's
own strand what became of them, which alone decides (envoy ``source/common/router/router.cc``:
``onSoftPerTryTimeout``, ``resetOtherUpstreams``).
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from sidecar.api.message import LocalReply, ResponseMessage
from sidecar.api.stream import Stream
from sidecar.core.errors import DeadlineExceeded, Disconnected, StreamAborted, UpstreamError
from sidecar.http.local_reply import NO_HEALTHY_UPSTREAM
from sidecar.http.stream_duration import UPSTREAM_DETAILS, limit_upstream
from sidecar.net.pause import pause
from sidecar.net.reactor import Signal, turn
from sidecar.net.timer import Timer, start_timer, stop_timer
from sidecar.router.no_pool import refuse_without_pool
from sidecar.router.outliers import put_error, put_response, put_timeout
from sidecar.router.retry_policy import BACK_OFF, LIMIT, NO, NOW, OVERFLOW
from sidecar.router.retrying import Tries, last_error
from sidecar.router.tunnel import choose_pool
from sidecar.router.upstream_filters import FilteredTry

if TYPE_CHECKING:
    from sidecar.http.connection_manager import ConnectionManager, Responder
    from sidecar.net.reactor import Strand
    from sidecar.router.exchange import Router
    from sidecar.upstream.host import Host

__all__ = ["HedgedTries"]

#: What the request's stream takes over from the leg that wins.
_RECORDED = (
    *("upstream", "upstream_host", "upstream_local_address", "upstream_protocol"),
    *("upstream_connection_id", "upstream_last_tx_ns", "try_span"),
)
_ANSWERED = object()
_TOO_SLOW = object()


class _Leg:
    """One try under way, or one that waits for its time."""

    __slots__ = ("is_retried", "is_waiting", "limit_s", "strand", "stream", "timers", "tries", "was_late")

    def __init__(self, tries: HedgedTries, stream: Stream) -> None:
        self.tries = tries
        #: What belongs to this try alone.
        self.stream = stream
        self.strand: Strand | None = None
        self.timers: list[Timer] = []
        self.is_waiting = False
        #: There is another try in its place.
        self.is_retried = False
        #: It was too slow, and its host was told so.
        self.was_late = False
        #: When the cluster's or the client's limit of its time passes; 0 for never.
        self.limit_s = 0.0

    def settle(self) -> None:
        """A 1xx was taken on it: it is the one (``Tries.settle``)."""
        self.tries.settle_on(self)


class HedgedTries(Tries):
    """The tries of one request, several at once where one is too slow."""

    __slots__ = ("_events", "_legs", "_signal")
    is_hedged = True

    async def run(
        self, router: Router, manager: ConnectionManager, responder: Responder, strand: Strand
    ) -> LocalReply | None:
        self._start(router, manager, responder, strand)
        #: In the order of their beginning.
        self._legs: list[_Leg] = []
        self._events: deque[tuple[_Leg, Any]] = deque()
        self._signal = Signal(router.reactor)
        try:
            self._launch(None)
            return await self._outcome()
        except DeadlineExceeded as error:
            if error.kind == "total":
                self._count_timeouts()
            raise
        except BaseException:
            self._cancel_mirrors()
            raise
        finally:
            for leg in list(self._legs):
                self._drop(leg)
            if self.state is not None:
                self.state.end()

    async def _outcome(self) -> LocalReply | None:
        """Hear what becomes of the legs, until the request has its answer."""
        while True:
            while self._events:
                leg, event = self._events.popleft()
                if leg not in self._legs:
                    continue
                outcome = self._take(leg, event)
                if outcome is _ANSWERED:
                    return None
                if outcome is not None:
                    self._cancel_mirrors()
                    return outcome  # type: ignore[no-any-return]
            if self._responder.is_client_gone():
                raise Disconnected("the client left")
            await self._signal.wait()

    def settle_on(self, leg: _Leg) -> None:
        """The response begins with a 1xx on ``leg``: all else is over."""
        self._stream.had_interim = True
        self.settle()
        self._unwatch(leg)
        for other in list(self._legs):
            if other is not leg:
                self._drop(other)

    # -- a leg ---------------------------------------------------------------------------------------------
    def _launch(self, wait_s: float | None, *, follows_timeout: bool = False) -> None:
        """Let another try begin, after a while; None for the first, which begins at once."""
        self._follows_timeout = follows_timeout
        main = self._stream
        own = Stream(main.connection, main.hcm, main.request, main.protocol)
        own.start_ns = main.start_ns
        own.route, own.cluster = main.route, main.cluster
        own.internal, own.trees = main.internal, main.trees
        own.is_timeout_204 = main.is_timeout_204
        own.responder = main.responder
        own.span = main.span
        own.wire = main.wire
        leg = _Leg(self, own)
        own.tries = leg
        leg.is_waiting = wait_s is not None
        self._legs.append(leg)
        if wait_s is not None and len(self._legs) == 1:
            self.is_between = True
            if not self._complete_s:
                self._start_pump(None)

        async def body(strand: Strand) -> None:
            leg.strand = strand
            event = await self._run_leg(leg, wait_s)
            self._tell(leg, event)

        def done(error: BaseException | None) -> None:
            if error is not None:
                self._tell(leg, error)

        self._router.reactor.spawn("hedged try", body, on_done=done, nursery=self._strand.nursery)

    def _tell(self, leg: _Leg, event: Any) -> None:
        self._events.append((leg, event))
        self._signal.fire()

    async def _run_leg(self, leg: _Leg, wait_s: float | None) -> Any:
        """What came of it: a response, or a reply where there is no host.  Raises: UpstreamError …"""
        main, own, router = self._stream, leg.stream, self._router
        if wait_s is not None:
            await (pause(wait_s) if wait_s else turn())
            leg.is_waiting = False
            if self.is_between:
                self.is_between = False
                self._stop_pump()
            self._prepare_next()
            own.route, own.cluster = main.route, main.cluster
        host = self._choose_host()
        if host is None:
            cluster = main.cluster
            cluster.stats.charge_response(503, main.trees)
            for each in main.route_counters:
                each.charge_response(503)
            return NO_HEALTHY_UPSTREAM
        own.upstream_host = main.upstream_host = host
        own.attempt_count = main.attempt_count
        main.upstream_connection_id = 0
        upstream = await self._connect_leg(leg, host)
        router.attach(upstream, own)
        if not main.upstream_first_tx_ns:
            main.upstream_first_tx_ns = own.upstream_first_tx_ns
        await self._send_leg(leg, upstream)
        self._watch(leg)
        response = await own.upstream.response(own)
        self._unwatch(leg)
        return response

    async def _connect_leg(self, leg: _Leg, host: Host) -> Any:
        main, router = self._stream, self._router
        route = main.route
        assert leg.strand is not None
        passing = self._pass_filters(leg.strand)
        pool = choose_pool(router, route, main, main.request.headers, host)
        upstream = pool.acquire()
        if route.mirrors and not self._is_retry:
            main.mirrors = router.mirror_now(route, main, self.timeout_s)
        if route.auto_host_rewrite and host.hostname:
            router.set_host(route, main.request.headers, host.hostname.encode())
        if upstream is None:
            try:
                upstream = await (pool.wait() if passing is None else passing.wait_for(pool))
            except UpstreamError as error:
                refuse_without_pool(main, error)
                if self.state is not None:
                    self.state.attempted(host)
                raise
        if passing is not None:
            upstream = passing.join(upstream)
        if self.state is not None:
            self.state.attempted(host)
        limit = main.upstream_limit_s
        if limit:
            leg.limit_s = router.reactor.clock() + limit
            limit_upstream(main, leg.strand, limit)
        return upstream

    async def _send_leg(self, leg: _Leg, upstream: Any) -> None:
        main = self._stream
        request = main.request
        body = request.body
        if isinstance(upstream, FilteredTry):
            upstream.begin()
        if body is None:
            waiting = upstream.start(request, None)
        elif body.whole is not None:
            if not self._is_retry:
                main.bytes_received += len(body.whole)
            waiting = upstream.start(request, body.whole)
        elif self._complete_s and body.trailers is None and main.replay is not None:
            waiting = upstream.start(request, main.replay.whole())
        else:
            waiting = upstream.start(request, None)
            if waiting is not None:
                await waiting
            waiting = None
            if self._complete_s:
                self._start_own_pump(leg, upstream)
            else:
                self._start_pump(upstream)
        if waiting is not None:
            await waiting

    def _start_own_pump(self, leg: _Leg, upstream: Any) -> None:
        """Send what was kept, and its trailers, beside other legs that do so too."""

        def done(_error: BaseException | None) -> None:
            # What it met is known to who waits for the answer.
            if leg.stream.pump is None:
                self._stream.pump = None
            leg.stream.pump = None

        async def pump(_strand: Strand) -> None:
            await self._pump_body(upstream)

        strand = self._router.reactor.spawn("request body", pump, on_done=done, nursery=self._strand.nursery)
        if not strand.done:
            leg.stream.pump = strand

    def _drop(self, leg: _Leg, *, reset: bool = True) -> None:
        """Part with a leg, whatever it does."""
        self._legs.remove(leg)
        self._unwatch(leg)
        own, strand = leg.stream, leg.strand
        was_whole = own.pump is None
        if own.pump is not None:
            pump, own.pump = own.pump, None
            pump.on_done = _ignore
            pump.fail(Disconnected("the try is over"))
        if not self._complete_s:
            was_whole = self._stop_pump() and was_whole
        if strand is not None and not strand.done:
            strand.on_done = _ignore
            strand.fail(Disconnected("the try is over"))
        if own.upstream is None:
            return
        for each in self._stream.route_counters:
            each.upstream_rq_total.value += 1
        upstream = self._router.part(own)
        if reset or not was_whole:
            upstream.reset()
        else:
            upstream.release()

    # -- what comes of it ------------------------------------------------------------------------------------
    def _take(self, leg: _Leg, event: Any) -> Any:
        """_ANSWERED, or a reply, or None where it goes on.  Raises: what ends the request."""
        if event is _TOO_SLOW:
            self._after_soft_timeout(leg)
            return None
        if isinstance(event, ResponseMessage):
            return self._after_leg_response(leg, event)
        if isinstance(event, LocalReply):
            return event
        if isinstance(event, UpstreamError):
            self._after_leg_error(leg, event)
            return None
        if isinstance(event, StreamAborted) and event.reply.details == UPSTREAM_DETAILS:
            if not self._retry_broken(leg, None):
                self._take_over(leg)
                raise event
            return None
        raise event

    def _after_soft_timeout(self, leg: _Leg) -> None:
        state = self.state
        host: Any = leg.stream.upstream_host
        if host.outlier is not None:
            put_timeout(host.outlier, leg.stream)
        leg.was_late = True
        if state is None:
            return
        decision = state.after_soft_timeout()
        if decision == BACK_OFF:
            leg.is_retried = True
            self._launch(state.back_off_s(), follows_timeout=True)
        else:
            self._flag(decision)

    def _after_leg_response(self, leg: _Leg, response: ResponseMessage) -> Any:
        state = self.state
        headers = response.headers
        host: Any = leg.stream.upstream_host
        could_not_retry = False
        if leg.stream.try_span is not None:
            leg.stream.try_span.answer(headers.status)
        if state is not None:
            if leg.is_retried:
                could_not_retry = state.would_retry(headers, headers.status) != NO
            else:
                decision = state.after_response(headers, headers.status)
                if decision in (BACK_OFF, NOW):
                    host.rq_error += 1
                    if host.outlier is not None:
                        put_response(host.outlier, self._stream, headers)
                    self._stream.cluster.stats.charge_basic(headers.status, self._stream.trees)
                    self._drop(leg, reset=response.body is not None)
                    self._launch(state.back_off_s() if decision == BACK_OFF else 0.0)
                    return None
                self._flag(decision)
                could_not_retry = decision in (OVERFLOW, LIMIT)
        if could_not_retry and len(self._legs) > 1:
            host.rq_error += 1
            if host.outlier is not None:
                put_response(host.outlier, self._stream, headers)
            self._drop(leg)
            return None
        self._win(leg, response)
        return _ANSWERED

    def _win(self, leg: _Leg, response: ResponseMessage) -> None:
        """The answer of ``leg`` is that of the request."""
        self._legs.remove(leg)
        for other in list(self._legs):
            self._drop(other)
        self._take_over(leg)
        if leg.limit_s:
            left = max(0.0, leg.limit_s - self._router.reactor.clock())
            limit_upstream(self._stream, self._strand, left)
        self._take_answer(response)

    def _take_over(self, leg: _Leg) -> None:
        """What belongs to ``leg`` is the request's from now on."""
        main, own = self._stream, leg.stream
        for name in _RECORDED:
            setattr(main, name, getattr(own, name))
        own.upstream = None
        if own.pump is not None:
            main.pump, own.pump = own.pump, None

    def _after_leg_error(self, leg: _Leg, error: UpstreamError) -> None:
        if leg.stream.try_span is not None:
            leg.stream.try_span.error = error
        if self._stream.pump_error is not None:
            raise error
        if self._retry_broken(leg, error):
            return
        main, own = self._stream, leg.stream
        if len(self._legs) == 1:
            # The last of them: the connection manager counts it, and answers.
            self._take_over(leg)
            if not self._is_retry:
                raise error
            raise last_error(error) from error
        host: Any = own.upstream_host
        if host.outlier is not None:
            put_error(host.outlier, own, error.flag)
        host.rq_error += 1
        main.cluster.stats.charge_response(503, main.trees)
        for each in main.route_counters:
            each.charge_response(503)
        self._drop(leg, reset=False)

    def _retry_broken(self, leg: _Leg, error: UpstreamError | None) -> bool:
        """Whether there is another try behind a leg that broke off; it is left then."""
        state = self.state
        if state is None or leg.is_retried:
            return False
        decision = self._decide_reset(error, sent=leg.stream.upstream is not None)
        if decision != BACK_OFF:
            self._flag(decision)
            return False
        host: Any = leg.stream.upstream_host
        host.rq_error += 1
        if host.outlier is not None and error is not None:
            put_error(host.outlier, leg.stream, error.flag)
        self._drop(leg, reset=error is None)
        self._launch(state.back_off_s())
        return True

    # -- time ---------------------------------------------------------------------------------------------
    def _start_timer(self) -> None:
        for leg in self._legs:
            self._watch(leg)

    def _watch(self, leg: _Leg) -> None:
        """Begin to count the time of a try: all of the request is here, and so is its connection."""
        if leg.timers or leg.was_late or leg.stream.upstream is None:
            return
        if not self._complete_s or self._stream.had_interim:
            return

        def fire() -> None:
            self._unwatch(leg)
            self._tell(leg, _TOO_SLOW)

        now = self._router.reactor.clock()
        limits = ((self.per_try_s, "per_try_timeout"), (self.idle_s, "per_try_idle_timeout"))
        leg.timers = [
            start_timer(self._strand, now + seconds, fire, name) for seconds, name in limits if seconds
        ]

    def _unwatch(self, leg: _Leg) -> None:
        for timer in leg.timers:
            stop_timer(self._strand, timer)
        leg.timers = []

    def _count_timeouts(self) -> None:
        """The route's timeout ends every try that is under way, and each counts."""
        main = self._stream
        cluster = main.cluster
        for leg in self._legs:
            if leg.is_waiting:
                continue
            host: Any = leg.stream.upstream_host
            cluster.stats.upstream_rq_timeout.value += 1
            host.rq_timeout += 1
            if not main.had_interim:
                host.rq_error += 1
                if host.outlier is not None and not leg.was_late:
                    put_timeout(host.outlier, leg.stream)
                status = 204 if main.is_timeout_204 else 504
                cluster.stats.charge_response(status, main.trees)
            for each in main.route_counters:
                each.upstream_rq_timeout.value += 1
                if not main.had_interim:
                    each.charge_response(504)
        self.is_between = True  # nothing is left to count


def _ignore(error: BaseException | None) -> None:
    return
