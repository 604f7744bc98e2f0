"""Compiles ``envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager``.

The result is a function that serves one connection.  The message was validated before.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from sidecar.api.context import FactoryContext
from sidecar.api.filters import HttpFilter
from sidecar.api.init_target import InitTarget
from sidecar.api.network import ServerParts
from sidecar.codec.h1_choice import h1_codec
from sidecar.codec.h2_choice import h2_codec_class
from sidecar.config.compile.access_log import compile_access_logs
from sidecar.config.compile.client_cert import compile_client_cert
from sidecar.config.compile.discovered import Discovered, discovered_http_filter
from sidecar.config.compile.errors import placed
from sidecar.config.compile.extension import compile_extensions
from sidecar.config.compile.http1_options import compile_http1_options
from sidecar.config.compile.http2_options import compile_http2_options
from sidecar.config.compile.local_reply import compile_local_reply
from sidecar.config.compile.route import compile_route_table
from sidecar.config.compile.route_action import duration_s
from sidecar.config.compile.route_cache import RouteCache
from sidecar.config.compile.upgrades import is_enabled
from sidecar.config.compile.upstream_filters import compile_upstream_filters
from sidecar.config.compile.upstream_log import compile_upstream_log
from sidecar.config.messages import message_class
from sidecar.core.address_ranges import compile_addresses
from sidecar.core.errors import ConfigError
from sidecar.extensions.http.router_config import RouterOptions
from sidecar.http.connection_manager import ConnectionManager
from sidecar.http.hcm_stats import HcmStats
from sidecar.http.log_moments import LogMoments
from sidecar.http.overload_guard import guard_manager
from sidecar.http.overload_memory import watch_memory
from sidecar.http.overload_timers import scale_timers, stream_idle
from sidecar.http.proxy_status import ProxyStatus
from sidecar.http.request_options import RequestOptions
from sidecar.http.route_resolution import ResolutionStats
from sidecar.http.serve import serve_http
from sidecar.http.stream_duration import StreamDurations
from sidecar.http.upgrade import UpgradeConfig
from sidecar.router.exchange import Router
from sidecar.router.header_mutation import UpstreamScheme
from sidecar.router.http_client import HttpClient
from sidecar.router.mirroring import mirror
from sidecar.router.route_table import RouteTable
from sidecar.router.upstream_filters import UpstreamFilters
from sidecar.router.upstream_log import UpstreamLog

if TYPE_CHECKING:
    from sidecar.config.registry import Registry
    from sidecar.net.reactor import Strand, Transport

__all__ = ["HcmCompiler", "HttpConnectionManagerFactory"]

_CODECS = ("AUTO", "HTTP1", "HTTP2", "HTTP3")
#: IMPLEMENTATION_SPECIFIC_DEFAULT is KEEP_UNCHANGED.
_ESCAPED_SLASHES = (
    "KEEP_UNCHANGED",
    "KEEP_UNCHANGED",
    "REJECT_REQUEST",
    "UNESCAPE_AND_REDIRECT",
    "UNESCAPE_AND_FORWARD",
)
#: What Envoy 1.40 takes and does nothing with, and what does it instead.
_WITHOUT_EFFECT = {
    "path_normalization_options": ": normalize_path and merge_slashes have",
    "represent_ipv4_remote_address_as_ipv4_mapped_ipv6": "",
}
_UNDERSCORES = (None, "REJECT_REQUEST", "DROP_HEADER")
_SERVER_HEADER = ("OVERWRITE", "APPEND_IF_ABSENT", "PASS_THROUGH")


def _strip_port(message: Any) -> str:
    if message.WhichOneof("strip_port_mode") == "strip_any_host_port" and message.strip_any_host_port:
        return "ANY"
    return "MATCHING" if message.strip_matching_host_port else "NONE"


def _rds(name: str, source: Any) -> Any:
    """The ``Rds`` of a scope."""
    cls = message_class("envoy.extensions.filters.network.http_connection_manager.v3.Rds")
    assert cls is not None
    made: Any = cls()
    made.route_config_name = name
    made.config_source.CopyFrom(source)
    return made


def _on_begin(manager: ConnectionManager, message: Any) -> Callable[[Any, Any], None] | None:
    """What has to be done at the start of every stream."""
    options = message.access_log_options
    interval = options.access_log_flush_interval
    if not options.HasField("access_log_flush_interval"):
        interval = message.access_log_flush_interval
    interval_s = duration_s(interval)
    on_new_request = options.flush_access_log_on_new_request or message.flush_access_log_on_new_request
    begins: list[Callable[[Any, Any], None]] = []
    if manager.tracing is not None:
        begins.append(manager.tracing.begin)
    if manager.durations is not None:
        begins.append(manager.durations.begin)
    if manager.stream_idle is not None:
        begins.append(manager.stream_idle.begin)
    if (interval_s or on_new_request) and manager.access_logs:
        begins.append(LogMoments(manager, interval_s, on_new_request=on_new_request).begin)
    if len(begins) < 2:
        return begins[0] if begins else None

    def begin(stream: Any, strand: Any) -> None:
        for each in begins:
            each(stream, strand)

    return begin


Serve = Callable[[Any, "Transport", "Strand"], Coroutine[Any, Any, None]]


class _Chain(NamedTuple):
    """A chain of HTTP filters, and what the router at its end says."""

    filters: tuple[HttpFilter, ...]
    router: RouterOptions
    upstream_filters: UpstreamFilters | None
    upstream_log: UpstreamLog | None
    #: Those whose configuration is discovered, by their places.
    discovered: dict[int, Discovered[HttpFilter]]

    def current(self) -> tuple[HttpFilter, ...]:
        """What stands in each place now."""
        return tuple(
            each if number not in self.discovered else self.discovered[number].current
            for number, each in enumerate(self.filters)
        )

    def set_router(self, router: Router) -> None:
        """Tell a router what the configuration says of it."""
        router.set_options(
            suppress_envoy_headers=self.router.suppress_envoy_headers,
            habits=self.router.habits,
            upstream_filters=self.upstream_filters,
            upstream_log=self.upstream_log,
        )


class HttpConnectionManagerFactory:
    """The network filter that speaks HTTP.  It needs the server's parts, which a context does not carry."""

    name = "envoy.filters.network.http_connection_manager"
    category = "envoy.filters.network"
    config_type = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"

    def compile(self, message: Any, context: FactoryContext) -> HcmCompiler:
        """A compiler that waits for the server's parts."""
        return HcmCompiler(message, context)


