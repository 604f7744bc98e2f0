"""Pools that connect ahead of time (``preconnect_policy.per_upstream_preconnect_ratio``).

Envoy's ``ConnPoolImplBase::shouldConnect``: there are to be so many times as many places for requests as
requests.  Only clusters that ask for it have such pools; the others pay nothing.
"""

from __future__ import annotations

from typing import Any

from sidecar.upstream.auto_pool import AutoPool
from sidecar.upstream.connection_pool import ConnectionPool
from sidecar.upstream.h1_pool import H1Pool
from sidecar.upstream.h2_pool import H2Pool
from sidecar.upstream.host import Health
from sidecar.upstream.tcp_pool import TcpPool

__all__ = ["EagerAutoPool", "EagerH1Pool", "EagerH2Pool", "EagerTcpPool"]


class _Eager(ConnectionPool):
    __slots__ = ()

    def acquire(self) -> Any:
        """A stream, if one can be had at once.  Raises: UpstreamError."""
        stream = super().acquire()  # type: ignore[misc] # of the pool that this is mixed into
        if stream is not None:
            self.connect_if_needed()
        return stream

    def wants_connection(self) -> bool:
        if self.host.health is not Health.HEALTHY or self.is_draining:
            return super().wants_connection()
        active = self.active_streams()
        ratio = self.cluster.config.preconnect_ratio
        capacity = self._connecting * self.streams_per_connection() + self.free_places()
        return (len(self._pending) + active) * ratio > capacity + active


class EagerH1Pool(_Eager, H1Pool):
    """HTTP/1.1."""

    __slots__ = ()


class EagerH2Pool(_Eager, H2Pool):
    """HTTP/2."""

    __slots__ = ()


class EagerAutoPool(_Eager, AutoPool):
    """What the handshake settles on."""

    __slots__ = ()


class EagerTcpPool(_Eager, TcpPool):
    """Raw connections."""

    __slots__ = ()
