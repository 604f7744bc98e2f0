"""String and header matchers: each kind, its inversion, and what a missing header is."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import json_format

from sidecar.config.compile.matchers import compile_header_matcher, compile_regex, compile_string_matcher
from sidecar.config.messages import message_class
from sidecar.core.errors import ConfigError
from sidecar.core.headers import RequestHeaders
from tests.support import yaml_text


def decode(text: str, kind: str) -> Any:
    found = message_class(kind)
    assert found is not None
    return json_format.ParseDict(yaml_text.load(text), found())


@pytest.mark.parametrize(
    ("text", "accepted", "refused"),
    [
        ("{exact: aB}", [b"aB"], [b"ab", b"aBc", b""]),
        ("{exact: aB, ignore_case: true}", [b"AB", b"ab"], [b"abc"]),
        ("{prefix: ab}", [b"ab", b"abc"], [b"cab", b"Ab"]),
        ("{prefix: ab, ignore_case: true}", [b"ABc"], [b"cab"]),
        ("{suffix: bc}", [b"abc", b"bc"], [b"bcd"]),
        ("{contains: b}", [b"abc"], [b"ac"]),
        ("{contains: B, ignore_case: true}", [b"abc"], [b"ac"]),
        ('{safe_regex: {regex: "a[0-9]+"}}', [b"a1", b"a22"], [b"a", b"a1b", b"xa1"]),
        ('{safe_regex: {regex: "é."}}', ["éx".encode()], [b"ex"]),
    ],
)
def test_string_matcher_accepts_what_its_kind_says(
    text: str, accepted: list[bytes], refused: list[bytes]
) -> None:
    test = compile_string_matcher(decode(text, "envoy.type.matcher.v3.StringMatcher"), "at")
    assert [test(value) for value in accepted] == [True] * len(accepted)
    assert [test(value) for value in refused] == [False] * len(refused)


A1 = [(b"a", b"1")]


@pytest.mark.parametrize(
    ("text", "fields", "expected"),
    [
        ("{name: A}", A1, True),
        ("{name: a}", [], False),
        ("{name: a, present_match: true}", A1, True),
        ("{name: a, present_match: false}", A1, False),
        ("{name: a, present_match: false}", [], True),
        ("{name: a, present_match: true, invert_match: true}", [], True),
        ("{name: a, present_match: true, treat_missing_header_as_empty: true}", [], True),
        ('{name: a, string_match: {exact: "1"}}', A1, True),
        ('{name: a, string_match: {exact: "1"}}', [], False),
        ('{name: a, string_match: {exact: "1"}, invert_match: true}', A1, False),
        ('{name: a, string_match: {exact: "2"}, invert_match: true}', A1, True),
        ('{name: a, string_match: {exact: ""}, treat_missing_header_as_empty: true}', [], True),
        (
            '{name: a, string_match: {exact: "x"}, treat_missing_header_as_empty: true, invert_match: true}',
            [],
            True,
        ),
        ("{name: a, range_match: {start: 1, end: 5}}", [(b"a", b"4")], True),
        ("{name: a, range_match: {start: 1, end: 5}}", [(b"a", b"5")], False),
        ("{name: a, range_match: {start: -5, end: 0}}", [(b"a", b"-5")], True),
        ("{name: a, range_match: {start: 1, end: 5}}", [(b"a", b"four")], False),
        ('{name: a, safe_regex_match: {regex: "[0-9]"}}', A1, True),
        ('{name: a, safe_regex_match: {regex: "[0-9]"}}', [(b"a", b"11")], False),
        ('{name: a, exact_match: "1"}', A1, True),
        ('{name: a, prefix_match: "1"}', [(b"a", b"12")], True),
        ('{name: a, suffix_match: "2"}', [(b"a", b"12")], True),
        ('{name: a, contains_match: "2"}', [(b"a", b"123")], True),
        ('{name: ":method", string_match: {exact: GET}}', [], True),
        ('{name: ":path", string_match: {prefix: /x}}', [], True),
    ],
)
def test_header_matcher_judges_a_request(
    text: str, fields: list[tuple[bytes, bytes]], expected: bool
) -> None:
    matches = compile_header_matcher(decode(text, "envoy.config.route.v3.HeaderMatcher"), "at")
    assert matches(RequestHeaders(b"GET", b"/x?y", b"h", b"http", fields)) is expected


def test_regular_expression_that_re2_refuses_names_its_field() -> None:
    with pytest.raises(ConfigError) as caught:
        compile_regex("(?<=a)b", "routes[0].match")
    assert caught.value.path == "routes[0].match"


@pytest.mark.parametrize("value", [b"\xff", b"a\xff"])
def test_regular_expression_over_bytes_that_are_not_utf_8_is_no_error(value: bytes) -> None:
    text = '{safe_regex: {regex: "a.*"}}'
    test = compile_string_matcher(decode(text, "envoy.type.matcher.v3.StringMatcher"), "at")
    assert test(value) in (False, True)
