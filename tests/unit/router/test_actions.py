"""Header mutations, rewrites and redirects."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from sidecar.api.message import RequestMessage
from sidecar.api.stream import Stream
from sidecar.core.headers import HeaderMap, RequestHeaders
from sidecar.net.reactor import Reactor
from sidecar.observability.stats import Store
from sidecar.router.actions import redirect_location
from sidecar.router.header_mutation import (
    ADD_IF_ABSENT,
    APPEND,
    OVERWRITE,
    OVERWRITE_IF_EXISTS,
    HeaderAddition,
    HeaderMutations,
)
from sidecar.router.rewrites import by_header, by_prefix, literal
from sidecar.router.route_table import PREFIX, DirectResponse, Redirect, Route
from tests.support.h1_lab import ClientConnection, make_manager


def stream_of(headers: RequestHeaders) -> Stream:
    return Stream(ClientConnection(), None, RequestMessage(headers), "HTTP/1.1")


@pytest.mark.parametrize(
    ("action", "present", "absent"),
    [
        (APPEND, [(b"a", b"1"), (b"a", b"new")], [(b"a", b"new")]),
        (ADD_IF_ABSENT, [(b"a", b"1")], [(b"a", b"new")]),
        (OVERWRITE, [(b"a", b"new")], [(b"a", b"new")]),
        (OVERWRITE_IF_EXISTS, [(b"a", b"new")], []),
    ],
)
def test_addition_does_what_its_action_says(
    action: int, present: list[tuple[bytes, bytes]], absent: list[tuple[bytes, bytes]]
) -> None:
    mutations = HeaderMutations((HeaderAddition(b"a", b"new", action),))
    stream = stream_of(RequestHeaders())
    for before, after in ([(b"a", b"1")], present), ([], absent):
        headers = HeaderMap(list(before))
        mutations.apply(headers, stream)
        assert headers.fields == after


@pytest.mark.parametrize(("keep", "expected"), [(False, []), (True, [(b"a", b"")])])
def test_empty_value_is_dropped_unless_it_is_wanted(keep: bool, expected: list[tuple[bytes, bytes]]) -> None:
    headers = HeaderMap()
    addition = HeaderAddition(b"a", lambda stream: b"", keep_empty_value=keep)
    HeaderMutations((addition,)).apply(headers, stream_of(RequestHeaders()))
    assert headers.fields == expected


def test_removals_come_before_additions_and_values_may_be_made_for_the_stream() -> None:
    headers = HeaderMap([(b"a", b"1"), (b"b", b"2")])
    mutations = HeaderMutations(
        (HeaderAddition(b"a", lambda stream: stream.protocol.encode()),), (b"a", b"b")
    )
    mutations.apply(headers, stream_of(RequestHeaders()))
    assert headers.fields == [(b"a", b"HTTP/1.1")]
    assert mutations
    assert not HeaderMutations()


# -- redirects ------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("redirect", "authority", "expected"),
    [
        (Redirect(scheme=b"https"), b"a", b"https://a/p/x?q=1"),
        (Redirect(scheme=b"https"), b"a:80", b"https://a/p/x?q=1"),
        (Redirect(scheme=b"http"), b"a:80", b"http://a:80/p/x?q=1"),
        (Redirect(scheme=b"https"), b"a:8080", b"https://a:8080/p/x?q=1"),
        (Redirect(scheme=b"https", port=8443), b"a:8080", b"https://a:8443/p/x?q=1"),
        (Redirect(scheme=b"ftp"), b"a", b"ftp://a/p/x?q=1"),
        (Redirect(host=b"b"), b"a:8080", b"http://b/p/x?q=1"),
        (Redirect(host=b"b", port=81), b"a", b"http://b:81/p/x?q=1"),
        (Redirect(port=81), b"[::1]", b"http://[::1]:81/p/x?q=1"),
        (Redirect(port=81), b"[::1]:80", b"http://[::1]:81/p/x?q=1"),
        (Redirect(port=81), b"a:x", b"http://a:81/p/x?q=1"),
        (Redirect(path=b"/new"), b"a", b"http://a/new?q=1"),
        (Redirect(path=b"new"), b"a", b"http://a/new?q=1"),
        (Redirect(path=b"/new?own"), b"a", b"http://a/new?own"),
        (Redirect(path=b"/new?own", strip_query=True), b"a", b"http://a/new?own"),
        (Redirect(path=b"/new", strip_query=True), b"a", b"http://a/new"),
        (Redirect(strip_query=True), b"a", b"http://a/p/x"),
    ],
)
def test_redirect_location_is_built_from_what_it_changes(
    redirect: Redirect, authority: bytes, expected: bytes
) -> None:
    headers = RequestHeaders(b"GET", b"/p/x?q=1", authority, b"http", [(b"x-forwarded-proto", b"http")])
    assert redirect_location(redirect, headers, stream_of(headers)) == expected


def test_redirect_that_rewrites_the_path_rewrites_the_request() -> None:
    route = Route(PREFIX, b"/old")
    route.redirect = Redirect(path_rewriter=by_prefix(4, b"/new"))
    lab = Lab(route)
    reply = lab.begin()
    assert reply.headers == [(b"location", b"http://a/new?q")]
    assert (lab.headers.path, lab.headers.get(b"x-envoy-original-path")) == (b"/new?q", b"/old?q")


def test_overwritten_headers_move_to_the_end_ahead_of_added_ones() -> None:
    headers = RequestHeaders(fields=[(b"a", b"old"), (b"b", b"old"), (b"c", b"1")])
    additions = (
        HeaderAddition(b"c", b"2"),
        HeaderAddition(b"b", b"new", OVERWRITE_IF_EXISTS),
        HeaderAddition(b"a", b"new", OVERWRITE),
    )
    HeaderMutations(additions).apply(headers, stream_of(headers))
    assert headers.fields == [(b"c", b"1"), (b"b", b"new"), (b"a", b"new"), (b"c", b"2")]


def test_values_and_conditions_are_settled_before_the_first_change() -> None:
    headers = RequestHeaders(fields=[(b"a", b"old")])
    additions = (
        HeaderAddition(b"a", b"new", OVERWRITE),
        HeaderAddition(b"b", lambda stream: stream.request.headers.get(b"a") or b""),
        HeaderAddition(b"c", b"1", ADD_IF_ABSENT),
        HeaderAddition(b"c", b"2", ADD_IF_ABSENT),
    )
    HeaderMutations(additions).apply(headers, stream_of(headers))
    assert headers.fields == [(b"a", b"new"), (b"b", b"old"), (b"c", b"1"), (b"c", b"2")]


def test_added_header_of_one_entry_is_joined() -> None:
    headers = RequestHeaders(fields=[(b"user-agent", b"curl"), (b"x", b"1")])
    HeaderMutations((HeaderAddition(b"user-agent", b"more"),)).apply(headers, stream_of(headers))
    assert headers.fields == [(b"user-agent", b"curl,more"), (b"x", b"1")]


# -- through the router -------------------------------------------------------------------------------------
class Lab:
    """A router between one route and a cluster that is only looked at."""

    def __init__(self, route: Route, *fields: tuple[bytes, bytes]) -> None:
        reactor = Reactor()
        self.manager = make_manager(reactor, Store(), {})
        reactor.close()
        self.headers = RequestHeaders(b"GET", b"/old?q", b"a", b"http", list(fields))
        self.stream = Stream(ClientConnection(), self.manager, RequestMessage(self.headers), "HTTP/1.1")
        self.stream.resolve_route = False
        self.stream.route = route
        route.freeze()

    def begin(self) -> Any:
        return self.manager.router.begin(self.manager, self.stream, None, None)  # type: ignore[arg-type]

    def prepare(self) -> list[tuple[bytes, bytes]]:
        self.stream.cluster = SimpleNamespace(policies=None)
        self.manager.router._prepare(self.stream.route, self.stream, self.headers)
        return self.headers.fields


def direct(status: int, *mutations: HeaderMutations) -> Route:
    route = Route(PREFIX, b"/")
    route.direct_response = DirectResponse(status, b"body")
    route.response_mutations = mutations
    return route


@pytest.mark.parametrize("status", [200, 201, 302, 404])
def test_direct_response_that_points_somewhere_has_a_location(status: int) -> None:
    reply = Lab(direct(status)).begin()
    location = [(b"location", b"http://a/old?q")] if status in (201, 302) else []
    assert (reply.status, reply.body, reply.headers) == (status, b"body", location)


def test_response_headers_of_a_direct_response_come_from_its_route() -> None:
    def seen(stream: Stream) -> bytes:
        assert stream.response is not None
        return stream.response.headers.get(b"location") or b""

    additions = (HeaderAddition(b"content-type", b"text/html", OVERWRITE), HeaderAddition(b"x", seen))
    reply = Lab(direct(201, HeaderMutations(additions))).begin()
    assert reply.headers == [
        (b"location", b"http://a/old?q"),
        (b"content-type", b"text/html"),
        (b"x", b"http://a/old?q"),
    ]


@pytest.mark.parametrize("suppressed", [False, True])
def test_rewritten_host_and_path_are_noted_unless_envoy_headers_are_suppressed(suppressed: bool) -> None:
    route = Route(PREFIX, b"/old")
    route.host_rewriter = literal(b"new")
    route.path_rewriter = by_prefix(4, b"/fresh")
    lab = Lab(route)
    lab.manager.router.suppress_envoy_headers = suppressed
    fields = lab.prepare()
    assert (lab.headers.authority, lab.headers.path) == (b"new", b"/fresh?q")
    noted = [(b"x-envoy-original-host", b"a"), (b"x-envoy-original-path", b"/old?q")]
    assert fields == ([] if suppressed else [(b"x-envoy-expected-rq-timeout-ms", b"15000"), *noted])


def test_body_format_makes_the_body_and_its_type_wins_over_added_headers() -> None:
    route = direct(200, HeaderMutations((HeaderAddition(b"content-type", b"text/added", OVERWRITE),)))
    route.direct_response = DirectResponse(200, b"in", lambda _stream, body: body + b"side", b"text/own")
    reply = Lab(route).begin()
    assert (reply.body, reply.headers) == (b"inside", [(b"content-type", b"text/own")])


def test_host_from_a_header_that_is_missing_changes_nothing() -> None:
    route = Route(PREFIX, b"/old")
    route.host_rewriter = by_header(b"x-host")
    lab = Lab(route)
    assert lab.prepare() == [(b"x-envoy-expected-rq-timeout-ms", b"15000")]
    assert lab.headers.authority == b"a"
