"""From a checked bootstrap to runtime objects: clusters, listeners, the admin listener.

Nothing here awaits or binds; :mod:`sidecar.server.main` brings the result to life.  A factory's ConfigError
becomes a problem with file, line and column.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from functools import partial
from random import randrange
from types import TracebackType
from typing import TYPE_CHECKING, Any

from sidecar.api.admin_access import AccessRules
from sidecar.api.context import FactoryContext
from sidecar.api.network import ServerParts
from sidecar.api.python_filters import PythonFilters
from sidecar.api.taps import Taps
from sidecar.config.check_udp_listeners import is_udp
from sidecar.config.compile.access_log import compile_access_logs
from sidecar.config.compile.admin import admin_logs, compile_admin_rules
from sidecar.config.compile.cluster import compile_cluster, compile_resolver, metadata_to_dict
from sidecar.config.compile.connection_limits import global_limit, listener_limit
from sidecar.config.compile.errors import placed
from sidecar.config.compile.localities import compile_locality
from sidecar.config.compile.node import compile_node
from sidecar.config.compile.runtime import compile_runtime
from sidecar.config.data_source import read_data_source
from sidecar.config.errors import ConfigErrors, Problem
from sidecar.config.load import Loaded
from sidecar.config.registry import Registry
from sidecar.core.address import Address, is_ip, split_address
from sidecar.core.errors import ConfigError
from sidecar.core.options import Options
from sidecar.core.overload import Overload
from sidecar.core.shared_memory import make_count
from sidecar.extensions.event_logs import EventLogs
from sidecar.net.limited_transport import LimitedTransport, read_limit
from sidecar.net.reactor import Reactor
from sidecar.observability.snapshot import StatsSink
from sidecar.observability.stats import Store
from sidecar.router.http_client import HttpClient
from sidecar.server.background import Background
from sidecar.server.connection_limits import ConnectionLimits, GlobalLimit
from sidecar.server.draining import DrainManager
from sidecar.server.filter_chain_assembly import compile_filter_chains
from sidecar.server.google_channels import GoogleChannels
from sidecar.server.inspection_assembly import compile_inspector
from sidecar.server.listener import Listener
from sidecar.server.listener_options import compile_bind_options
from sidecar.server.preparation import Preparation
from sidecar.server.role import Role
from sidecar.server.runtime_layers import RuntimeLayers
from sidecar.server.runtime_unread import UnreadKeys
from sidecar.server.timers import Timers
from sidecar.upstream.cluster import Cluster
from sidecar.upstream.cluster_manager import ClusterManager, HealthWatch
from sidecar.upstream.live_limits import renew_limits
from sidecar.upstream.local_zone import LocalZone
from sidecar.upstream.pools import PoolTable
from sidecar.xds.cds import CLUSTER, CdsApi, TakenClusters
from sidecar.xds.ecds import ExtensionConfigs
from sidecar.xds.eds import EdsDiscovery, assignment_kind
from sidecar.xds.filesystem import FileTransport
from sidecar.xds.odcds import OnDemandClusters
from sidecar.xds.rds import RouteSubscriptions
from sidecar.xds.sds import Secrets
from sidecar.xds.sources import Sources
from sidecar.xds.srds import ScopeSubscriptions

if TYPE_CHECKING:
    from sidecar.router.grpc_client import GrpcClient
    from sidecar.server.overload_manager import OverloadManager
    from sidecar.upstream.health_tasks import HealthTasks
    from sidecar.xds.load_reports import LoadReporter

__all__ = ["Assembly", "compile_address"]

_DIRECTIONS = ("UNSPECIFIED", "INBOUND", "OUTBOUND")
_DEFAULT_BUFFER_LIMIT = 1024 * 1024
_DEFAULT_BACKLOG = 1024
#: Connections taken from the queue before others have their turn.
_DEFAULT_ACCEPTS = 64
#: The number of ``Listener.DrainType.MODIFY_ONLY``.
_MODIFY_ONLY = 1


def _never() -> bool:
    return False


class Assembly:
    """Everything that one configuration makes."""

    def __init__(
        self,
        options: Options,
        loaded: Loaded,
        registry: Registry,
        reactor: Reactor,
        store: Store,
        *,
        draining: DrainManager,
        timers: Timers,
        role: Role | None = None,
    ) -> None:
        self.loaded = loaded
        self.role = role or Role()
        self.warnings: list[Problem] = []
        self._registry = registry
        self._reactor = reactor
        self._store = store
        self._draining = draining
        self._closers: list[Callable[[], None]] = []
        self._timers = timers
        self.preparation = Preparation()
        self.python_filters = PythonFilters()
        self.taps = Taps()
        self._http_client: HttpClient | None = None
        self._upstream_filter_names: set[str] = set()
        self._http1_codec = options.http1_codec
        self._http2_codec = options.http2_codec
        self.node = compile_node(loaded.bootstrap.node)
        try:
            self._runtime = compile_runtime(loaded.bootstrap)
        except ConfigError as error:
            raise ConfigErrors([loaded.problem(error.path, error.reason)]) from error
        most = global_limit(loaded.bootstrap, self._runtime)
        self._global_limit = (
            None if most is None else GlobalLimit(most, make_count(self.role.shared_memory, "listeners"))
        )
        #: Whether anything bounds the connections of all listeners together.
        self.has_global_limit = most is not None
        #: None where the configuration has no overload manager.
        self.overload: OverloadManager | None = None
        try:
            self.overload = self._make_overload()
        except ConfigError as error:
            raise ConfigErrors([loaded.problem(error.path, error.reason)]) from error
        self.clusters = ClusterManager(store, local=_local_zone(loaded.bootstrap))
        self.pools = PoolTable(
            reactor, self.clusters, http1_codec=options.http1_codec, http2_codec=options.http2_codec
        )
        #: What the listener that is being made keeps; None for what lasts as long as the server.
        self._making: tuple[list[Callable[[], None]], list[Callable[[], Any]]] | None = None
        self.background = Background()
        self.clusters.make_health = self._make_health
        self.clusters.watch_outliers = self.role.watch_outliers
        self.clusters.make_eds = self._make_eds
        self.clusters.make_dns = self.role.make_dns
        self.files = FileTransport(
            loaded.bootstrap, registry, store.scope("server").counter("dynamic_unknown_fields")
        )
        self._closers.append(self.files.close)
        try:
            self.runtime_layers = RuntimeLayers(self._runtime, loaded.bootstrap, store, self.files.watcher)
        except ConfigError as error:
            self.close()
            raise ConfigErrors([loaded.problem(error.path, error.reason)]) from error
        self.sources = Sources(
            loaded.bootstrap,
            registry,
            self.files,
            store,
            self._make_grpc_client,
            self.background.add,
            self.http_client,
        )
        self.google_channels = GoogleChannels(
            self._reactor,
            self.pools.get,
            store,
            self.background.add,
            lambda: {"resolver": self._resolver, "registry": self._registry},
            self._end_uses,
        )
        self.sources.tap = self.role.make_tap(loaded.bootstrap, registry)
        self.secrets = Secrets(loaded.bootstrap, self.sources, self.context, self.background.add)
        self.routes = RouteSubscriptions(self.sources, self.background.add, self.known_clusters)
        self.scopes = ScopeSubscriptions(self.sources, self.background.add)
        self.extension_configs = ExtensionConfigs(
            self.sources, store, self.background.add, self.known_clusters
        )
        self.taken_clusters = TakenClusters(self.clusters, partial(self._make_cluster, added_via_api=True))
        self.on_demand_clusters = OnDemandClusters(
            self.sources, store, self.clusters, self.taken_clusters, self.background.add
        )
        self.clusters.on_retired = self._end_uses
        self._runtime.followers.append(self._renew_limits)
        self.event_logs = EventLogs(store)
        self.listeners: list[Listener] = []
        self.listener_paths: dict[str, str] = {}
        #: The filters at the ends of filter chains; their access logs are flushed and closed.
        self.terminals: list[Any] = []
        problems: list[Problem] = []
        bootstrap = loaded.bootstrap
        self._resolver = compile_resolver(bootstrap, self.context(""))
        self._log_ejection: Callable[[str], None] | None = None
        with _Gather(problems, loaded):
            self._open_ejections(bootstrap.cluster_manager.outlier_detection.event_log_path)
        for index, message in enumerate(bootstrap.static_resources.clusters):
            path = f"static_resources.clusters[{index}]"
            with _Gather(problems, loaded):
                self.clusters.add(self._make_cluster(message, path))
        self._extensions: list[Any] = []
        for index, message in enumerate(bootstrap.bootstrap_extensions):
            with _Gather(problems, loaded):
                self._extensions.append(
                    self._extension(message.typed_config, f"bootstrap_extensions[{index}].typed_config")
                )
        self.stats_sinks: list[StatsSink] = []
        for index, message in enumerate(bootstrap.stats_sinks):
            with _Gather(problems, loaded):
                sink = self._extension(message.typed_config, f"stats_sinks[{index}].typed_config")
                if sink is not None:
                    self.stats_sinks.append(sink)
        for index, message in enumerate(bootstrap.static_resources.listeners):
            path = f"static_resources.listeners[{index}]"
            with _Gather(problems, loaded):
                self._listener(message, path)
        if problems:
            self.close()
            raise ConfigErrors([*problems, *loaded.warnings, *self.warnings])
        UnreadKeys(self._runtime, self._warn)

    def _make_cluster(
        self, message: Any, path: str, version: str = "", *, added_via_api: bool = False
    ) -> Cluster:
        manager = self.loaded.bootstrap.cluster_manager
        bind = manager.upstream_bind_config if manager.HasField("upstream_bind_config") else None
        context = self.context(path)
        closers: list[Callable[[], None]] = []
        jobs: list[Callable[[], Awaitable[object]]] = []
        if added_via_api:
            context.on_close, context.before_serving = closers.append, jobs.append
        try:
            made = compile_cluster(
                message,
                context,
                resolver=self._resolver,
                manager_bind=bind,
                added_via_api=added_via_api,
                version_info=version,
                registry=self._registry,
            )
        except ConfigError:
            for closer in closers:
                closer()
            raise
        made.awaited, made.closers = jobs, closers
        if self._runtime.entries:
            renew_limits(made, self._runtime)
        if self.overload is not None:
            made.connection_shed = self.overload.overload.connection_pool_new_connection
        if self._log_ejection is not None and made.detector is not None:
            from sidecar.upstream.outlier_events import OutlierEvents

            made.detector.event_log = OutlierEvents(made.name, self._log_ejection)
        return made

    def _renew_limits(self) -> None:
        for cluster in self.clusters.all():
            renew_limits(cluster, self._runtime)

    def cds(self) -> CdsApi:
        """The subscriber of ``dynamic_resources.cds_config``."""
        return CdsApi(self.taken_clusters, self._store.scope("cluster_manager.cds"))

    def confirm_warm_clusters(self) -> None:
        """From now on a control plane hears that clusters were taken when they can be routed to."""
        self.clusters.on_warming = lambda is_warming: self.sources.pause(CLUSTER, is_paused=is_warming)

    def known_clusters(self) -> dict[str, Any]:
        """The clusters that there are, with their messages."""
        return {name: each.config.message for name, each in self.clusters.clusters.items()}

    def _make_grpc_client(self, service: Any, path: str) -> GrpcClient:
        from sidecar.config.compile.grpc_service import compile_grpc_client

        return compile_grpc_client(service, self.context(path))

    def _make_overload(self) -> OverloadManager | None:
        if not self.loaded.bootstrap.HasField("overload_manager"):
            return None
        from sidecar.server.overload_assembly import compile_overload

        return compile_overload(
            bootstrap=self.loaded.bootstrap,
            runtime=self._runtime,
            scope=self._store.scope("overload"),
            limit=self._global_limit,
            warn=self._warn,
        )

    def load_reporter(self) -> LoadReporter | None:
        """Who reports load (``cluster_manager.load_stats_config``).  Raises: ConfigError."""
        manager = self.loaded.bootstrap.cluster_manager
        if not manager.HasField("load_stats_config"):
            return None
        from sidecar.xds.load_reports import LoadReporter

        path = "cluster_manager.load_stats_config.grpc_services[0]"
        client = self._make_grpc_client(manager.load_stats_config.grpc_services[0], path)
        clusters = self.clusters.clusters
        return LoadReporter(client, self.sources.node, lambda: clusters, self._store.scope("load_reporter"))

    def admin_address(self) -> Address:
        """Where the admin listener stands.  Raises: ConfigError."""
        return compile_address(self.loaded.bootstrap.admin.address, "admin.address")

    def admin_rules(self) -> AccessRules:
        """Who may ask the admin interface for what.  Raises: ConfigError."""
        return compile_admin_rules(self.loaded.bootstrap.admin, self._extensions)

    def admin_access_logs(self) -> list[Any]:
        """The loggers of ``admin.access_log`` and of ``access_log_path``.  Raises: ConfigError."""
        return compile_access_logs(
            admin_logs(self.loaded.bootstrap.admin), self.context("admin"), self._registry
        )

    def context(self, path: str, direction: str = "UNSPECIFIED") -> FactoryContext:
        """What a factory at ``path`` is given."""
        bootstrap = self.loaded.bootstrap
        return FactoryContext(
            stats=self._store,
            root_stats=self._store,
            node=self.node,
            path=path,
            warn=self._warn,
            read_data_source=read_data_source,
            on_close=(self._closers if self._making is None else self._making[0]).append,
            find_cluster=self.clusters.clusters.get,  # the dictionary's own: it is asked for each request
            traffic_direction=direction,
            every=self._timers.every,
            secrets=self.secrets,
            soon=self._reactor.call_at_flush,
            has_failed_health=lambda: self._draining.is_unready,
            http_client=self.http_client,
            locate_text=self._locate_text,
            before_serving=self.preparation.add if self._making is None else self._making[1].append,
            in_any_case=self.preparation.add,
            is_main=self.role.is_main,
            routes=self.routes,
            scopes=self.scopes,
            extension_configs=self.extension_configs,
            google_channels=self.google_channels,
            on_demand_clusters=self.on_demand_clusters,
            runtime=self._runtime,
            upstream_filter_names=self._upstream_filter_names,
            default_tracing=bootstrap.tracing.http if bootstrap.tracing.HasField("http") else None,
            shared_memory=self.role.shared_memory,
            notes=self.role.notes,
            python_filters=self.python_filters,
            taps=self.taps,
        )

    def _locate_text(self, path: str) -> tuple[str, int]:
        mark = self.loaded.locate_text(path)
        return mark.file, mark.line

    def http_client(self) -> HttpClient:
        """Who makes the proxy's own calls; its counters are there once somebody may make one."""
        if self._http_client is None:
            find = self.clusters.clusters.get
            self._http_client = HttpClient(self._reactor, find, self.pools.get, self._store)
        return self._http_client

    def tls_contexts(self) -> list[Any]:
        """The TLS contexts of listeners and clusters."""
        users: list[Any] = [chain.tls for listener in self.listeners for chain in listener.chains.all]
        for cluster in self.clusters.clusters.values():
            sockets = cluster.config.transport_sockets
            users += sockets.clients if sockets is not None else ()
        return [each.context for each in users if each is not None and each.context is not None]

    def close(self) -> None:
        """End what extensions hold."""
        for closer in reversed(self._closers):
            closer()
        self._closers.clear()

    def _make_health(self, cluster: Cluster) -> HealthWatch:
        return self.role.make_health(cluster, partial(self._make_health_tasks, cluster))

    def _make_health_tasks(self, cluster: Cluster) -> HealthTasks:
        from sidecar.upstream.health_events import HealthEvents
        from sidecar.upstream.health_tasks import HealthTasks

        tasks = HealthTasks(cluster, self._reactor, self.pools.make, randrange)
        for number, settings in enumerate(cluster.config.health_checks):
            files = [self.event_logs.open(each.path, each.at) for each in settings.event_logs]
            logs = tuple(HealthEvents(settings.kind, cluster.name, file.write_text) for file in files)
            tasks.set_event_logs(number, logs)
        return tasks

    def _make_eds(self, cluster: Cluster) -> EdsDiscovery:
        settings = cluster.config.eds
        assert settings is not None
        if settings.stream is not None:
            scope, path = cluster.stats.scope, "eds_cluster_config.eds_config"
            return EdsDiscovery(
                cluster,
                settings,
                assignment_kind(self.context("")),
                lambda subscriber, stats: self.sources.subscribe(
                    settings.stream, path, subscriber, scope, (settings.service_name,), stats
                ),
            )
        assert settings.source is not None
        subscribe = partial(self.sources.subscribe_file, settings.source)
        try:
            return EdsDiscovery(cluster, settings, assignment_kind(self.context("")), subscribe)
        except (OSError, ValueError) as error:
            reason = f"unable to watch {settings.source.path} for cluster '{cluster.name}': {error}"
            raise ConfigError("static_resources.clusters", reason) from error

    def _open_ejections(self, path: str) -> None:
        if path:
            file = self.event_logs.open(path, "cluster_manager.outlier_detection.event_log_path")
            self._log_ejection = file.write_text

    def _warn(self, path: str, reason: str) -> None:
        mark = self.loaded.locate(path)
        self.warnings.append(Problem("warning", mark, path, reason))

    def _extension(self, packed: Any, path: str) -> Any:
        """Start an extension of the server itself; None for one that is still to come: that was told."""
        found = self._registry.find(packed)
        if found is None:
            return None
        factory: Any = found[0]
        try:
            return factory.compile(found[1], self.context(path))
        except ConfigError as error:
            raise placed(error, path) from error

    def _listener(self, message: Any, path: str) -> None:
        if message.WhichOneof("listener_specifier") or not message.HasField("address"):
            return  # an internal or API listener: the loader refused to serve it
        places = [(message.address, f"{path}.address")]
        for index, each in enumerate(message.additional_addresses):
            places.append((each.address, f"{path}.additional_addresses[{index}].address"))
        addresses = [compile_address(each, at) for each, at in places]
        name = message.name or addresses[0].text
        direction = _DIRECTIONS[message.traffic_direction]
        if is_udp(message):
            self._udp_listener(message, path, name, addresses, direction)
            return
        chains = compile_filter_chains(
            message, self.context(path, direction), self._registry, self._parts(message)
        )
        if chains is None:
            return
        inspector = compile_inspector(message, self.context(path, direction), self._registry)
        if inspector is not None and inspector.chooses_source:
            self.pools.ask_for_sources()
        self.terminals.extend(chains.terminals)
        listener = Listener(
            name,
            addresses,
            chains,
            self._reactor,
            self._store,
            stat_prefix=message.stat_prefix,
            reuse_port=message.enable_reuse_port.value if message.HasField("enable_reuse_port") else True,
            backlog=message.tcp_backlog_size.value or _DEFAULT_BACKLOG,
            bind_options=compile_bind_options(message),
            accepts_per_turn=message.max_connections_to_accept_per_socket_event.value or _DEFAULT_ACCEPTS,
            bind_to_port=message.bind_to_port.value if message.HasField("bind_to_port") else True,
            traffic_direction=direction,
            metadata=metadata_to_dict(message.metadata),
            inspector=inspector,
            access_logs=compile_access_logs(message, self.context(path, direction), self._registry),
            limits=self._limits(message, name),
        )
        listener.node = self.node
        self._limit_reads(listener, message.per_connection_buffer_limit_bytes.value)
        if message.use_original_dst.value:
            listener.hand_off = self._find_listener
        listener.on_bound.append(chains.set_scope)
        overload = self._overload_of(message)
        stopping = None if overload is None else overload.stop_accepting_connections
        if stopping is not None:
            followers, follower = stopping.followers, listener.stop_for_overload
            followers.append(follower)
            self.context(path).on_close(lambda: followers.remove(follower))
            follower(stopping.value)
        self._keep(listener, message, path)

    @staticmethod
    def _limit_reads(listener: Listener, limit_bytes: int) -> None:
        limit = read_limit(limit_bytes)
        if limit is not None:
            listener.make_transport = partial(LimitedTransport, limit=limit)

    def _limits(self, message: Any, name: str) -> ConnectionLimits | None:
        own = listener_limit(name, self._runtime)
        is_apart = message.ignore_global_conn_limit or message.bypass_overload_manager
        shared = None if is_apart else self._global_limit
        overload = self._overload_of(message)
        if own is None and shared is None and overload is None:
            return None
        count = make_count(None if own is None else self.role.shared_memory, f"listener {name}")
        return ConnectionLimits(own, shared, overload, count)

    def _overload_of(self, message: Any) -> Overload | None:
        """What a listener and its filters ask."""
        return None if self.overload is None or message.bypass_overload_manager else self.overload.overload

    def _udp_listener(
        self, message: Any, path: str, name: str, addresses: list[Address], direction: str
    ) -> None:
        from sidecar.server.udp_assembly import compile_downstream_socket, compile_udp_filters
        from sidecar.server.udp_listener import UdpListener

        filters = compile_udp_filters(
            message, self.context(path, direction), self._registry, self._parts(message)
        )
        self.terminals.extend(filters)
        listener = UdpListener(
            name,
            addresses,
            filters,
            compile_downstream_socket(message),
            self._reactor,
            self._store,
            stat_prefix=message.stat_prefix,
            reuse_port=message.enable_reuse_port.value if message.HasField("enable_reuse_port") else True,
            bind_options=compile_bind_options(message),
            traffic_direction=direction,
        )
        self._keep(listener, message, path)

    def make_listener(self, message: Any, path: str) -> Any:
        """A listener that is added while running; None where it cannot be served.  Raises: ConfigError."""
        closers: list[Callable[[], None]] = []
        jobs: list[Callable[[], Any]] = []
        self._making = (closers, jobs)
        count = len(self.listeners)
        try:
            self._listener(message, path)
        except BaseException:
            for closer in closers:
                closer()
            raise
        finally:
            self._making = None
        if len(self.listeners) == count:
            return None
        listener: Any = self.listeners.pop()
        listener.closers, listener.jobs = closers, jobs
        return listener

    def _end_uses(self, cluster: Cluster) -> None:
        """A cluster is gone: so are its connections, and the sessions that have no pool."""
        self.pools.end(cluster.hosts)
        if cluster.policies is not None and cluster.policies.filters is not None:
            cluster.policies.filters.close()
        for closer in cluster.closers:
            closer()
        for watcher in tuple(cluster.removal_watchers):
            watcher(cluster.hosts)

    def end_listener(self, listener: Any) -> None:
        """Release what a listener of :meth:`make_listener` holds."""
        owners = [listener, *(listener.chains.terminals if hasattr(listener, "chains") else ())]
        owners += getattr(listener, "filters", ())
        for owner in owners:
            for log in (*owner.access_logs, *getattr(owner, "upstream_logs", ())):
                log.flush()
                log.close()
            if owner in self.terminals:
                self.terminals.remove(owner)
        for closer in reversed(listener.closers):
            closer()
        listener.closers = []
        self.google_channels.something_ended()

    def _keep(self, listener: Listener, message: Any, path: str) -> None:
        listener.message = message
        listener.source, listener.worker = self.role.sockets, self.role.worker
        self.listeners.append(listener)
        self.listener_paths[listener.name] = path

    def _find_listener(self, address: str) -> Listener | None:
        """The listener at ``address``, or at its port on every address."""
        host, port = split_address(address)
        everywhere = f"[::]:{port}" if ":" in host else f"0.0.0.0:{port}"
        found = None
        for listener in self.listeners:
            for each in listener.addresses:
                if each.text == address:
                    return listener
                if each.text == everywhere:
                    found = listener
        return found

    def _parts(self, message: Any) -> ServerParts:
        """What a terminal filter of the listener ``message`` is built from."""
        limit = message.per_connection_buffer_limit_bytes
        return ServerParts(
            reactor=self._reactor,
            registry=self._registry,
            get_pool=self.pools.get,
            buffer_limit_bytes=limit.value
            if message.HasField("per_connection_buffer_limit_bytes")
            else _DEFAULT_BUFFER_LIMIT,
            is_draining=_never
            if message.drain_type == _MODIFY_ONLY
            else partial(self._draining.should_close, inbound=message.traffic_direction == 1),
            http1_codec=self._http1_codec,
            http2_codec=self._http2_codec,
            overload=self._overload_of(message),
            timers=None if self.overload is None else self.overload.overload.timers,
            memory=None if self.overload is None else self.overload.overload.memory,
        )


