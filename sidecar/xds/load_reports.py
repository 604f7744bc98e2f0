"""Load reports (LRS): what went to the hosts of clusters, for whom a management server asks.

A stream to ``cluster_manager.load_stats_config``: the first request names the proxy, the answer says of which
clusters and how often; then a report comes in each interval, per locality, and per host where that is asked
for (Envoy's ``LoadStatsReporterImpl``).  Counters are those of ``/clusters``; a report has what they grew by.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import field
from socket import AF_UNIX
from typing import TYPE_CHECKING, Any

import trio

from sidecar.config.messages import message_class
from sidecar.core.dataclass import dataclass

if TYPE_CHECKING:
    from sidecar.observability.stats import Scope
    from sidecar.router.grpc_client import GrpcClient, GrpcStream
    from sidecar.upstream.cluster import Cluster
    from sidecar.upstream.host import Host

__all__ = ["LoadReporter"]

log = logging.getLogger("sidecar.upstream")

_METHOD = b"/envoy.service.load_stats.v3.LoadReportingService/StreamLoadStats"
_FEATURE = "envoy.lrs.supports_send_all_clusters"
#: Before a stream that ended is opened again.
_RETRY_S = 5.0

Counts = tuple[int, int, int]


def _message(name: str) -> Any:
    cls = message_class(name)
    assert cls is not None  # the API package has it, or nothing works
    return cls()


def _counts(host: Host) -> Counts:
    return host.rq_success, host.rq_error, host.rq_total


def _drops(cluster: Cluster) -> tuple[int, int]:
    """What circuit breakers and maintenance turned away, and what ``drop_overloads`` did."""
    stats = cluster.stats
    return (
        stats.upstream_rq_pending_overflow.value
        + stats.upstream_rq_maintenance_mode.value
        + cluster.dropped_overload,
        cluster.dropped_overload,
    )


@dataclass(slots=True)
class _Tracked:
    """A cluster that is reported, and what its counters said at the last report."""

    since_s: float
    hosts: dict[Host, Counts] = field(default_factory=dict)
    drops: tuple[int, int] = (0, 0)


class LoadReporter:
    """Keeps the stream, in a task of its own."""

    def __init__(
        self, client: GrpcClient, node: Any, clusters: Callable[[], Mapping[str, Cluster]], scope: Scope
    ) -> None:
        """``node`` is what the proxy says of itself; ``scope`` is ``load_reporter``."""
        self._client = client
        self._clusters = clusters
        self._template = _message("envoy.service.load_stats.v3.LoadStatsRequest")
        self._template.node.CopyFrom(node)
        self._template.node.client_features.append(_FEATURE)
        self._tracked: dict[str, _Tracked] = {}
        #: The last answer.
        self._asked: Any = None
        self._requests = scope.counter("requests")
        self._responses = scope.counter("responses")
        self._errors = scope.counter("errors")
        self._retries = scope.counter("retries")

    async def run(self) -> None:
        """Report, until cancelled."""
        while True:
            await self._run_once()
            await trio.sleep(_RETRY_S)
            self._retries.value += 1

    async def _run_once(self) -> None:
        changed = trio.Event()

        def on_event(_: GrpcStream) -> None:
            changed.set()

        call = self._client.stream(_METHOD)
        call.on_event = on_event
        due_s: float | None = None
        try:
            self._send(call)
            while not call.is_done:
                # Set by what comes from here on, the end of the call among it.
                changed = trio.Event()
                data = call.take_message()
                if data is not None:
                    due_s = self._take(data) or due_s
                    continue
                with trio.move_on_after(float("inf") if due_s is None else due_s - time.monotonic()) as wait:
                    await changed.wait()
                if wait.cancelled_caught:
                    self._send(call)
                    due_s = self._begin()
        finally:
            if not call.is_done:
                call.cancel()
        status = call.status
        if status is not None and not status.is_ok:
            reason = status.message.decode("utf-8", "replace")
            log.warning("load_reporter: gRPC stream closed: %d, %s", status.code, reason)
            self._errors.value += 1

    def _take(self, data: bytes) -> float | None:
        """Take an answer; when the next report is due."""
        answer = _message("envoy.service.load_stats.v3.LoadStatsResponse")
        try:
            answer.MergeFromString(data)
        except ValueError as error:
            log.warning("an answer to load reports cannot be read: %s", error)
            return None
        self._asked = answer
        self._requests.value += 1
        return self._begin()

    def _begin(self) -> float:
        """Begin an interval: what is reported already goes on as it is.  Returns its end."""
        asked, clusters = self._asked, self._clusters()
        names = clusters if asked.send_all_clusters else asked.clusters
        now = time.monotonic()
        old, self._tracked = self._tracked, {}
        for name in names:
            tracked = old.get(name)
            if tracked is None:
                tracked = _Tracked(now)
                cluster = clusters.get(name)
                if cluster is not None:
                    tracked.hosts = {host: _counts(host) for host in cluster.hosts}
                    tracked.drops = _drops(cluster)
            self._tracked[name] = tracked
        interval = asked.load_reporting_interval
        return now + float(interval.seconds + interval.nanos / 1e9)

    # -- a report ------------------------------------------------------------------------------------------
    def _send(self, call: GrpcStream) -> None:
        request = type(self._template)()
        request.CopyFrom(self._template)
        clusters, now = self._clusters(), time.monotonic()
        for name, tracked in self._tracked.items():
            cluster = clusters.get(name)
            if cluster is not None:
                self._add(request.cluster_stats.add(cluster_name=name), cluster, tracked)
                request.cluster_stats[-1].load_report_interval.FromMicroseconds(
                    int((now - tracked.since_s) * 1e6)
                )
                tracked.since_s = now
        if call.try_send(request.SerializeToString()):
            self._responses.value += 1

    def _add(self, stats: Any, cluster: Cluster, tracked: _Tracked) -> None:
        eds = cluster.config.eds
        if eds is not None and eds.service_name != cluster.name:
            stats.cluster_service_name = eds.service_name
        is_by_host = self._asked is not None and self._asked.report_endpoint_granularity
        counts: dict[Host, Counts] = {}
        for priority, part in enumerate(cluster.host_sets):
            for hosts in part.localities.hosts:
                self._add_locality(stats, priority, hosts, tracked, counts, is_by_host=is_by_host)
        tracked.hosts = counts
        dropped, overload = _drops(cluster)
        stats.total_dropped_requests = max(0, dropped - tracked.drops[0])
        if overload > tracked.drops[1]:
            stats.dropped_requests.add(
                category=cluster.drop_category, dropped_count=overload - tracked.drops[1]
            )
        tracked.drops = dropped, overload

    @staticmethod
    def _add_locality(
        stats: Any,
        priority: int,
        hosts: Any,
        tracked: _Tracked,
        counts: dict[Host, Counts],
        *,
        is_by_host: bool,
    ) -> None:
        made = _message("envoy.config.endpoint.v3.UpstreamLocalityStats")
        grown = [0, 0, 0, 0]
        for host in hosts:
            now = counts[host] = _counts(host)
            before = tracked.hosts.get(host, (0, 0, 0))
            success, error, issued = (new - old for new, old in zip(now, before, strict=True))
            mine = (success, error, host.rq_active, issued)
            if not any(mine):
                continue
            grown = [total + each for total, each in zip(grown, mine, strict=True)]
            if is_by_host:
                _add_host(made, host, mine)
        if not grown[2] and not grown[3]:
            return  # errors without a request, such as those of a full pool, are passed over
        where = hosts[0].locality
        made.locality.region, made.locality.zone = where.region, where.zone
        made.locality.sub_zone = where.sub_zone
        made.priority = priority
        made.total_successful_requests, made.total_error_requests = grown[0], grown[1]
        made.total_requests_in_progress, made.total_issued_requests = grown[2], grown[3]
        stats.upstream_locality_stats.append(made)


def _add_host(stats: Any, host: Host, counts: tuple[int, int, int, int]) -> None:
    one = stats.upstream_endpoint_stats.add()
    if host.family == AF_UNIX:
        one.address.pipe.path = host.address
    else:
        where: Any = host.sockaddr
        one.address.socket_address.address, one.address.socket_address.port_value = where[:2]
    one.total_successful_requests, one.total_error_requests = counts[0], counts[1]
    one.total_requests_in_progress, one.total_issued_requests = counts[2], counts[3]
