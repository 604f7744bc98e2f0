"""The parts of the filter header_mutation that decide."""

from __future__ import annotations

import pytest

from sidecar.extensions.http.header_mutation import RouteMutations, SideMutations
from sidecar.extensions.http.query_mutation import QueryAddition, QueryRemoval, mutate_query
from sidecar.router.filter_configs import merge_filter_configs
from sidecar.router.header_mutation import ADD_IF_ABSENT, APPEND, OVERWRITE, OVERWRITE_IF_EXISTS

NOTHING = SideMutations(None, None, None, None, ())


@pytest.mark.parametrize(
    ("path", "mutation", "changed"),
    [
        (b"/a?b=1", QueryAddition(b"b", b"2", APPEND), b"/a?b=1&b=2"),
        (b"/a?b=1", QueryAddition(b"b", b"2", ADD_IF_ABSENT), b"/a?b=1"),
        (b"/a", QueryAddition(b"b", b"x y", ADD_IF_ABSENT), b"/a?b=x%20y"),
        (b"/a?b=1&b=2", QueryAddition(b"b", b"3", OVERWRITE), b"/a?b=3"),
        (b"/a", QueryAddition(b"b", b"3", OVERWRITE_IF_EXISTS), b"/a"),
        (b"/a?b=1", QueryRemoval(b"b"), b"/a"),
        (b"/a?z&b=%41", QueryRemoval(b"c"), b"/a?b=A&z="),
    ],
)
def test_query_is_written_anew(path: bytes, mutation: QueryAddition | QueryRemoval, changed: bytes) -> None:
    assert mutate_query(path, (mutation,), None) == changed  # type: ignore[arg-type]


def test_levels_of_a_route_add_up_where_others_replace_each_other() -> None:
    outer = {"mutate": RouteMutations((NOTHING,)), "other": 1}
    merged = merge_filter_configs(outer, {"mutate": RouteMutations((NOTHING,)), "other": 2})
    assert merged == {"mutate": RouteMutations((NOTHING, NOTHING)), "other": 2}
