"""Options of a router that few have, looked at before a request that passes it is prepared.

``envoy.extensions.filters.http.router.v3.Router``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.api.message import LocalReply
from sidecar.api.stream import Flag
from sidecar.core.dataclass import dataclass
from sidecar.http.local_reply import is_grpc
from sidecar.router.retry_policy import are_retry_names
from sidecar.router.timeouts import unsigned
from sidecar.upstream.cluster_stats import UNCOUNTED, Trees

if TYPE_CHECKING:
    from sidecar.api.stream import Stream
    from sidecar.core.headers import RequestHeaders

__all__ = ["EARLY_DATA", "RouterHabits"]

_LISTS = frozenset((b"x-envoy-retry-on", b"x-envoy-retry-grpc-on"))
EARLY_DATA = LocalReply(400, details="early_connect_data")


@dataclass(frozen=True, slots=True)
class RouterHabits:
    """See the module."""

    #: ``dynamic_stats``: whether responses and their times count in the cluster's trees.
    counts_responses: bool = True
    #: Whether the codes of responses to gRPC count in the cluster's own tree.
    counts_grpc_codes: bool = True
    #: ``strict_check_headers``.
    strict_headers: tuple[bytes, ...] = ()
    #: ``respect_expected_rq_timeout``.
    respects_expected_timeout: bool = False
    #: ``start_child_span``: whether each try has a span, whatever tracing says.
    starts_child_span: bool = False
    #: ``reject_connect_request_early_data``: of what is here when the request is routed, and then of
    #: what comes before the upstream has answered (:mod:`sidecar.router.tunnel`).
    rejects_early_data: bool = False

    def begin(self, stream: Stream, headers: RequestHeaders) -> LocalReply | None:
        """Say where the request counts; a reply where it is refused."""
        if not self.counts_responses:
            stream.trees = UNCOUNTED
            stream.route_counters = ()
        elif (
            not self.counts_grpc_codes
            and stream.trees is not UNCOUNTED
            and is_grpc(headers.get(b"content-type") or b"")
        ):
            stream.trees = Trees(stream.internal, False, "", "", has_codes=False)
        for name in self.strict_headers:
            reply = _check(name, headers)
            if reply is not None:
                stream.flags |= Flag.INVALID_ENVOY_REQUEST_HEADERS
                return reply
        if self.rejects_early_data and headers.method == b"CONNECT":
            body = stream.request.body
            early = 0 if body is None else len(body.whole or b"") or body.early_bytes
            if early:
                stream.bytes_received = early
                return EARLY_DATA
        return None


def _check(name: bytes, headers: RequestHeaders) -> LocalReply | None:
    value = headers.get_joined(name)
    if value is None:
        return None
    text = value.decode("latin-1")
    if are_retry_names(name, text) if name in _LISTS else unsigned(value) is not None:
        return None
    body = b"invalid header '%b' with value '%b'" % (name, value)
    return LocalReply(400, body, f"request_headers_failed_strict_check{{{name.decode()}}}")
