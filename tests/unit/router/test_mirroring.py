"""Copies of requests: their heads, and a body that is handed to them by pieces."""

from __future__ import annotations

from typing import Any

import pytest

from sidecar.core.headers import RequestHeaders
from sidecar.router.mirroring import MirrorPolicy

_NO_STREAM: Any = None


@pytest.mark.parametrize(
    ("host", "copied"),
    [
        (b"a", b"a-shadow"),
        (b"a:80", b"a-shadow:80"),
        (b"[::1]", b"[::1]-shadow"),
        (b"[::1]:80", b"[::1]-shadow:80"),
        (b"a:b:c", b"a:b-shadow:c"),
    ],
)
def test_copy_says_so_in_its_host_ahead_of_the_port(host: bytes, copied: bytes) -> None:
    headers = RequestHeaders(b"GET", b"/", host, b"http", [(b"x", b"1")])
    made = MirrorPolicy("c").head(headers, _NO_STREAM)
    assert (made.authority, made.fields) == (copied, [(b"x", b"1")])
    assert made.fields is not headers.fields
    assert headers.authority == host


def test_host_of_a_copy_may_be_literal_or_the_request_s() -> None:
    headers = RequestHeaders(b"GET", b"/", b"a", b"http")
    assert MirrorPolicy("c", host_rewrite_literal=b"b").head(headers, _NO_STREAM).authority == b"b"
    plain = MirrorPolicy("c", disable_shadow_host_suffix_append=True)
    assert plain.head(headers, _NO_STREAM).authority == b"a"


def test_cluster_of_a_copy_is_named_or_taken_from_the_first_value_of_a_header() -> None:
    headers = RequestHeaders(b"GET", b"/", b"a", b"http", [(b"x", b"one"), (b"x", b"two")])
    assert MirrorPolicy("c").cluster_name(headers) == "c"
    assert MirrorPolicy(cluster_header=b"x").cluster_name(headers) == "one"
    assert MirrorPolicy(cluster_header=b"y").cluster_name(headers) == ""
