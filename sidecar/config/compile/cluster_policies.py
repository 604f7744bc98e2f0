"""The policies of ``envoy.extensions.upstreams.http.v3.HttpProtocolOptions`` that take a route's place."""

from __future__ import annotations

from typing import Any

from sidecar.config.compile.hash_policy import compile_hash_policies
from sidecar.config.compile.mirror import compile_mirrors
from sidecar.config.compile.retry_policy import compile_retry_policy
from sidecar.core.runtime import Runtime
from sidecar.router.cluster_policies import ClusterPolicies
from sidecar.router.retry_policy import RetryPolicy
from sidecar.router.upstream_filters import UpstreamFilters

__all__ = ["compile_cluster_policies"]


def compile_cluster_policies(
    options: Any, path: str, runtime: Runtime, filters: UpstreamFilters | None = None
) -> ClusterPolicies | None:
    """What ``options`` (None where a cluster has none) say; None for nothing.  Raises: ConfigError."""
    if options is None:
        return None
    retries = None
    if options.HasField("retry_policy"):
        retries = compile_retry_policy([(options, path)]) or RetryPolicy()
    mirrors = compile_mirrors([(options, path)], runtime)
    hashes = compile_hash_policies(options.hash_policy, f"{path}.hash_policy")
    if retries is None and not mirrors and hashes is None and filters is None:
        return None
    return ClusterPolicies(retries, mirrors, hashes, filters)
