"""What Envoy's header maps do beyond a list: one entry of some names, replacing at the end, aliases."""

from __future__ import annotations

import pytest

from sidecar.core.headers import Field, RequestHeaders, ResponseHeaders


def test_repeated_headers_of_one_entry_are_joined_where_the_first_stood() -> None:
    headers = RequestHeaders(
        fields=[(b"accept", b"a"), (b"x", b"1"), (b"accept", b"b"), (b"x", b"2"), (b"accept", b"c")]
    )
    headers.join_repeated()
    assert headers.fields == [(b"accept", b"a,b,c"), (b"x", b"1"), (b"x", b"2")]
    assert headers.get(b"accept") == b"a,b,c"


def test_joining_leaves_empty_values_out() -> None:
    headers = RequestHeaders(fields=[(b"via", b""), (b"via", b"a"), (b"via", b"")])
    headers.join_repeated()
    assert headers.fields == [(b"via", b"a")]


@pytest.mark.parametrize(
    ("name", "of_requests", "of_responses"),
    [
        (b"accept", True, False),
        (b"user-agent", True, False),
        (b"x-forwarded-for", True, False),
        (b"vary", False, True),
        (b"location", False, True),
        (b"via", True, True),
        (b"x-request-id", True, True),
        (b"cookie", False, False),
        (b"set-cookie", False, False),
        (b"accept-language", False, False),
    ],
)
def test_names_of_one_entry_differ_between_requests_and_responses(
    name: bytes, of_requests: bool, of_responses: bool
) -> None:
    fields = [(name, b"1"), (name, b"2")]
    for headers, joined in (
        (RequestHeaders(fields=list(fields)), of_requests),
        (ResponseHeaders(200, list(fields)), of_responses),
    ):
        headers.join_repeated()
        assert headers.fields == ([(name, b"1,2")] if joined else fields)


def test_appending_joins_a_name_of_one_entry_and_adds_any_other() -> None:
    headers = ResponseHeaders(200, [(b"vary", b"a"), (b"x", b"1")])
    headers.append(b"vary", b"b")
    headers.append(b"x", b"2")
    headers.append(b"etag", b"e")
    assert headers.fields == [(b"vary", b"a,b"), (b"x", b"1"), (b"x", b"2"), (b"etag", b"e")]


def test_appending_to_a_pseudo_header_joins_it() -> None:
    headers = RequestHeaders(b"GET", b"/a", None, b"http")
    headers.append(b":path", b"/b")
    headers.append(b":authority", b"h")
    assert (headers.path, headers.authority, headers.fields) == (b"/a,/b", b"h", [])


@pytest.mark.parametrize("before", [[], [(b"x", b"1")], [(b"x", b"1"), (b"y", b"2"), (b"x", b"3")]])
def test_replacing_leaves_one_value_at_the_end(before: list[Field]) -> None:
    headers = RequestHeaders(fields=[*before, (b"z", b"9")])
    headers.replace(b"x", b"new")
    assert headers.fields[-1] == (b"x", b"new")
    assert headers.get_all(b"x") == [b"new"]


def test_replacing_a_pseudo_header_sets_it() -> None:
    headers = RequestHeaders(b"GET", b"/")
    headers.replace(b":method", b"PUT")
    assert (headers.method, headers.fields) == (b"PUT", [])
