"""The cluster that a request went to, or would have gone to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sidecar.api.stream import Stream

__all__ = ["cluster_of"]


def cluster_of(stream: Stream) -> Any:
    """Its cluster; where a filter answered, that of its route."""
    cluster = stream.cluster
    if cluster is not None:
        return cluster
    route = stream.route
    if route is None or not stream.remote_address or not route.cluster_name:
        return None
    return stream.hcm.router.find_cluster(route.cluster_name)
