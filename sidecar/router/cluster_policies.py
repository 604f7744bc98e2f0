"""What a cluster says of the requests that come to it, in the place of their routes.

``HttpProtocolOptions.retry_policy``, ``request_mirror_policies`` and ``hash_policy``, which Envoy lets stand
in a cluster too.  Each takes the place of the route's, whole; the limits of single tries stay the route's.
Its ``http_filters``, which a route has none of, are kept here as well, and what is measured of its tries.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import field
from typing import TYPE_CHECKING

from sidecar.core.dataclass import dataclass
from sidecar.router.upstream_filters import UpstreamFilters

if TYPE_CHECKING:
    from sidecar.api.filters import HttpFilter
    from sidecar.router.hash_policy import HashPolicy
    from sidecar.router.mirroring import MirrorPolicy
    from sidecar.router.retry_policy import RetryPolicy
    from sidecar.router.route import Route

__all__ = ["ClusterPolicies"]

#: Routes that are kept as this cluster sees them.
_KEPT = 1024


@dataclass(slots=True)
class ClusterPolicies:
    """The policies of one cluster; None or empty for those of the route."""

    retry_policy: RetryPolicy | None = None
    mirrors: tuple[MirrorPolicy, ...] = ()
    hash_policy: HashPolicy | None = None
    #: ``http_filters``.
    filters: UpstreamFilters | None = None
    #: Makes the filter that measures tries (``track_cluster_stats``); None where nothing is measured.
    measure: Callable[[], HttpFilter] | None = None
    _measured: dict[UpstreamFilters | None, UpstreamFilters] = field(default_factory=dict)
    _routes: dict[Route, Route] = field(default_factory=dict)

    def filters_over(self, filters: UpstreamFilters | None) -> UpstreamFilters | None:
        """The filters of a try, where its router has ``filters``: those of the cluster go before them."""
        filters = self.filters or filters
        if self.measure is None:
            return filters
        made = self._measured.get(filters)
        if made is None:
            made = self._measured[filters] = (filters or UpstreamFilters(())).then(self.measure())
        return made

    def over(self, route: Route) -> Route:
        """``route`` with what this cluster says."""
        if self.retry_policy is None and not self.mirrors and self.hash_policy is None:
            return route
        made = self._routes.get(route)
        if made is None:
            made = copy.copy(route)
            if self.retry_policy is not None:
                made.tries_policy = self.retry_policy
            if self.mirrors:
                made.mirrors = self.mirrors
            if self.hash_policy is not None:
                made.hash_policy = self.hash_policy
            made.freeze()
            if len(self._routes) >= _KEPT:
                self._routes.clear()
            self._routes[route] = made
        return made