class HcmCompiler:
    """One connection manager's message (:class:`sidecar.api.network.NetworkFilterRecipe`)."""

    def __init__(self, message: Any, context: FactoryContext) -> None:
        self._message = message
        self._context = context
        self._http2_codec = "native"
        #: Of the routes that come by ``rds``.
        self._route_cache = RouteCache()

    def build(self, parts: ServerParts) -> ConnectionManager:
        """The connection manager.  Raises: ConfigError with a path from the bootstrap's root."""
        message = self._message
        stats = HcmStats(self._context.root_stats.scope(f"http.{message.stat_prefix}"))
        context = self._context.at("")
        context.path = self._context.path
        context.stats = stats.scope
        registry: Registry = parts.registry
        made = Router
        if message.HasField("tracing"):
            from sidecar.router.traced import TracedRouter

            made = TracedRouter
        router = made(parts.reactor, context.find_cluster, parts.get_pool)
        if context.http_client is None:
            client = HttpClient(parts.reactor, context.find_cluster, parts.get_pool, context.root_stats)
        else:
            client = context.http_client()
        router.mirror = client.router.mirror = partial(mirror, client)
        manager = ConnectionManager(parts.reactor, stats, router)
        manager.buffer_limit_bytes = parts.buffer_limit_bytes
        manager.is_draining = parts.is_draining
        self._http2_codec = parts.http2_codec
        manager.h1_codec = h1_codec(parts.http1_codec)
        self._settings(manager, message)
        self._extensions(manager, message, context, registry)
        names: dict[str, str] = {}
        chain = self._filters(message.http_filters, context.at("http_filters"), registry, names)
        chain.set_router(router)
        chains = [chain]
        if chain.discovered:
            self._discover_filters(manager, chain)
        else:
            manager.set_filters(chain.filters)
        for index, each in enumerate(message.upgrade_configs):
            at = context.at(f"upgrade_configs[{index}].filters")
            own = self._filters(each.filters, at, registry, names)
            chains.append(own)
            kind = each.upgrade_type.lower().encode()
            manager.upgrades[kind] = self._upgrade(each, own, router)
            if own.discovered:
                self._discover_upgrade_filters(manager, kind, own)
        manager.upstream_logs = tuple(
            log for each in chains if each.upstream_log is not None for log in each.upstream_log.loggers
        )
        manager.access_logs = tuple(compile_access_logs(message, context, registry))
        logs = (*manager.access_logs, *manager.upstream_logs)
        manager.counts_wire = any(getattr(log, "reads_wire", False) for log in logs)
        manager.stream_idle = stream_idle(manager, parts.timers)
        if message.HasField("local_reply_config"):
            at = context.at("local_reply_config")
            manager.local_reply_config = compile_local_reply(message.local_reply_config, at)
        if message.record_route_resolution_stats:
            manager.resolution_stats = ResolutionStats(stats.scope)
        if message.HasField("route_config"):
            self._set_routes(manager, context, registry, names, message.route_config, "")()
        else:
            self._set_table(manager, manager.route_table)
        if message.HasField("rds"):
            self._follow_routes(manager, context, registry, names)
        elif message.HasField("scoped_routes"):
            self._scope_routes(manager, context, registry, names)
        manager.logs_tunnels = message.access_log_options.flush_log_on_tunnel_successfully_established
        if parts.overload is not None:
            guard_manager(manager, parts.overload)
        if parts.timers is not None:
            scale_timers(manager, parts.timers, context.on_close)
        if parts.memory is not None:
            watch_memory(manager, parts.memory, context.on_close)
        return manager

    def _set_routes(
        self,
        manager: ConnectionManager,
        context: FactoryContext,
        registry: Registry,
        names: dict[str, str],
        routes: Any,
        path: str,
    ) -> Callable[[], None]:
        """What puts a ``RouteConfiguration`` in use.  Raises: ConfigError."""
        table = self._compile_table(
            context, registry, names, routes, path, self._route_cache if path else None
        )
        return lambda: self._set_table(manager, table)

    def _compile_table(
        self,
        context: FactoryContext,
        registry: Registry,
        names: dict[str, str],
        routes: Any,
        path: str,
        cache: RouteCache | None = None,
    ) -> RouteTable:
        """The table of a ``RouteConfiguration``.  Raises: ConfigError."""
        at = context.at("route_config")
        if path:
            at.path = path
        match_upstream = self._message.scheme_header_transformation.match_upstream
        last = (UpstreamScheme(),) if match_upstream else ()
        return compile_route_table(routes, at, registry, names, last, cache)

    def _set_table(self, manager: ConnectionManager, table: RouteTable) -> None:
        message = self._message
        manager.set_route_table(table)
        longest = duration_s(message.common_http_protocol_options.max_stream_duration)
        has_durations = longest or table.has_durations
        manager.durations = StreamDurations(longest, manager.stats) if has_durations else None
        manager.on_begin = _on_begin(manager, message)

    def _follow_routes(
        self, manager: ConnectionManager, context: FactoryContext, registry: Registry, names: dict[str, str]
    ) -> None:
        """Have routes from ``rds``; until they come there are none."""

        def follower(routes: Any, path: str) -> Callable[[], None]:
            return self._set_routes(manager, context, registry, names, routes, path)

        source, leave = context.routes.follow(
            self._message.rds, f"{context.path}.rds", manager.stats.scope, follower
        )
        context.on_close(leave)
        manager.on_demand_routes = source
        if context.before_serving is not None:
            name = f"shared target RdsRouteConfigSubscription RDS init {source.name}"
            context.before_serving(InitTarget(name, source.answered.wait))

    def _scope_routes(
        self, manager: ConnectionManager, context: FactoryContext, registry: Registry, names: dict[str, str]
    ) -> None:
        """Have a route table for each scope (``scoped_routes``).  Raises: ConfigError."""
        from sidecar.config.compile.scoped_routes import compile_scope_key, compile_scope_keys, inline_scopes
        from sidecar.extensions.network.scoped_routes import DiscoveredScopes
        from sidecar.router.scoped_routes import Scope, ScopedTable

        scoped = self._message.scoped_routes
        path = f"{context.path}.scoped_routes"
        table = ScopedTable(compile_scope_keys(scoped.scope_key_builder, f"{path}.scope_key_builder"))
        compile_table = partial(self._compile_table, context, registry, names)
        if not scoped.HasField("scoped_rds"):
            for at, each in inline_scopes(scoped, path):
                made = compile_table(each.route_configuration, f"{at}.route_configuration")
                table.put(Scope(each.name, compile_scope_key(each), made))
            table.refresh()
            self._set_table(manager, table)
            return

        def follow(name: str, follower: Any) -> Any:
            rds = _rds(name, scoped.rds_config_source)
            at = f"{path}.rds_config_source"
            return context.routes.follow(rds, at, manager.stats.scope, follower)

        scopes = DiscoveredScopes(table, compile_table, follow, lambda: self._set_table(manager, table))
        scopes.subscription, leave = context.scopes.follow(scoped, path, manager.stats.scope, scopes)
        context.on_close(scopes.close)
        context.on_close(leave)
        manager.on_demand_routes = scopes
        if context.before_serving is not None:
            name = f"target ScopedRdsConfigSubscription init {scoped.name}"
            context.before_serving(InitTarget(name, scopes.answered))

    def _settings(self, manager: ConnectionManager, message: Any) -> None:
        node = self._context.node
        manager.stat_prefix = message.stat_prefix
        manager.codec_type = _CODECS[message.codec_type]
        manager.server_name = message.server_name.encode() or b"envoy"
        manager.server_header_transformation = _SERVER_HEADER[message.server_header_transformation]
        manager.use_remote_address = message.use_remote_address.value
        manager.xff_num_trusted_hops = message.xff_num_trusted_hops
        manager.skip_xff_append = message.skip_xff_append
        if message.HasField("generate_request_id"):
            manager.generate_request_id = message.generate_request_id.value
        manager.preserve_external_request_id = message.preserve_external_request_id
        manager.always_set_request_id_in_response = message.always_set_request_id_in_response
        manager.add_user_agent = message.add_user_agent.value
        manager.service_cluster = node.cluster.encode()
        manager.service_node = node.id.encode()
        manager.via = message.via.encode()
        self._request_options(manager, message)
        if message.HasField("stream_idle_timeout"):
            manager.stream_idle_timeout_s = duration_s(message.stream_idle_timeout)
        if message.HasField("stream_flush_timeout"):
            manager.stream_flush_timeout_s = duration_s(message.stream_flush_timeout)
        manager.request_timeout_s = duration_s(message.request_timeout)
        manager.request_headers_timeout_s = duration_s(message.request_headers_timeout)
        if message.HasField("drain_timeout"):
            manager.drain_timeout_s = duration_s(message.drain_timeout)
        if message.HasField("delayed_close_timeout"):
            manager.delayed_close_timeout_s = duration_s(message.delayed_close_timeout)
        common = message.common_http_protocol_options
        if common.HasField("idle_timeout"):
            manager.idle_timeout_s = duration_s(common.idle_timeout)
        manager.max_connection_duration_s = duration_s(common.max_connection_duration)
        manager.http1_safe_max_connection_duration = message.http1_safe_max_connection_duration
        manager.max_requests_per_connection = common.max_requests_per_connection.value
        if common.HasField("max_headers_count"):
            manager.max_headers_count = common.max_headers_count.value
        if message.HasField("max_request_headers_kb"):
            manager.max_request_headers_bytes = message.max_request_headers_kb.value * 1024
        is_stream_error = message.stream_error_on_invalid_http_message.value
        manager.proxy_100_continue = message.proxy_100_continue
        manager.http1 = compile_http1_options(
            message.http_protocol_options,
            self._context.at("http_protocol_options").path,
            is_stream_error=is_stream_error,
            max_headers_bytes=manager.max_request_headers_bytes,
            max_headers_count=manager.max_headers_count,
        )
        manager.http2_settings = compile_http2_options(
            message.http2_protocol_options,
            stream_error=(
                message.stream_error_on_invalid_http_message.value
                if message.HasField("stream_error_on_invalid_http_message")
                else None
            ),
            max_headers_bytes=manager.max_request_headers_bytes,
            max_headers_count=manager.max_headers_count,
        )

    def _request_options(self, manager: ConnectionManager, message: Any) -> None:
        options = RequestOptions(
            normalize_path=message.normalize_path.value,
            merge_slashes=message.merge_slashes,
            escaped_slashes=_ESCAPED_SLASHES[message.path_with_escaped_slashes_action],
            strip_port=_strip_port(message),
            strip_trailing_dot=message.strip_trailing_host_dot,
        )
        manager.request_options = options or None
        action = _UNDERSCORES[message.common_http_protocol_options.headers_with_underscores_action]
        manager.underscores = action
        if message.HasField("internal_address_config"):
            config = message.internal_address_config
            try:
                manager.is_internal = compile_addresses(
                    [(each.address_prefix, each.prefix_len.value) for each in config.cidr_ranges],
                    unix_sockets=config.unix_sockets,
                )
            except ValueError as error:
                path = f"{self._context.path}.internal_address_config.cidr_ranges"
                raise ConfigError(path, str(error)) from error
        manager.client_cert = compile_client_cert(message)
        for field, _ in message.ListFields():
            if field.name in _WITHOUT_EFFECT:
                path = f"{self._context.path}.{field.name}"
                self._context.warn(path, f"has no effect, as in Envoy{_WITHOUT_EFFECT[field.name]}")
        if message.HasField("proxy_status_config"):
            manager.proxy_status = self._proxy_status(message.proxy_status_config, manager.server_name)
        if message.scheme_header_transformation.WhichOneof("transformation") == "scheme_to_overwrite":
            manager.scheme_to_overwrite = message.scheme_header_transformation.scheme_to_overwrite.encode()
        manager.append_x_forwarded_port = message.append_x_forwarded_port

    def _proxy_status(self, config: Any, server_name: bytes) -> ProxyStatus:
        kind = config.WhichOneof("proxy_name")
        if kind == "literal_proxy_name":
            name = config.literal_proxy_name.encode()
        else:
            name = self._context.node.id.encode() if kind == "use_node_id" else server_name
        return ProxyStatus(
            name, config.remove_details, config.remove_response_flags, config.set_recommended_response_code
        )

    def _extensions(
        self, manager: ConnectionManager, message: Any, context: FactoryContext, registry: Registry
    ) -> None:
        """What looks at a request, or changes it, before the filters."""
        if message.original_ip_detection_extensions:
            for field in ("use_remote_address", "xff_num_trusted_hops"):
                value = getattr(message, field)
                if value if isinstance(value, int) else value.value:
                    reason = f"Original IP detection extensions and {field} may not be mixed"
                    raise ConfigError(f"{context.path}.original_ip_detection_extensions", reason)
        manager.ip_detections = compile_extensions(
            message, "original_ip_detection_extensions", context, registry
        )
        manager.early_mutations = compile_extensions(
            message, "early_header_mutation_extensions", context, registry
        )
        ids = compile_extensions(message, "request_id_extension", context, registry)
        for each in ids:
            manager.packs_trace_reason = each.pack_trace_reason
        if message.HasField("tracing"):
            from sidecar.config.compile.tracing import compile_tracing

            tracing = manager.tracing = compile_tracing(message, context, registry)
            for each in ids:
                tracing.packs_reason = each.pack_trace_reason
                tracing.samples_by_id = each.use_request_id_for_trace_sampling
        manager.is_thorough = bool(
            manager.ip_detections or manager.early_mutations or manager.scheme_to_overwrite
        )

    def _upgrade(self, message: Any, chain: _Chain, base: Router) -> UpgradeConfig:
        """One of ``upgrade_configs``; without filters it has the connection manager's."""
        if not message.filters:
            return UpgradeConfig(is_enabled(message))
        router = type(base)(base.reactor, base.find_cluster, base.get_pool)
        router.mirror = base.mirror
        chain.set_router(router)
        return UpgradeConfig(is_enabled(message), chain.filters, router)

    def _filters(
        self, entries: Any, context: FactoryContext, registry: Registry, names: dict[str, str]
    ) -> _Chain:
        """The filters of one chain up to its router; their names go into ``names``, with their types."""
        filters: list[HttpFilter] = []
        router, upstream_filters, upstream_log = RouterOptions(), None, None
        discovered: dict[int, Discovered[HttpFilter]] = {}
        for index, each in enumerate(entries):
            if each.HasField("config_discovery"):
                one = discovered_http_filter(each, f"{context.path}[{index}]", context, registry)
                discovered[len(filters)] = one
                filters.append(one.current)
                names[each.name] = one.types[0]
                continue
            found = registry.find(each.typed_config)
            if found is None:
                continue  # one of Envoy's that is still to come: the loader told it
            factory, inner = found
            at = context.at("")
            at.path = f"{context.path}[{index}].typed_config"
            try:
                compiled = factory.compile(inner, at)
            except ConfigError as error:
                raise placed(error, at.path) from error
            names[each.name] = factory.config_type
            if isinstance(compiled, RouterOptions):
                router = compiled
                upstream = at.at("upstream_http_filters")
                upstream_filters = compile_upstream_filters(router.upstream_http_filters, upstream, registry)
                if upstream_filters is not None:
                    context.on_close(upstream_filters.close)
                    upstream_filters.start()
                upstream_log = compile_upstream_log(router.message, at, registry)
                break
            if not isinstance(compiled, HttpFilter):
                raise ConfigError(at.path, f"'{each.name}' is no HTTP filter")
            compiled.config_name = each.name
            compiled.is_disabled = each.disabled
            filters.append(compiled)
        return _Chain(tuple(filters), router, upstream_filters, upstream_log, discovered)

    @staticmethod
    def _discover_filters(manager: ConnectionManager, chain: _Chain) -> None:
        """Have filters from ECDS; one whose configuration has not come yet refuses requests."""
        manager.filters_change = True

        def use() -> None:
            manager.set_filters(chain.current())

        use()
        for each in chain.discovered.values():
            each.start(use)

    @staticmethod
    def _discover_upgrade_filters(manager: ConnectionManager, kind: bytes, chain: _Chain) -> None:
        """The same for the filters of an upgrade.  Its streams keep those with which they began."""

        def use() -> None:
            manager.upgrades[kind] = replace(manager.upgrades[kind], filters=chain.current())
            manager.upgrade_managers.pop(kind, None)

        use()
        for each in chain.discovered.values():
            each.start(use)

    def server(self, manager: ConnectionManager) -> Serve:
        """The function that serves a connection on ``manager``."""

        codec = h2_codec_class(self._http2_codec)

        # The coroutine itself: one around it would cost every wait of every request.
        def serve(connection: Any, transport: Transport, strand: Strand) -> Coroutine[Any, Any, None]:
            return serve_http(manager, connection, transport, strand, h2_codec_class=codec)

        return serve
