"""Header matchers over repeated and missing headers, seen on Envoy 1.40."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from google.protobuf import json_format

from sidecar.config.compile.matchers import compile_header_matcher
from sidecar.config.messages import message_class
from sidecar.core.headers import RequestHeaders

ONE = {"string_match": {"exact": "one"}}
BOTH = {"string_match": {"exact": "one,two"}}
RANGE = {"range_match": {"start": 5, "end": 10}}


def is_match(options: Mapping[str, object], *values: bytes) -> bool:
    kind = message_class("envoy.config.route.v3.HeaderMatcher")
    assert kind is not None
    message = json_format.ParseDict({"name": "X-H", **options}, kind())
    matches = compile_header_matcher(message, "at")
    return matches(RequestHeaders(b"GET", b"/", b"h", b"http", [(b"x-h", value) for value in values]))


def test_one_value_of_a_repeated_header_is_enough() -> None:
    assert is_match(ONE, b"one", b"two")
    assert is_match(ONE, b"two", b"one")
    assert is_match(RANGE, b"20", b"7")
    assert not is_match(ONE, b"two", b"three")


def test_values_of_a_repeated_header_are_not_joined() -> None:
    assert not is_match(BOTH, b"one", b"two")
    assert is_match(BOTH, b"one,two")


def test_inverted_matcher_wants_no_value_to_match() -> None:
    inverted = {**ONE, "invert_match": True}
    assert not is_match(inverted, b"one", b"two")
    assert not is_match(inverted, b"two", b"one")
    assert is_match(inverted, b"two", b"three")


@pytest.mark.parametrize("options", [ONE, RANGE])
def test_missing_header_is_no_match_inverted_or_not(options: Mapping[str, object]) -> None:
    assert not is_match(options)
    assert not is_match({**options, "invert_match": True})
    assert is_match({**options, "invert_match": True, "treat_missing_header_as_empty": True})


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"+7", True),
        (b"07", True),
        (b"7.5", False),
        (b"0x7", False),
        (b"7_", False),
        (b"0_7", False),
        (b"", False),
    ],
)
def test_range_takes_decimal_numbers_alone(value: bytes, expected: bool) -> None:
    assert is_match(RANGE, value) is expected
