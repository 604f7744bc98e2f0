"""What the levels of a route make together, and whose origin counts."""

from __future__ import annotations

import pytest

from sidecar.config.compile.chance import ALWAYS, NEVER
from sidecar.extensions.http.cors import CorsPolicy
from sidecar.extensions.http.csrf import _host_and_port


def test_a_level_takes_from_the_one_around_it_what_it_does_not_say() -> None:
    outer = CorsPolicy(ALWAYS, NEVER, allow_methods=b"GET", max_age=b"1", allow_credentials=True)
    inner = CorsPolicy(NEVER, NEVER, allow_methods=b"PUT", allow_credentials=False)
    merged = inner.within(outer)
    assert (merged.allow_methods, merged.max_age, merged.allow_credentials) == (b"PUT", b"1", False)
    assert merged.is_enabled is NEVER  # whether it is on is the most specific level's alone


def test_a_matcher_of_a_star_allows_all() -> None:
    policy = CorsPolicy(ALWAYS, NEVER, (lambda value: value == b"*",))
    assert policy.allows(b"http://anybody")
    assert not CorsPolicy(ALWAYS, NEVER, (lambda value: value == b"http://a",)).allows(b"http://b")
    assert not CorsPolicy(ALWAYS, NEVER).allows(b"http://a")


@pytest.mark.parametrize(
    ("value", "origin"),
    [
        (None, b""),
        (b"http://a:80/x?y", b"a:80"),
        (b"https://user:word@a", b"a"),
        (b"a:80", b"a:80"),
        (b"/page", b"/page"),
    ],
)
def test_host_and_port_of_a_url(value: bytes | None, origin: bytes) -> None:
    assert _host_and_port(value) == origin
