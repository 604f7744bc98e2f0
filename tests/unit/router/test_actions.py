"""Header mutations, rewrites and redirects."""

from __future__ import annotations

from typing import Any

import pytest
import re2

from sidecar.api.message import RequestMessage
from sidecar.api.stream import Stream
from sidecar.core.headers import HeaderMap, RequestHeaders
from sidecar.router.exchange import redirect_location, rewrite_path
from sidecar.router.header_mutation import (
    ADD_IF_ABSENT,
    APPEND,
    OVERWRITE,
    OVERWRITE_IF_EXISTS,
    HeaderAddition,
    HeaderMutations,
)
from sidecar.router.route_table import PATH, PREFIX, REGEX, Redirect, Route
from tests.support.h1_lab import ClientConnection


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


# -- rewrites -------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("kind", "value", "prefix", "regex", "path", "expected"),
    [
        (PREFIX, b"/api/", b"/", None, b"/api/x?q", b"/x?q"),
        (PREFIX, b"/", b"/v1/", None, b"/x", b"/v1/x"),
        (PATH, b"/old", b"/new", None, b"/old?a=b", b"/new?a=b"),
        (REGEX, re2.compile("/a/.*"), b"/b", None, b"/a/c", b"/b"),
        (PREFIX, b"/", None, ("^/([^/]+)/(.*)$", r"/\g<2>/\g<1>"), b"/x/y?z=/x/y", b"/y/x?z=/x/y"),
        (PREFIX, b"/", None, ("o", "0"), b"/foo/o?o", b"/f00/0?o"),
    ],
)
def test_rewritten_path_keeps_its_query_and_the_old_one_in_a_header(
    kind: int, value: Any, prefix: bytes | None, regex: tuple[str, str] | None, path: bytes, expected: bytes
) -> None:
    route = Route(kind, value)
    route.prefix_rewrite = prefix
    route.regex_rewrite = None if regex is None else (re2.compile(regex[0]), regex[1])
    headers = RequestHeaders(b"GET", path, b"a", b"http")
    stream = stream_of(headers)
    rewrite_path(route, headers, stream)
    assert headers.path == expected
    assert headers.get(b"x-envoy-original-path") == path
    assert stream.original_path == path


# -- redirects ------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("redirect", "authority", "expected"),
    [
        (Redirect(https=True), b"a", b"https://a/p/x?q=1"),
        (Redirect(https=True), b"a:80", b"https://a/p/x?q=1"),
        (Redirect(https=True), b"a:8080", b"https://a:8080/p/x?q=1"),
        (Redirect(https=True, port=8443), b"a:8080", b"https://a:8443/p/x?q=1"),
        (Redirect(scheme=b"ftp"), b"a", b"ftp://a/p/x?q=1"),
        (Redirect(host=b"b"), b"a:8080", b"http://b/p/x?q=1"),
        (Redirect(host=b"b", port=81), b"a", b"http://b:81/p/x?q=1"),
        (Redirect(port=81), b"[::1]", b"http://[::1]:81/p/x?q=1"),
        (Redirect(port=81), b"[::1]:80", b"http://[::1]:81/p/x?q=1"),
        (Redirect(path=b"/new"), b"a", b"http://a/new?q=1"),
        (Redirect(path=b"/new?own"), b"a", b"http://a/new?own"),
        (Redirect(path=b"/new", strip_query=True), b"a", b"http://a/new"),
        (Redirect(prefix=b"/r"), b"a", b"http://a/r/x?q=1"),
        (Redirect(regex=(re2.compile("/p/(.*)"), r"/\g<1>/p")), b"a", b"http://a/x/p?q=1"),
        (Redirect(strip_query=True), b"a", b"http://a/p/x"),
    ],
)
def test_redirect_location_is_built_from_what_it_changes(
    redirect: Redirect, authority: bytes, expected: bytes
) -> None:
    headers = RequestHeaders(b"GET", b"/p/x?q=1", authority, b"http")
    assert redirect_location(Route(PREFIX, b"/p"), redirect, headers) == expected
