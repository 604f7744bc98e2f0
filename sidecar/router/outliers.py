"""What the router tells outlier detection of an exchange; called only where the cluster has a detector."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sidecar.api.stream import Flag
from sidecar.http.local_reply import is_grpc

if TYPE_CHECKING:
    from sidecar.api.stream import Stream
    from sidecar.core.headers import ResponseHeaders

__all__ = ["IMMEDIATE_FAIL", "put_error", "put_response", "put_timeout"]

#: A response that says so fails its host's active health checks.
IMMEDIATE_FAIL = b"x-envoy-immediate-health-check-fail"
#: Envoy's ``grpcToHttpStatus``; what is not here stands for 500.
_STATUSES = {
    b"0": 200,
    b"1": 499,
    b"3": 400,
    b"4": 504,
    b"5": 404,
    b"6": 409,
    b"7": 403,
    b"8": 429,
    b"9": 400,
    b"10": 409,
    b"11": 400,
    b"12": 501,
    b"14": 503,
    b"16": 401,
}


def put_response(monitor: Any, stream: Stream, headers: ResponseHeaders) -> None:
    """The head of a response is here.  A call of gRPC counts by a ``grpc-status`` in it."""
    matcher = monitor.error_matcher
    status = headers.status
    if matcher is not None:
        is_error = matcher(headers)
        _put(monitor, headers, (status if status >= 500 else 500) if is_error else 200)
        return
    grpc_status = headers.get(b"grpc-status")
    if grpc_status is not None and is_grpc(stream.request.headers.get(b"content-type") or b""):
        status = _STATUSES.get(grpc_status, 500)
    _put(monitor, headers, status)


def _put(monitor: Any, headers: ResponseHeaders, status: int) -> None:
    monitor.put_status(status)
    if monitor.detects_degraded and status < 500 and b"x-envoy-degraded" in headers:
        monitor.put_degraded()


def put_error(monitor: Any, stream: Stream, flag: int) -> None:
    """The exchange failed, before a response or in the middle of it; a full cluster is no host's fault."""
    if flag & Flag.UPSTREAM_OVERFLOW:
        return
    monitor.put_connection_failure(
        was_connected=stream.upstream is not None and not stream.upstream_first_rx_ns
    )


def put_timeout(monitor: Any, stream: Stream) -> None:
    """No response came in time; one that has begun says nothing."""
    if not stream.upstream_first_rx_ns:
        status = 204 if stream.is_timeout_204 else 504
        monitor.put_timeout(was_connected=stream.upstream is not None, status=status)
