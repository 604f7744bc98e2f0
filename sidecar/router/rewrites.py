"""Rewrites of a request's path and host, compiled to functions.

``envoy.config.route.v3.RouteAction`` and ``RedirectAction``.  A path rewriter is given the whole path, the
host rewriter the request; ``b""`` from either leaves what is there.  The query, and a fragment, stay behind
what is rewritten.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from sidecar.observability.formatter import encoded

if TYPE_CHECKING:
    from sidecar.api.stream import Stream
    from sidecar.core.headers import RequestHeaders

__all__ = [
    "HostRewriter",
    "PathRewriter",
    "by_format",
    "by_header",
    "by_host_format",
    "by_path",
    "by_prefix",
    "by_regex",
    "literal",
    "rewrite_host",
    "rewrite_path",
    "without_query",
]

PathRewriter = Callable[[bytes, "Stream"], bytes]
HostRewriter = Callable[["RequestHeaders", "Stream"], bytes]
Replacer = Callable[[bytes], bytes]
Format = Callable[["Stream"], str]


def without_query(path: bytes) -> bytes:
    """The path as far as ``?`` or ``#``."""
    return path.partition(b"?")[0].partition(b"#")[0]


def by_prefix(matched: int | None, replacement: bytes) -> PathRewriter:
    """``prefix_rewrite``: of what matched, ``matched`` bytes or (None) all before the query."""

    def rewrite(path: bytes, _: Stream) -> bytes:
        size = len(without_query(path)) if matched is None else matched
        return replacement + path[size:]

    return rewrite


def by_regex(replace: Replacer) -> PathRewriter:
    """``regex_rewrite``, wherever it matches in the path."""

    def rewrite(path: bytes, _: Stream) -> bytes:
        plain = without_query(path)
        fresh = replace(plain)
        return fresh and fresh + path[len(plain) :]

    return rewrite


def by_format(make: Callable[[Stream], bytes]) -> PathRewriter:
    """``path_rewrite``."""

    def rewrite(path: bytes, stream: Stream) -> bytes:
        fresh = make(stream)
        return fresh and fresh + path[len(without_query(path)) :]

    return rewrite


def literal(host: bytes) -> HostRewriter:
    """``host_rewrite_literal``."""
    return lambda _headers, _stream: host


def by_header(name: bytes) -> HostRewriter:
    """``host_rewrite_header``: its first value."""
    return lambda headers, _stream: headers.get(name) or b""


def by_path(replace: Replacer) -> HostRewriter:
    """``host_rewrite_path_regex``: made of the path."""
    return lambda headers, _stream: replace(without_query(headers.path or b""))


def by_host_format(line: Format) -> HostRewriter:
    """``host_rewrite``."""
    return lambda _headers, stream: encoded(line(stream))


def rewrite_path(
    rewriter: PathRewriter, headers: RequestHeaders, stream: Stream, *, keep_original: bool
) -> None:
    """Give the request another path; with ``keep_original`` x-envoy-original-path says what it was."""
    path = headers.path
    if path is None:
        return
    fresh = rewriter(path, stream)
    if not fresh:
        return
    stream.original_path = path
    if keep_original:
        headers.set(b"x-envoy-original-path", path)
    headers.path = fresh


def rewrite_host(headers: RequestHeaders, host: bytes, *, keep_original: bool, append: bool) -> None:
    """Give the request another host, and say what it was (``Http::Utility::updateAuthority``).

    ``append`` is ``append_x_forwarded_host``.
    """
    before = headers.authority
    if before:
        if keep_original:
            headers.set(b"x-envoy-original-host", before)
        if append:
            forwarded = headers.get(b"x-forwarded-host")
            if not forwarded:
                headers.set(b"x-forwarded-host", before)
            elif forwarded.rpartition(b",")[2] != before:
                headers.set(b"x-forwarded-host", forwarded + b"," + before)
    headers.authority = host
