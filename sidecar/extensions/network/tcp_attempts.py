"""How a connection of a TCP proxy gets its upstream: a host, and others where the first cannot be reached."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from sidecar.api.stream import Flag
from sidecar.core.errors import UpstreamError
from sidecar.extensions.network.tcp_tunnel import DISABLED_STATE, open_tunnel
from sidecar.net.pause import pause

if TYPE_CHECKING:
    from sidecar.extensions.network.tcp_proxy import TcpProxy

__all__ = ["TcpAttempts", "fraction"]

#: How the details of failures begin that are the host's.
_REMOTE = "remote connection failure"
_TIMEOUT = "connection timeout"
#: Why we close a client without an upstream, by Envoy's spelling; a number says what failed.
_INITIALIZATION_FAILURE = "tcp_initializion_failure"


class TcpAttempts:
    """The part of a :class:`sidecar.extensions.network.tcp_session.TcpSession` that ends when bytes flow."""

    __slots__ = ("_connection", "_proxy", "_stream", "_upstream")

    def __init__(self, proxy: TcpProxy, connection: Any) -> None:
        self._proxy = proxy
        self._connection = connection
        self._stream = connection.stream
        #: A :class:`sidecar.upstream.tcp_pool.TcpConnection`, or a tunnel.
        self._upstream: Any = None

    async def _connect(self) -> None:
        """Get a connection to a host; where there is none, the flags say why."""
        proxy, config, stream = self._proxy, self._proxy.config, self._stream
        attempts = 0
        while True:
            route = stream.route = proxy.choose_route(self._connection)
            cluster = stream.cluster = proxy.find_cluster(route.cluster_name)
            if cluster is None and config.discover is not None and await self._discover(route.cluster_name):
                cluster = stream.cluster = proxy.find_cluster(route.cluster_name)
            if cluster is None:
                proxy.stats.downstream_cx_no_route.value += 1
                stream.flags |= Flag.NO_CLUSTER_FOUND
                self._connection.local_close_reason = f"{_INITIALIZATION_FAILURE}:3"
                return
            stats = cluster.stats
            resources = cluster.resources[0]
            if resources.connections >= resources.max_connections:
                stats.upstream_cx_overflow.value += 1
                stream.flags |= Flag.UPSTREAM_OVERFLOW
                self._connection.local_close_reason = f"{_INITIALIZATION_FAILURE}:2"
                return
            if config.tlvs is not None:
                config.tlvs.put(self._connection)
            host = stream.upstream_host = cluster.choose_host(stream)
            if host is None:
                stream.flags |= Flag.NO_HEALTHY_UPSTREAM
                self._connection.local_close_reason = f"{_INITIALIZATION_FAILURE}:1"
                return
            attempts += 1
            stream.attempt_count = attempts
            try:
                self._upstream = await self._reach(cluster, host)
                if host.outlier is not None:
                    host.outlier.put_connected()
            except UpstreamError as error:
                is_remote = error.details.startswith(_REMOTE)
                is_late = error.details == _TIMEOUT
                if is_remote or is_late:
                    stream.flags |= Flag.UPSTREAM_CONNECTION_FAILURE
                if error.is_immediate:
                    stream.upstream_host = None  # it was refused a place in the queue, by nobody
                if host.outlier is not None:
                    if is_remote:
                        host.outlier.put_connection_failure(was_connected=False)
                    elif is_late:
                        host.outlier.put_timeout(was_connected=False)
                stream.upstream_transport_failure = error.details.partition("|")[2]
                if attempts >= config.max_connect_attempts:
                    stats.upstream_cx_connect_attempts_exceeded.value += 1
                    stream.flags |= Flag.CONNECT_ATTEMPTS_EXCEEDED
                    self._connection.local_close_reason = f"{_INITIALIZATION_FAILURE}:0"
                    return
                if config.backoff_s is not None:
                    await pause(self._backoff_s(attempts))
                continue
            return

    async def _discover(self, name: str) -> bool:
        """Ask for a cluster that is not here; whether it is now."""
        proxy = self._proxy
        assert proxy.config.discover is not None
        counters = proxy.stats.on_demand
        counters["attempt"].value += 1
        outcome = await proxy.config.discover(name)
        counters[outcome].value += 1
        return outcome == "available"

    async def _reach(self, cluster: Any, host: Any) -> Any:
        """A connection to ``host``, or a tunnel by it.  Raises: UpstreamError."""
        proxy, stream = self._proxy, self._stream
        tunneling = proxy.config.tunneling
        if tunneling is not None:
            state = self._connection.filter_state
            if state is None or not state.get(DISABLED_STATE):
                try:
                    return await open_tunnel(
                        tunneling, proxy.get_pool(cluster, host, stream), stream, self._attach
                    )
                except BaseException:
                    self._detach()
                    raise
        upstream = await proxy.get_pool(cluster, host, stream, raw=True).wait()
        self._attach(upstream)
        return upstream

    def _backoff_s(self, attempts: int) -> float:
        """A random part of what doubles with every attempt (``JitteredExponentialBackOffStrategy``)."""
        assert self._proxy.config.backoff_s is not None
        base, most = self._proxy.config.backoff_s
        return float(fraction() * min(base * 2 ** (attempts - 1), most))

    def _attach(self, upstream: Any) -> None:
        """Be on a connection, or on a stream that asks for a tunnel."""
        stream = self._stream
        stream.upstream = upstream
        stream.upstream_connection_id = upstream.connection_id
        stream.upstream_local_address = upstream.local_address
        stream.upstream_tls = upstream.tls
        stream.cluster.stats.upstream_rq_total.value += 1
        host = stream.upstream_host
        host.rq_total += 1
        host.rq_active += 1

    def _detach(self) -> None:
        stream = self._stream
        if stream.upstream is not None:
            stream.upstream = None
            stream.upstream_host.rq_active -= 1


def fraction() -> float:
    """A random number from 0 up to 1."""
    return random.getrandbits(32) / 2**32
