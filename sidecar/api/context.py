"""What a factory of extensions is given besides its message.

The composition root makes one context for each place in the configuration; a factory reads it at
compile time and keeps what its runtime object needs.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import field
from typing import Any

from sidecar.api.python_filters import PythonFilters
from sidecar.api.taps import Taps
from sidecar.core.dataclass import dataclass
from sidecar.core.notes import Notes
from sidecar.core.runtime import Runtime
from sidecar.core.shared_memory import SharedMemory

__all__ = ["FactoryContext", "NodeInfo"]


@dataclass(frozen=True, slots=True)
class NodeInfo:
    """``envoy.config.core.v3.Node`` without its message."""

    id: str = ""
    cluster: str = ""
    zone: str = ""
    region: str = ""
    sub_zone: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)
    #: The serialized Node message.
    serialized: bytes = b""
    #: The whole of it, as a :class:`sidecar.core.message_values.MessageValue`.
    message: Any = None


@dataclass(slots=True)
class FactoryContext:
    """The surroundings of one extension's configuration."""

    #: ``sidecar.observability.stats.Scope`` of the place (``http.ingress.``).
    stats: Any
    #: The root ``sidecar.observability.stats.Store``.
    root_stats: Any
    node: NodeInfo
    #: Field path of the extension's message, for errors.
    path: str
    #: Reports a trap in the configuration: ``warn(path, reason)``.
    warn: Callable[[str, str], None]
    #: Reads an ``envoy.config.core.v3.DataSource``: ``read_data_source(message, path) -> bytes``.
    #: Raises ConfigError.
    read_data_source: Callable[[Any, str], bytes]
    #: Registers something to call when the configuration that this belongs to ends.
    on_close: Callable[[Callable[[], None]], None]
    #: Looks an upstream cluster up by name: a ``sidecar.upstream.cluster.Cluster`` or None.
    find_cluster: Callable[[str], Any]
    #: ``UNSPECIFIED``, ``INBOUND`` or ``OUTBOUND``.
    traffic_direction: str = "UNSPECIFIED"
    #: Sets a timer: ``every(seconds, callback)``; the result cancels it.
    every: Callable[[float, Callable[[], None]], Callable[[], None]] | None = None
    #: :class:`sidecar.xds.sds.Secrets`, for ``SdsSecretConfig``.
    secrets: Any = None
    #: Runs a callback soon, when nothing else runs: ``soon(callback)``; it must not raise.
    soon: Callable[[Callable[[], None]], None] | None = None
    #: File and line of a field's text, given its path from the bootstrap's root.
    locate_text: Callable[[str], tuple[str, int]] | None = None
    #: Whether this server fails the health checks of others (``/healthcheck/fail``).
    has_failed_health: Callable[[], bool] = bool
    #: Gives the one :class:`sidecar.router.http_client.HttpClient`, for calls to clusters; None in tools
    #: that serve nothing.
    http_client: Callable[[], Any] | None = None
    #: Has something done before listeners accept, or soon where they do already: ``before_serving(job)``.
    before_serving: Callable[[Callable[[], Awaitable[object]]], None] | None = None
    #: The same, also where what is being made is refused.
    in_any_case: Callable[[Callable[[], Awaitable[object]]], None] | None = None
    #: Whether this process serves alone, or is the one that has workers: what is there once is its.
    is_main: bool = True
    #: :class:`sidecar.xds.rds.RouteSubscriptions`.
    routes: Any = None
    #: :class:`sidecar.xds.srds.ScopeSubscriptions`.
    scopes: Any = None
    #: :class:`sidecar.xds.ecds.ExtensionConfigs`.
    extension_configs: Any = None
    #: :class:`sidecar.server.google_channels.GoogleChannels`.
    google_channels: Any = None
    #: :class:`sidecar.xds.odcds.OnDemandClusters`.
    on_demand_clusters: Any = None
    #: Values that change while serving.
    runtime: Runtime = field(default_factory=Runtime)
    #: Names of filters on the way to upstreams, which routes may configure as well.
    upstream_filter_names: set[str] = field(default_factory=set)
    #: ``Tracing.Http`` of the bootstrap, for connection managers that trace and name no provider.
    default_tracing: Any = None
    #: What the processes of a server with workers count together; None in one that serves alone.
    shared_memory: SharedMemory | None = None
    #: What those processes tell each other; None likewise.
    notes: Notes | None = None
    #: The route configuration that the field stands in, where more than one may have its path.
    route_configuration: str = ""
    #: Where filters in Python say what there is to know of them.
    python_filters: PythonFilters = field(default_factory=PythonFilters)
    #: Where filters that may be tapped from the admin interface are known.
    taps: Taps = field(default_factory=Taps)

    def at(self, path: str) -> FactoryContext:
        """The same surroundings for a field further down."""
        return FactoryContext(
            stats=self.stats,
            root_stats=self.root_stats,
            node=self.node,
            path=f"{self.path}.{path}" if self.path else path,
            warn=self.warn,
            read_data_source=self.read_data_source,
            on_close=self.on_close,
            find_cluster=self.find_cluster,
            traffic_direction=self.traffic_direction,
            every=self.every,
            secrets=self.secrets,
            soon=self.soon,
            locate_text=self.locate_text,
            has_failed_health=self.has_failed_health,
            http_client=self.http_client,
            before_serving=self.before_serving,
            in_any_case=self.in_any_case,
            is_main=self.is_main,
            routes=self.routes,
            scopes=self.scopes,
            extension_configs=self.extension_configs,
            google_channels=self.google_channels,
            on_demand_clusters=self.on_demand_clusters,
            runtime=self.runtime,
            upstream_filter_names=self.upstream_filter_names,
            default_tracing=self.default_tracing,
            shared_memory=self.shared_memory,
            notes=self.notes,
            route_configuration=self.route_configuration,
            python_filters=self.python_filters,
            taps=self.taps,
        )
