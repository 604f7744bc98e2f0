"""The network filter that carries bytes between a client and a host of a cluster (Envoy's ``TcpProxy``)."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import field, replace
from typing import TYPE_CHECKING, Any

from sidecar.core.dataclass import dataclass
from sidecar.extensions.network.tcp_session import TcpSession
from sidecar.extensions.network.tcp_stats import TcpStats
from sidecar.http.request_headers import RequestIds
from sidecar.net.pipes import PipePool

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sidecar.core.overload import Overload
    from sidecar.extensions.network.tcp_tlvs import Tlvs
    from sidecar.extensions.network.tcp_tunnel import TunnelingConfig
    from sidecar.net.reactor import Reactor, Strand, Transport

__all__ = ["TcpProxy", "TcpProxyConfig", "TcpRoute"]

#: Name in the filter state of a connection: the cluster that a filter chose for it.
CLUSTER_STATE = "envoy.tcp_proxy.cluster"


@dataclass(frozen=True, slots=True)
class TcpRoute:
    """Where a connection goes, with what load balancers ask of a route."""

    cluster_name: str
    hash_policy: Any = None
    metadata_match: Any = None
    weight: int = 1
    name: str = ""
    virtual_host_name: str = ""
    metadata: dict[str, dict[str, Any]] = field(default_factory=dict)
    virtual_host_metadata: dict[str, dict[str, Any]] = field(default_factory=dict)
    per_filter_config: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TcpProxyConfig:
    """One compiled ``envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy``.  Durations: 0 for never."""

    stat_prefix: str
    #: One, or ``weighted_clusters``.
    routes: Sequence[TcpRoute]
    #: By ``weighted_clusters``, which what filters chose does not change.
    is_weighted: bool = False
    idle_timeout_s: float = 3600.0
    max_connection_duration_s: float = 0.0
    #: Of the duration, 0 to 100.
    jitter_percent: float = 0.0
    max_connect_attempts: int = 1
    #: Base and maximum of the pause between attempts; None for no pause.
    backoff_s: tuple[float, float] | None = None
    log_interval_s: float = 0.0
    logs_start: bool = False
    logs_connected: bool = False
    tunneling: TunnelingConfig | None = None
    tlvs: Tlvs | None = None
    #: None where nothing is read before there is an upstream.
    max_early_data_bytes: int | None = None
    #: ``upstream_connect_mode`` ON_DOWNSTREAM_DATA.
    connects_on_data: bool = False
    access_logs: Sequence[Any] = ()
    #: Asks for a cluster that is not here and says what came of it (:mod:`sidecar.xds.odcds`).
    discover: Callable[[str], Awaitable[str]] | None = None


class TcpProxy:
    """One filter; see the module."""

    def __init__(
        self,
        config: TcpProxyConfig,
        stats: TcpStats,
        reactor: Reactor,
        find_cluster: Callable[[str], Any],
        get_pool: Callable[..., Any],
        pipes: PipePool,
        is_draining: Callable[[], bool] | None = None,
        overload: Overload | None = None,
    ) -> None:
        self.config = config
        self.stats = stats
        self.reactor = reactor
        self.find_cluster = find_cluster
        self.get_pool = get_pool
        self.pipes = pipes
        #: With ``check_drain_close``: whether connections end with what they carry next.
        self.is_draining = is_draining
        #: Asked before connecting, and before the client's bytes are sent; None where nobody is.
        self.connect_shed = None if overload is None else overload.tcp_proxy_upstream_connect
        self.data_shed = None if overload is None else overload.tcp_proxy_on_data
        self.access_logs = tuple(config.access_logs)
        #: Makes the id of a connection (``%STREAM_ID%``).
        self.make_id = RequestIds().make
        self._total_weight = sum(route.weight for route in config.routes)

    def choose_route(self, connection: Any) -> TcpRoute:
        """What a filter chose for this connection, or one of ``weighted_clusters`` by chance."""
        routes = self.config.routes
        if len(routes) == 1:
            state = connection.filter_state
            if state is not None and CLUSTER_STATE in state and not self.config.is_weighted:
                return replace(routes[0], cluster_name=str(state[CLUSTER_STATE]))
            return routes[0]
        draw = random.getrandbits(64) % self._total_weight
        for route in routes:
            draw -= route.weight
            if draw < 0:
                return route
        raise AssertionError("the total is the sum of the weights")

    def refuse(self, connection: Any) -> None:
        """A filter in front closed the connection: it counts, and is logged."""
        self.stats.downstream_cx_total.value += 1
        self.log_end(connection)

    def log_end(self, connection: Any) -> None:
        """Have the end of the connection logged."""
        if self.access_logs:
            connection.at_end = (*connection.at_end, lambda: self.log(connection.stream, "TcpConnectionEnd"))

    def log(self, stream: Any, kind: str) -> None:
        """Write the line of a connection at a moment of it (``AccessLogType``)."""
        stream.access_log_type = kind
        for each in self.access_logs:
            each.log(stream)
        stream.access_log_type = "NotSet"

    async def serve(self, connection: Any, transport: Transport, strand: Strand) -> None:
        """Carry one connection to its end.  Closing the transport is the caller's."""
        await TcpSession(self, connection, transport, strand).run()
