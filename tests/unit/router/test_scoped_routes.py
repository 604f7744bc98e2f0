"""Scope keys, and the table that they choose."""

from __future__ import annotations

from sidecar.core.headers import RequestHeaders
from sidecar.router.route_table import RouteTable
from sidecar.router.scoped_routes import Scope, ScopedTable, element_fragment, index_fragment


def _request(*fields: tuple[bytes, bytes]) -> RequestHeaders:
    return RequestHeaders(b"GET", b"/", fields=list(fields))


def test_index_of_a_header_is_a_fragment() -> None:
    take = index_fragment(b"x", b",", 1)
    assert take(_request((b"x", b"a,b"))) == b"b"
    assert take(_request((b"x", b"a"))) is None
    assert take(_request()) is None
    assert index_fragment(b"x", b"", 0)(_request((b"x", b"a,b"))) == b"a,b"


def test_element_of_a_header_is_a_fragment() -> None:
    take = element_fragment(b"x", b";", b"=", b"k")
    assert take(_request((b"x", b"a=1;k=2=3"))) == b"2=3"
    assert take(_request((b"x", b"k"))) == b""
    assert take(_request((b"x", b"a=1"))) is None
    assert take(_request()) is None


def test_scope_that_changes_its_key_is_found_by_the_new_one() -> None:
    table = ScopedTable((index_fragment(b"x", b"", 0),))
    table.put(Scope("a", (b"1",), RouteTable()))
    table.put(Scope("a", (b"2",), RouteTable()))
    assert table.scope_of(_request((b"x", b"1"))) is None
    found = table.scope_of(_request((b"x", b"2")))
    assert found is not None
    assert found.name == "a"
    table.drop("a")
    assert table.scope_of(_request((b"x", b"2"))) is None
    assert table.scopes == {}


def test_table_says_what_one_of_its_tables_says() -> None:
    inner = RouteTable()
    inner.has_durations = True
    inner.internal_only_headers = (b"x-inner",)
    table = ScopedTable(())
    table.put(Scope("a", (), inner))
    table.put(Scope("b", (b"b",)))
    table.refresh()
    assert table.has_durations
    assert not table.switches_filters
    assert table.internal_only_headers == (b"x-inner",)
