"""The router: the filter that ends the chain, and the exchange with an upstream.

``begin`` routes and sends, ``take_response`` takes the head, ``finish`` gives the upstream stream back, or
abandons it when the exchange was not finished.  A request body that is not already here
is pumped by a strand of its own while the response is awaited (envoy ``source/common/router/router.cc``).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from time import monotonic_ns
from typing import TYPE_CHECKING, Any

from mypy_extensions import mypyc_attr

from sidecar.api.message import Body, LocalReply, ResponseMessage
from sidecar.api.stream import Flag, Stream
from sidecar.core.errors import Disconnected, UpstreamError
from sidecar.core.headers import RequestHeaders
from sidecar.http.local_reply import NO_CLUSTER, NO_HEALTHY_UPSTREAM, NO_ROUTE, is_grpc
from sidecar.http.stream_duration import limit_upstream
from sidecar.net.reactor import turn
from sidecar.router.actions import answer, missing_header
from sidecar.router.drop_overload import drop_overload
from sidecar.router.grpc_call import GrpcCall, is_grpc_request
from sidecar.router.habits import RouterHabits
from sidecar.router.hedging import HedgedTries
from sidecar.router.internal_redirects import InternalRedirect, InternalRedirectPolicy, follow
from sidecar.router.no_pool import refuse_without_pool
from sidecar.router.outliers import IMMEDIATE_FAIL, put_error, put_response, put_timeout
from sidecar.router.override_host import choose_override
from sidecar.router.replay import ReplayBuffer
from sidecar.router.response_headers import finish_response_headers
from sidecar.router.response_trees import ALTERNATIVE, CANARY, name_alternative, put_trees
from sidecar.router.retry_policy import RetryPolicy, RetryState
from sidecar.router.retrying import Tries
from sidecar.router.rewrites import rewrite_host, rewrite_path
from sidecar.router.timeouts import set_grpc_timeout, unsigned
from sidecar.router.tunnel import choose_pool, open_tunnel
from sidecar.router.upstream_filters import UpstreamFilters
from sidecar.upstream.pool import INTERIM

if TYPE_CHECKING:
    from sidecar.http.connection_manager import Responder
    from sidecar.net.reactor import Reactor, Strand
    from sidecar.router.route_table import Route
    from sidecar.router.upstream_log import UpstreamLog
    from sidecar.upstream.pool import UpstreamStream

__all__ = ["Router"]

#: Request headers that the router reads and takes away (all ``x-envoy-``).
_CONSUMED = frozenset(
    {
        b"x-envoy-max-retries",
        b"x-envoy-retry-on",
        b"x-envoy-retry-grpc-on",
        b"x-envoy-retriable-status-codes",
        b"x-envoy-retriable-header-names",
        b"x-envoy-upstream-alt-stat-name",
        b"x-envoy-upstream-rq-timeout-alt-response",
        b"x-envoy-upstream-rq-timeout-ms",
        b"x-envoy-upstream-rq-per-try-timeout-ms",
        b"x-envoy-hedge-on-per-try-timeout",
        b"x-envoy-upstream-stream-duration-ms",
        b"x-envoy-expected-rq-timeout-ms",
    }
)

#: Those of them that say when to try again.
_RETRY = frozenset(name for name in _CONSUMED if b"-retr" in name)

_EXPECTED_TIMEOUT = b"x-envoy-expected-rq-timeout-ms"
_UPSTREAM_TIMEOUT = b"x-envoy-upstream-rq-timeout-ms"
#: What preparing a request leaves in its head, and what where the caller's own timeout counts.
_CONSUMED_LATER = _RETRY | {_EXPECTED_TIMEOUT}
_KEPT_WITH_EXPECTED = _CONSUMED_LATER | {_UPSTREAM_TIMEOUT}
_NO_POLICY = RetryPolicy()
_timeout_texts: dict[float, bytes] = {}


@mypyc_attr(allow_interpreted_subclasses=True)
class Router:
    """One compiled router filter.  What it keeps of a stream stands on the stream."""

    __slots__ = (
        "_logged",
        "find_cluster",
        "get_pool",
        "habits",
        "is_special",
        "mirror",
        "reactor",
        "suppress_envoy_headers",
        "upstream_filters",
        "upstream_log",
    )

    def __init__(
        self, reactor: Reactor, find_cluster: Callable[[str], Any], get_pool: Callable[..., Any]
    ) -> None:
        self.reactor = reactor
        self.find_cluster = find_cluster
        #: ``get_pool(cluster, host, stream)``: the pool of a host for a request
        #: (:meth:`sidecar.upstream.pools.PoolTable.get`).
        self.get_pool = get_pool
        #: ``mirror(route, stream, timeout_s, limit_bytes)`` starts copies of a request (:mod:`.mirroring`).
        self.mirror: Callable[[Route, Stream, float, int], Any] = _no_mirrors
        self.suppress_envoy_headers = False
        #: What else is unusual about it.
        self.habits: RouterHabits | None = None
        #: ``upstream_http_filters``, for clusters without filters of their own.
        self.upstream_filters: UpstreamFilters | None = None
        #: ``upstream_log``, and the filters of clusters with it.
        self.upstream_log: UpstreamLog | None = None
        self._logged: dict[UpstreamFilters, UpstreamFilters] = {}
        #: Whether one of them is set.
        self.is_special = False

    def set_options(
        self,
        *,
        suppress_envoy_headers: bool,
        habits: RouterHabits | None = None,
        upstream_filters: UpstreamFilters | None,
        upstream_log: UpstreamLog | None = None,
    ) -> None:
        """What the configuration says of it."""
        self.suppress_envoy_headers = suppress_envoy_headers
        self.habits = habits
        if upstream_log is not None:
            upstream_filters = (upstream_filters or UpstreamFilters(())).logged(upstream_log)
        self.upstream_filters = upstream_filters
        self.upstream_log = upstream_log
        self.is_special = suppress_envoy_headers or habits is not None or upstream_filters is not None

    @property
    def _respects_expected(self) -> bool:
        return self.habits is not None and self.habits.respects_expected_timeout

    def filters_of(self, cluster: Any) -> UpstreamFilters | None:
        """The filters that tries at a cluster pass."""
        policies = cluster.policies
        if policies is None:
            return self.upstream_filters
        filters: UpstreamFilters | None = policies.filters_over(self.upstream_filters)
        log = self.upstream_log
        if log is not None and filters is not None and filters.log is None:
            # The cluster's own, which know nothing of this router.
            logged = self._logged.get(filters)
            if logged is None:
                logged = self._logged[filters] = filters.logged(log)
            return logged
        return filters

    def begin(
        self, manager: Any, stream: Stream, responder: Responder, strand: Strand
    ) -> LocalReply | Awaitable[LocalReply | None] | Awaitable[None] | None:
        """Route the request and send it: then ``stream.upstream.response()`` gives the response head.

        A LocalReply answers instead; an awaitable does what has to be waited for.  Once ``stream.upstream``
        is set, ``finish`` has to be called at the end of the stream.  Plain function: awaiting costs.
        ``manager`` is a connection manager, or the client that stands in for one.
        Raises: UpstreamError, StreamAborted, DeadlineExceeded, Disconnected, RemoteProtocolError.
        """
        stats = manager.stats
        stats.rq_total.value += 1
        headers = stream.request.headers
        if stream.resolve_route is not True:
            if stream.resolve_route:
                manager.resolve_route(stream)
            if manager.durations is not None and stream.duration_route is not stream.route:
                manager.durations.begin(stream, strand)  # a filter may have had another route looked up
        else:
            stream.resolve_route = False
            stream.route = manager.route_table.find(headers, stream)
        route: Route | None = stream.route
        if route is None:
            stats.no_route.value += 1
            return NO_ROUTE
        if not route.is_simple:
            if not route.is_forwarding:
                return answer(manager, stream, route, headers, keep_original=not self.suppress_envoy_headers)
            if route.choose is not None:
                route = stream.route = route.choose(headers, stream)
        cluster = self.find_cluster(route.cluster_name)
        if cluster is None:
            stats.no_cluster.value += 1
            status = route.cluster_not_found_status
            if status != 503:
                return replace(NO_CLUSTER, status=status)
            return NO_CLUSTER
        stream.cluster = cluster
        stream.attempt_count = 1
        index = headers._index
        if index is None:
            index = headers.index()
        if (
            route.is_plain
            and cluster.policies is None
            and not self.is_special
            and _CONSUMED.isdisjoint(index)
        ):
            # The common request, without a call: nothing to rewrite, one header to add.
            timeout = route.timeout_s
            limit = cluster.max_stream_duration_s
            field = route.timeout_field
            if field is not None:
                headers.fields.append(field)
                index[field[0]] = field[1]
        else:
            if self.habits is not None:
                refused = self.habits.begin(stream, headers)
                if refused is not None:
                    return refused
            if cluster.policies is not None:
                route = stream.route = cluster.policies.over(route)
            stream.upstream_limit_s = cluster.max_stream_duration_s
            timeout = self._prepare(route, stream, headers)
            limit = stream.upstream_limit_s
            if stream.tries is not None:
                if headers.path is None and headers.method != b"CONNECT":
                    return missing_header(":path")
                if cluster.drop_per_million:
                    dropped = drop_overload(stream, cluster, self.suppress_envoy_headers)
                    if dropped is not None:
                        return dropped
                return stream.tries.run(self, manager, responder, strand)  # type: ignore[no-any-return]
        picker = cluster.picker
        host = None if picker is None or stream.override_host is not None else picker.pick()
        if host is None:
            if cluster.drop_per_million:
                dropped = drop_overload(stream, cluster, self.suppress_envoy_headers)
                if dropped is not None:
                    return dropped
            is_strict = False
            if stream.override_host is not None:
                host, is_strict = choose_override(cluster, stream)
            if host is None and not is_strict:
                host = cluster.choose_host(stream)
            if host is None:
                cluster.stats.charge_response(503, stream.trees)
                for each in stream.route_counters:
                    each.charge_response(503)
                return NO_HEALTHY_UPSTREAM
        stream.upstream_host = host
        if (headers.method is None or headers.path is None) and headers.method != b"CONNECT":
            return missing_header(":method" if headers.method is None else ":path")
        start_s = stream.start_ns / 1e9
        if timeout:
            strand.deadline = start_s + timeout
        idle = manager.stream_idle_timeout_s if route.idle_timeout_s is None else route.idle_timeout_s
        strand.idle_deadline = start_s + idle if idle else 0.0
        if route.is_plain:
            pool = host.pool
            if pool is None:
                pool = self.get_pool(cluster, host, stream)
            upstream = pool.acquire()
        else:
            pool = choose_pool(self, route, stream, headers, host)
            upstream = pool.acquire()
            if route.mirrors:
                stream.mirrors = self.mirror(route, stream, timeout, _buffer_limit(route, stream))
            if route.auto_host_rewrite and host.hostname:
                self.set_host(route, headers, host.hostname.encode())
        if upstream is None:
            if responder.is_client_gone():
                _cancel_mirrors(stream)
                raise Disconnected("the client left")
            return self._wait(pool, stream, responder, strand, limit)
        if limit:
            limit_upstream(stream, strand, limit)
        return self._start(upstream, stream, responder, strand)

    async def _wait(
        self, pool: Any, stream: Stream, responder: Responder, strand: Strand, limit: float
    ) -> None:
        try:
            upstream = await pool.wait()
        except BaseException as error:
            _cancel_mirrors(stream)
            if isinstance(error, UpstreamError):
                refuse_without_pool(stream, error)
            raise
        if limit:
            limit_upstream(stream, strand, limit)
        waiting = self._start(upstream, stream, responder, strand)
        if waiting is not None:
            await waiting

    def _start(
        self, upstream: UpstreamStream, stream: Stream, responder: Responder, strand: Strand
    ) -> Awaitable[None] | None:
        self.attach(upstream, stream)
        request = stream.request
        body = request.body
        if body is None:
            waiting = upstream.start(request, None)
        elif body.whole is not None and stream.upgrade is None:
            whole = body.whole
            stream.bytes_received += len(whole)
            if is_grpc_request(request):
                stream.upstream = GrpcCall(upstream, stream)
            waiting = upstream.start(request, whole)
        else:
            return self._start_with_body(upstream, stream, responder, strand)
        if waiting is None and responder.is_client_gone():
            raise Disconnected("the client left")
        return waiting

    def attach(self, upstream: UpstreamStream, stream: Stream) -> None:
        """Let ``stream`` be on ``upstream``, and count it."""
        stream.upstream = upstream
        stream.upstream_connection_id = upstream.connection_id
        stream.upstream_local_address = upstream.local_address
        stream.upstream_protocol = upstream.protocol
        stream.upstream_tls = upstream.tls
        if stream.wire is not None:
            upstream.measure(stream.wire.up)
        if stream.metadata is not None:
            upstream.carry(stream.metadata)
        cluster_stats = stream.cluster.stats
        cluster_stats.upstream_rq_total.value += 1
        host: Any = stream.upstream_host
        host.rq_total += 1
        host.rq_active += 1
        now = stream.upstream_last_tx_ns = monotonic_ns()
        if not stream.upstream_first_tx_ns:
            stream.upstream_first_tx_ns = now

    async def _start_with_body(
        self, upstream: UpstreamStream, stream: Stream, responder: Responder, strand: Strand
    ) -> None:
        try:
            if stream.upgrade is not None:
                await open_tunnel(self, upstream, stream, responder, strand)
                return
            if is_grpc_request(stream.request):
                stream.upstream = GrpcCall(upstream, stream)
            waiting = upstream.start(stream.request, None)
            if waiting is not None:
                await waiting
        except BaseException:
            _cancel_mirrors(stream)
            raise
        self._start_pump(stream, strand)
        if responder.is_client_gone():
            raise Disconnected("the client left")

    def take_interim(self, stream: Stream, response: ResponseMessage) -> Awaitable[None] | None:
        """A 1xx of the upstream is here: count it, and hand it on where the connection manager does.

        Envoy knows four of them, and drops all behind the first.
        """
        if stream.had_interim or response.headers.status not in INTERIM:
            return None
        stream.had_interim = True
        if stream.tries is not None:
            stream.tries.settle()
        stream.cluster.stats.charge_response(response.headers.status, stream.trees)
        hcm = stream.hcm
        if not hcm.proxy_100_continue:
            return None
        if hcm.always_set_request_id_in_response:
            request_id = stream.request.headers.get(b"x-request-id")
            if request_id is not None:
                response.headers.set(b"x-request-id", request_id)
        waiting: Awaitable[None] | None = stream.responder.send_interim(response)
        return waiting

    def take_response(self, stream: Stream, response: ResponseMessage, strand: Strand) -> None:
        """The response head is here: count it, and set what the router adds."""
        now = stream.upstream_first_rx_ns = monotonic_ns()
        if strand.idle_deadline:
            strand.idle_deadline += (now - stream.start_ns) / 1e9
        stream.response = response
        stream.details = "via_upstream"
        headers = response.headers
        index = headers._index
        if index is None:
            index = headers.index()
        if len(index) != len(headers.fields):
            headers.join_repeated()
            index = headers.index()
        status = headers.status
        route = stream.route
        is_plain = route.is_response_plain
        if not is_plain and route.internal_redirect is not None:
            self._follow_redirect(stream, response, route.internal_redirect)
        host: Any = stream.upstream_host
        if status >= 500:
            host.rq_error += 1
        else:
            host.rq_success += 1
        if host.outlier is not None:
            put_response(host.outlier, stream, headers)
        if host.checks is not None and IMMEDIATE_FAIL in index:
            host.checks.fail_immediately()
        if host.has_trees or CANARY in index:
            put_trees(stream, host, index.get(CANARY))
        stream.cluster.stats.charge_response(status, stream.trees)
        if not self.suppress_envoy_headers and stream.pump is None:
            elapsed = (now - stream.upstream_first_tx_ns) // 1_000_000
            field = _SERVICE_TIMES[elapsed] if elapsed < 64 else (_SERVICE_TIME, b"%d" % elapsed)
            if _SERVICE_TIME in index:
                headers.set(_SERVICE_TIME, field[1])
            else:
                headers.fields.append(field)
                index[_SERVICE_TIME] = field[1]
        if not is_plain or stream.routing_cookies is not None:
            stream.response_code = status  # for %RESPONSE_CODE%
            for cookie in stream.routing_cookies or ():
                headers.add(b"set-cookie", cookie)
            finish_response_headers(stream, headers)

    def _follow_redirect(
        self, stream: Stream, response: ResponseMessage, policy: InternalRedirectPolicy
    ) -> None:
        """Leave the upstream for where it sends the request, if it does.  Raises: InternalRedirect."""
        if response.headers.status not in policy.response_codes:
            return
        route = stream.route
        try:
            follow(stream.hcm, stream, policy, response)
        except InternalRedirect:
            stream.details = "internal_redirect"
            stream.response_code = response.headers.status
            upstream = self.part(stream)
            if response.body is None:
                # Not at once: the request that follows finds the connection taken, as in Envoy.
                self.reactor.call_at_flush(upstream.release)
            else:
                upstream.reset()
            # The log shows where the request goes now, as Envoy's does.
            target: Route = stream.route
            stream.cluster = self.find_cluster(target.cluster_name) if target.is_forwarding else None
            raise
        stream.route = route

    def part(self, stream: Stream) -> UpstreamStream:
        """Take the upstream stream away from ``stream``."""
        upstream: UpstreamStream = stream.upstream
        stream.upstream = None
        host: Any = stream.upstream_host
        host.rq_active -= 1
        return upstream

    def take_error(self, stream: Stream, error: UpstreamError) -> None:
        """The try failed: count it, unless its response has begun."""
        host: Any = stream.upstream_host
        if host is None:
            return
        if host.outlier is not None:
            put_error(host.outlier, stream, error.flag)
        stream.is_refused = error.is_immediate
        if stream.upstream_first_rx_ns or stream.had_interim:
            return
        host.rq_error += 1
        if error.flag & Flag.UPSTREAM_CONNECTION_FAILURE:
            stream.upstream_transport_failure = error.details.partition("|")[2]
        stats = stream.cluster.stats
        if host.has_trees:
            put_trees(stream, host)
        status = 502 if error.flag & Flag.UPSTREAM_PROTOCOL_ERROR else 503
        stats.charge_response(status, stream.trees)
        for each in stream.route_counters:
            each.charge_response(status)

    def _prepare(self, route: Route, stream: Stream, headers: RequestHeaders) -> float:
        """Finish the request headers for the upstream; the timeout in seconds, 0 for none."""
        timeout = expected = route.timeout_s
        policy = route.retry_policy
        per_try = 0.0 if policy is None else policy.per_try_timeout_s
        is_hedged = route.hedge_on_per_try_timeout
        grpc_timeouts = route.grpc_timeouts
        if grpc_timeouts is not None:
            if is_grpc(headers.get(b"content-type") or b""):
                timeout = expected = grpc_timeouts.timeout_s(headers)
            else:
                grpc_timeouts = None
        if not _CONSUMED.isdisjoint(headers.index()):
            kept = _CONSUMED_LATER
            said = headers.get(_EXPECTED_TIMEOUT) if self._respects_expected else None
            if said is None:
                said = headers.get(_UPSTREAM_TIMEOUT)
            else:
                kept = _KEPT_WITH_EXPECTED
            given = unsigned(said)
            if given is not None:
                timeout = given / 1000
            given = unsigned(headers.get(b"x-envoy-upstream-rq-per-try-timeout-ms"))
            if given is not None:
                per_try = given / 1000
            given = unsigned(headers.get(b"x-envoy-upstream-stream-duration-ms"))
            if given is not None:
                stream.upstream_limit_s = given / 1000
            hedge = headers.get(b"x-envoy-hedge-on-per-try-timeout")
            if hedge == b"true" or hedge == b"false":
                is_hedged = hedge == b"true"
            stream.is_timeout_204 = b"x-envoy-upstream-rq-timeout-alt-response" in headers
            tree = headers.get(ALTERNATIVE)
            if tree:
                name_alternative(stream, tree)
            for name in _CONSUMED:
                if name not in kept:
                    headers.remove(name)
            expected = timeout
        if per_try and timeout and per_try >= timeout:
            per_try = 0.0
        if per_try and not is_hedged:
            expected = per_try
        if expected and not self.suppress_envoy_headers:
            text = _timeout_texts.get(expected)
            if text is None:
                text = b"%d" % round(expected * 1000)
                if len(_timeout_texts) < 1024:
                    _timeout_texts[expected] = text
            headers.set(_EXPECTED_TIMEOUT, text)
        if grpc_timeouts is not None and expected:
            set_grpc_timeout(headers, expected)
        filters = self.filters_of(stream.cluster)
        if route.is_plain:
            if per_try or filters is not None or not _RETRY.isdisjoint(headers.index()):
                self._prepare_tries(route, stream, headers, timeout, per_try, is_hedged)
            return timeout
        for mutations in route.request_mutations:
            mutations.apply(headers, stream)
        if (
            policy is not None
            or route.tries_policy is not None
            or per_try
            or filters is not None
            or not _RETRY.isdisjoint(headers.index())
        ):
            self._prepare_tries(route, stream, headers, timeout, per_try, is_hedged)
        if route.host_rewriter is not None:
            host = route.host_rewriter(headers, stream)
            if host:
                self.set_host(route, headers, host)
        if route.internal_redirect is not None and stream.request.body is not None and stream.replay is None:
            stream.replay = self._keep_body(route, stream, stream.request.body)
        if route.path_rewriter is not None:
            rewrite_path(route.path_rewriter, headers, stream, keep_original=not self.suppress_envoy_headers)
        return timeout

    def _prepare_tries(
        self,
        route: Route,
        stream: Stream,
        headers: RequestHeaders,
        timeout: float,
        per_try: float,
        is_hedged: bool,
    ) -> None:
        """See what the route and the request (after its mutations, as in Envoy) say of several tries."""
        policy = route.tries_policy or route.retry_policy or _NO_POLICY
        limits = route.retry_policy or _NO_POLICY
        state = None
        if policy.retry_on or b"x-envoy-retry-on" in headers or b"x-envoy-retry-grpc-on" in headers:
            counters = (stream.cluster.stats, *stream.route_counters)
            state = RetryState(policy, headers, stream.cluster.resources[route.priority].retries, counters)
        for name in _RETRY:
            headers.remove(name)
        idle = limits.per_try_idle_timeout_s
        if state is None and not per_try and not idle and self.filters_of(stream.cluster) is None:
            return
        may_hedge = (per_try or idle) and stream.upgrade is None and route.connect_config is None
        made = HedgedTries if is_hedged and may_hedge else Tries
        stream.tries = made(stream, state, timeout, per_try, idle)
        body = stream.request.body
        if state is not None and state.retry_on and body is not None and stream.upgrade is None:
            stream.replay = self._keep_body(route, stream, body)

    def _keep_body(self, route: Route, stream: Stream, body: Body) -> ReplayBuffer:
        replay = ReplayBuffer(_buffer_limit(route, stream), stream.cluster.stats.retry_or_shadow_abandoned)
        if body.whole is not None:
            replay.keep(body.whole)
        return replay

    def mirror_now(self, route: Route, stream: Stream, timeout: float) -> Any:
        """Start the copies of a request."""
        return self.mirror(route, stream, timeout, _buffer_limit(route, stream))

    def set_host(self, route: Route, headers: RequestHeaders, host: bytes) -> None:
        rewrite_host(
            headers, host, keep_original=not self.suppress_envoy_headers, append=route.append_x_forwarded_host
        )

    # -- the request body ----------------------------------------------------------------------------
    def _start_pump(self, stream: Stream, main: Strand) -> None:
        """Let a strand of its own send the body while the response is awaited."""

        def done(error: BaseException | None) -> None:
            stream.pump = None
            if error is None or isinstance(error, UpstreamError):
                return  # the response may be on its way all the same: reading it tells
            _cancel_mirrors(stream)
            failure = Disconnected(str(error)) if isinstance(error, OSError) else error
            stream.pump_error = failure
            main.fail(failure)

        # The route's timeout runs from the end of the request.
        timeout = main.deadline - stream.start_ns / 1e9 if main.deadline else 0.0
        main.deadline = 0.0

        async def pump(_strand: Strand) -> None:
            await self._pump_body(stream, main)
            if timeout:
                main.deadline = self.reactor.clock() + timeout
                main.stir()

        strand = self.reactor.spawn("request body", pump, on_done=done, nursery=main.nursery)
        if not strand.done:
            stream.pump = strand

    async def _pump_body(self, stream: Stream, main: Strand) -> None:
        upstream = stream.upstream
        body = stream.request.body
        assert body is not None
        count = 0
        clock = self.reactor.clock
        idle = main.idle_deadline - stream.start_ns / 1e9 if main.idle_deadline else 0.0
        replay, mirrors = stream.replay, stream.mirrors
        while data := await body.receive():
            stream.bytes_received += len(data)
            if replay is not None:
                replay.keep(data)
            if mirrors is not None:
                await mirrors.push(data)
            await upstream.send_data(data)
            if idle and main.idle_deadline:
                main.idle_deadline = clock() + idle
            count += 1
            if not count & 63:
                await turn()
        if mirrors is not None:
            mirrors.end(body.trailers)
        await upstream.send_end(body.trailers)
        stream.request_last_rx_ns = stream.upstream_last_tx_ns = monotonic_ns()

    # -- after -----------------------------------------------------------------------------------------
    def count_timeout(self, stream: Stream) -> None:
        """The route's timeout ended this stream."""
        cluster = stream.cluster
        if cluster is None or (stream.tries is not None and stream.tries.is_between):
            return  # between two tries Envoy counts none
        cluster.stats.upstream_rq_timeout.value += 1
        for each in stream.route_counters:
            each.upstream_rq_timeout.value += 1
        host: Any = stream.upstream_host
        if host is not None:
            host.rq_timeout += 1
            host.rq_error += 1
            if host.outlier is not None:
                put_timeout(host.outlier, stream)
            if host.has_trees:
                put_trees(stream, host)
        if not stream.upstream_first_rx_ns and not stream.had_interim:
            cluster.stats.charge_response(504, stream.trees)
            for each in stream.route_counters:
                each.charge_response(504)

    def finish(self, stream: Stream) -> None:
        """Give the upstream stream back, or abandon what is not finished.  ``stream.upstream`` is set."""
        stats = stream.cluster.stats
        upstream = self.part(stream)
        pump = stream.pump
        if not stream.upstream_first_rx_ns:
            for each in stream.route_counters:  # what has an answer was counted with it
                each.upstream_rq_total.value += 1
        if pump is not None:
            stream.pump = None
            _cancel_mirrors(stream)
            pump.on_done = _ignore
            pump.fail(Disconnected("the exchange is over"))
            if stream.upgrade is not None:
                upstream.release()  # it knows what is unfinished
                return
            upstream.reset()
            return
        if stream.upstream_first_rx_ns:
            end = stream.downstream_last_tx_ns or monotonic_ns()
            duration_ms = (end - stream.upstream_first_tx_ns) // 1_000_000
            stats.charge_time(duration_ms, stream.trees)
            for each in stream.route_counters:
                each.charge_time(duration_ms)
        upstream.release()


_SERVICE_TIME = b"x-envoy-upstream-service-time"
_SERVICE_TIMES = tuple((_SERVICE_TIME, b"%d" % number) for number in range(64))


def _cancel_mirrors(stream: Stream) -> None:
    """The request breaks off before its end: its copies do, too."""
    if stream.mirrors is not None:
        stream.mirrors.cancel()


def _buffer_limit(route: Route, stream: Stream) -> int:
    """How many bytes of a request are kept for another try or for a copy."""
    if route.request_body_buffer_limit is not None:
        return route.request_body_buffer_limit
    return int(min(stream.hcm.buffer_limit_bytes, route.per_request_buffer_limit_bytes))


def _no_mirrors(route: Route, stream: Stream, timeout_s: float, limit_bytes: int) -> None:
    """For requests whose copies are not copied again."""


def _ignore(error: BaseException | None) -> None:
    return
