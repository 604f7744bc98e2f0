"""``proxy_status_config``: the header Proxy-Status (RFC 9209) of responses where something went wrong.

envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.ProxyStatusConfig.  Which
error belongs to which response flag, and which status, is Envoy's (``proxy_status_utils.cc``), seen on the
oracle; tests/conformance pins them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.api.stream import Flag, flag_text
from sidecar.core.dataclass import dataclass

if TYPE_CHECKING:
    from sidecar.api.stream import Stream
    from sidecar.core.headers import ResponseHeaders

__all__ = ["ProxyStatus"]

#: The first flag that a stream has says its error (RFC 9209 §2.3), and the status that is recommended for it.
_ERRORS: tuple[tuple[int, bytes, int], ...] = (
    (Flag.FAILED_LOCAL_HEALTH_CHECK, b"destination_unavailable", 503),
    (Flag.NO_HEALTHY_UPSTREAM, b"destination_unavailable", 503),
    (Flag.UPSTREAM_REQUEST_TIMEOUT, b"http_response_timeout", 504),
    (Flag.LOCAL_RESET, b"connection_timeout", 504),
    (Flag.UPSTREAM_REMOTE_RESET, b"connection_terminated", 502),
    (Flag.UPSTREAM_CONNECTION_FAILURE, b"connection_refused", 502),
    (Flag.UNAUTHORIZED_EXTERNAL_SERVICE, b"connection_refused", 502),
    (Flag.UPSTREAM_CONNECTION_TERMINATION, b"connection_terminated", 502),
    (Flag.OVERLOAD_MANAGER_TERMINATED, b"connection_limit_reached", 503),
    (Flag.DROP_OVERLOAD, b"connection_limit_reached", 503),
    (Flag.UPSTREAM_OVERFLOW, b"connection_limit_reached", 503),
    (Flag.NO_ROUTE_FOUND, b"destination_not_found", 500),
    (Flag.RATE_LIMITED, b"connection_limit_reached", 503),
    (Flag.RATE_LIMIT_SERVICE_ERROR, b"connection_limit_reached", 503),
    (Flag.UPSTREAM_RETRY_LIMIT_EXCEEDED, b"destination_unavailable", 503),
    (Flag.STREAM_IDLE_TIMEOUT, b"http_response_timeout", 504),
    (Flag.INVALID_ENVOY_REQUEST_HEADERS, b"http_request_error", 400),
    (Flag.DOWNSTREAM_PROTOCOL_ERROR, b"http_request_error", 400),
    (Flag.UPSTREAM_MAX_STREAM_DURATION_REACHED, b"http_response_timeout", 504),
    (Flag.NO_FILTER_CONFIG_FOUND, b"proxy_configuration_error", 500),
    (Flag.UPSTREAM_PROTOCOL_ERROR, b"http_protocol_error", 502),
    (Flag.NO_CLUSTER_FOUND, b"destination_unavailable", 503),
    (Flag.DNS_RESOLUTION_FAILED, b"dns_error", 502),
)


@dataclass(frozen=True, slots=True)
class ProxyStatus:
    """What the header says."""

    proxy_name: bytes
    remove_details: bool = False
    remove_response_flags: bool = False
    set_recommended_response_code: bool = False

    def apply(self, headers: ResponseHeaders, stream: Stream) -> None:
        """Add the header where the stream has a flag, after those of proxies before this one."""
        flags = stream.flags
        if not flags:
            return
        found_error = next((entry for entry in _ERRORS if flags & entry[0]), None)
        if found_error is None:
            return
        _, error, status = found_error
        parts = [self.proxy_name, b"error=" + error]
        if not self.remove_details and stream.details:
            details = stream.details
            if not self.remove_response_flags:
                details = f"{details}; {flag_text(flags)}"
            parts.append(b'details="' + details.encode("utf-8", "surrogateescape") + b'"')
        value = b"; ".join(parts)
        found = headers.get(b"proxy-status")
        headers.set(b"proxy-status", value if found is None else found + b", " + value)
        if self.set_recommended_response_code:
            headers.status = status
