"""What network filters are: those that stand in a filter chain, and the one that ends it.

The factory of a terminal filter compiles a message to a :class:`NetworkFilterRecipe`; the composition root
builds it, and lets its listener hand every connection to ``serve``.  The factory of any other compiles a
:class:`NetworkFilter`, whose hooks see a connection before the terminal filter does.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Protocol, runtime_checkable

from sidecar.core.dataclass import dataclass

__all__ = [
    "CLOSE",
    "CONTINUE",
    "HELD",
    "HOLD",
    "NetworkFilter",
    "NetworkFilterRecipe",
    "NetworkSession",
    "ServerParts",
]

#: What a hook says.  HOLD, of a new connection: the terminal filter waits for the client's first bytes, or
#: for ``go_on`` of the session; of the first data: they wait until ``NetworkSession.resume`` is called.
CONTINUE, CLOSE, HOLD = range(3)


class _Held(bytes):
    """No bytes, and not the end either."""

    __slots__ = ()


#: What ``on_data`` gives at the end of what the client sends where it keeps that back.
HELD = _Held()


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
    #: :class:`sidecar.core.overload.Overload`; None where nobody watches.
    overload: Any = None
    #: :class:`sidecar.core.overload.ScaledTimers`, which no listener bypasses; None where none are scaled.
    timers: Any = None
    #: :class:`sidecar.core.overload.StreamMemory`; no listener bypasses it either.
    memory: Any = None


class NetworkSession:
    """One connection, as the filters of its chain see it."""

    __slots__ = (
        "buffer_limit_bytes",
        "connection",
        "delay_s",
        "details",
        "gates",
        "is_broken",
        "is_input_full",
        "is_output_full",
        "is_waiting",
        "knows_halves",
        "resume",
        "state",
    )

    def __init__(
        self, connection: Any, *, knows_halves: bool = False, buffer_limit_bytes: int = 1024 * 1024
    ) -> None:
        #: Whether what ends the chain goes on when the client has ended its half.
        self.knows_halves = knows_halves
        #: A :class:`sidecar.api.stream.ConnectionInfo`; its ``stream`` is what access logs see.
        self.connection = connection
        #: Seconds that the connection stays open, silent, after a filter closed it.
        self.delay_s = 0.0
        #: Why a filter closed it (``%CONNECTION_TERMINATION_DETAILS%``).
        self.details = ""
        #: ``resume(CONTINUE or CLOSE)`` says later what a filter that holds the first data decided.
        self.resume: Callable[[int], None] | None = None
        #: Whether a filter lets the terminal one wait.
        self.is_waiting = False
        #: How much filters keep back in a direction before they say that it is full.
        self.buffer_limit_bytes = buffer_limit_bytes
        #: A filter keeps so much of what the client sent that no more is read, or of what goes to it that no
        #: more is taken.
        self.is_input_full = False
        self.is_output_full = False
        #: Whether reading met an error: the client is gone.
        self.is_broken = False
        #: What filters keep of this connection, by filter.
        self.state: dict[NetworkFilter, Any] = {}
        #: How bytes get in from elsewhere than the socket; None before the first are read.
        self.gates: Any = None

    def give(self, source: NetworkFilter, data: bytes, *, end_stream: bool) -> None:
        """Let bytes that ``source`` kept back go on to those behind it, at any time."""
        if self.gates is not None:
            self.gates.give(source, data, end_stream=end_stream)

    def go_on(self) -> None:
        """The connection waits no longer for its first bytes."""
        self.is_waiting = False
        if self.gates is not None:
            self.gates.wake()

    def close(self) -> None:
        """Close the connection, at any time; what was written before still goes."""
        if self.gates is not None:
            self.gates.close()


class NetworkFilter:
    """A filter in front of the terminal one.  A hook that a class leaves as it is here is not called.

    Hooks are plain functions: what has to wait keeps bytes back, and gives them to its session later.
    """

    def on_new_connection(self, session: NetworkSession) -> int:
        """The connection is there, nothing was read: CONTINUE, CLOSE or HOLD."""
        return CONTINUE

    def on_established(self, session: NetworkSession) -> None:
        """The connection was let in, and its handshake of TLS, if there is one, is over."""

    def on_data(self, session: NetworkSession, data: bytes) -> bytes | None:
        """What the client sent, nothing at its end; what goes on is returned, None closes the connection."""
        return data

    def on_first_data(self, session: NetworkSession, data: bytes) -> int:
        """The first that the client sent: CONTINUE, CLOSE or HOLD.  Costs nothing behind it."""
        return CONTINUE

    def on_write(self, session: NetworkSession, data: bytes) -> int:
        """What goes to the client next: CONTINUE or CLOSE.  Every byte is shown once."""
        return CONTINUE

    def on_output(self, session: NetworkSession, data: bytes, *, end_stream: bool) -> bytes:
        """What goes to the client in the place of ``data``; what is kept back goes with a later call."""
        return data

    def on_close(self, session: NetworkSession) -> None:
        """The connection is over.  Called for every filter whose ``on_new_connection`` was."""


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
