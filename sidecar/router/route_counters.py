"""``vhost.<virtual host>.vcluster.<name>.`` and ``vhost.<virtual host>.route.<stat_prefix>.``.

A route that is counted has two steps more among its header mutations: one that finds the virtual cluster of a
request, one that counts the response.  Other routes pay nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sidecar.api.stream import Stream
    from sidecar.core.headers import HeaderMap

__all__ = ["ChargeResponse", "Counted", "RouteCounters", "VirtualCluster"]


class RouteCounters:
    """The statistics of one virtual cluster, or of one route."""

    def __init__(self, scope: Any) -> None:
        self._scope = scope
        self.upstream_rq_total = scope.counter("upstream_rq_total")
        self.upstream_rq_timeout = scope.counter("upstream_rq_timeout")
        for name in _OF_RETRIES:
            setattr(self, name, scope.counter(name))
        self._time: Any = None
        self._responses: dict[int, tuple[Any, ...]] = {}

    # For the type checker alone.
    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...

    def charge_response(self, status: int) -> None:
        """Count a response: completed, class and code."""
        code = status if 100 <= status <= 599 else 0
        counters = self._responses.get(code)
        if counters is None:
            names = ["upstream_rq_completed"]
            names += [f"upstream_rq_{code // 100}xx", f"upstream_rq_{code}"] if code else []
            counters = self._responses[code] = tuple(map(self._scope.counter, names))
        for counter in counters:
            counter.value += 1

    def charge_time(self, duration_ms: int) -> None:
        """Record how long the response took."""
        if self._time is None:
            self._time = self._scope.histogram("upstream_rq_time", "milliseconds")
        self._time.record(duration_ms)


_OF_RETRIES = (
    "upstream_rq_retry",
    "upstream_rq_retry_limit_exceeded",
    "upstream_rq_retry_overflow",
    "upstream_rq_retry_success",
)


class _OfHealthCheck(RouteCounters):
    """Those of a request that asks for health: it is counted, its response is not."""

    def __init__(self, of: RouteCounters) -> None:
        vars(self).update(vars(of))

    def charge_response(self, status: int) -> None:
        pass

    def charge_time(self, duration_ms: int) -> None:
        pass


class VirtualCluster:
    """One of a virtual host's ``virtual_clusters``: the requests whose headers match."""

    __slots__ = ("counters", "matchers", "name")

    def __init__(self, name: str, matchers: tuple[Callable[[HeaderMap], bool], ...], scope: Any) -> None:
        self.name = name
        self.matchers = matchers
        self.counters = RouteCounters(scope)


class Counted:
    """Finds what a request of a route counts in; the last virtual cluster takes what no other takes."""

    __slots__ = ("_of_route", "_other", "_virtual_clusters")

    def __init__(self, virtual_clusters: tuple[VirtualCluster, ...], of_route: RouteCounters | None) -> None:
        self._virtual_clusters = virtual_clusters[:-1]
        self._other = virtual_clusters[-1:]
        self._of_route = () if of_route is None else (of_route,)

    def apply(self, headers: HeaderMap, stream: Stream) -> None:
        """Give the stream its counters."""
        for each in self._virtual_clusters:
            if all(matches(headers) for matches in each.matchers):
                stream.virtual_cluster_name = each.name
                counters = (each.counters, *self._of_route)
                break
        else:
            counters = (*(other.counters for other in self._other), *self._of_route)
        if stream.is_health_check:
            counters = tuple(_OfHealthCheck(each) for each in counters)
        stream.route_counters = counters


class ChargeResponse:
    """Counts the head of a response where its stream counts."""

    __slots__ = ()

    def apply(self, headers: HeaderMap, stream: Stream) -> None:
        """Count it, and its request; the router's own replies were counted where they were made."""
        if stream.details != "via_upstream":
            return
        for each in stream.route_counters:
            each.upstream_rq_total.value += 1
            each.charge_response(stream.response_code)
