"""The router: the filter that ends the chain, and one exchange with an upstream.

``exchange.run()`` brings ``stream.response`` or a LocalReply; ``exchange.close()`` gives the upstream
stream back, or abandons it when the exchange was not finished.  A request body that is not already here
is pumped by a strand of its own while the response is awaited (envoy ``source/common/router/router.cc``).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from sidecar.api.message import LocalReply
from sidecar.api.stream import Flag, Stream
from sidecar.core.errors import Disconnected, SidecarError, StreamAborted, UpstreamError
from sidecar.core.headers import RequestHeaders
from sidecar.http.local_reply import NO_CLUSTER, NO_HEALTHY_UPSTREAM, NO_ROUTE
from sidecar.net.reactor import Signal, turn

if TYPE_CHECKING:
    from sidecar.http.connection_manager import ConnectionManager, Responder
    from sidecar.net.reactor import Reactor, Strand
    from sidecar.router.route_table import Redirect, Route, WeightedCluster
    from sidecar.upstream.pool import UpstreamStream

__all__ = ["Exchange", "Router"]

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
        b"x-envoy-decorator-operation",
        b"x-envoy-expected-rq-timeout-ms",
        b"x-envoy-is-timeout-retry",
    }
)

_timeout_texts: dict[float, bytes] = {}


class Router:
    """One compiled router filter."""

    __slots__ = ("find_cluster", "get_pool", "reactor", "suppress_envoy_headers")

    def __init__(
        self, reactor: Reactor, find_cluster: Callable[[str], Any], get_pool: Callable[[Any, Any], Any]
    ) -> None:
        self.reactor = reactor
        self.find_cluster = find_cluster
        #: ``get_pool(cluster, host)`` gives the connection pool of a host.
        self.get_pool = get_pool
        self.suppress_envoy_headers = False

    def exchange(
        self, manager: ConnectionManager, stream: Stream, responder: Responder, strand: Strand
    ) -> Exchange:
        """An exchange for one stream, nothing done yet."""
        return Exchange(self, manager, stream, responder, strand)


class Exchange:
    """One request at an upstream."""

    __slots__ = (
        "_cluster",
        "_host",
        "_manager",
        "_pump",
        "_pump_error",
        "_responder",
        "_router",
        "_strand",
        "_stream",
        "_upstream",
        "_weighted",
    )

    def __init__(
        self, router: Router, manager: ConnectionManager, stream: Stream, responder: Responder, strand: Strand
    ) -> None:
        self._router = router
        self._manager = manager
        self._stream = stream
        self._responder = responder
        self._strand = strand
        self._cluster: Any = None
        self._host: Any = None
        self._upstream: UpstreamStream | None = None
        self._weighted: WeightedCluster | None = None
        self._pump: Strand | None = None
        self._pump_error: BaseException | None = None

    async def run(self) -> LocalReply | None:
        """Route the request and await the response head.

        Raises: UpstreamError, StreamAborted, DeadlineExceeded, Disconnected, RemoteProtocolError.
        """
        stream = self._stream
        manager = self._manager
        stats = manager.stats
        stats.rq_total.value += 1
        if stream.resolve_route:
            manager.resolve_route(stream)
        route: Route | None = stream.route
        if route is None:
            stats.no_route.value += 1
            return NO_ROUTE
        headers = stream.request.headers
        if route.direct_response is not None or route.redirect is not None:
            return self._answer(route, headers)
        cluster_name, weighted = route.pick_cluster(headers)
        cluster = self._router.find_cluster(cluster_name)
        if cluster is None:
            stats.no_cluster.value += 1
            if route.cluster_not_found_status == 404:
                return LocalReply(404, details="cluster_not_found", flag=Flag.NO_CLUSTER_FOUND)
            return NO_CLUSTER
        self._cluster = stream.cluster = cluster
        self._weighted = weighted
        timeout = self._prepare(route, headers)
        host = cluster.choose_host(stream)
        if host is None:
            cluster.stats.charge_response(503, stream.internal)
            return NO_HEALTHY_UPSTREAM
        self._host = stream.upstream_host = host
        stream.attempt_count = 1
        strand = self._strand
        start_ns = stream.start_ns
        if timeout:
            strand.deadline = start_ns / 1e9 + timeout
        idle = manager.stream_idle_timeout_s if route.idle_timeout_s is None else route.idle_timeout_s
        strand.idle_deadline = start_ns / 1e9 + idle if idle else 0.0
        request = stream.request
        pool = self._router.get_pool(cluster, host)
        try:
            upstream = pool.acquire()
            if upstream is None:
                if self._responder.is_client_gone():
                    raise Disconnected("the client left")
                upstream = await pool.wait()
        except UpstreamError:
            self._count_failed(host)
            raise
        self._upstream = upstream
        stream.upstream_connection_id = upstream.connection_id
        stream.upstream_local_address = upstream.local_address
        stream.upstream_protocol = upstream.protocol
        cluster_stats = cluster.stats
        cluster_stats.upstream_rq_total.value += 1
        cluster_stats.upstream_rq_active.value += 1
        host.rq_total += 1
        host.rq_active += 1
        body = request.body
        sent_ns = stream.upstream_first_tx_ns = time.monotonic_ns()
        try:
            if body is None or body.whole is not None:
                whole = None if body is None else body.whole
                waiting = upstream.start(request, whole)
                if waiting is not None:
                    await waiting
                if whole:
                    stream.bytes_received = len(whole)
                stream.upstream_last_tx_ns = sent_ns
            else:
                waiting = upstream.start(request, None)
                if waiting is not None:
                    await waiting
                # The pump takes the whole body; what it meets reaches this strand.
                self._pump = self._router.reactor.spawn(
                    "request body", self._pump_body, on_done=self._on_pump_done, nursery=self._strand.nursery
                )
            if self._responder.is_client_gone():
                raise Disconnected("the client left")
            response = await upstream.response()
        except UpstreamError as error:
            if self._pump_error is not None:
                raise self._pump_error from None
            self._count_failed(host)
            if error.flag & Flag.UPSTREAM_REMOTE_RESET:
                cluster_stats.upstream_rq_rx_reset.value += 1
            raise
        now = stream.upstream_first_rx_ns = time.monotonic_ns()
        if idle:
            strand.idle_deadline = now / 1e9 + idle
        stream.response = response
        response_headers = response.headers
        status = response_headers.status
        stream.details = "via_upstream"
        host_errors = status >= 500
        if host_errors:
            host.rq_error += 1
        else:
            host.rq_success += 1
        cluster_stats.charge_response(status, stream.internal)
        if not self._router.suppress_envoy_headers:
            response_headers.set(b"x-envoy-upstream-service-time", b"%d" % ((now - sent_ns) // 1_000_000))
        if weighted is not None and weighted.response_mutations:
            weighted.response_mutations.apply(response_headers, stream)
        for mutations in route.response_mutations:
            mutations.apply(response_headers, stream)
        return None

    # -- before ------------------------------------------------------------------------------------
    def _answer(self, route: Route, headers: RequestHeaders) -> LocalReply:
        """A direct response or a redirect."""
        stats = self._manager.stats
        stream = self._stream
        if route.redirect is not None:
            stats.rq_redirect.value += 1
            location = redirect_location(route, route.redirect, headers)
            reply = LocalReply(route.redirect.status, details="direct_response", headers=[(b"location", location)])
        else:
            assert route.direct_response is not None
            stats.rq_direct_response.value += 1
            direct = route.direct_response
            reply = LocalReply(direct.status, direct.body, details="direct_response")
        if route.response_mutations:
            self._manager.set_local_reply(stream, reply)
            response = stream.response
            assert response is not None
            for mutations in route.response_mutations:
                mutations.apply(response.headers, stream)
            extra = [field for field in response.headers.fields if field[0] not in (b"content-length",)]
            reply = LocalReply(reply.status, reply.body, details=reply.details, headers=extra)
        return reply

    def _prepare(self, route: Route, headers: RequestHeaders) -> float:
        """Finish the request headers for the upstream; the timeout in seconds, 0 for none."""
        stream = self._stream
        timeout = route.timeout_s
        index = headers.index()
        if not _CONSUMED.isdisjoint(index):
            given = headers.get(b"x-envoy-upstream-rq-timeout-ms")
            if given is not None and given.isdigit():
                timeout = int(given) / 1000
            for name in _CONSUMED:
                headers.remove(name)
        # Rewrites come before additions, so that %REQ(:PATH)% gives the new path, as in Envoy.
        weighted = self._weighted
        if weighted is not None and weighted.request_mutations:
            weighted.request_mutations.apply(headers, stream)
        for mutations in route.request_mutations:
            mutations.apply(headers, stream)
        host = route.host_rewrite if weighted is None or weighted.host_rewrite is None else weighted.host_rewrite
        if host is not None:
            headers.authority = host
        elif route.host_rewrite_header is not None:
            value = headers.get(route.host_rewrite_header)
            if value:
                headers.authority = value
        if route.prefix_rewrite is not None or route.regex_rewrite is not None:
            rewrite_path(route, headers, stream)
        if timeout and not self._router.suppress_envoy_headers:
            text = _timeout_texts.get(timeout)
            if text is None:
                text = b"%d" % round(timeout * 1000)
                if len(_timeout_texts) < 1024:
                    _timeout_texts[timeout] = text
            headers.add(b"x-envoy-expected-rq-timeout-ms", text)
        return timeout

    # -- the request body ----------------------------------------------------------------------------
    async def _pump_body(self, strand: Strand) -> None:
        stream = self._stream
        upstream = self._upstream
        body = stream.request.body
        assert upstream is not None
        assert body is not None
        main = self._strand
        count = 0
        idle = main.idle_deadline - stream.start_ns / 1e9 if main.idle_deadline else 0.0
        while True:
            data = await body.receive()
            if data:
                stream.bytes_received += len(data)
                await upstream.send_data(data)
                count += 1
                if not count & 15:
                    if idle and main.idle_deadline:
                        main.idle_deadline = self._router.reactor.clock() + idle
                    if not count & 63:
                        await turn()
            else:
                break
        await upstream.send_end(body.trailers)
        now = time.monotonic_ns()
        stream.request_last_rx_ns = stream.upstream_last_tx_ns = now

    def _on_pump_done(self, error: BaseException | None) -> None:
        self._pump = None
        if error is None:
            return
        if isinstance(error, StreamAborted):
            self._pump_error = error
            self._strand.fail(error)
        elif isinstance(error, UpstreamError):
            # The response may be on its way all the same: reading it tells.
            self._pump_error = None
        elif isinstance(error, SidecarError | OSError):
            failure = error if isinstance(error, SidecarError) else Disconnected(str(error))
            self._pump_error = failure
            self._strand.fail(failure)
        else:
            self._pump_error = error
            self._strand.fail(error)

    # -- after -----------------------------------------------------------------------------------------
    def count_timeout(self) -> None:
        """The route's timeout ended this exchange."""
        if self._cluster is not None:
            self._cluster.stats.upstream_rq_timeout.value += 1
            if self._host is not None:
                self._host.rq_timeout += 1
                self._host.rq_error += 1
            self._cluster.stats.charge_response(504, self._stream.internal)

    def _count_failed(self, host: Any) -> None:
        host.rq_error += 1
        self._cluster.stats.charge_response(503, self._stream.internal)

    def close(self) -> None:
        """Give the upstream stream back, or abandon what is not finished."""
        upstream = self._upstream
        if upstream is None:
            return
        self._upstream = None
        stream = self._stream
        stats = self._cluster.stats
        stats.upstream_rq_active.value -= 1
        self._host.rq_active -= 1
        pump = self._pump
        if pump is not None:
            self._pump = None
            pump.on_done = _ignore
            pump.fail(Disconnected("the exchange is over"))
            self._manager.stats.downstream_rq_response_before_rq_complete.value += 1
            stream.drain_connection = True
            stats.upstream_rq_tx_reset.value += 1
            upstream.reset()
            return
        if stream.upstream_first_rx_ns:
            # Before the first byte of a response there is no time to record.
            end = stream.downstream_last_tx_ns or time.monotonic_ns()
            stats.charge_time((end - stream.upstream_first_tx_ns) // 1_000_000, stream.internal)
            response = stream.response
            if response is not None and response.body is not None and not response.body.ended:
                stats.upstream_rq_tx_reset.value += 1
        else:
            stats.upstream_rq_cancelled.value += 0
        upstream.release()


def _ignore(error: BaseException | None) -> None:
    return


def rewrite_path(route: Route, headers: RequestHeaders, stream: Stream) -> None:
    """``prefix_rewrite`` and ``regex_rewrite``; the old path goes to x-envoy-original-path."""
    path = headers.path or b"/"
    plain, question, query = path.partition(b"?")
    if route.prefix_rewrite is not None:
        matched = route.path_value if isinstance(route.path_value, bytes) else plain
        fresh = route.prefix_rewrite + plain[len(matched) :]
    else:
        assert route.regex_rewrite is not None
        pattern, substitution = route.regex_rewrite
        fresh = pattern.sub(substitution, plain.decode("latin-1")).encode("latin-1")
    stream.original_path = path
    headers.set(b"x-envoy-original-path", path)
    headers.path = fresh + question + query


def redirect_location(route: Route, redirect: Redirect, headers: RequestHeaders) -> bytes:
    """The ``location`` of a redirect (``RouteEntryImplBase::newUri``)."""
    path = headers.path or b"/"
    if redirect.path is not None:
        target = redirect.path
        if b"?" not in target and b"?" in path and not redirect.strip_query:
            target += path[path.index(b"?") :]
    else:
        plain, question, query = path.partition(b"?")
        if redirect.prefix is not None:
            matched = route.path_value if isinstance(route.path_value, bytes) else plain
            plain = redirect.prefix + plain[len(matched) :]
        elif redirect.regex is not None:
            pattern, substitution = redirect.regex
            plain = pattern.sub(substitution, plain.decode("latin-1")).encode("latin-1")
        target = plain if redirect.strip_query else plain + question + query
    scheme = redirect.scheme or (b"https" if redirect.https else headers.scheme or b"http")
    authority = headers.authority or b""
    if redirect.host is not None:
        host = redirect.host
    else:
        host = authority
        # A scheme that changes drops the port that belonged to the old one.
        if redirect.https or redirect.scheme is not None:
            split = urlsplit(b"//" + authority)
            if split.port is not None and (headers.scheme, split.port) in ((b"http", 80), (b"https", 443)):
                host = authority[: authority.rindex(b":")]
    if redirect.port:
        host = host.rpartition(b":")[0] if b":" in host and not host.endswith(b"]") else host
        host += b":%d" % redirect.port
    return scheme + b"://" + host + target
