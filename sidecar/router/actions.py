"""What routes do without an upstream: redirects and direct responses.

Called by :mod:`sidecar.router.exchange` (envoy.config.route.v3.RedirectAction, DirectResponseAction).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.api.message import LocalReply, ResponseMessage
from sidecar.api.stream import Flag, Stream
from sidecar.core.headers import RequestHeaders, ResponseHeaders
from sidecar.router.rewrites import rewrite_path
from sidecar.router.route import NOWHERE, Redirect, Route

if TYPE_CHECKING:
    from sidecar.http.connection_manager import ConnectionManager

__all__ = ["answer", "missing_header", "redirect_location"]


def missing_header(name: str) -> LocalReply:
    """The answer to a request that a filter made unusable."""
    text = f"missing required header: {name}"
    details = f"filter_removed_required_request_headers{{{text.replace(' ', '_')}}}"
    return LocalReply(
        503, text.encode(), details=details, flag=Flag.DOWNSTREAM_PROTOCOL_ERROR, has_route_headers=True
    )


def answer(
    manager: ConnectionManager, stream: Stream, route: Route, headers: RequestHeaders, *, keep_original: bool
) -> LocalReply:
    """A direct response or a redirect."""
    manager.stats.rq_direct_response.value += 1  # Envoy counts a redirect of the route as a direct response
    own = ResponseHeaders(0)
    redirect, direct = route.redirect, route.direct_response
    body = b""
    if redirect is not None:
        status = redirect.status
        if redirect.path_rewriter is not None:
            rewrite_path(redirect.path_rewriter, headers, stream, keep_original=keep_original)
    else:
        assert direct is not None
        status = direct.status
        # A format is filled in before there is any response.
        body = direct.body if direct.body_format is None else direct.body_format(stream, direct.body)
    if status == 201 or 300 <= status < 400:  # RFC 9110 §10.2.2
        own.add(b"location", redirect_location(redirect or NOWHERE, headers, stream))
    if route.response_mutations:
        stream.details = "direct_response"
        own.status = status
        stream.response = ResponseMessage(own)  # for %RESP()%
        for mutations in route.response_mutations:
            mutations.apply(own, stream)
    if direct is not None and direct.content_type:
        own.set(b"content-type", direct.content_type)
    return LocalReply(status, body, details="direct_response", headers=own.fields)


def redirect_location(redirect: Redirect, headers: RequestHeaders, stream: Stream) -> bytes:
    """The ``location`` of a redirect whose own rewriting of the path is done (``Http::Utility::newUri``)."""
    scheme = redirect.scheme or headers.scheme or b"http"
    if redirect.keeps_port:
        host = headers.authority or b""
    else:
        host = redirect.host or _host_without_port(headers, scheme, redirect.port)
    port = b":%d" % redirect.port if redirect.port else b""
    path = headers.path or b""
    own = redirect.path if isinstance(redirect.path, bytes) else redirect.path(stream)
    if own:
        if b"?" in own:
            # Its own query stays, even with strip_query.
            return b"".join((scheme, b"://", host, port, b"" if own[:1] == b"/" else b"/", own))
        path = own + path[path.index(b"?") :] if b"?" in path else own
    if path[:1] != b"/":
        path = b"/" + path
    if redirect.strip_query:
        path = path.partition(b"?")[0]
    return b"".join((scheme, b"://", host, port, path))


def _host_without_port(headers: RequestHeaders, scheme: bytes, port: int) -> bytes:
    """The request's host; its port goes where another comes, or where the scheme that it belonged to does."""
    host = headers.authority or b""
    end = host.rfind(b"]:") + 1 if host[:1] == b"[" else host.rfind(b":")
    if end < 0 or (end == 0 and host[:1] == b"["):
        return host
    before = headers.get(b"x-forwarded-proto") or b""
    if port or (scheme != before and host[end:] == _DEFAULT_PORTS.get(before)):
        return host[:end]
    return host


_DEFAULT_PORTS = {b"http": b":80", b"https": b":443"}
