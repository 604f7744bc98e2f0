"""How spans leave: over gRPC or HTTP, through a cluster of the proxy's own.

What a collector answers changes nothing: Envoy logs it and sends the next.  The cluster's circuit breakers
say how many calls may be under way.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from sidecar.core.headers import Field, RequestHeaders
from sidecar.extensions.tracers.otlp import EXPORT_METHOD, encode_spans
from sidecar.router.http_client import PushBody

if TYPE_CHECKING:
    from sidecar.observability.span import Span
    from sidecar.router.grpc_client import GrpcClient, GrpcUnaryCall
    from sidecar.router.http_client import HttpCall, HttpClient

__all__ = ["GrpcExporter", "HttpExporter", "HttpTarget"]

logger = logging.getLogger("sidecar.tracing")


class GrpcExporter:
    """``opentelemetry.proto.collector.trace.v1.TraceService/Export``."""

    def __init__(self, client: GrpcClient, resource: Any, scope: tuple[str, str]) -> None:
        self._client = client
        self._resource = resource
        self._scope = scope

    def send(self, spans: list[Span]) -> None:
        """Send a batch."""
        call = self._client.call(EXPORT_METHOD, encode_spans(spans, self._resource, self._scope))
        call.on_done = self._over

    def _over(self, call: Any) -> None:
        done: GrpcUnaryCall = call
        if done.status is not None and not done.status.is_ok:
            logger.debug("OTLP trace export failed: %s", done.status)

    def close(self) -> None:
        """The reactor ends what is under way."""


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


class HttpExporter:
    """OTLP over HTTP with protobuf."""

    def __init__(self, client: HttpClient, target: HttpTarget, resource: Any, scope: tuple[str, str]) -> None:
        self._client = client
        self._target = target
        self._resource = resource
        self._scope = scope

    def send(self, spans: list[Span]) -> None:
        """Send a batch."""
        target = self._target
        headers = RequestHeaders(b"POST", target.path, target.authority, b"http", list(target.fields))
        data = encode_spans(spans, self._resource, self._scope)
        body = PushBody(self._client.reactor, len(data))
        body.try_push(data)
        body.end()
        call = self._client.call(target.cluster, headers, body, timeout_s=target.timeout_s, keep_bytes=0)
        call.on_done = self._over
        call.start()

    def _over(self, call: HttpCall) -> None:
        response = call.response
        if response is None:
            logger.debug("OTLP HTTP trace export failed: %s", call.error)
        elif response.headers.status != 200:
            logger.debug("OTLP HTTP trace export got %d", response.headers.status)

    def close(self) -> None:
        """The reactor ends what is under way."""
