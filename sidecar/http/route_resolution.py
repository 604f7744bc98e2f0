"""``record_route_resolution_stats``: how often and how long a stream's route was looked up.

``http.<stat_prefix>.downstream_rq_route_resolutions`` and ``downstream_rq_route_resolution_time_us``, one
value per stream.  The table is wrapped in one that measures: managers that do not ask for it pay nothing.
"""

from __future__ import annotations

from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

from sidecar.router.route_table import RouteTable

if TYPE_CHECKING:
    from sidecar.api.stream import Stream
    from sidecar.core.headers import RequestHeaders
    from sidecar.router.route import Route

__all__ = ["MeasuredTable", "ResolutionStats"]


class MeasuredTable(RouteTable):
    """A route table that takes down on the stream what looking its route up took."""

    def __init__(self, table: RouteTable) -> None:
        self._table = table

    # It stands in for the table's attributes.
    def __getattr__(self, name: str) -> Any:
        return getattr(self._table, name)

    def find(self, headers: RequestHeaders, stream: Any = None) -> Route | None:
        """The first route that takes this request, or None."""
        start = perf_counter_ns()
        route = self._table.find(headers, stream)
        if stream is not None:
            stream.route_resolutions += 1
            stream.route_resolution_ns += perf_counter_ns() - start
        return route


class ResolutionStats:
    """The two histograms of one connection manager."""

    def __init__(self, scope: Any) -> None:
        self._count = scope.histogram("downstream_rq_route_resolutions")
        self._time = scope.histogram("downstream_rq_route_resolution_time_us", "microseconds")

    def record(self, stream: Stream) -> None:
        """Record a stream at its end, where it had its route looked up."""
        if stream.route_resolutions:
            self._count.record(stream.route_resolutions)
            self._time.record(stream.route_resolution_ns // 1000)
