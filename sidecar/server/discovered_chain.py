"""A filter chain some of whose network filters are discovered (ECDS).

A connection keeps the filters with which it began; while one of them is missing, connections are closed
before anything is read (Envoy's ``FilterChainUtility::buildFilterChain``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from sidecar.config.compile.discovered import Discovered
from sidecar.http.connection_manager import ConnectionManager

if TYPE_CHECKING:
    from sidecar.api.network import NetworkFilter
    from sidecar.net.reactor import Strand, Transport
    from sidecar.observability.stats import Counter, Scope
    from sidecar.server.filter_chain import FilterChain, Serve

__all__ = ["DiscoveredChain", "Ending"]


class Ending:
    """The filter that ends a chain."""

    def __init__(self, terminal: Any, serve: Serve) -> None:
        self.terminal = terminal
        self.serve = serve

    @property
    def manager(self) -> ConnectionManager | None:
        """The same, where it speaks HTTP."""
        return self.terminal if isinstance(self.terminal, ConnectionManager) else None


class _Terminals:
    """The filters that ended a chain, for as long as connections have them: their logs are flushed."""

    def __init__(self) -> None:
        self._known: WeakSet[Any] = WeakSet()
        #: The one for new connections.
        self.current: Any = None

    def use(self, terminal: Any) -> None:
        self.current = terminal
        self._known.add(terminal)

    @property
    def access_logs(self) -> list[Any]:
        return [log for each in self._known for log in each.access_logs]

    @property
    def upstream_logs(self) -> list[Any]:
        return [log for each in self._known for log in getattr(each, "upstream_logs", ())]


class DiscoveredChain:
    """Keeps ``serve`` of one chain."""

    def __init__(
        self,
        chain: FilterChain,
        places: Sequence[Any],
        make: Callable[[list[NetworkFilter], Ending], Serve],
    ) -> None:
        """``places`` are filters, an Ending at the end, or what finds them: :class:`Discovered`."""
        self._chain = chain
        self._places = places
        self._make = make
        self._missing: Counter | None = None
        self._terminals: _Terminals | None = None
        ending = places[-1]
        if isinstance(ending, Discovered):
            self._terminals = chain.terminal = _Terminals()
        else:
            chain.terminal, chain.manager = ending.terminal, ending.manager

    def set_scope(self, scope: Scope) -> None:
        """Count in the listener's scope."""
        self._missing = scope.counter("network_extension_config_missing")

    def start(self) -> None:
        """Ask for what is discovered.  Raises: ConfigError."""
        self._use()
        for each in self._places:
            if isinstance(each, Discovered):
                each.start(self._use)

    def _use(self) -> None:
        found = [each.current if isinstance(each, Discovered) else each for each in self._places]
        if any(each is None for each in found):
            self._chain.serve = self._refuse
            return
        *filters, ending = found
        if self._terminals is not None and self._terminals.current is not ending.terminal:
            self._terminals.use(ending.terminal)
        self._chain.serve = self._make(filters, ending)

    async def _refuse(self, connection: Any, transport: Transport, strand: Strand) -> None:
        if self._missing is not None:
            self._missing.value += 1
