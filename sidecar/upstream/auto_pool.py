"""Connections to one host that speak HTTP/2 or HTTP/1.1, as each settles in its TLS handshake.

``auto_config``: both protocols are offered by ALPN, and a connection without it speaks HTTP/1.1.  What a
connection is then, an HTTP/1 pool or an HTTP/2 pool says; both share the queue of those who wait (Envoy's
``HttpConnPoolImplMixed``).
"""

from __future__ import annotations

from typing import Any

from sidecar.net.peer_options import PeerOptions
from sidecar.net.reactor import Transport
from sidecar.upstream.connection_pool import ConnectionPool
from sidecar.upstream.h1_pool import H1Pool
from sidecar.upstream.h2_pool import H2Pool

__all__ = ["AutoPool"]


class AutoPool(ConnectionPool):
    """See the module."""

    __slots__ = ("_h1", "_h2")

    default_options = PeerOptions(alpn=("h2", "http/1.1"))

    def __init__(self, h1: H1Pool, h2: H2Pool, *, priority: int = 0) -> None:
        super().__init__(h1.reactor, h1.cluster, h1.host, priority=priority)
        self._h1 = h1
        self._h2 = h2
        h1.join(self)
        h2.join(self)

    def acquire(self) -> Any:
        """A stream on a connection that is there, or None: then ``wait``."""
        return self._h2.acquire() or self._h1.acquire()

    def has_connections(self) -> bool:
        return self._h1.has_connections() or self._h2.has_connections()

    def active_streams(self) -> int:
        return self._h1.active_streams() + self._h2.active_streams()

    def free_places(self) -> int:
        return self._h1.free_places() + self._h2.free_places()

    def take_in(self, transport: Transport) -> None:
        facts = transport.facts
        pool: H1Pool | H2Pool = self._h2 if facts is not None and facts.alpn == "h2" else self._h1
        pool.count_connection()
        # As in Envoy: once when it connects, and once when its protocol is known.
        self.cluster.stats.upstream_cx_total.value += 1
        pool.take_in(transport)

    def give_back(self, stream: Any, /) -> None:
        if stream.protocol == "HTTP/2":
            self._h2.give_back(stream)
        else:
            self._h1.give_back(stream)

    def sweep_idle(self, now: float) -> None:
        self._h1.sweep_idle(now)
        self._h2.sweep_idle(now)

    def sweep_aged(self, now: float) -> None:
        self._h1.sweep_aged(now)
        self._h2.sweep_aged(now)

    def drain(self) -> None:
        """The host fails: let every connection end."""
        self._h1.drain()
        self._h2.drain()

    def close(self) -> None:
        """Close what is idle; what is in use closes with what is on it."""
        self.is_draining = True
        self._h1.close()
        self._h2.close()
