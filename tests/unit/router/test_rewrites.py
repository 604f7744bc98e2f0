"""Path rewriters: what they replace and what stays behind it."""

from __future__ import annotations

from typing import Any

import pytest
import re2

from sidecar.core.headers import RequestHeaders
from sidecar.core.substitution import make_replacer
from sidecar.router.rewrites import PathRewriter, by_format, by_prefix, by_regex, rewrite_path


class _Stream:
    original_path: bytes | None = None


def regex(pattern: str, substitution: bytes) -> PathRewriter:
    return by_regex(make_replacer(re2.compile(pattern), substitution))


@pytest.mark.parametrize(
    ("rewriter", "path", "expected"),
    [
        (by_prefix(5, b"/"), b"/api/x?q", b"/x?q"),
        (by_prefix(1, b"/v1/"), b"/x", b"/v1/x"),
        (by_prefix(None, b"/b"), b"/a/c?q", b"/b?q"),
        (regex("^/([^/]+)/(.*)$", rb"/\2/\1"), b"/x/y?z=/x/y", b"/y/x?z=/x/y"),
        (regex("o", b"0"), b"/foo/o?o", b"/f00/0?o"),
        (by_format(lambda _: b"/new"), b"/old?q", b"/new?q"),
    ],
)
def test_rewritten_path_keeps_its_query_and_the_old_one_in_a_header(
    rewriter: PathRewriter, path: bytes, expected: bytes
) -> None:
    headers = RequestHeaders(b"GET", path, b"a", b"http")
    stream: Any = _Stream()
    rewrite_path(rewriter, headers, stream, keep_original=True)
    assert headers.path == expected
    assert headers.get(b"x-envoy-original-path") == path
    assert stream.original_path == path


@pytest.mark.parametrize("rewriter", [regex("^.*$", b""), by_format(lambda _: b"")])
def test_path_that_would_be_empty_stays_and_is_not_noted(rewriter: PathRewriter) -> None:
    headers = RequestHeaders(b"GET", b"/old?q", b"a", b"http")
    stream: Any = _Stream()
    rewrite_path(rewriter, headers, stream, keep_original=True)
    assert (headers.path, headers.fields, stream.original_path) == (b"/old?q", [], None)
