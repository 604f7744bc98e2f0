"""Match trees over plain text."""

from __future__ import annotations

import pytest

from sidecar.core.matching import ExactMap, MatchList, OnMatch, PrefixMap


def take(data: bytes | None) -> bytes | None:
    return data


def to(name: str) -> OnMatch[bytes | None]:
    return OnMatch(action=name)


def never(_: bytes | None) -> bool:
    return False


def always(_: bytes | None) -> bool:
    return True


NOTHING: MatchList[bytes | None] = MatchList([], None)


@pytest.mark.parametrize(
    ("data", "expected"),
    [(b"a", "a"), (b"deep", "rest"), (b"ab", "rest"), (None, "rest"), (b"", "empty")],
)
def test_exact_map_finds_the_value_or_goes_on_without(data: bytes | None, expected: str) -> None:
    entries = {b"a": to("a"), b"deep": OnMatch(tree=NOTHING), b"": to("empty")}
    assert ExactMap(take, entries, to("rest")).match(data) == expected


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"/a", "a"),
        (b"/ab", "ab"),
        (b"/abc", "ab"),
        (b"/abcd", "ab"),
        (b"/x", None),
        (b"", None),
        (None, None),
    ],
)
def test_prefix_map_finds_the_longest_and_then_shorter_ones(data: bytes | None, expected: str | None) -> None:
    entries = {b"/a": to("a"), b"/ab": to("ab"), b"/abc": OnMatch(tree=NOTHING)}
    assert PrefixMap(take, entries, None).match(data) == expected


def test_list_takes_the_first_that_holds_and_finds_something() -> None:
    tree = MatchList(
        [
            (never, to("never")),
            (always, OnMatch(tree=NOTHING)),
            (always, to("first")),
            (always, to("second")),
        ],
        to("rest"),
    )
    assert tree.match(b"") == "first"
    assert MatchList([(never, to("never"))], to("rest")).match(b"") == "rest"
    assert MatchList([(never, to("never"))], None).match(b"") is None
    assert MatchList([], OnMatch(tree=tree)).match(b"") == "first"
