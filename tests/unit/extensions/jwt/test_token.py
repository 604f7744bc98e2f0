"""Tokens taken apart: base64url, JSON, claims."""

from __future__ import annotations

import json

import pytest

from sidecar.extensions.jwt.claims import MISSING, WRONG_TYPE, find, parse_object, unescape
from sidecar.extensions.jwt.status import Status
from sidecar.extensions.jwt.token import Jwt, parse_jwt
from tests.support import jose

KEY = jose.secret()


def parsed(payload: object, alg: str = "HS256") -> Jwt | Status:
    return parse_jwt(jose.token(KEY, alg, payload).encode())


@pytest.mark.parametrize(
    ("text", "data"),
    [
        (b"", b""),
        (b"YQ", b"a"),
        (b"YQ==", b"a"),
        (b"YQ..", b"a"),
        (b"Y Q\t", b"a"),
        (b"-_-_", b"\xfb\xff\xbf"),
        (b"YQ=", None),
        (b"YQ===", None),
        (b"Y", None),
        (b"+/+/", None),
        (b"Y!Q", None),
        (b"=", None),
        (b"YQ==YQ", None),
        ("ü".encode(), None),
    ],
)
def test_base64url_is_read_as_envoy_reads_it(text: bytes, data: bytes | None) -> None:
    assert unescape(text) == data


def test_object_of_a_hundred_levels_is_the_deepest() -> None:
    def nested(levels: int) -> bytes:
        return b'{"a":' * (levels - 1) + b"{}" + b"}" * (levels - 1)

    assert parse_object(nested(100)) is not None
    assert parse_object(nested(101)) is None
    assert parse_object(nested(100_000)) is None


@pytest.mark.parametrize(
    "text",
    ['{"a":1,"a":1}', '{"a":1e999}', '{"a":NaN}', '{"a":"\\ud800"}', "[]", "null", "{", '{"a":', "{}x"],
)
def test_what_is_no_object_is_refused(text: str) -> None:
    assert parse_object(text.encode()) is None


@pytest.mark.parametrize("digits", [308, 309, 400])
def test_integer_that_no_double_holds_is_refused(digits: int) -> None:
    assert (parse_object(b'{"a":' + b"9" * digits + b"}") is None) is (digits > 308)


def test_space_around_an_object_is_none_of_it() -> None:
    assert parse_object(b'{"a": 1} \t\r\n') == parse_object(b'\n {"a": 1}') == {"a": 1.0}


def test_claims_are_found_by_their_path() -> None:
    claims = {"a": {"b": 1.0}, "c": "x"}
    assert find(claims, ("a", "b")) == 1.0
    assert find(claims, ("a", "x")) is MISSING
    assert find(claims, ("c", "x")) is WRONG_TYPE


def test_token_has_its_claims() -> None:
    jwt = parsed({"iss": "i", "sub": "s", "aud": ["a", "b"], "nbf": 1, "exp": 5.9, "n": 10**30})
    assert isinstance(jwt, Jwt)
    assert (jwt.iss, jwt.sub, jwt.audiences, jwt.nbf, jwt.exp) == ("i", "s", ["a", "b"], 1, 5)
    assert jwt.payload["n"] == 1e30


def test_head_that_is_kept_is_not_shared_between_tokens_that_differ() -> None:
    first, second = parsed({"sub": "a"}), parsed({"sub": "b"})
    assert isinstance(first, Jwt)
    assert isinstance(second, Jwt)
    assert first.header is second.header
    assert (first.sub, second.sub) == ("a", "b")


def test_number_with_very_many_digits_takes_no_time() -> None:
    data = b'{"a":' + b"9" * 50_000 + b"}"
    assert parse_object(data) is None  # beyond what a double holds
    small = b'{"a":0.' + b"9" * 50_000 + b"}"
    assert json.dumps(parse_object(small)) == '{"a": 1.0}'
