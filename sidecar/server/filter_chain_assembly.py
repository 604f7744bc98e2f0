"""From a listener's message to its filter chains and the choice between them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from sidecar.api.context import FactoryContext
from sidecar.api.network import NetworkFilter, NetworkFilterRecipe, ServerParts
from sidecar.config.compile.cluster import metadata_to_dict
from sidecar.config.compile.discovered import Discovered
from sidecar.config.compile.errors import placed
from sidecar.config.compile.filter_chain_match import compile_chain_match, compile_chain_matcher
from sidecar.config.compile.transport_socket import compile_transport_socket
from sidecar.core.errors import ConfigError
from sidecar.core.filter_chain_match import ChainMatch, Finder, Overlap, build_finder
from sidecar.server.discovered_chain import DiscoveredChain, Ending
from sidecar.server.filter_chain import FilterChain, FilterChains, Serve
from sidecar.server.network_chain import CountBytes, admit_connections, guard_bytes

if TYPE_CHECKING:
    from sidecar.config.registry import Registry
    from sidecar.net.reactor import Strand, Transport
    from sidecar.net.tls_server import TlsServer

__all__ = ["compile_filter_chains"]

#: What ``reduce_timeouts`` calls ``transport_socket_connect_timeout``.
_HANDSHAKE = "TRANSPORT_SOCKET_CONNECT"


def compile_filter_chains(
    listener: Any, context: FactoryContext, registry: Registry, parts: ServerParts
) -> FilterChains | None:
    """The chains of ``envoy.config.listener.v3.Listener``, which stands at the context's path.

    None where a filter is still to come, which the loader has told.  Raises: ConfigError.
    """
    chains: list[FilterChain] = []
    is_logged = bool(listener.access_log)
    for index, message in enumerate(listener.filter_chains):
        chain = _chain(message, context.at(f"filter_chains[{index}]"), registry, parts, is_logged=is_logged)
        if chain is None:
            return None
        chain.metadata = metadata_to_dict(message.metadata)
        chains.append(chain)
    default: FilterChain | None = None
    if listener.HasField("default_filter_chain"):
        at = context.at("default_filter_chain")
        default = _chain(listener.default_filter_chain, at, registry, parts, is_logged=is_logged)
        if default is None:
            return None
        default.metadata = metadata_to_dict(listener.default_filter_chain.metadata)
    found = [*chains, default] if default is not None else chains
    return FilterChains(found, _finder(listener, context.path, chains, default))


def _chain(
    message: Any, context: FactoryContext, registry: Registry, parts: ServerParts, *, is_logged: bool
) -> FilterChain | None:
    tls = compile_transport_socket(message, context, registry)
    if tls is not None and parts.timers is not None and tls.timeout_s and parts.timers.scales(_HANDSHAKE):
        context.on_close(parts.timers.follow(_HANDSHAKE, tls.timeout_s, tls.move_timeout))
    if not message.filters:
        return _secured(FilterChain(message.name, _close), tls, None)
    if any(entry.HasField("config_discovery") for entry in message.filters):
        return _discovered_chain(message, context, registry, parts, tls, is_logged=is_logged)
    filters: list[NetworkFilter] = []
    last = len(message.filters) - 1
    for index, entry in enumerate(message.filters):
        at = context.at(f"filters[{index}].typed_config")
        found = registry.find(entry.typed_config)
        if found is None:
            return None
        factory, inner = found
        try:
            compiled = factory.compile(inner, at)
            if index == last:
                break
        except ConfigError as error:
            raise placed(error, at.path) from error
        filters.append(_network_filter(factory, compiled, at.path))
    ending = _ending(parts, factory, compiled, at.path)
    serve = _serve(filters, ending, parts, tls, is_logged=is_logged)
    return FilterChain(message.name, serve, ending.manager, tls, ending.terminal)


def _network_filter(factory: Any, compiled: Any, path: str) -> NetworkFilter:
    """Raises: ConfigError."""
    if not isinstance(compiled, NetworkFilter):
        raise ConfigError(path, f"'{factory.name}' is no network filter")
    return compiled


def _ending(parts: ServerParts, factory: Any, compiled: Any, path: str) -> Ending:
    """The filter that ends a chain, of what its factory made.  Raises: ConfigError."""
    if not isinstance(compiled, NetworkFilterRecipe):
        raise ConfigError(path, f"'{factory.name}' ends no filter chain")
    terminal = compiled.build(parts)
    return Ending(terminal, compiled.server(terminal))


def _serve(
    filters: Sequence[NetworkFilter],
    ending: Ending,
    parts: ServerParts,
    tls: TlsServer | None,
    *,
    is_logged: bool,
) -> Serve:
    """The function that serves a connection with these filters."""
    manager = ending.manager
    if manager is not None and is_logged:
        filters = [*filters, CountBytes()]
    serve = guard_bytes(filters, ending.serve)
    refuse = getattr(ending.terminal, "refuse", None)
    if tls is not None:
        from sidecar.net.tls_server import tls_serve

        serve = tls_serve(tls, serve, _on_refused(ending.terminal, refuse))
    if not filters:
        return serve
    limit = parts.buffer_limit_bytes
    if manager is None:
        return admit_connections(filters, serve, refuse, buffer_limit_bytes=limit, knows_halves=True)
    count = manager.stats.count_refused
    return admit_connections(
        filters, serve, lambda connection: count(is_remote=False, is_tls=False), buffer_limit_bytes=limit
    )


def _discovered_chain(
    message: Any,
    context: FactoryContext,
    registry: Registry,
    parts: ServerParts,
    tls: TlsServer | None,
    *,
    is_logged: bool,
) -> FilterChain | None:
    """A chain some of whose filters are discovered; None where one is still to come.

    Raises: ConfigError.
    """
    places: list[Any] = []
    last = len(message.filters) - 1
    for index, entry in enumerate(message.filters):
        make = partial(_ending, parts) if index == last else _network_filter
        at = context.at(f"filters[{index}]")
        if entry.HasField("config_discovery"):
            if index == last:
                make = partial(_discovered_ending, parts)
            places.append(
                Discovered(entry, at.path, at, registry, category="network_filter", make=make, missing=None)
            )
            continue
        at = at.at("typed_config")
        found = registry.find(entry.typed_config)
        if found is None:
            return None
        try:
            compiled = found[0].compile(found[1], at)
        except ConfigError as error:
            raise placed(error, at.path) from error
        places.append(make(found[0], compiled, at.path))
    chain = FilterChain(message.name, _close, tls=tls)
    chain.discovered = DiscoveredChain(
        chain, places, lambda filters, ending: _serve(filters, ending, parts, tls, is_logged=is_logged)
    )
    chain.discovered.start()
    return chain


def _discovered_ending(parts: ServerParts, factory: Any, compiled: Any, path: str) -> Ending:
    """Raises: ConfigError."""
    made = _ending(parts, factory, compiled, path)
    if made.manager is not None:
        # Its requests are drained with its listener, which knows it from the start.
        raise ConfigError(path, "a connection manager with config_discovery is not implemented")
    return made


def _on_refused(terminal: Any, refuse: Callable[[Any], None] | None) -> Callable[..., None] | None:
    """Who is told of a connection that fails its handshake: what ends a chain counts all that come."""
    if refuse is not None:
        return lambda connection, *, is_remote: refuse(connection)
    stats = getattr(terminal, "stats", None)
    if stats is None:
        return None
    return lambda connection, *, is_remote: stats.count_refused(is_remote=is_remote)


def _secured(
    chain: FilterChain, tls: TlsServer | None, on_refused: Callable[..., None] | None
) -> FilterChain:
    """``chain`` behind its transport socket."""
    if tls is not None:
        from sidecar.net.tls_server import tls_serve

        chain.tls = tls
        chain.serve = tls_serve(tls, chain.serve, on_refused)
    return chain


async def _close(connection: Any, transport: Transport, strand: Strand) -> None:
    """A filter chain without filters closes every connection."""


def _finder(
    listener: Any, path: str, chains: list[FilterChain], default: FilterChain | None
) -> Finder | None:
    """How a chain is chosen; None where there is no choice."""
    if listener.HasField("filter_chain_matcher"):
        by_name = {chain.name: chain for chain in chains}
        return compile_chain_matcher(
            listener.filter_chain_matcher, f"{path}.filter_chain_matcher", by_name, default
        )
    entries = [
        (
            compile_chain_match(each.filter_chain_match, f"{path}.filter_chains[{index}].filter_chain_match"),
            chain,
        )
        for index, (each, chain) in enumerate(zip(listener.filter_chains, chains, strict=True))
    ]
    if not entries or (len(entries) == 1 and entries[0][0] == ChainMatch()):
        return None
    try:
        return build_finder(entries, default)
    except Overlap as overlap:
        raise ConfigError(
            f"{path}.filter_chains[{overlap.second}]",
            "multiple filter chains with overlapping matching rules are defined",
        ) from overlap
