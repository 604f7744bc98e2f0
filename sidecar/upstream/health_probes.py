"""The checks themselves: one question to one host, over connections that belong to its checks alone.

HTTP and gRPC go over a pool of the protocol's own (:mod:`sidecar.upstream.h1_pool`, ``h2_pool``) that serves
a copy of the host and counts in a store of its own: Envoy counts its checks in no stat of the data path.
Strands of the reactor; how long a question may take is the task's to say.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from sidecar.api.message import FixedBody, RequestMessage
from sidecar.core.address import Address
from sidecar.core.errors import Disconnected, RemoteProtocolError, UpstreamError
from sidecar.core.headers import RequestHeaders
from sidecar.observability.stats import Store
from sidecar.upstream.cluster import Cluster, ClusterConfig
from sidecar.upstream.connector import Connector
from sidecar.upstream.health_check import Outcome
from sidecar.upstream.host import Host
from sidecar.upstream.resources import DEFAULT_LIMITS

if TYPE_CHECKING:
    from sidecar.net.reactor import Reactor, Strand

__all__ = ["GrpcProbe", "HttpProbe", "TcpProbe"]

_NETWORK = Outcome("NETWORK")
_ACTIVE = Outcome("ACTIVE")
_USER_AGENT = (b"user-agent", b"Envoy/HC")
_ERRORS = (UpstreamError, RemoteProtocolError, Disconnected)

MakePool = Callable[[Cluster, Host], Any]


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

    def connect(self, reactor: Reactor, config: ClusterConfig, host: Host, make_pool: MakePool) -> Any:
        """What asks one host."""
        return _HttpSession(self, config, host, make_pool)


@dataclass(frozen=True, slots=True)
class GrpcProbe:
    """``grpc_health_check``: ``grpc.health.v1.Health/Check``."""

    service_name: str = ""
    authority: str = ""
    timeout_s: float = 0.0
    mutate: Callable[[RequestHeaders, Host], None] | None = None
    http2: bool = True

    def connect(self, reactor: Reactor, config: ClusterConfig, host: Host, make_pool: MakePool) -> Any:
        """What asks one host."""
        return _GrpcSession(self, config, host, make_pool)


@dataclass(frozen=True, slots=True)
class TcpProbe:
    """``tcp_health_check``."""

    send: bytes = b""
    receive: tuple[bytes, ...] = ()

    def connect(self, reactor: Reactor, config: ClusterConfig, host: Host, make_pool: MakePool) -> Any:
        """What asks one host."""
        return _TcpSession(self, reactor, config, host)


def matches(expected: tuple[bytes, ...], data: bytes | bytearray) -> bool:
    """Whether the pieces stand in ``data`` in this order, with anything between."""
    start = 0
    for piece in expected:
        found = data.find(piece, start)
        if found < 0:
            return False
        start = found + len(piece)
    return True


class _PoolSession:
    """Keeps one connection of a codec's pool."""

    def __init__(self, probe: Any, config: ClusterConfig, host: Host, make_pool: MakePool) -> None:
        self._probe = probe
        self._make_pool = make_pool
        self._cluster = Cluster(
            replace(config, endpoints=(), outliers=None, health_checks=(), http2=probe.http2,
                    default_limits=DEFAULT_LIMITS, idle_timeout_s=0.0, max_connection_duration_s=0.0,
                    max_requests_per_connection=0),
            Store(),
        )  # fmt: skip
        self._host = host
        self._target = _copy(host)
        self._name = host.health_hostname or host.hostname
        self._pool: Any = None
        self.verified = False

    async def _ask(self, headers: RequestHeaders, payload: bytes | None, limit: int) -> Any:
        """The response, its body as far as wanted, and the trailers."""
        pool = self._pool
        if pool is None:
            pool = self._pool = self._make_pool(self._cluster, self._target)
        upstream = pool.acquire() or await pool.wait()
        host = self._target
        host.rq_active += 1
        try:
            body = None if payload is None else FixedBody(payload)
            waiting = upstream.start(RequestMessage(headers, body), payload)
            if waiting is not None:
                await waiting
            response = await upstream.response()
            data = bytearray()
            while response.body is not None and (chunk := await response.body.receive()):
                data += chunk if not limit else chunk[: max(0, limit - len(data))]
            trailers = None if response.body is None else response.body.trailers
        except BaseException:
            upstream.reset()
            raise
        finally:
            host.rq_active -= 1
        upstream.release()
        return response.headers, bytes(data), trailers

    def disconnect(self) -> None:
        """Close the connection; the next check makes another."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.close()
            self._target.pools = ()


class _HttpSession(_PoolSession):
    async def ask(self, strand: Strand) -> Outcome:
        """One check."""
        probe = self._probe
        authority = (self._host.health_hostname or probe.host or self._cluster.name).encode()
        headers = RequestHeaders(probe.method, probe.path, authority, b"http", [_USER_AGENT])
        if probe.mutate is not None:
            probe.mutate(headers, self._host)
        payload = probe.payload or None
        if payload is not None:
            headers.set(b"content-length", b"%d" % len(payload))
        try:
            response, body, _ = await self._ask(headers, payload, probe.response_buffer_size)
        except _ERRORS:
            return _NETWORK
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


class _GrpcSession(_PoolSession):
    async def ask(self, strand: Strand) -> Outcome:
        """One check."""
        probe = self._probe
        authority = (self._host.health_hostname or probe.authority or self._cluster.name).encode()
        fields = [(b"te", b"trailers"), (b"content-type", b"application/grpc"), _USER_AGENT]
        headers = RequestHeaders(b"POST", b"/grpc.health.v1.Health/Check", authority, b"http", fields)
        if probe.mutate is not None:
            probe.mutate(headers, self._host)
        headers.set(b"grpc-timeout", b"%dm" % round(probe.timeout_s * 1000))
        name = probe.service_name.encode()
        message = b"\n" + _varint(len(name)) + name if name else b""
        frame = b"\0" + len(message).to_bytes(4, "big") + message
        try:
            response, body, trailers = await self._ask(headers, frame, 64 * 1024)
        except _ERRORS:
            return _NETWORK
        content_type = response.get(b"content-type") or b""
        if response.status != 200 or not content_type.startswith(b"application/grpc"):
            return _ACTIVE
        if trailers is None or trailers.get(b"grpc-status") != b"0":
            return _ACTIVE
        return Outcome() if _is_serving(body) else _ACTIVE


class _TcpSession:
    def __init__(self, probe: TcpProbe, reactor: Reactor, config: ClusterConfig, host: Host) -> None:
        self._probe = probe
        self._reactor = reactor
        self._connector = Connector(config)
        self._target = _copy(host)
        self._transport: Any = None
        self.verified = False

    async def ask(self, strand: Strand) -> Outcome:
        """One check."""
        probe = self._probe
        try:
            transport = self._transport
            if transport is None or transport.hangup:
                self.disconnect()
                transport = self._transport = await self._connector.connect(
                    self._reactor, self._target, strand, has_timeout=False
                )
            if not probe.receive:
                self.disconnect()
                return Outcome()
            if probe.send:
                await transport.send_all(probe.send)
            data = bytearray()
            while not matches(probe.receive, data):
                chunk = await transport.receive(65536)
                if not chunk:
                    self.disconnect()
                    return _NETWORK
                data += chunk
        except (*_ERRORS, OSError):
            self.disconnect()
            return _NETWORK
        return Outcome()

    def disconnect(self) -> None:
        """Close the connection; the next check makes another."""
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.close()


def _copy(host: Host) -> Host:
    """Where the checks of ``host`` go, with counters of its own."""
    address: Address = host.health_address or host.addresses[0]
    return Host(address, hostname=host.hostname, addresses=(address,))


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def _is_serving(body: bytes) -> bool:
    """Whether ``body`` is one ``grpc.health.v1.HealthCheckResponse`` whose status is SERVING (1)."""
    if len(body) < 5 or body[0] or int.from_bytes(body[1:5], "big") != len(body) - 5:
        return False
    return body[5:] == b"\x08\x01"
