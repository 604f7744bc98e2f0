"""How the signals of OTLP leave: over gRPC or HTTP, through a cluster of the proxy's own.

What a collector answers changes nothing: Envoy logs it and sends the next.  The cluster's circuit breakers
say how many calls may be under way.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from sidecar.core.headers import Field, RequestHeaders
from sidecar.router.http_client import PushBody

if TYPE_CHECKING:
    from sidecar.router.grpc_client import GrpcClient, GrpcUnaryCall
    from sidecar.router.http_client import HttpCall, HttpClient

__all__ = ["GrpcSender", "HttpSender", "HttpTarget"]

logger = logging.getLogger("sidecar.tracing")


class GrpcSender:
    """Makes one call for each request of a signal."""

    def __init__(self, client: GrpcClient, method: bytes, signal: str) -> None:
        self._client = client
        self._method = method
        self._signal = signal

    def __call__(self, data: bytes) -> None:
        """Send a request."""
        call = self._client.call(self._method, data)
        call.on_done = self._over

    def _over(self, call: Any) -> None:
        done: GrpcUnaryCall = call
        if done.status is not None and not done.status.is_ok:
            logger.debug("OTLP %s export failed: %s", self._signal, done.status)


class HttpTarget:
    """``envoy.config.core.v3.HttpService``, compiled."""

    __slots__ = ("authority", "cluster", "fields", "path", "timeout_s")

    def __init__(
        self, cluster: str, authority: bytes, path: bytes, timeout_s: float, fields: tuple[Field, ...]
    ) -> None:
        self.cluster = cluster
        self.authority = authority
        self.path = path
        self.timeout_s = timeout_s
        #: Headers besides the path and the host, in order.
        self.fields = fields


class HttpSender:
    """OTLP over HTTP with protobuf."""

    def __init__(self, client: HttpClient, target: HttpTarget, signal: str) -> None:
        self._client = client
        self._target = target
        self._signal = signal

    def __call__(self, data: bytes) -> None:
        """Send a request."""
        target = self._target
        headers = RequestHeaders(b"POST", target.path, target.authority, b"http", list(target.fields))
        body = PushBody(self._client.reactor, len(data))
        body.try_push(data)
        body.end()
        call = self._client.call(target.cluster, headers, body, timeout_s=target.timeout_s, keep_bytes=0)
        call.on_done = self._over
        call.start()

    def _over(self, call: HttpCall) -> None:
        response = call.response
        if response is None:
            logger.debug("OTLP HTTP %s export failed: %s", self._signal, call.error)
        elif response.headers.status != 200:
            logger.debug("OTLP HTTP %s export got %d", self._signal, response.headers.status)
