"""Where resources come from: a ``ConfigSource`` of envoy.config.core.v3, and what it makes."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sidecar.config.check_path_source import missing_file
from sidecar.core.errors import ConfigError
from sidecar.upstream.cluster import PathSource
from sidecar.xds.node import discovery_node
from sidecar.xds.subscription import Subscriber, Subscription, SubscriptionStats
from sidecar.xds.tap import Tap, key_of

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from sidecar.config.registry import Registry
    from sidecar.observability.stats import Scope
    from sidecar.router.grpc_client import GrpcClient
    from sidecar.router.http_client import HttpClient
    from sidecar.xds.delta_stream import DeltaTransport
    from sidecar.xds.filesystem import FileTransport
    from sidecar.xds.grpc_stream import SilentTransport, StreamSettings, StreamTransport
    from sidecar.xds.rest import RestSubscription
    from sidecar.xds.sotw_stream import GrpcTransport

__all__ = ["Sources"]

log = logging.getLogger("sidecar.config")

_DEFAULT_FETCH_TIMEOUT_S = 15.0
#: The services of single types.
CLUSTER_LOAD_ASSIGNMENT = "envoy.config.endpoint.v3.ClusterLoadAssignment"
_SERVICES = {
    "envoy.config.cluster.v3.Cluster": ("cluster.v3.ClusterDiscoveryService", "Clusters"),
    "envoy.config.endpoint.v3.ClusterLoadAssignment": ("endpoint.v3.EndpointDiscoveryService", "Endpoints"),
    "envoy.config.listener.v3.Listener": ("listener.v3.ListenerDiscoveryService", "Listeners"),
    "envoy.config.route.v3.RouteConfiguration": ("route.v3.RouteDiscoveryService", "Routes"),
    "envoy.config.route.v3.ScopedRouteConfiguration": (
        "route.v3.ScopedRoutesDiscoveryService",
        "ScopedRoutes",
    ),
    "envoy.config.route.v3.VirtualHost": ("route.v3.VirtualHostDiscoveryService", "VirtualHosts"),
    "envoy.service.runtime.v3.Runtime": ("runtime.v3.RuntimeDiscoveryService", "Runtime"),
    "envoy.config.core.v3.TypedExtensionConfig": (
        "extension.v3.ExtensionConfigDiscoveryService",
        "ExtensionConfigs",
    ),
    "envoy.extensions.transport_sockets.tls.v3.Secret": ("secret.v3.SecretDiscoveryService", "Secrets"),
}
#: Where their resources are fetched over REST.
_PATHS = {
    "envoy.config.cluster.v3.Cluster": "/v3/discovery:clusters",
    "envoy.config.endpoint.v3.ClusterLoadAssignment": "/v3/discovery:endpoints",
    "envoy.config.listener.v3.Listener": "/v3/discovery:listeners",
    "envoy.config.route.v3.RouteConfiguration": "/v3/discovery:routes",
    "envoy.config.route.v3.ScopedRouteConfiguration": "/v3/discovery:scoped-routes",
    "envoy.extensions.transport_sockets.tls.v3.Secret": "/v3/discovery:secrets",
    "envoy.config.core.v3.TypedExtensionConfig": "/v3/discovery:extension_configs",
    "envoy.service.runtime.v3.Runtime": "/v3/discovery:runtime",
}
_ADS = ("discovery.v3.AggregatedDiscoveryService", "AggregatedResources")
_REST, _GRPC, _DELTA_GRPC = 1, 2, 3
#: Of ``rate_limit_settings``.
_DEFAULT_TOKENS = 100
_DEFAULT_FILL_RATE = 10.0


def _settings(api: Any, node: Any) -> StreamSettings:
    from sidecar.xds.grpc_stream import StreamSettings

    back_off = (0.5, 30.0)
    policy = api.grpc_services[0].envoy_grpc.retry_policy
    if policy.HasField("retry_back_off"):
        base = policy.retry_back_off.base_interval
        base_s = max(0.001, base.seconds + base.nanos / 1e9)
        most = policy.retry_back_off.max_interval
        most_s = most.seconds + most.nanos / 1e9 if policy.retry_back_off.HasField("max_interval") else 0.0
        back_off = (base_s, most_s or 10 * base_s)
    limit = None
    if api.HasField("rate_limit_settings"):
        given = api.rate_limit_settings
        limit = (
            given.max_tokens.value if given.HasField("max_tokens") else _DEFAULT_TOKENS,
            given.fill_rate.value if given.HasField("fill_rate") else _DEFAULT_FILL_RATE,
        )
    return StreamSettings(node, api.set_node_on_first_message_only, back_off, limit)


class Sources:
    """Makes subscriptions, each with the transport that its source names."""

    def __init__(
        self,
        bootstrap: Any,
        registry: Registry,
        files: FileTransport,
        root: Any,
        make_client: Callable[[Any, str], GrpcClient],
        spawn: Callable[[str, Callable[[], Awaitable[None]]], None],
        http_client: Callable[[], HttpClient],
    ) -> None:
        """``make_client`` makes the client of a ``GrpcService`` at a path; ``spawn`` a lasting task."""
        self._http_client = http_client
        self.bootstrap = self._bootstrap = bootstrap
        self._registry = registry
        self.node = self._node = discovery_node(bootstrap.node, registry.factories())
        self._files = files
        self._root = root
        self._make_client = make_client
        self._spawn = spawn
        self._ads: SilentTransport | None = None
        #: Stands between subscribers and sources, where there is more than one process.
        self.tap: Tap | None = None
        #: Watches files, also those that resources name.
        self.watcher = files.watcher

    def subscribe(
        self,
        source: Any,
        path: str,
        subscriber: Subscriber,
        scope: Scope,
        names: tuple[str, ...] | None,
        stats: SubscriptionStats | None = None,
    ) -> Subscription:
        """A subscription for ``subscriber`` to the source at ``path``, counted in ``scope``.

        Raises: ConfigError.
        """
        if self.tap is None:
            return self._subscribe(source, path, subscriber, scope, names, stats)
        return self.tap.subscribe(
            key_of(subscriber.kind.message, source, names),
            subscriber,
            lambda tapped: self._subscribe(source, path, tapped, scope, names, stats),
        )

    def subscribe_file(
        self, source: PathSource, subscriber: Subscriber, stats: SubscriptionStats
    ) -> Subscription:
        """The same to a file.  Raises: ValueError, OSError when the place cannot be watched."""
        if self.tap is None:
            return self._files.subscribe(source, subscriber, stats)
        key = key_of(subscriber.kind.message, source, None)
        return self.tap.subscribe(
            key, subscriber, lambda tapped: self._files.subscribe(source, tapped, stats)
        )

    def _subscribe(
        self,
        source: Any,
        path: str,
        subscriber: Subscriber,
        scope: Scope,
        names: tuple[str, ...] | None,
        stats: SubscriptionStats | None,
    ) -> Subscription:
        stats = stats or SubscriptionStats(scope)
        kind = source.WhichOneof("config_source_specifier")
        if kind in ("path", "path_config_source"):
            place = source.path_config_source
            where = PathSource(place.path or source.path, place.watched_directory.path)
            if not os.path.exists(where.path):
                field = "path" if kind == "path" else f"{kind}.path"
                raise ConfigError(f"{path}.{field}", missing_file(where.path))
            try:
                return self._files.subscribe(where, subscriber, stats)
            except (OSError, ValueError) as error:
                raise ConfigError(path, f"unable to watch {where.path}: {error}") from error
        timeout_s = _DEFAULT_FETCH_TIMEOUT_S
        if source.HasField("initial_fetch_timeout"):
            given = source.initial_fetch_timeout
            timeout_s = given.seconds + given.nanos / 1e9
        if kind == "ads":
            transport: SilentTransport = self._aggregated(path)
        elif kind == "api_config_source":
            api = source.api_config_source
            if api.api_type not in (_REST, _GRPC, _DELTA_GRPC):
                raise ConfigError(
                    f"{path}.api_config_source.api_type",
                    "REST_LEGACY no longer a supported ApiConfigSource. Please specify an explicit supported"
                    " api_type",
                )
            if api.api_type == _REST:
                return self._polling(api, subscriber, stats, names, timeout_s)
            single = self._stream(api, f"{path}.api_config_source", _SERVICES[subscriber.kind.message], scope)
            return single.subscribe_alone(subscriber, stats, names, timeout_s)
        else:
            raise ConfigError(path, f"no source of resources: '{kind}'")
        if getattr(subscriber, "has_apart", False):
            return transport.subscribe_apart(subscriber, stats)
        return transport.subscribe(subscriber, stats, names, timeout_s)

    def pause(self, message: str, *, is_paused: bool) -> None:
        """Have nothing said of a type on the aggregated stream."""
        if self._ads is not None:
            self._ads.pause(message, is_paused=is_paused)

    def _aggregated(self, path: str) -> SilentTransport:
        if self._ads is None:
            resources = self._bootstrap.dynamic_resources
            if not resources.HasField("ads_config"):
                from sidecar.xds.grpc_stream import SilentTransport

                log.warning("%s: ads without ads_config: nobody is asked for it", path)
                self._ads = SilentTransport()
                return self._ads
            ads = self._stream(resources.ads_config, "dynamic_resources.ads_config", _ADS, self._root)
            ads.keep_types(CLUSTER_LOAD_ASSIGNMENT)
            self._spawn("aggregated discovery", ads.run)
            self._ads = ads
        return self._ads

    def _polling(
        self,
        api: Any,
        subscriber: Subscriber,
        stats: SubscriptionStats,
        names: tuple[str, ...] | None,
        timeout_s: float,
    ) -> RestSubscription:
        from sidecar.xds.rest import RestSettings, RestSubscription

        delay, timeout = api.refresh_delay, api.request_timeout
        settings = RestSettings(
            api.cluster_names[0],
            _PATHS[subscriber.kind.message],
            delay.seconds + delay.nanos / 1e9,
            timeout.seconds + timeout.nanos / 1e9 if api.HasField("request_timeout") else 1.0,
        )
        return RestSubscription(
            self._http_client(),
            settings,
            subscriber,
            stats,
            names,
            timeout_s,
            node=self._node,
            bootstrap=self._bootstrap,
            registry=self._registry,
            unknown_fields=self._files.unknown_fields,
        )

    def _stream(self, api: Any, path: str, service: tuple[str, str], scope: Scope) -> StreamTransport:
        from sidecar.xds.delta_stream import DeltaTransport
        from sidecar.xds.sotw_stream import GrpcTransport

        client = self._make_client(api.grpc_services[0], f"{path}.grpc_services[0]")
        is_delta = api.api_type == _DELTA_GRPC
        make: type[GrpcTransport | DeltaTransport] = DeltaTransport if is_delta else GrpcTransport
        name, things = service
        method = f"/envoy.service.{name}/{'Delta' if is_delta else 'Stream'}{things}"
        return make(client, method, self._bootstrap, self._registry, scope, _settings(api, self._node))
