"""Targets and hosts of HTTP/1; what is refused was seen on Envoy 1.40."""

from __future__ import annotations

import pytest

from sidecar.core.errors import RemoteProtocolError
from sidecar.http.h1_target import KNOWN_AUTHORITIES, check_authority, read_target


@pytest.mark.parametrize(
    ("method", "target", "expected"),
    [
        (b"GET", b"http://b/x?y", (b"http", b"b", b"/x?y")),
        (b"GET", b"HTTPS://B:81", (b"https", b"B:81", b"/")),
        (b"GET", b"http://b?x", (b"http", b"b", b"?x")),
        (b"GET", b"http://u@b/", (b"http", b"b", b"/")),
        (b"OPTIONS", b"*", (b"http", b"a", b"*")),
        (b"CONNECT", b"b:80", (b"http", b"b:80", None)),
    ],
)
def test_target_gives_scheme_authority_and_path(
    method: bytes, target: bytes, expected: tuple[bytes, bytes, bytes | None]
) -> None:
    assert read_target(method, target, b"a") == expected


@pytest.mark.parametrize(
    ("method", "target", "details"),
    [
        (b"GET", b"*", "http1.invalid_url"),
        (b"GET", b"path", "http1.codec_error"),
        (b"GET", b"ftp://b/", "http1.invalid_scheme"),
        (b"GET", b"http:///x", "http1.invalid_url"),
        (b"GET", b"http://u@v@b/", "http1.invalid_url"),
        (b"GET", b"http://b:/", "http1.invalid_url"),
        (b"GET", b"http://b:x/", "http1.invalid_url"),
        (b"GET", b"http://b:65536/", "http1.invalid_url"),
        (b"GET", b"http://b:1:2/", "http1.invalid_url"),
        (b"CONNECT", b"b", "http1.invalid_url"),
        (b"CONNECT", b"http://b:80", "http1.invalid_url"),
    ],
)
def test_target_that_is_none_is_refused(method: bytes, target: bytes, details: str) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        read_target(method, target, b"a")
    assert (caught.value.status, caught.value.details) == (400, details)


@pytest.mark.parametrize("authority", [None, b"", b"a,b", b"u@a", b"[::1]:80", b"a:b:c", b"a%20b"])
def test_authority_of_its_characters_is_known_from_then_on(authority: bytes | None) -> None:
    check_authority(authority)
    assert authority in KNOWN_AUTHORITIES


@pytest.mark.parametrize("authority", [b"a b", b"a/b", b"a?b", b"a#b", b"<a>", b"a\\b", b"\xc3\xa9", b"a\tb"])
def test_authority_of_other_characters_is_refused(authority: bytes) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        check_authority(authority)
    assert caught.value.details == "http.invalid_authority"
    assert authority not in KNOWN_AUTHORITIES


def test_known_authorities_are_bounded() -> None:
    for number in range(10_000):
        check_authority(b"host-%d" % number)
    assert len(KNOWN_AUTHORITIES) <= 4096
    assert None in KNOWN_AUTHORITIES
