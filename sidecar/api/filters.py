"""What an HTTP filter is, and what a factory of extensions is.

A filter overrides the hooks it needs; the chain is compiled into tuples of overridden hooks, and what is
not overridden costs nothing (DESIGN §5).  One filter object serves every stream of its chain; state of
one stream is kept with ``stream.set_slot(self.slot, …)``.

Request: ``decode_headers`` of every filter in configured order, then the router.  Response, a local
reply as well: ``encode_headers`` of every filter in reverse order.  Bodies pass through the stages that
hooks installed with ``message.pipe_body``.  ``on_complete`` of every filter at the very end, always.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from sidecar.api.message import LocalReply
    from sidecar.api.stream import Stream

__all__ = ["AccessLogger", "Factory", "HookResult", "HttpFilter"]

HookResult = "LocalReply | Awaitable[LocalReply | None] | None"


class HttpFilter:
    """The base of HTTP filters.

    A hook is a plain function, or returns an awaitable when it has to wait.  ``uses_trio`` says whether
    what it returns awaits trio itself: then it runs in the connection's own task (``adopted()``).  A filter
    that waits only for bodies, signals and the internal client of sidecar sets it to False and stays on the
    fast path.
    """

    #: Number of this filter's slot in ``stream.slots``; set when the chain is compiled.
    slot: int = 0
    #: How many slots it wants besides for filters of its own, and the number of the first.
    extra_slots: int = 0
    first_extra_slot: int = 0
    #: The filter's name in the configuration (``http_filters[].name``), the key of per-route configuration.
    config_name: str = ""
    uses_trio: bool = True
    #: Whether it has the route looked up itself where it matters: else that is done before the first filter.
    finds_route: bool = False
    #: Whether each look-up is counted (``record_route_resolution_stats``): it is done where Envoy does it.
    counts_route: bool = False
    #: Whether it is off where no route turns it on (``http_filters[].disabled``).
    is_disabled: bool = False

    def decode_headers(self, stream: Stream) -> LocalReply | Awaitable[LocalReply | None] | None:
        """See the request head; a LocalReply ends the request here.

        To wait is to return an awaitable (an ``async def`` is fine).  Raises: ExtensionError, StreamAborted.
        """
        return None

    def encode_headers(self, stream: Stream) -> LocalReply | Awaitable[LocalReply | None] | None:
        """See the response head in ``stream.response``; a LocalReply replaces the response."""
        return None

    def on_complete(self, stream: Stream) -> None:
        """The stream is over, whatever happened; must not raise and cannot wait."""


class AccessLogger(Protocol):
    """Writes one record per finished stream."""

    def log(self, stream: Stream) -> None: ...

    def flush(self) -> None: ...

    def close(self) -> None: ...


class Factory(Protocol):
    """Makes runtime objects from one extension's configuration message."""

    #: Envoy's extension name, ``envoy.filters.http.lua``.
    name: str
    #: Envoy's category, ``envoy.filters.http``.
    category: str
    #: Full name of the configuration message.
    config_type: str

    def compile(self, message: Any, context: Any) -> Any:
        """The runtime object (an HttpFilter, an AccessLogger …).

        ``context`` is a :class:`sidecar.config.context.FactoryContext`.  Raises: ConfigError with a path
        relative to this message.
        """
        ...
