"""Network filters that decide when a connection comes: limits, and the cluster by server name."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from sidecar.api.network import CLOSE, CONTINUE, NetworkFilter, NetworkSession
from sidecar.api.stream import Flag
from sidecar.core.filter_state import PlainText
from sidecar.core.runtime import ON, Switch
from sidecar.core.shared_memory import Count
from sidecar.core.token_bucket import TokenBucket

__all__ = ["ConnectionLimit", "LocalRateLimit", "SniCluster"]

#: Where a TCP proxy looks for the cluster that a filter chose.
_CLUSTER_STATE = "envoy.tcp_proxy.cluster"


class SniCluster(NetworkFilter):
    """``envoy.filters.network.sni_cluster``: the server name is the name of the cluster."""

    def on_new_connection(self, session: NetworkSession) -> int:
        connection = session.connection
        if connection.requested_server_name:
            if connection.filter_state is None:
                connection.filter_state = {}
            connection.filter_state.setdefault(_CLUSTER_STATE, PlainText(connection.requested_server_name))
        return CONTINUE


class ConnectionLimit(NetworkFilter):
    """``envoy.filters.network.connection_limit``: so many connections at once."""

    def __init__(
        self,
        stats: Any,
        max_connections: int,
        delay_s: float,
        enabled: Switch = ON,
        count: Count | None = None,
    ) -> None:
        """``stats`` is the scope ``connection_limit.<stat_prefix>.``; not ``enabled`` it lets all pass."""
        self._max = max_connections
        self._enabled = enabled
        self._delay_s = delay_s
        self._limited = stats.counter("limited_connections")
        self._active = stats.gauge("active_connections")
        self._count = count or Count()
        #: Those that are over the limit, and wait for their end.
        self._refused: set[NetworkSession] = set()
        #: Those that came while it was enabled.
        self._counted: set[NetworkSession] = set()

    def on_new_connection(self, session: NetworkSession) -> int:
        if not self._enabled.value:
            return CONTINUE
        self._counted.add(session)
        self._active.inc()
        if self._count.total() >= self._max:
            self._limited.value += 1
            self._refused.add(session)
            session.delay_s = self._delay_s
            return CLOSE
        self._count.add(1)
        return CONTINUE

    def on_close(self, session: NetworkSession) -> None:
        if session not in self._counted:
            return
        self._counted.remove(session)
        self._active.dec()
        if session in self._refused:
            self._refused.remove(session)
        else:
            self._count.add(-1)


class LocalRateLimit(NetworkFilter):
    """``envoy.filters.network.local_ratelimit``: so many connections in a while."""

    def __init__(
        self,
        bucket: TokenBucket,
        stats: Any,
        clock: Callable[[], float] = time.monotonic,
        enabled: Switch = ON,
    ) -> None:
        """``stats`` is the scope ``local_rate_limit.<stat_prefix>.``."""
        self._bucket = bucket
        self._enabled = enabled
        self._rate_limited = stats.counter("rate_limited")
        self._clock = clock

    def on_new_connection(self, session: NetworkSession) -> int:
        if not self._enabled.value or self._bucket.take(self._clock()):
            return CONTINUE
        self._rate_limited.value += 1
        session.connection.stream.flags |= Flag.UPSTREAM_RETRY_LIMIT_EXCEEDED
        return CLOSE