def _local_zone(bootstrap: Any) -> LocalZone:
    node = bootstrap.node
    locality = compile_locality(node.locality) if node.HasField("locality") else None
    return LocalZone(locality, bootstrap.cluster_manager.local_cluster_name)


class _Gather:
    """Turns a ConfigError into a problem with its place, and goes on."""

    def __init__(self, problems: list[Problem], loaded: Loaded) -> None:
        self._problems = problems
        self._loaded = loaded

    def __enter__(self) -> None:
        return

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> bool:
        if not isinstance(error, ConfigError):
            return False
        self._problems.append(self._loaded.problem(error.path, error.reason, line_in_text=error.line_in_text))
        return True


def compile_address(message: Any, path: str) -> Address:
    """The socket address of an ``envoy.config.core.v3.Address``.  Raises: ConfigError."""
    kind = message.WhichOneof("address")
    if kind == "pipe":
        return Address.pipe(re.sub(r"^\x00", "@", message.pipe.path))
    if kind != "socket_address":
        raise ConfigError(path, f"address of kind '{kind}' is not supported")
    socket_address = message.socket_address
    if not is_ip(socket_address.address):
        reason = (
            f"malformed IP address: {socket_address.address}. Consider setting resolver_name or setting "
            "cluster type to 'STRICT_DNS' or 'LOGICAL_DNS'"
        )
        raise ConfigError(f"{path}.socket_address.address", reason)
    return Address.ip(socket_address.address, socket_address.port_value)
