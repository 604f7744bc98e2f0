"""``envoy.filters.http.health_check``: answers the checks of others, or passes them on and keeps the answer.

While the server fails (``/healthcheck/fail``) checks get 503, and every response says
``x-envoy-immediate-health-check-fail``.  The answer comes when the request has ended.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from sidecar.api.filters import HttpFilter
from sidecar.api.message import Body, LocalReply
from sidecar.api.stream import Flag, Stream
from sidecar.core.dataclass import dataclass
from sidecar.core.headers import HeaderMap
from sidecar.upstream.cluster_stats import UNCOUNTED

__all__ = ["HealthCheckFilter", "KeptAnswer", "LeastHealthy"]

_DEGRADED = b"x-envoy-degraded"


@dataclass(frozen=True, slots=True)
class LeastHealthy:
    """How many per cent of a cluster's hosts must be well or degraded."""

    cluster_name: str
    percent: int


class KeptAnswer:
    """What the upstream answered last, until the cache time is over (Envoy's ``HealthCheckCacheManager``)."""

    def __init__(self) -> None:
        self.is_fresh = False
        self.status = 200
        self.is_degraded = False

    def expire(self) -> None:
        """Called every cache time."""
        self.is_fresh = False


class HealthCheckFilter(HttpFilter):
    """See the module."""

    uses_trio = False

    def __init__(
        self,
        matches: tuple[Callable[[HeaderMap], bool], ...],
        has_failed: Callable[[], bool],
        find_cluster: Callable[[str], Any],
        *,
        service_cluster: bytes,
        passes_through: bool,
        kept: KeptAnswer | None = None,
        wanted: tuple[LeastHealthy, ...] = (),
    ) -> None:
        """``has_failed`` says whether this server fails its health checks."""
        self._matches = matches
        self._has_failed = has_failed
        self._find_cluster = find_cluster
        self._service_cluster = service_cluster
        self._passes_through = passes_through
        self._kept = kept
        self._wanted = wanted

    def decode_headers(self, stream: Stream) -> LocalReply | Awaitable[LocalReply | None] | None:
        headers = stream.request.headers
        for matches in self._matches:
            if not matches(headers):
                return None
        stream.is_health_check = True
        # No traffic: it counts in no statistics of answers, and is in no trace.
        stream.trees = UNCOUNTED
        if stream.span is not None:
            stream.span.is_sampled = False
        kept = self._kept
        if self._passes_through and not self._has_failed() and (kept is None or not kept.is_fresh):
            return None
        body = stream.request.body
        return self._answer() if body is None else self._answer_behind(stream, body)

    def encode_headers(self, stream: Stream) -> None:
        assert stream.response is not None
        headers = stream.response.headers
        if stream.is_health_check:
            kept = self._kept
            if kept is not None:
                kept.status = headers.status
                kept.is_degraded = _DEGRADED in headers
                kept.is_fresh = True
            headers.set(b"x-envoy-upstream-healthchecked-cluster", self._service_cluster)
        if self._has_failed():
            headers.set(b"x-envoy-immediate-health-check-fail", b"true")

    async def _answer_behind(self, stream: Stream, body: Body) -> LocalReply:
        while data := await body.receive():
            stream.bytes_received += len(data)
        return self._answer()

    def _answer(self) -> LocalReply:
        kept = self._kept
        if self._has_failed():
            return LocalReply(503, details="health_check_failed", flag=Flag.FAILED_LOCAL_HEALTH_CHECK)
        if kept is None:
            status, details = self._judge()
            return _reply(status, details)
        reply = _reply(kept.status, "health_check_cached")
        if kept.is_degraded:
            reply.headers.append((_DEGRADED, b""))
        return reply

    def _judge(self) -> tuple[int, str]:
        details = "health_check_ok"
        for each in self._wanted:
            details = "health_check_ok_cluster_healthy"
            cluster = self._find_cluster(each.cluster_name)
            if cluster is None:
                return 503, "health_check_failed_no_cluster_found"
            stats = cluster.stats
            total = stats.membership_total.value
            if not total and each.percent:
                return 503, "health_check_failed_cluster_empty"
            well = stats.membership_healthy.value + stats.membership_degraded.value
            if 100 * well < total * each.percent:
                return 503, "health_check_failed_cluster_unhealthy"
        return 200, details


def _reply(status: int, details: str) -> LocalReply:
    flag = 0 if 200 <= status < 300 else Flag.FAILED_LOCAL_HEALTH_CHECK
    return LocalReply(status, details=details, flag=flag)
