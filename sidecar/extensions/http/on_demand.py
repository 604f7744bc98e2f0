"""on_demand: asks for what a request lacks: routes (VHDS, scopes that are loaded on demand), a cluster."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from sidecar.api.filters import HttpFilter
from sidecar.core.dataclass import dataclass

if TYPE_CHECKING:
    from sidecar.api.message import LocalReply
    from sidecar.api.stream import Stream

__all__ = ["NOBODY", "OnDemandFilter", "UnknownClusters"]


@dataclass(frozen=True, slots=True)
class UnknownClusters:
    """Asks for clusters that are not here: ``envoy.extensions.filters.http.on_demand.v3.OnDemandCds``."""

    find_cluster: Callable[[str], Any]
    #: Waits for the cluster of a name, or for the end of its time.
    discover: Callable[[str], Awaitable[object]]


#: What a route says whose clusters are not asked for.
NOBODY = UnknownClusters(bool, None)  # type: ignore[arg-type]


class OnDemandFilter(HttpFilter):
    """Costs a request that has a route and a cluster one look each."""

    def __init__(self, clusters: UnknownClusters | None = None) -> None:
        self._clusters = clusters

    def decode_headers(self, stream: Stream) -> Awaitable[LocalReply | None] | None:
        if stream.route is not None:
            waiting = self._cluster(stream)
            return None if waiting is None else _wait(waiting)
        if stream.hcm.on_demand_routes is None:
            return None
        routes = stream.hcm.on_demand_routes.request(stream)
        return None if routes is None else self._wait_for_routes(stream, routes)

    def _cluster(self, stream: Stream) -> Awaitable[object] | None:
        """What waits for the cluster, where it is to be asked for."""
        route: Any = stream.route
        clusters: UnknownClusters | None = route.per_filter_config.get(self.config_name, self._clusters)
        if clusters is None or clusters is NOBODY or not route.is_forwarding:
            return None
        name = route.cluster_name
        return None if not name or clusters.find_cluster(name) is not None else clusters.discover(name)

    async def _wait_for_routes(self, stream: Stream, routes: Awaitable[bool]) -> LocalReply | None:
        if await routes:
            stream.hcm.resolve_route(stream)
            waiting = None if stream.route is None else self._cluster(stream)
            if waiting is not None:
                await waiting
        return None


async def _wait(waiting: Awaitable[object]) -> LocalReply | None:
    await waiting
    return None
