"""Filter chains of a listener, compiled: who serves a connection, and which chain that is."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import field
from typing import TYPE_CHECKING, Any

from sidecar.core.dataclass import dataclass

if TYPE_CHECKING:
    from sidecar.core.filter_chain_match import Finder
    from sidecar.net.reactor import Strand, Transport
    from sidecar.net.tls_server import TlsServer
    from sidecar.observability.stats import Scope

__all__ = ["FilterChain", "FilterChains", "Serve"]

Serve = Callable[[Any, "Transport", "Strand"], Coroutine[Any, Any, None]]


@dataclass(slots=True, eq=False)
class FilterChain:
    """``envoy.config.listener.v3.FilterChain``."""

    name: str
    #: Serves one connection to its end.
    serve: Serve
    #: Its :class:`sidecar.http.connection_manager.ConnectionManager`; None where the chain speaks no HTTP.
    manager: Any = None
    #: Its :class:`sidecar.net.tls_server.TlsServer`; None where the bytes are used as they are.
    tls: TlsServer | None = None
    #: The filter that ends it: the connection manager, or another.
    terminal: Any = None
    #: Puts another ``serve`` there when filters are discovered
    #: (:class:`sidecar.server.discovered_chain.DiscoveredChain`); None where all are in the configuration.
    discovered: Any = None
    #: ``metadata.filter_metadata``.
    metadata: dict[str, dict[str, Any]] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class FilterChains:
    """All chains of one listener, the default one among them."""

    all: Sequence[FilterChain]
    #: From a connection to its chain, or None for none; itself None where there is no choice.
    find: Finder | None = None
    #: The one chain where there is no choice.
    only: FilterChain | None = field(init=False)

    def __post_init__(self) -> None:
        self.only = self.all[0] if self.find is None else None

    def set_scope(self, scope: Scope) -> None:
        """Count in ``listener.<address>.``."""
        for chain in self.all:
            if chain.tls is not None:
                chain.tls.set_scope(scope)
            if chain.discovered is not None:
                chain.discovered.set_scope(scope)
            if chain.manager is not None:
                chain.manager.set_listener_stats(scope.scope(f"http.{chain.manager.stat_prefix}"))

    @property
    def managers(self) -> list[Any]:
        """The connection managers of the chains."""
        return [chain.manager for chain in self.all if chain.manager is not None]

    @property
    def terminals(self) -> list[Any]:
        """The filters that end the chains."""
        return [chain.terminal for chain in self.all if chain.terminal is not None]
