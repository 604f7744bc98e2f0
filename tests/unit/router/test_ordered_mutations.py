"""Header mutations that are done one after the other."""

from __future__ import annotations

import pytest

from sidecar.core.headers import RequestHeaders
from sidecar.router.header_mutation import (
    ADD_IF_ABSENT,
    APPEND,
    OVERWRITE,
    OVERWRITE_IF_EXISTS,
    HeaderAddition,
)
from sidecar.router.ordered_mutations import OrderedMutations, Removal, RemovalOnMatch


def mutated(*mutations: HeaderAddition | Removal | RemovalOnMatch) -> list[tuple[bytes, bytes]]:
    headers = RequestHeaders(b"GET", b"/", b"a", b"http", [(b"a", b"1"), (b"b", b"2")])
    OrderedMutations(mutations).apply(headers, None)  # type: ignore[arg-type]
    return headers.fields


@pytest.mark.parametrize(
    ("mutation", "fields"),
    [
        (HeaderAddition(b"a", b"3", APPEND), [(b"a", b"1"), (b"b", b"2"), (b"a", b"3")]),
        (HeaderAddition(b"a", b"3", ADD_IF_ABSENT), [(b"a", b"1"), (b"b", b"2")]),
        (HeaderAddition(b"c", b"3", ADD_IF_ABSENT), [(b"a", b"1"), (b"b", b"2"), (b"c", b"3")]),
        (HeaderAddition(b"a", b"3", OVERWRITE), [(b"b", b"2"), (b"a", b"3")]),
        (HeaderAddition(b"c", b"3", OVERWRITE_IF_EXISTS), [(b"a", b"1"), (b"b", b"2")]),
        (HeaderAddition(b"c", b"", APPEND), [(b"a", b"1"), (b"b", b"2")]),
        (HeaderAddition(b"c", b"", APPEND, keep_empty_value=True), [(b"a", b"1"), (b"b", b"2"), (b"c", b"")]),
        (Removal(b"a"), [(b"b", b"2")]),
        (RemovalOnMatch(lambda name: name in (b"a", b"b")), []),
    ],
)
def test_each_kind_of_mutation(mutation: HeaderAddition | Removal | RemovalOnMatch, fields: list) -> None:
    assert mutated(mutation) == fields


def test_later_mutation_sees_the_earlier_one() -> None:
    assert mutated(Removal(b"a"), HeaderAddition(b"a", b"3", ADD_IF_ABSENT)) == [(b"b", b"2"), (b"a", b"3")]


def test_pseudo_header_that_matches_is_removed_too() -> None:
    headers = RequestHeaders(b"GET", b"/", b"a", b"http")
    OrderedMutations((RemovalOnMatch(lambda name: name == b":scheme"),)).apply(headers, None)  # type: ignore[arg-type]
    assert headers.scheme is None
