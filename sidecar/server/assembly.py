"""From a checked bootstrap to runtime objects: clusters, listeners, the admin listener.

Nothing here awaits or binds; :mod:`sidecar.server.main` brings the result to life.  A factory's ConfigError
becomes a problem with file, line and column.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from google.protobuf import json_format

from sidecar.api.context import FactoryContext, NodeInfo
from sidecar.config.compile.cluster import compile_cluster, compile_resolver
from sidecar.config.data_source import read_data_source
from sidecar.config.errors import ConfigErrors, Problem
from sidecar.config.load import Loaded
from sidecar.config.registry import Registry
from sidecar.core.address import Address, is_ip
from sidecar.core.errors import ConfigError
from sidecar.core.options import Options
from sidecar.extensions.network.http_connection_manager_config import HcmCompiler, compile_access_logs
from sidecar.http.connection_manager import ConnectionManager
from sidecar.net.reactor import Reactor
from sidecar.observability.stats import Store
from sidecar.observability.tags import TagProducer, TagSpecifier
from sidecar.server.listener import Listener
from sidecar.upstream.cluster_manager import ClusterManager
from sidecar.upstream.pools import PoolTable

__all__ = ["Assembly", "compile_address"]

_DIRECTIONS = ("UNSPECIFIED", "INBOUND", "OUTBOUND")
_DEFAULT_BUFFER_LIMIT = 1024 * 1024


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
        is_draining: Callable[[], bool],
    ) -> None:
        self.loaded = loaded
        self.warnings: list[Problem] = []
        self._registry = registry
        self._reactor = reactor
        self._store = store
        self._is_draining = is_draining
        self._closers: list[Callable[[], None]] = []
        #: ``(seconds, callback)`` of the timers that extensions asked for.
        self.timers: list[tuple[float, Callable[[], None]]] = []
        self.node = _node(loaded.bootstrap, options)
        self.clusters = ClusterManager(store)
        self.pools = PoolTable(reactor, self.clusters, http2_codec=options.http2_codec)
        self.listeners: list[Listener] = []
        self.listener_paths: dict[str, str] = {}
        self.managers: list[ConnectionManager] = []
        problems: list[Problem] = []
        bootstrap = loaded.bootstrap
        resolver = compile_resolver(bootstrap, self.context(""))
        for index, message in enumerate(bootstrap.static_resources.clusters):
            path = f"static_resources.clusters[{index}]"
            with _gather(problems, loaded):
                self.clusters.add(compile_cluster(message, self.context(path), resolver=resolver))
        for index, message in enumerate(bootstrap.static_resources.listeners):
            path = f"static_resources.listeners[{index}]"
            with _gather(problems, loaded):
                self._listener(message, path)
        if problems:
            raise ConfigErrors([*problems, *loaded.warnings, *self.warnings])

    def admin_address(self) -> Address:
        """Where the admin listener stands.  Raises: ConfigErrors."""
        with _raise_placed(self.loaded):
            return compile_address(self.loaded.bootstrap.admin.address, "admin.address")

    def tag_producer(self) -> TagProducer:
        """What takes stat names apart (``stats_config``).  Raises: ConfigErrors."""
        config = self.loaded.bootstrap.stats_config
        specifiers = [
            TagSpecifier(
                each.tag_name,
                regex=each.regex,
                fixed_value=each.fixed_value if each.WhichOneof("tag_value") == "fixed_value" else None,
            )
            for each in config.stats_tags
        ]
        use_defaults = config.use_all_default_tags.value if config.HasField("use_all_default_tags") else True
        with _raise_placed(self.loaded):
            try:
                return TagProducer(specifiers, use_defaults=use_defaults)
            except ConfigError as error:
                raise ConfigError(f"stats_config.{error.path}", error.reason) from error

    def admin_access_logs(self) -> list[Any]:
        """The loggers of ``admin.access_log``.  Raises: ConfigErrors."""
        with _raise_placed(self.loaded):
            return compile_access_logs(self.loaded.bootstrap.admin, self.context("admin"), self._registry)

    def context(self, path: str, direction: str = "UNSPECIFIED") -> FactoryContext:
        """What a factory at ``path`` is given."""
        return FactoryContext(
            stats=self._store,
            root_stats=self._store,
            node=self.node,
            path=path,
            warn=self._warn,
            read_data_source=read_data_source,
            on_close=self._closers.append,
            find_cluster=self.clusters.get,
            traffic_direction=direction,
            every=self._every,
        )

    def close(self) -> None:
        """End what extensions hold."""
        for closer in reversed(self._closers):
            closer()
        self._closers.clear()

    def _warn(self, path: str, reason: str) -> None:
        mark = self.loaded.locate(path)
        self.warnings.append(Problem("warning", mark, path, reason))

    def _every(self, seconds: float, callback: Callable[[], None]) -> Callable[[], None]:
        entry = (seconds, callback)
        self.timers.append(entry)

        def cancel() -> None:
            if entry in self.timers:
                self.timers.remove(entry)

        return cancel

    def _listener(self, message: Any, path: str) -> None:
        direction = _DIRECTIONS[message.traffic_direction]
        addresses = [compile_address(message.address, f"{path}.address")]
        for index, each in enumerate(message.additional_addresses):
            addresses.append(compile_address(each.address, f"{path}.additional_addresses[{index}].address"))
        name = message.name or addresses[0].text
        if not message.filter_chains:
            chain, chain_path = message.default_filter_chain, f"{path}.default_filter_chain"
        else:
            chain, chain_path = message.filter_chains[0], f"{path}.filter_chains[0]"
        if not chain.filters:
            raise ConfigError(chain_path, "a filter chain without filters closes every connection; not supported yet")
        limit = (
            message.per_connection_buffer_limit_bytes.value
            if message.HasField("per_connection_buffer_limit_bytes")
            else _DEFAULT_BUFFER_LIMIT
        )
        filter_path = f"{chain_path}.filters[0].typed_config"
        factory, inner = self._registry.resolve(chain.filters[0].typed_config)
        compiled = factory.compile(inner, self.context(filter_path, direction))
        if not isinstance(compiled, HcmCompiler):
            raise ConfigError(filter_path, f"network filter '{factory.name}' is not supported yet")
        manager = compiled.build(
            self._reactor,
            self._registry,
            self.pools.get,
            buffer_limit_bytes=limit,
            is_draining=self._is_draining,
        )
        self.managers.append(manager)
        reuse_port = message.enable_reuse_port.value if message.HasField("enable_reuse_port") else True
        listener = Listener(
            name,
            addresses,
            compiled.server(manager),
            self._reactor,
            self._store,
            stat_prefix=message.stat_prefix,
            reuse_port=reuse_port,
            backlog=message.tcp_backlog_size.value or 1024,
            pipe_mode=message.address.pipe.mode,
            filter_chain_name=chain.name,
            traffic_direction=direction,
        )
        listener.message = message
        listener.on_bound.append(lambda scope: manager.set_listener_stats(scope.scope(f"http.{manager.stat_prefix}")))
        self.listeners.append(listener)
        self.listener_paths[name] = path


class _gather:  # noqa: N801 - a context manager
    """Turns a ConfigError into a problem with its place, and goes on."""

    def __init__(self, problems: list[Problem], loaded: Loaded) -> None:
        self._problems = problems
        self._loaded = loaded

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: object, error: BaseException | None, tb: object) -> bool:
        if not isinstance(error, ConfigError):
            return False
        self._problems.append(self._loaded.problem(error.path, error.reason, line_in_text=error.line_in_text))
        return True


class _raise_placed(_gather):  # noqa: N801 - a context manager
    """Turns a ConfigError into ConfigErrors with its place."""

    def __init__(self, loaded: Loaded) -> None:
        super().__init__([], loaded)

    def __exit__(self, kind: object, error: BaseException | None, tb: object) -> bool:
        if super().__exit__(kind, error, tb):
            raise ConfigErrors(self._problems) from error
        return False


def compile_address(message: Any, path: str) -> Address:
    """The socket address of an ``envoy.config.core.v3.Address``.  Raises: ConfigError."""
    kind = message.WhichOneof("address")
    if kind == "pipe":
        return Address.pipe(re.sub(r"^\x00", "@", message.pipe.path))
    if kind != "socket_address":
        raise ConfigError(path, f"address of kind '{kind}' is not supported")
    socket_address = message.socket_address
    if not is_ip(socket_address.address):
        reason = f"malformed IP address: {socket_address.address}. Consider setting resolver_name or setting cluster type to 'STRICT_DNS' or 'LOGICAL_DNS'"
        raise ConfigError(f"{path}.socket_address.address", reason)
    return Address.ip(socket_address.address, socket_address.port_value)


def _node(bootstrap: Any, options: Options) -> NodeInfo:
    node = bootstrap.node
    metadata = json_format.MessageToDict(node.metadata, preserving_proto_field_name=True)
    return NodeInfo(
        id=node.id,
        cluster=node.cluster,
        zone=node.locality.zone,
        region=node.locality.region,
        sub_zone=node.locality.sub_zone,
        metadata=metadata,
        serialized=node.SerializeToString(),
    )

