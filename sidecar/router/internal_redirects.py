"""Redirects of an upstream that the proxy follows by itself (envoy.config.route.v3.InternalRedirectPolicy).

The redirect makes another request of the request: host, scheme and path are those of ``location``, the rest
stays, and all of the connection manager sees it again (filters, routing, a log line of its own).  What cannot
be followed is handed on to the client (``Filter::setupRedirect`` of Envoy's router).
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sidecar.api.message import Body, FixedBody, RequestMessage
from sidecar.api.stream import Stream
from sidecar.core.dataclass import dataclass
from sidecar.core.headers import RequestHeaders
from sidecar.core.late_pattern import late_pattern
from sidecar.core.state import state_names

if TYPE_CHECKING:
    from sidecar.api.message import ResponseMessage
    from sidecar.http.connection_manager import ConnectionManager

__all__ = [
    "InternalRedirect",
    "InternalRedirectPolicy",
    "RedirectPredicate",
    "RedirectState",
    "allow_listed_routes",
    "follow",
    "previous_routes",
    "renew",
    "safe_cross_scheme",
]


class InternalRedirect(Exception):
    """Raised where a response was a redirect that is followed; never leaves the connection manager."""


class RedirectState:
    """What one request of a client has been through."""

    __slots__ = ("count", "previous")

    def __init__(self) -> None:
        self.count = 0
        #: The routes that each route redirected to, by name.
        self.previous: dict[str, set[str]] = {}


#: ``accepts(state, from route, to route, is https, goes to https)``.
RedirectPredicate = Callable[[RedirectState, str, str, bool, bool], bool]


@dataclass(frozen=True, slots=True)
class InternalRedirectPolicy:
    """What a route follows."""

    max_internal_redirects: int = 1
    response_codes: frozenset[int] = frozenset({302})
    predicates: tuple[RedirectPredicate, ...] = ()
    allow_cross_scheme_redirect: bool = False
    response_headers_to_copy: tuple[bytes, ...] = ()


def previous_routes() -> RedirectPredicate:
    """``previous_routes``: no route is gone to twice from the same one."""

    def accepts(state: RedirectState, source: str, target: str, _is_https: bool, _to_https: bool) -> bool:
        gone_to = state.previous.setdefault(source, set())
        if target in gone_to:
            return False
        gone_to.add(target)
        return True

    return accepts


def allow_listed_routes(names: frozenset[str]) -> RedirectPredicate:
    """``allow_listed_routes``."""
    return lambda _state, _source, target, _is_https, _to_https: target in names


def safe_cross_scheme() -> RedirectPredicate:
    """``safe_cross_scheme``: not from http to https."""
    return lambda _state, _source, _target, is_https, to_https: is_https or not to_https


_URL = late_pattern(
    rb"([A-Za-z][A-Za-z0-9+.-]*)://"
    rb"(?:[A-Za-z0-9\-._~!$&'()*+,;=:%]*@)?"
    rb"((?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?)"
    rb"([/?#][\x21-\x7e\x80-\xff]*)?"
)


def follow(
    manager: ConnectionManager, stream: Stream, policy: InternalRedirectPolicy, response: ResponseMessage
) -> None:
    """Make of the request what the redirect asks for; what cannot be followed leaves it as it was.

    Raises: InternalRedirect.
    """
    stats = stream.cluster.stats
    location = response.headers.get(b"location")
    if (
        _is_received(stream)
        and location is not None
        and _change_request(manager, stream, policy, response, location)
    ):
        stats.upstream_internal_redirect_succeeded_total.value += 1
        raise InternalRedirect
    stats.upstream_internal_redirect_failed_total.value += 1


def _is_received(stream: Stream) -> bool:
    """Whether all of the request is here, and can be sent once more."""
    if stream.pump is not None:
        return False
    replay = stream.replay
    return replay is None or not replay.is_lost


def _change_request(
    manager: ConnectionManager,
    stream: Stream,
    policy: InternalRedirectPolicy,
    response: ResponseMessage,
    location: bytes,
) -> bool:
    stats = manager.stats
    headers = stream.request.headers
    if headers.path is None:
        return False
    url = _URL.fullmatch(location)
    if url is None:
        stats.passthrough_internal_redirect_bad_location.value += 1
        return False
    scheme = url[1].lower()
    # The connection's own scheme counts, whatever x-forwarded-proto says.
    own = b"http" if stream.connection.tls is None else b"https"
    if not policy.allow_cross_scheme_redirect and scheme != own:
        stats.passthrough_internal_redirect_unsafe_scheme.value += 1
        return False
    state = stream.redirects
    if state is None:
        state = stream.redirects = RedirectState()
    if state.count >= policy.max_internal_redirects:
        stats.passthrough_internal_redirect_too_many_redirects.value += 1
        return False
    saved = list(headers)
    before = b"".join((own, b"://", headers.authority or b"", headers.path))
    _copy_headers(policy.response_headers_to_copy, response, headers)
    headers.scheme = scheme
    headers.authority = url[2]
    headers.path = (url[3] or b"/").partition(b"#")[0]
    source = stream.route.name
    manager.resolve_route(stream)
    target = stream.route
    if target is None:
        stats.passthrough_internal_redirect_no_route.value += 1
    elif all(
        accepts(state, source, target.name, own == b"https", scheme != b"http")
        for accepts in policy.predicates
    ):
        if response.headers.status == 303 and headers.method not in (b"GET", b"HEAD"):
            headers.method = b"GET"
            headers.remove(b"content-length")
            stream.request.body = None
        state.count += 1
        headers.set(b"x-envoy-original-url", before)
        return True
    else:
        stats.passthrough_internal_redirect_predicate.value += 1
    headers.replace_all(saved)
    return False


def _copy_headers(names: tuple[bytes, ...], response: ResponseMessage, headers: RequestHeaders) -> None:
    for name in names:
        headers.remove(name)
        for value in response.headers.get_all(name):
            headers.append(name, value)


#: What the request that follows has from the one before it.
_KEPT = (
    *("connection", "hcm", "protocol", "stream_id", "request_header_bytes", "bytes_received"),
    *("remote_address", "internal", "request_id", "redirects", "start_time"),
)


@functools.cache
def _begin() -> dict[str, Any]:
    """What a stream is at its beginning, as far as the one that follows is that."""
    nobody: Any = None
    blank = Stream(nobody, None, RequestMessage(RequestHeaders()), "")
    return {name: getattr(blank, name) for name in state_names(blank) if name not in _KEPT}


def renew(stream: Stream) -> None:
    """Let ``stream`` begin again with the request that it has become; its trailers are gone, as in Envoy."""
    request = stream.request
    body: Body | None = request.body
    if body is not None:
        data = stream.replay.whole()
        body = FixedBody(data) if data else None
    first_start_ns = stream.first_start_ns or stream.start_ns
    for name, value in _begin().items():
        setattr(stream, name, value)
    stream.request = RequestMessage(request.headers, body)
    stream.start_ns = time.monotonic_ns()
    stream.first_start_ns = first_start_ns
