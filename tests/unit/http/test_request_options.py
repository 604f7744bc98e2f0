"""Paths and hosts that are respelled before anybody looks at them."""

from __future__ import annotations

import pytest

from sidecar.core.address_ranges import compile_addresses
from sidecar.core.headers import RequestHeaders
from sidecar.http.request_options import RequestOptions, drop_underscores

LOCAL = "127.0.0.1:8080"


def request(authority: bytes = b"a", path: bytes = b"/", method: bytes = b"GET") -> RequestHeaders:
    return RequestHeaders(method, path, authority, b"http")


def test_options_that_do_nothing_are_false() -> None:
    assert not RequestOptions()
    assert RequestOptions(merge_slashes=True)


@pytest.mark.parametrize(
    ("mode", "authority", "expected"),
    [
        ("ANY", b"a.com:80", b"a.com"),
        ("ANY", b"a.com", b"a.com"),
        ("ANY", b"[::1]:80", b"[::1]"),
        ("ANY", b"::1:80", b"::1"),
        ("ANY", b"a.com:99999", b"a.com"),
        ("ANY", b"a.com:", b"a.com:"),
        ("MATCHING", b"a.com:8080", b"a.com"),
        ("MATCHING", b"a.com:80", b"a.com:80"),
    ],
)
def test_port_is_stripped_where_the_mode_says_so(mode: str, authority: bytes, expected: bytes) -> None:
    headers = request(authority)
    assert RequestOptions(strip_port=mode).apply(headers, LOCAL) is None
    assert headers.authority == expected


def test_port_of_a_connect_request_stays() -> None:
    headers = request(b"a.com:80", method=b"CONNECT")
    RequestOptions(strip_port="ANY").apply(headers, LOCAL)
    assert headers.authority == b"a.com:80"


def test_port_on_a_unix_socket_matches_nothing() -> None:
    headers = request(b"a.com:80")
    RequestOptions(strip_port="MATCHING").apply(headers, "/run/s.sock")
    assert headers.authority == b"a.com:80"


@pytest.mark.parametrize(
    ("action", "status", "path"),
    [
        ("KEEP_UNCHANGED", None, b"/a%2Fb%5c?%2f"),
        ("REJECT_REQUEST", 400, b"/a/b\\?%2f"),
        ("UNESCAPE_AND_REDIRECT", 307, b"/a/b\\?%2f"),
        ("UNESCAPE_AND_FORWARD", None, b"/a/b\\?%2f"),
    ],
)
def test_escaped_slashes_are_treated_as_the_action_says(action: str, status: int | None, path: bytes) -> None:
    headers = request(path=b"/a%2Fb%5c?%2f")
    reply = RequestOptions(escaped_slashes=action).apply(headers, LOCAL)
    assert (None if reply is None else reply.status) == status
    assert headers.path == path


def test_fields_with_underscores_are_dropped_each_time_they_stand_there() -> None:
    headers = request()
    for name in (b"x_a", b"x-b", b"x_a", b"y_"):
        headers.add(name, b"1")
    assert drop_underscores(headers) == 3
    assert headers.fields == [(b"x-b", b"1")]


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("10.1.2.3", True),
        ("11.0.0.1", False),
        ("2001:db8::5", True),
        ("::ffff:10.1.2.3", False),
        ("/run/s.sock", True),
        ("unknown", False),
    ],
)
def test_address_is_in_one_of_the_ranges(address: str, expected: bool) -> None:
    contains = compile_addresses([("10.0.0.0", 8), ("2001:db8::", 32)], unix_sockets=True)
    assert contains(address) is expected
