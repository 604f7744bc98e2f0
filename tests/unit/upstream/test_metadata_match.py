"""Criteria of hosts' metadata: what is equal, what wins."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from sidecar.upstream.metadata_match import MetadataMatch, canonical, criteria_of


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 1.0),
        (0.0, -0.0),
        ({"a": 1, "b": [True, None]}, {"b": (True, None), "a": 1.0}),
        ("a", "a"),
    ],
)
def test_values_that_envoy_finds_equal_have_one_text(one: Any, other: Any) -> None:
    assert canonical(one) == canonical(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, True),
        (1, "1"),
        (0, False),
        (None, "null"),
        (True, "true"),
        ([1, 2], [2, 1]),
        (["a", "b"], ["a,s1:b"]),
        (["a,b"], ["a", "b"]),
        ({"a": "b"}, {"a": "b", "c": None}),
        ({"a=s1:b": "c"}, {"a": "b=s1:c"}),
        ({}, []),
        ({"a": []}, {"a": {}}),
    ],
)
def test_values_that_are_not_equal_have_two_texts(one: Any, other: Any) -> None:
    assert canonical(one) != canonical(other)


def test_criteria_are_the_same_in_any_order() -> None:
    assert MetadataMatch({"b": 1, "a": 2}).key == MetadataMatch({"a": 2, "b": 1}).key
    assert MetadataMatch({"b": 1, "a": 2}).names == ("a", "b")


def test_merged_criteria_keep_what_is_not_said_anew() -> None:
    merged = MetadataMatch({"a": 1, "b": 2}).merged({"b": 3, "c": 4})
    assert merged.values == {"a": 1, "b": 3, "c": 4}


def test_narrowed_criteria_are_made_once() -> None:
    criteria = MetadataMatch({"a": 1, "b": 2})
    narrowed = criteria.only(frozenset("a"))
    assert narrowed is not None
    assert narrowed.values == {"a": 1}
    assert criteria.only(frozenset("a")) is narrowed
    assert criteria.only(frozenset("z")) is None


@pytest.mark.parametrize(
    ("listed", "tried"),
    [
        ([{"a": 2}, {"b": 3}], [{"a": 2}, {"a": 1, "b": 3}]),
        ([], [{"a": 1}]),
        ("text", [{"a": 1}]),
        (["text"], [{"a": 1}]),
    ],
)
def test_fallback_list_goes_over_the_rest(listed: Any, tried: list[dict[str, int]]) -> None:
    criteria = MetadataMatch({"a": 1, "fallback_list": listed})
    assert criteria.fallbacks is not None
    assert [each.values for each in criteria.fallbacks] == tried
    assert MetadataMatch({"a": 1}).fallbacks is None


@pytest.mark.parametrize(
    ("of_route", "of_connection", "dynamic", "expected"),
    [
        (None, None, None, None),
        (None, None, {"other": {"a": 1}}, None),
        ({"a": 1}, None, {"other": {"a": 2}}, {"a": 1}),
        (None, None, {"envoy.lb": {"a": 1}}, {"a": 1}),
        ({"a": 1, "b": 1}, None, {"envoy.lb": {"a": 2}}, {"a": 2, "b": 1}),
        ({"a": 1, "b": 1}, {"envoy.lb": {"a": 2}}, None, {"a": 2, "b": 1}),
        ({"a": 1, "b": 1}, {"envoy.lb": {"a": 2}}, {"envoy.lb": {"a": 3}}, {"a": 3, "b": 1}),
    ],
)
def test_criteria_of_a_stream_are_the_routes_under_the_connections_under_the_filters(
    of_route: Any, of_connection: Any, dynamic: Any, expected: Any
) -> None:
    route = SimpleNamespace(metadata_match=None if of_route is None else MetadataMatch(of_route))
    connection = SimpleNamespace(dynamic_metadata=of_connection)
    stream: Any = SimpleNamespace(route=route, connection=connection, dynamic_metadata=dynamic)
    found = criteria_of(stream)
    assert (found and found.values) == expected
