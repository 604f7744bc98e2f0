"""The policies of ``envoy.extensions.upstreams.http.v3.HttpProtocolOptions`` that take a route's place."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from sidecar.api.filters import HttpFilter
from sidecar.config.compile.hash_policy import compile_hash_policies
from sidecar.config.compile.mirror import compile_mirrors
from sidecar.config.compile.retry_policy import compile_retry_policy
from sidecar.core.runtime import Runtime
from sidecar.router.cluster_policies import ClusterPolicies
from sidecar.router.retry_policy import RetryPolicy
from sidecar.router.try_sizes import BudgetStats, MeasureFilter, SizeStats
from sidecar.router.upstream_filters import UpstreamFilters

__all__ = ["compile_cluster_policies", "compile_measure"]


def compile_cluster_policies(
    options: Any,
    path: str,
    runtime: Runtime,
    filters: UpstreamFilters | None = None,
    measure: Callable[[], HttpFilter] | None = None,
) -> ClusterPolicies | None:
    """What ``options`` (None where a cluster has none) say; None for nothing.  Raises: ConfigError."""
    if options is None:
        return None if measure is None else ClusterPolicies(measure=measure)
    retries = None
    if options.HasField("retry_policy"):
        retries = compile_retry_policy([(options, path)]) or RetryPolicy()
    mirrors = compile_mirrors([(options, path)], runtime)
    hashes = compile_hash_policies(options.hash_policy, f"{path}.hash_policy")
    if retries is None and not mirrors and hashes is None and filters is None and measure is None:
        return None
    return ClusterPolicies(retries, mirrors, hashes, filters, measure)


def compile_measure(cluster: Any, stats: Any) -> Callable[[], HttpFilter] | None:
    """What makes the filter that measures tries at a cluster; None for nothing."""
    scope = stats.scope(f"cluster.{cluster.alt_stat_name or cluster.name}")
    track = cluster.track_cluster_stats
    sizes = SizeStats(scope) if track.request_response_sizes else None
    budgets = BudgetStats(scope) if track.timeout_budgets or cluster.track_timeout_budgets else None
    return None if sizes is None and budgets is None else partial(MeasureFilter, sizes, budgets)
