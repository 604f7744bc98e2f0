"""HTTP health checks, and what they share with gRPC's: a question over a pool that belongs to checks alone.

The pools are those of the protocol (:mod:`sidecar.upstream.h1_pool`, ``h2_pool``).  They serve a copy of the
host and count in a store of their own: Envoy counts its checks in no stat of the data path, and no circuit
breaker holds them.  Strands of the reactor; how long a question may take is the task's to say.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sidecar.api.message import FixedBody, RequestMessage
from sidecar.core.dataclass import dataclass
from sidecar.core.errors import Disconnected, RemoteProtocolError, UpstreamError
from sidecar.core.headers import RequestHeaders
from sidecar.net.peer_options import PeerOptions
from sidecar.observability.stats import Store
from sidecar.upstream.cluster import Cluster
from sidecar.upstream.connector import Connector
from sidecar.upstream.health_check import NETWORK, Outcome
from sidecar.upstream.host import Host
from sidecar.upstream.load_balancer_policies import ROUND_ROBIN
from sidecar.upstream.resources import CircuitBreakerLimits
from sidecar.upstream.transport_sockets import SOCKET_MATCH

if TYPE_CHECKING:
    from sidecar.api.message import ResponseMessage
    from sidecar.net.reactor import Reactor, Strand
    from sidecar.upstream.transport_sockets import TransportSockets

__all__ = [
    "ERRORS",
    "USER_AGENT",
    "CheckContext",
    "HttpProbe",
    "MakePool",
    "PoolSession",
    "cluster_for_checks",
    "matches",
]

USER_AGENT = (b"user-agent", b"Envoy/HC")
#: How a question fails that no answer came to.
ERRORS = (UpstreamError, RemoteProtocolError, Disconnected)
_MOST = 2**32 - 1
_NO_LIMITS = CircuitBreakerLimits(
    max_connections=_MOST, max_pending_requests=_MOST, max_requests=_MOST, max_retries=_MOST
)

MakePool = Callable[[Cluster, Host], Any]


@dataclass(frozen=True, slots=True)
class CheckContext:
    """What the checks of one kind, of all hosts of a cluster, have in common."""

    reactor: Reactor
    #: That of :func:`cluster_for_checks`.
    cluster: Cluster
    make_pool: MakePool
    #: The transport sockets of the cluster itself; None where none of them is TLS.
    sockets: TransportSockets | None = None
    #: ``transport_socket_match_criteria``, in place of the host's own metadata.
    match_criteria: dict[str, Any] | None = None
    #: ``tls_options``.
    alpn: tuple[str, ...] = ()

    def target_of(self, host: Host) -> Host:
        """Where the checks of ``host`` go, with counters of its own."""
        metadata = host.metadata
        if self.match_criteria is not None:
            metadata = {**metadata, SOCKET_MATCH: self.match_criteria}
        address = host.health_address or host.addresses[0]
        target = Host(
            address,
            hostname=host.hostname,
            locality=host.locality,
            metadata=metadata,
            addresses=(address,),
        )
        target.http_proxy = host.http_proxy
        return target

    def scheme_of(self, target: Host) -> bytes:
        """``https`` where hands are shaken with the host."""
        sockets = self.sockets
        return b"http" if sockets is None or sockets.client_of(target) is None else b"https"


def cluster_for_checks(cluster: Cluster, *, http2: bool) -> Cluster:
    """The cluster as its checks see it: no hosts, limits or stats, and no time to connect but theirs."""
    config = replace(
        cluster.config,
        endpoints=(),
        outliers=None,
        health_checks=(),
        http2=http2,
        lb_policy=ROUND_ROBIN,
        eds=None,
        original_dst=None,
        preconnect_ratio=1.0,
        use_downstream_protocol=False,
        is_auto=False,
        request_names=None,
        transport_sockets=None,  # they count for the cluster itself
        idle_timeout_s=0.0,
        max_connection_duration_s=0.0,
        max_requests_per_connection=0,
        default_limits=_NO_LIMITS,
        high_limits=_NO_LIMITS,
        connect_timeout_s=0.0,
    )
    own = Cluster(config, Store())
    own.connector = Connector(config)
    own.connector.use(cluster.config.transport_sockets)
    return own


@dataclass(frozen=True, slots=True)
class HttpProbe:
    """``http_health_check``."""

    path: bytes
    host: str = ""
    method: bytes = b"GET"
    http2: bool = False
    payload: bytes = b""
    receive: tuple[bytes, ...] = ()
    #: Bytes of a response that are looked at; 0 for all.
    response_buffer_size: int = 1024
    expected: tuple[range, ...] = (range(200, 201),)
    retriable: tuple[range, ...] = ()
    #: Adds and removes headers: ``mutate(headers, host)``.
    mutate: Callable[[RequestHeaders, Host], None] | None = None
    matches_service: Callable[[str], bool] | None = None

    def connect(self, context: CheckContext, host: Host) -> Any:
        """What asks one host."""
        return _HttpSession(self, context, host)


def matches(expected: tuple[bytes, ...], data: bytes | bytearray) -> bool:
    """Whether the pieces stand in ``data`` in this order, with anything between."""
    start = 0
    for piece in expected:
        found = data.find(piece, start)
        if found < 0:
            return False
        start = found + len(piece)
    return True


class PoolSession:
    """Keeps one connection of a codec's pool, and asks one host over it."""

    #: What the host says between checks is nobody's business.
    is_listening = False
    #: A check that takes too long ends its connection.
    closes_when_late = True

    def __init__(self, probe: Any, context: CheckContext, host: Host) -> None:
        self._probe = probe
        self._context = context
        self._cluster = context.cluster
        self._host = host
        self._target = context.target_of(host)
        self.scheme = context.scheme_of(self._target)
        self._pool: Any = None
        #: Whether the name of the service was looked at.
        self.verified = False

    def authority(self, given: str) -> bytes:
        """As whom the host is asked."""
        return (self._host.health_hostname or given or self._cluster.name).encode()

    async def exchange(
        self,
        headers: RequestHeaders,
        payload: bytes | None,
        read: Callable[[ResponseMessage], Awaitable[Outcome | None]],
    ) -> Outcome | None:
        """Ask; what ``read`` makes of the answer, None where it does not want the rest of it.

        Raises: those of ``ERRORS``.
        """
        pool = self._pool
        if pool is None:
            pool = self._pool = self._context.make_pool(self._cluster, self._target)
            if self._context.alpn:
                pool.options = PeerOptions(self._context.alpn)
        upstream = pool.acquire() or await pool.wait()
        host = self._target
        host.rq_active += 1
        try:
            body = None if payload is None else FixedBody(payload)
            waiting = upstream.start(RequestMessage(headers, body), payload)
            if waiting is not None:
                await waiting
            outcome = await read(await upstream.response())
        except BaseException:
            upstream.reset()
            raise
        finally:
            host.rq_active -= 1
        if outcome is None:
            upstream.reset()
        else:
            upstream.release()
        return outcome

    def disconnect(self) -> None:
        """Close the connection; the next check makes another."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.close()
            self._target.pools = ()


class _HttpSession(PoolSession):
    async def ask(self, strand: Strand) -> Outcome:
        """One check."""
        probe = self._probe
        headers = RequestHeaders(
            probe.method, probe.path, self.authority(probe.host), self.scheme, [USER_AGENT]
        )
        if probe.mutate is not None:
            probe.mutate(headers, self._host)
        payload = probe.payload or None
        if payload is not None:
            headers.set(b"content-length", b"%d" % len(payload))
        try:
            return await self.exchange(headers, payload, self._read) or NETWORK
        except ERRORS:
            return NETWORK

    async def _read(self, response: ResponseMessage) -> Outcome:
        limit = self._probe.response_buffer_size
        data = bytearray()
        while response.body is not None and (chunk := await response.body.receive()):
            data += chunk if not limit else chunk[: max(0, limit - len(data))]
        return self._judge(response.headers, data)

    def _judge(self, response: Any, body: bytearray) -> Outcome:
        probe = self._probe
        status = response.status
        is_immediate = b"x-envoy-immediate-health-check-fail" in response
        if probe.receive and not matches(probe.receive, body):
            return Outcome("ACTIVE", status=status, is_immediate=is_immediate)
        if not any(status in each for each in probe.expected):
            is_retriable = any(status in each for each in probe.retriable)
            return Outcome("ACTIVE", status=status, is_immediate=is_immediate, is_retriable=is_retriable)
        if probe.matches_service is not None:
            self.verified = True
            name = response.get(b"x-envoy-upstream-healthchecked-cluster") or b""
            if not probe.matches_service(name.decode("latin-1")):
                return Outcome("ACTIVE", status=status)
        return Outcome(is_degraded=b"x-envoy-degraded" in response, status=status)
