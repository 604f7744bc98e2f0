"""Copies of requests for other clusters (envoy.config.route.v3.RouteAction.RequestMirrorPolicy).

A copy goes out beside the request, its body with it piece by piece, and nobody sees its answer.  What becomes
of it does not touch the request, but for its body: a cluster that does not take it slows the request down, as
in Envoy (the copy's watermarks are the request's).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sidecar.api.message import FixedBody
from sidecar.core.dataclass import dataclass
from sidecar.core.errors import StreamAborted
from sidecar.core.headers import RequestHeaders
from sidecar.router.cluster_choice import random_value
from sidecar.router.http_client import HttpCall, HttpClient, PushBody
from sidecar.upstream.metadata_match import NAMESPACE, criteria_of

if TYPE_CHECKING:
    from sidecar.api.stream import Stream
    from sidecar.core.headers import HeaderMap
    from sidecar.core.runtime import Fraction
    from sidecar.router.route import Route

__all__ = ["MirrorPolicy", "Mirrors", "mirror"]


@dataclass(frozen=True, slots=True)
class MirrorPolicy:
    """Where copies go, how many, and what is changed in them."""

    cluster: str = ""
    #: The header that names the cluster, where ``cluster`` does not.
    cluster_header: bytes | None = None
    #: Of how many requests there are copies; None for all.
    share: Fraction | None = None
    #: The host; empty for the request's, with ``-shadow`` unless that is disabled.
    host_rewrite_literal: bytes = b""
    disable_shadow_host_suffix_append: bool = False
    #: ``trace_sampled``: whether a copy of what is traced is traced.
    is_traced: bool = True
    #: What changes the headers: ``apply(headers, stream)``.
    mutations: Any = None

    def cluster_name(self, headers: RequestHeaders) -> str:
        """The cluster for a request; empty for none."""
        if self.cluster_header is None:
            return self.cluster
        return (headers.get(self.cluster_header) or b"").decode("latin-1")

    def head(self, headers: RequestHeaders, stream: Stream) -> RequestHeaders:
        """The head of a copy."""
        made = RequestHeaders(
            headers.method, headers.path, headers.authority, headers.scheme, list(headers.fields)
        )
        if self.mutations is not None:
            self.mutations.apply(made, stream)
        if self.host_rewrite_literal:
            made.authority = self.host_rewrite_literal
        elif not self.disable_shadow_host_suffix_append:
            made.authority = _shadow(made.authority or b"")
        return made


def _shadow(host: bytes) -> bytes:
    """``-shadow`` behind the name, ahead of a port."""
    name, colon, port = host.rpartition(b":")
    if not colon or port.endswith(b"]"):
        return host + b"-shadow"
    return name + b"-shadow:" + port


class Mirrors:
    """The copies of one request whose body is still coming."""

    __slots__ = ("_calls",)

    def __init__(self, calls: list[HttpCall]) -> None:
        self._calls = calls

    async def push(self, data: bytes) -> None:
        """Send a piece of the body along."""
        for call in self._calls:
            body = call.stream.request.body
            if not call.is_done and isinstance(body, PushBody):
                await body.push(data)

    def end(self, trailers: HeaderMap | None) -> None:
        """The request is over: the copies go their way."""
        for call in self._calls:
            body = call.stream.request.body
            if isinstance(body, PushBody):
                body.end(trailers)
        self._calls = []

    def cancel(self) -> None:
        """The request broke off."""
        for call in self._calls:
            call.cancel()
        self._calls = []


def mirror(
    client: HttpClient, route: Route, stream: Stream, timeout_s: float, limit_bytes: int
) -> Mirrors | None:
    """Start the copies of a request; something to send its body through, where that is still to come."""
    headers = stream.request.headers
    if headers.method == b"CONNECT":
        return None
    body = stream.request.body
    calls: list[HttpCall] = []
    criteria = criteria_of(stream)
    for policy in route.mirrors:
        if policy.share is not None and not policy.share.covers(random_value(stream)):
            continue
        name = policy.cluster_name(headers)
        if not name or client.router.find_cluster(name) is None:
            continue
        copied: FixedBody | PushBody | None = None
        if body is not None:
            copied = PushBody(client.reactor, limit_bytes) if body.whole is None else FixedBody(body.whole)
        span = None
        if stream.span is not None:
            span = stream.span.spawn("mirror")
            span.is_sampled &= policy.is_traced
        try:
            head = policy.head(headers, stream)
        except StreamAborted:
            continue  # it has a field that cannot be sent: there is no copy
        call = client.call(name, head, copied, timeout_s=timeout_s, keep_bytes=0, span=span)
        call.stream.upgrade = stream.upgrade
        if criteria is not None:
            # A copy is for hosts like the request's; hash policies, on the other hand, are not for copies.
            call.stream.dynamic_metadata = {NAMESPACE: criteria.values}
        call.start()
        calls.append(call)
    return Mirrors(calls) if calls and body is not None and body.whole is None else None
