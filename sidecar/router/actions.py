"""What routes do besides naming a cluster: redirects, direct responses, rewritten paths.

Plain functions of the route and the request, called by :mod:`sidecar.router.exchange`
(envoy.config.route.v3.RedirectAction, DirectResponseAction, RouteAction).
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from sidecar.api.message import LocalReply, ResponseMessage
from sidecar.api.stream import Flag, Stream
from sidecar.core.headers import RequestHeaders, ResponseHeaders
from sidecar.router.route_table import Redirect, Route

if TYPE_CHECKING:
    from sidecar.http.connection_manager import ConnectionManager

__all__ = ["answer", "missing_header", "redirect_location", "rewrite_path"]


def missing_header(name: str) -> LocalReply:
    """The answer to a request that a filter made unusable."""
    text = f"missing required header: {name}"
    details = f"filter_removed_required_request_headers{{{text.replace(' ', '_')}}}"
    return LocalReply(503, text.encode(), details=details, flag=Flag.DOWNSTREAM_PROTOCOL_ERROR)


def answer(manager: ConnectionManager, stream: Stream, route: Route, headers: RequestHeaders) -> LocalReply:
    """A direct response or a redirect."""
    manager.stats.rq_direct_response.value += 1  # Envoy counts a redirect of the route as a direct response
    own = ResponseHeaders(0)
    if route.redirect is not None:
        status, body = route.redirect.status, b""
        own.add(b"location", redirect_location(route, route.redirect, headers))
    else:
        assert route.direct_response is not None
        status, body = route.direct_response.status, route.direct_response.body
        if status == 201 or 300 <= status < 400:  # RFC 9110 §10.2.2
            own.add(b"location", redirect_location(route, _NOWHERE, headers))
    if route.response_mutations:
        stream.response = ResponseMessage(own)  # for %RESP()%
        stream.details = "direct_response"
        for mutations in route.response_mutations:
            mutations.apply(own, stream)
    return LocalReply(status, body, details="direct_response", headers=own.fields)


#: A redirect to where the request went already.
_NOWHERE = Redirect()


def rewrite_path(
    route: Route, headers: RequestHeaders, stream: Stream, *, keep_original: bool = True
) -> None:
    """``prefix_rewrite`` and ``regex_rewrite``; with ``keep_original`` x-envoy-original-path is set."""
    path = headers.path or b"/"
    plain, question, query = path.partition(b"?")
    if route.prefix_rewrite is not None:
        matched = route.path_value if isinstance(route.path_value, bytes) else plain
        fresh = route.prefix_rewrite + plain[len(matched) :]
    else:
        assert route.regex_rewrite is not None
        pattern, substitution = route.regex_rewrite
        fresh = pattern.sub(substitution.encode(), plain)
    stream.original_path = path
    if keep_original:
        headers.set(b"x-envoy-original-path", path)
    headers.path = fresh + question + query


def redirect_location(route: Route, redirect: Redirect, headers: RequestHeaders) -> bytes:
    """The ``location`` of a redirect (``RouteEntryImplBase::newUri``)."""
    path = headers.path or b"/"
    if redirect.path is not None:
        target = redirect.path
        if b"?" not in target and b"?" in path and not redirect.strip_query:
            target += path[path.index(b"?") :]
    else:
        plain, question, query = path.partition(b"?")
        if redirect.prefix is not None:
            matched = route.path_value if isinstance(route.path_value, bytes) else plain
            plain = redirect.prefix + plain[len(matched) :]
        elif redirect.regex is not None:
            pattern, substitution = redirect.regex
            plain = pattern.sub(substitution.encode(), plain)
        target = plain if redirect.strip_query else plain + question + query
    scheme = redirect.scheme or (b"https" if redirect.https else headers.scheme or b"http")
    authority = headers.authority or b""
    if redirect.host is not None:
        host = redirect.host
    else:
        host = authority
        # A scheme that changes drops the port that belonged to the old one.
        if redirect.https or redirect.scheme is not None:
            split = urlsplit(b"//" + authority)
            if split.port is not None and (headers.scheme, split.port) in ((b"http", 80), (b"https", 443)):
                host = authority[: authority.rindex(b":")]
    if redirect.port:
        host = host.rpartition(b":")[0] if b":" in host and not host.endswith(b"]") else host
        host += b":%d" % redirect.port
    return scheme + b"://" + host + target
