"""Predicates over exchanges, part by part."""

from __future__ import annotations

import pytest

from sidecar.core.exchange_match import (
    REQUEST,
    REQUEST_BODY,
    RESPONSE,
    BodyLeaf,
    ExchangePredicate,
    HeaderLeaf,
)
from sidecar.core.headers import HeaderMap


def test_leaf_is_false_and_its_negation_true_until_its_part_comes() -> None:
    leaf = HeaderLeaf(RESPONSE, (lambda headers: b"x" in headers,))
    plain = ExchangePredicate((leaf,), lambda found: found[0]).begin()
    negated = ExchangePredicate((leaf,), lambda found: not found[0]).begin()
    for match in (plain, negated):
        match.headers(REQUEST, HeaderMap([(b"x", b"1")]))
    assert (plain.matches, negated.matches) == (False, True)
    for match in (plain, negated):
        match.headers(RESPONSE, HeaderMap([(b"x", b"1")]))
    assert (plain.matches, negated.matches) == (True, False)


@pytest.mark.parametrize("size", range(1, 8))
def test_pattern_is_found_across_chunks_of_any_size(size: int) -> None:
    match = ExchangePredicate(
        (BodyLeaf(REQUEST_BODY, (b"needle", b"hay"), 0),), lambda found: found[0]
    ).begin()
    data = b"some hay, a needle"
    for at in range(0, len(data), size):
        assert not match.matches
        match.body(REQUEST_BODY, data[at : at + size])
    assert match.matches


@pytest.mark.parametrize(("limit", "found"), [(5, False), (6, True)])
@pytest.mark.parametrize("size", [1, 4, 9])
def test_search_ends_at_its_limit(limit: int, found: bool, size: int) -> None:
    match = ExchangePredicate((BodyLeaf(REQUEST_BODY, (b"def",), limit),), lambda each: each[0]).begin()
    for at in range(0, 9, size):
        match.body(REQUEST_BODY, b"abcdefghi"[at : at + size])
    assert match.matches is found
