"""What a network filter that ends a filter chain is, before and after it has the server's parts.

Its factory compiles a message to a :class:`NetworkFilterRecipe`; the composition root builds it, and lets
its listener hand every connection to ``serve``.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

__all__ = ["NetworkFilterRecipe", "ServerParts"]


@dataclass(frozen=True, slots=True)
class ServerParts:
    """The server's parts that a factory's context does not carry."""

    #: :class:`sidecar.net.reactor.Reactor`.
    reactor: Any
    #: :class:`sidecar.config.registry.Registry`, for the extensions inside the filter.
    registry: Any
    #: ``get_pool(cluster, host, stream)``: the pool of a host for a request; ``raw=True`` for plain bytes.
    get_pool: Callable[..., Any]
    #: ``per_connection_buffer_limit_bytes`` of the listener.
    buffer_limit_bytes: int
    is_draining: Callable[[], bool]
    #: ``llhttp`` or ``h11``: who speaks HTTP/1 (``--http1-codec``).
    http1_codec: str = "llhttp"
    #: ``native`` or ``h2``: who speaks HTTP/2 (``--http2-codec``).
    http2_codec: str = "native"


@runtime_checkable
class NetworkFilterRecipe(Protocol):
    """A terminal network filter that waits for the server's parts."""

    def build(self, parts: ServerParts) -> Any:
        """The filter (a :class:`sidecar.http.connection_manager.ConnectionManager`).

        Raises: ConfigError with a path from the bootstrap's root.
        """
        ...

    def server(self, built: Any) -> Callable[[Any, Any, Any], Coroutine[Any, Any, None]]:
        """``serve(connection, transport, strand)``, which serves one connection to its end."""
        ...
