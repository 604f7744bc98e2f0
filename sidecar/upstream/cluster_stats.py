"""The stats of one cluster, resolved once: ``stats.upstream_rq_total.value += 1``.

Everything that Envoy has from the start is an attribute with Envoy's name.  What comes with first use
(``upstream_rq_200``, ``external.…``, ``upstream_rq_time``) stands behind
:meth:`ClusterStats.charge_response` and :meth:`ClusterStats.charge_time`; the codec trees (``http1.``,
``http2.``) belong to whoever makes a codec, with :attr:`ClusterStats.scope`.  Names:
Envoy's configuration/upstream/cluster_manager/cluster_stats, and ``/stats`` of 1.40.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sidecar.observability.stats import Counter, Histogram, Scope

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
    """``cluster.<name>.``: an attribute for each stat, of its name."""

    def __init__(self, scope: Scope) -> None:
        #: ``cluster.<alt_stat_name or name>.``
        self.scope = scope
        counter = scope.counter
        gauge = scope.gauge
        self.assignment_stale = counter("assignment_stale")
        self.assignment_timeout_received = counter("assignment_timeout_received")
        self.assignment_use_cached = counter("assignment_use_cached")
        self.bind_errors = counter("bind_errors")
        self.lb_healthy_panic = counter("lb_healthy_panic")
        self.lb_local_cluster_not_ok = counter("lb_local_cluster_not_ok")
        self.lb_recalculate_zone_structures = counter("lb_recalculate_zone_structures")
        self.lb_subsets_active = gauge("lb_subsets_active")
        self.lb_subsets_created = counter("lb_subsets_created")
        self.lb_subsets_fallback = counter("lb_subsets_fallback")
        self.lb_subsets_fallback_panic = counter("lb_subsets_fallback_panic")
        self.lb_subsets_removed = counter("lb_subsets_removed")
        self.lb_subsets_selected = counter("lb_subsets_selected")
        self.lb_zone_cluster_too_small = counter("lb_zone_cluster_too_small")
        self.lb_zone_no_capacity_left = counter("lb_zone_no_capacity_left")
        self.lb_zone_routing_all_directly = counter("lb_zone_routing_all_directly")
        self.lb_zone_routing_cross_zone = counter("lb_zone_routing_cross_zone")
        self.lb_zone_routing_sampled = counter("lb_zone_routing_sampled")
        self.max_host_weight = gauge("max_host_weight")
        self.membership_change = counter("membership_change")
        self.membership_degraded = gauge("membership_degraded")
        self.membership_excluded = gauge("membership_excluded")
        self.membership_healthy = gauge("membership_healthy")
        self.membership_total = gauge("membership_total")
        self.original_dst_host_invalid = counter("original_dst_host_invalid")
        self.retry_or_shadow_abandoned = counter("retry_or_shadow_abandoned")
        self.update_attempt = counter("update_attempt")
        self.update_empty = counter("update_empty")
        self.update_failure = counter("update_failure")
        self.update_no_rebuild = counter("update_no_rebuild")
        self.update_success = counter("update_success")
        self.upstream_cx_active = gauge("upstream_cx_active")
        self.upstream_cx_close_notify = counter("upstream_cx_close_notify")
        self.upstream_cx_connect_attempts_exceeded = counter("upstream_cx_connect_attempts_exceeded")
        self.upstream_cx_connect_fail = counter("upstream_cx_connect_fail")
        self.upstream_cx_connect_ms = scope.histogram("upstream_cx_connect_ms", "milliseconds")
        self.upstream_cx_connect_timeout = counter("upstream_cx_connect_timeout")
        self.upstream_cx_connect_with_0_rtt = counter("upstream_cx_connect_with_0_rtt")
        self.upstream_cx_destroy = counter("upstream_cx_destroy")
        self.upstream_cx_destroy_local = counter("upstream_cx_destroy_local")
        self.upstream_cx_destroy_local_with_active_rq = counter("upstream_cx_destroy_local_with_active_rq")
        self.upstream_cx_destroy_remote = counter("upstream_cx_destroy_remote")
        self.upstream_cx_destroy_remote_with_active_rq = counter("upstream_cx_destroy_remote_with_active_rq")
        self.upstream_cx_destroy_with_active_rq = counter("upstream_cx_destroy_with_active_rq")
        self.upstream_cx_http1_total = counter("upstream_cx_http1_total")
        self.upstream_cx_http2_total = counter("upstream_cx_http2_total")
        self.upstream_cx_http3_total = counter("upstream_cx_http3_total")
        self.upstream_cx_idle_timeout = counter("upstream_cx_idle_timeout")
        self.upstream_cx_length_ms = scope.histogram("upstream_cx_length_ms", "milliseconds")
        self.upstream_cx_max_duration_reached = counter("upstream_cx_max_duration_reached")
        self.upstream_cx_max_requests = counter("upstream_cx_max_requests")
        self.upstream_cx_none_healthy = counter("upstream_cx_none_healthy")
        self.upstream_cx_overflow = counter("upstream_cx_overflow")
        self.upstream_cx_pool_overflow = counter("upstream_cx_pool_overflow")
        self.upstream_cx_preconnect_skipped = counter("upstream_cx_preconnect_skipped")
        self.upstream_cx_protocol_error = counter("upstream_cx_protocol_error")
        self.upstream_cx_rx_bytes_buffered = gauge("upstream_cx_rx_bytes_buffered")
        self.upstream_cx_rx_bytes_total = counter("upstream_cx_rx_bytes_total")
        self.upstream_cx_total = counter("upstream_cx_total")
        self.upstream_cx_tx_bytes_buffered = gauge("upstream_cx_tx_bytes_buffered")
        self.upstream_cx_tx_bytes_total = counter("upstream_cx_tx_bytes_total")
        self.upstream_flow_control_backed_up_total = counter("upstream_flow_control_backed_up_total")
        self.upstream_flow_control_drained_total = counter("upstream_flow_control_drained_total")
        self.upstream_flow_control_paused_reading_total = counter(
            "upstream_flow_control_paused_reading_total"
        )
        self.upstream_flow_control_resumed_reading_total = counter(
            "upstream_flow_control_resumed_reading_total"
        )
        self.upstream_http3_broken = counter("upstream_http3_broken")
        self.upstream_internal_redirect_failed_total = counter("upstream_internal_redirect_failed_total")
        self.upstream_internal_redirect_succeeded_total = counter(
            "upstream_internal_redirect_succeeded_total"
        )
        self.upstream_queue_overloaded = gauge("upstream_queue_overloaded")
        self.upstream_rq_0rtt = counter("upstream_rq_0rtt")
        self.upstream_rq_active = gauge("upstream_rq_active")
        self.upstream_rq_active_overflow = counter("upstream_rq_active_overflow")
        self.upstream_rq_cancelled = counter("upstream_rq_cancelled")
        self.upstream_rq_completed = counter("upstream_rq_completed")
        self.upstream_rq_maintenance_mode = counter("upstream_rq_maintenance_mode")
        self.upstream_rq_max_duration_reached = counter("upstream_rq_max_duration_reached")
        self.upstream_rq_pending_active = gauge("upstream_rq_pending_active")
        self.upstream_rq_pending_failure_eject = counter("upstream_rq_pending_failure_eject")
        self.upstream_rq_pending_overflow = counter("upstream_rq_pending_overflow")
        self.upstream_rq_pending_total = counter("upstream_rq_pending_total")
        self.upstream_rq_per_cx = scope.histogram("upstream_rq_per_cx")
        self.upstream_rq_per_try_idle_timeout = counter("upstream_rq_per_try_idle_timeout")
        self.upstream_rq_per_try_timeout = counter("upstream_rq_per_try_timeout")
        self.upstream_rq_retry = counter("upstream_rq_retry")
        self.upstream_rq_retry_backoff_exponential = counter("upstream_rq_retry_backoff_exponential")
        self.upstream_rq_retry_backoff_ratelimited = counter("upstream_rq_retry_backoff_ratelimited")
        self.upstream_rq_retry_limit_exceeded = counter("upstream_rq_retry_limit_exceeded")
        self.upstream_rq_retry_overflow = counter("upstream_rq_retry_overflow")
        self.upstream_rq_retry_success = counter("upstream_rq_retry_success")
        self.upstream_rq_rx_reset = counter("upstream_rq_rx_reset")
        self.upstream_rq_rx_reset_no_error = counter("upstream_rq_rx_reset_no_error")
        self.upstream_rq_timeout = counter("upstream_rq_timeout")
        self.upstream_rq_total = counter("upstream_rq_total")
        self.upstream_rq_tx_reset = counter("upstream_rq_tx_reset")
        self.version = gauge("version")
        self.warming_state = gauge("warming_state")
        #: How many hosts were matched to the one transport socket of the cluster.
        self.default_total_match_count = counter("default.total_match_count")
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
