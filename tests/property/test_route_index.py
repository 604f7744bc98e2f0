"""The index finds the route that trying one after the other finds."""

from __future__ import annotations

import pytest
import re2
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.core.headers import RequestHeaders
from sidecar.core.uri_template import template_regex
from sidecar.router.finders import InOrder
from sidecar.router.route_index import RouteIndex, literal_prefix
from sidecar.router.route_table import CONNECT, PATH, PREFIX, REGEX, SEPARATED_PREFIX, Route, VirtualHost

_segments = st.sampled_from(["", "a", "A", "b", "ab", "aB", "a.c"])
_paths = st.lists(_segments, min_size=1, max_size=3).map(lambda parts: ("/" + "/".join(parts)).encode())
_templates = [template_regex(text) for text in ("/a/*", "/{x}", "/{x=**}/b", "/a.c", "/a{x}", "/**", "/ab*")]
_patterns = st.sampled_from(
    [
        *_templates,
        "/a.*",
        "/[ab]+",
        ".*",
        "/a/b",
        "(?i)/AB.*",
        "",
        "/a|/b",
        "/(a|b)/c?",
        "/ab*",
        "^/a.c$",
        "/a[|]b",
    ]
)


@st.composite
def _routes(draw: st.DrawFn) -> Route:
    kind = draw(st.sampled_from([PREFIX, PREFIX, PATH, REGEX, SEPARATED_PREFIX, CONNECT]))
    if kind == REGEX:
        return Route(kind, re2.compile(draw(_patterns)))
    if kind == CONNECT:
        return Route(kind, b"")
    value = draw(_paths)
    if kind == PREFIX and draw(st.booleans()):
        value = value[: draw(st.integers(0, len(value)))]
    sensitive = draw(st.booleans())
    route = Route(kind, value if sensitive else value.lower())
    route.case_sensitive = sensitive
    if draw(st.integers(0, 3)) == 0:
        wanted = draw(st.sampled_from([b"x", b"y"]))
        if draw(st.booleans()):
            route.predicates = (lambda headers, _, wanted=wanted: headers.get(b"k") == wanted,)
        else:
            route.predicates = (lambda _, stream, wanted=wanted: stream == wanted,)
    return route


def _one_by_one(
    routes: tuple[Route, ...], headers: RequestHeaders, path: bytes, stream: bytes
) -> Route | None:
    for route in routes:
        if (headers.path is not None or route.kind == CONNECT) and route.matches(headers, path, stream):
            return route
    return None


@settings(deadline=None, max_examples=400)
@given(
    routes=st.lists(_routes(), max_size=14),
    path=_paths,
    method=st.sampled_from([b"GET", b"GET", b"CONNECT"]),
    value=st.sampled_from([b"x", b"y", b"z"]),
    stream=st.sampled_from([b"x", b"y"]),
)
def test_index_finds_the_first_route_that_matches(
    routes: list[Route], path: bytes, method: bytes, value: bytes, stream: bytes
) -> None:
    virtual_host = VirtualHost("all", routes)
    # A CONNECT has no path (RFC 9110 §9.3.6), as long as it is not an extended one.
    own_path = None if method == b"CONNECT" else path
    headers = RequestHeaders(method, own_path, b"a", b"http", [(b"k", value)])
    expected = _one_by_one(virtual_host.routes, headers, path, stream)
    assert RouteIndex(virtual_host.routes).find(headers, path, stream) is expected
    assert InOrder(virtual_host.routes).find(headers, path, stream) is expected


@settings(deadline=None, max_examples=400)
@given(
    pattern=st.from_regex(
        r"\^?(/?[ab.]|\(a\|b\)|\||[*?+]|\{0,2\}|\[a|\]|\\[.|]|\(\?i\)){1,8}", fullmatch=True
    ),
    path=_paths,
)
def test_text_that_a_pattern_matches_begins_with_its_literal_prefix(pattern: str, path: bytes) -> None:
    options = re2.Options()
    options.log_errors = False
    try:
        compiled = re2.compile(pattern, options=options)
    except re2.error:
        return
    if compiled.fullmatch(path):
        assert path.startswith(literal_prefix(pattern))


@pytest.mark.parametrize(
    ("pattern", "prefix"),
    [
        ("/users/[0-9]+", b"/users/"),
        ("^/a/b$", b"/a/b"),
        ("/ab*", b"/a"),
        ("/a|/b", b""),
        ("/a(b|c)", b"/a"),
        ("(?i)/a", b""),
        ("/a\\.b", b"/a"),
        ("/a{0}", b"/"),
        ("", b""),
        ("*", b""),
        ("/a[]|]b", b"/a"),
    ],
)
def test_literal_prefix_is_what_stands_before_the_first_sign(pattern: str, prefix: bytes) -> None:
    assert literal_prefix(pattern) == prefix
