"""``access_log_options``: lines of the access log while a stream goes on, besides the one at its end.

%ACCESS_LOG_TYPE% tells them apart; what is not known yet is unset in them, as in Envoy.
"""

from __future__ import annotations

from time import monotonic_ns
from typing import TYPE_CHECKING

from sidecar.net.timer import start_timer

if TYPE_CHECKING:
    from sidecar.api.stream import Stream
    from sidecar.http.connection_manager import ConnectionManager
    from sidecar.net.reactor import Strand

__all__ = ["LogMoments", "log_now"]


def log_now(stream: Stream, log_type: str) -> None:
    """Write a line about ``stream`` as it is now."""
    stream.access_log_type = log_type
    try:
        for log in stream.hcm.access_logs:
            log.log(stream)
    finally:
        stream.access_log_type = "DownstreamEnd"


class LogMoments:
    """When one connection manager logs."""

    __slots__ = ("_interval_s", "_manager", "_on_new_request")

    def __init__(self, manager: ConnectionManager, interval_s: float, *, on_new_request: bool) -> None:
        self._manager = manager
        #: ``access_log_flush_interval``; 0 for none.
        self._interval_s = interval_s
        #: ``flush_access_log_on_new_request``.
        self._on_new_request = on_new_request

    def begin(self, stream: Stream, strand: Strand) -> None:
        """A request is here, its route can be found and no filter has seen it."""
        if self._on_new_request:
            route = stream.find_route()
            if route is not None and route.cluster_name:
                # Envoy knows the cluster with the route; here the router sets it.
                stream.cluster = self._manager.router.find_cluster(route.cluster_name)
            if stream.request.body is None and not stream.request_last_rx_ns:
                stream.request_last_rx_ns = monotonic_ns()
            log_now(stream, "DownstreamStart")
            stream.cluster = None
        if self._interval_s:
            self._again(stream, strand)

    def _again(self, stream: Stream, strand: Strand) -> None:
        def fire() -> None:
            log_now(stream, "DownstreamPeriodic")
            self._again(stream, strand)

        when = self._manager.reactor.clock() + self._interval_s
        start_timer(strand, when, fire, "access_log_flush_interval")
