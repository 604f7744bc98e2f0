"""The stats of one cluster, resolved once: ``stats.upstream_rq_total.value += 1``.

Everything that Envoy has from the start is an attribute with Envoy's name.  What comes with first use
(``upstream_rq_200``, ``external.…``, ``upstream_rq_time``) stands behind
:meth:`ClusterStats.charge_response` and :meth:`ClusterStats.charge_time`; the codec trees (``http1.``,
``http2.``) belong to whoever makes a codec, with :attr:`ClusterStats.scope`.  Names:
Envoy's configuration/upstream/cluster_manager/cluster_stats, and ``/stats`` of 1.40.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from sidecar.observability.stats import Counter, Gauge, Histogram, Scope

if TYPE_CHECKING:
    from sidecar.upstream.resources import Resources

__all__ = ["UNCOUNTED", "ClusterStats", "Trees"]


class Trees(NamedTuple):
    """In which trees a response counts, where there is more to say than whether it is internal."""

    internal: bool
    canary: bool
    #: ``zone.<the proxy's>.<the host's>.``, or empty.
    zone: str
    #: ``x-envoy-upstream-alt-stat-name``: everything counts below this name once more.
    alternative: str
    #: Whether class and code count in the cluster's own tree; in the others they always do.
    has_codes: bool = True


#: Where the response to a question about health counts: in no tree.
UNCOUNTED = Trees(False, False, "-", "")


class ClusterStats:
    """``cluster.<name>.``; each annotation is a stat of this name and kind."""

    assignment_stale: Counter
    assignment_timeout_received: Counter
    assignment_use_cached: Counter
    bind_errors: Counter
    lb_healthy_panic: Counter
    lb_local_cluster_not_ok: Counter
    lb_recalculate_zone_structures: Counter
    lb_subsets_active: Gauge
    lb_subsets_created: Counter
    lb_subsets_fallback: Counter
    lb_subsets_fallback_panic: Counter
    lb_subsets_removed: Counter
    lb_subsets_selected: Counter
    lb_zone_cluster_too_small: Counter
    lb_zone_no_capacity_left: Counter
    lb_zone_routing_all_directly: Counter
    lb_zone_routing_cross_zone: Counter
    lb_zone_routing_sampled: Counter
    max_host_weight: Gauge
    membership_change: Counter
    membership_degraded: Gauge
    membership_excluded: Gauge
    membership_healthy: Gauge
    membership_total: Gauge
    original_dst_host_invalid: Counter
    retry_or_shadow_abandoned: Counter
    update_attempt: Counter
    update_empty: Counter
    update_failure: Counter
    update_no_rebuild: Counter
    update_success: Counter
    upstream_cx_active: Gauge
    upstream_cx_close_notify: Counter
    upstream_cx_connect_attempts_exceeded: Counter
    upstream_cx_connect_fail: Counter
    upstream_cx_connect_ms: Histogram
    upstream_cx_connect_timeout: Counter
    upstream_cx_connect_with_0_rtt: Counter
    upstream_cx_destroy: Counter
    upstream_cx_destroy_local: Counter
    upstream_cx_destroy_local_with_active_rq: Counter
    upstream_cx_destroy_remote: Counter
    upstream_cx_destroy_remote_with_active_rq: Counter
    upstream_cx_destroy_with_active_rq: Counter
    upstream_cx_http1_total: Counter
    upstream_cx_http2_total: Counter
    upstream_cx_http3_total: Counter
    upstream_cx_idle_timeout: Counter
    upstream_cx_length_ms: Histogram
    upstream_cx_max_duration_reached: Counter
    upstream_cx_max_requests: Counter
    upstream_cx_none_healthy: Counter
    upstream_cx_overflow: Counter
    upstream_cx_pool_overflow: Counter
    upstream_cx_preconnect_skipped: Counter
    upstream_cx_protocol_error: Counter
    upstream_cx_rx_bytes_buffered: Gauge
    upstream_cx_rx_bytes_total: Counter
    upstream_cx_total: Counter
    upstream_cx_tx_bytes_buffered: Gauge
    upstream_cx_tx_bytes_total: Counter
    upstream_flow_control_backed_up_total: Counter
    upstream_flow_control_drained_total: Counter
    upstream_flow_control_paused_reading_total: Counter
    upstream_flow_control_resumed_reading_total: Counter
    upstream_http3_broken: Counter
    upstream_internal_redirect_failed_total: Counter
    upstream_internal_redirect_succeeded_total: Counter
    upstream_queue_overloaded: Gauge
    upstream_rq_0rtt: Counter
    upstream_rq_active: Gauge
    upstream_rq_active_overflow: Counter
    upstream_rq_cancelled: Counter
    upstream_rq_completed: Counter
    upstream_rq_maintenance_mode: Counter
    upstream_rq_max_duration_reached: Counter
    upstream_rq_pending_active: Gauge
    upstream_rq_pending_failure_eject: Counter
    upstream_rq_pending_overflow: Counter
    upstream_rq_pending_total: Counter
    upstream_rq_per_cx: Histogram
    upstream_rq_per_try_idle_timeout: Counter
    upstream_rq_per_try_timeout: Counter
    upstream_rq_retry: Counter
    upstream_rq_retry_backoff_exponential: Counter
    upstream_rq_retry_backoff_ratelimited: Counter
    upstream_rq_retry_limit_exceeded: Counter
    upstream_rq_retry_overflow: Counter
    upstream_rq_retry_success: Counter
    upstream_rq_rx_reset: Counter
    upstream_rq_rx_reset_no_error: Counter
    upstream_rq_timeout: Counter
    upstream_rq_total: Counter
    upstream_rq_tx_reset: Counter
    version: Gauge
    warming_state: Gauge

    def __init__(self, scope: Scope) -> None:
        #: ``cluster.<alt_stat_name or name>.``
        self.scope = scope
        for name, kind in ClusterStats.__annotations__.items():
            stat: Any
            if kind == "Counter":
                stat = scope.counter(name)
            elif kind == "Gauge":
                stat = scope.gauge(name)
            else:
                stat = scope.histogram(name, "milliseconds" if name.endswith("_ms") else "unspecified")
            setattr(self, name, stat)
        #: How many hosts were matched to the one transport socket of the cluster.
        self.default_total_match_count = scope.counter("default.total_match_count")
        self._responses: dict[tuple[int, bool | Trees], tuple[Counter, ...]] = {}
        self._times: dict[bool | Trees, tuple[Histogram, ...]] = {}
        #: The pending bins behind the commonest call of charge_time, once it was made.
        self._external_times: tuple[dict[int, int], ...] = ()

    def show_use(self, resources: tuple[Resources, ...]) -> None:
        """Let the gauges of what is under way show what ``resources`` have counted."""
        live = self.scope.live_gauge
        self.upstream_cx_active = live(
            "upstream_cx_active", lambda: sum(r.connections - r.sessions for r in resources)
        )
        self.upstream_rq_active = live("upstream_rq_active", lambda: sum(r.requests for r in resources))
        self.upstream_rq_pending_active = live(
            "upstream_rq_pending_active", lambda: sum(r.pending for r in resources)
        )

    def charge_response(self, status: int, where: bool | Trees = False) -> None:
        """Count a finished response: completed, class and code, in all trees that it belongs to.

        ``where``: whether the request is internal, or :class:`Trees`.
        """
        counters = self._responses.get((status, where))
        if counters is None:
            counters = self._resolve_responses(status, where)
        for counter in counters:
            counter.value += 1

    def charge_basic(self, status: int, where: bool | Trees = False) -> None:
        """Count a response that another try takes the place of: in a tree of its own."""
        names = ["upstream_rq_completed"]
        has_codes = not isinstance(where, Trees) or where.has_codes
        if has_codes and 100 <= status <= 599:
            names += [f"upstream_rq_{status // 100}xx", f"upstream_rq_{status}"]
        for name in names:
            self.scope.counter(f"retry.{name}").value += 1

    def charge_time(self, duration_ms: int, where: bool | Trees = False) -> None:
        """Record how long a response took, in all trees that it belongs to."""
        if duration_ms < 100 and not where and self._external_times:
            for pending in self._external_times:
                pending[duration_ms] = pending.get(duration_ms, 0) + 1
            return
        histograms = self._times.get(where)
        if histograms is None:
            prefixes = _prefixes(where)
            histograms = tuple(self.scope.histogram(p + "upstream_rq_time", "milliseconds") for p in prefixes)
            if not _is_named_by_peer(where):
                self._times[where] = histograms
            if not where:
                self._external_times = tuple(histogram.pending for histogram in histograms)
        for histogram in histograms:
            histogram.record(duration_ms)

    def _resolve_responses(self, status: int, where: bool | Trees) -> tuple[Counter, ...]:
        code = status if 100 <= status <= 599 else 0
        found: list[Counter] = []
        for prefix in _prefixes(where):
            names = ["upstream_rq_completed"]
            if not prefix and isinstance(where, Trees) and not where.has_codes:
                pass
            elif code:
                names += [f"upstream_rq_{code // 100}xx", f"upstream_rq_{code}"]
            else:
                names.append("upstream_rq_unknown")
            found.extend(self.scope.counter(prefix + name) for name in names)
        counters = tuple(found)
        if not _is_named_by_peer(where):
            # A peer chooses the status: 500 codes at four trees for each zone bound the cache.
            self._responses[status if code else 0, where] = counters
        return counters


def _is_named_by_peer(where: bool | Trees) -> bool:
    return isinstance(where, Trees) and bool(where.alternative)


def _prefixes(where: bool | Trees) -> list[str]:
    if not isinstance(where, Trees):
        return ["", "internal." if where else "external."]
    if where is UNCOUNTED:
        return []
    prefixes = ["", "internal." if where.internal else "external."]
    if where.canary:
        prefixes.append("canary.")
    if where.zone:
        prefixes.append(where.zone)
    names = ("", f"{where.alternative}.") if where.alternative else ("",)
    return [name + prefix for name in names for prefix in prefixes]
