"""Scoped routes: which of many route tables a request uses, by what its headers say.

A key is made of fragments, each taken from a header; the scope of that key has the table.  Without a key,
without such a scope and without its table there is no route (envoy.config.route.v3.ScopedRouteConfiguration).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sidecar.core.headers import RequestHeaders
from sidecar.router.route import Route
from sidecar.router.route_table import RouteTable

__all__ = ["Fragment", "Key", "Scope", "ScopedTable", "element_fragment", "index_fragment"]

#: Takes one fragment out of a request's headers; None: there is none, and so no key.
Fragment = Callable[[RequestHeaders], "bytes | None"]
Key = tuple[bytes, ...]


def index_fragment(header: bytes, separator: bytes, index: int) -> Fragment:
    """The element number ``index`` of a header's value; without a ``separator`` the value is one."""

    def take(headers: RequestHeaders) -> bytes | None:
        value = headers.get(header)
        if value is None:
            return None
        elements = value.split(separator) if separator else [value]
        return elements[index] if index < len(elements) else None

    return take


def element_fragment(header: bytes, separator: bytes, inner: bytes, key: bytes) -> Fragment:
    """The value of the first element ``key<inner>value`` of a header's value."""

    def take(headers: RequestHeaders) -> bytes | None:
        value = headers.get(header)
        if value is None:
            return None
        for element in value.split(separator) if separator else [value]:
            name, _, found = element.partition(inner)
            if name == key:
                return found
        return None

    return take


class Scope:
    """One scope."""

    __slots__ = ("key", "name", "table")

    def __init__(self, name: str, key: Key, table: RouteTable | None = None) -> None:
        self.name = name
        self.key = key
        #: None while its routes have not come.
        self.table = table


class ScopedTable(RouteTable):
    """Stands in for the route table of a connection manager; its scopes change while it serves."""

    def __init__(self, fragments: tuple[Fragment, ...]) -> None:
        super().__init__()
        self._fragments = fragments
        self._by_key: dict[Key, Scope] = {}
        self.scopes: dict[str, Scope] = {}

    def put(self, scope: Scope) -> None:
        """Have a scope, in the place of the one of its name."""
        self.drop(scope.name)
        self.scopes[scope.name] = self._by_key[scope.key] = scope

    def drop(self, name: str) -> None:
        """Have it no more."""
        old = self.scopes.pop(name, None)
        if old is not None:
            self._by_key.pop(old.key, None)

    def refresh(self) -> None:
        """Say of the whole what one of the tables says."""
        tables = [each.table for each in self.scopes.values() if each.table is not None]
        self.has_durations = any(each.has_durations for each in tables)
        self.switches_filters = any(each.switches_filters for each in tables)
        names = {name: None for each in tables for name in each.internal_only_headers}
        self.internal_only_headers = tuple(names)

    def scope_of(self, headers: RequestHeaders) -> Scope | None:
        """The scope that a request asks for."""
        key = []
        for fragment in self._fragments:
            part = fragment(headers)
            if part is None:
                return None
            key.append(part)
        return self._by_key.get(tuple(key))

    def find(self, headers: RequestHeaders, stream: Any = None) -> Route | None:
        scope = self.scope_of(headers)
        return None if scope is None or scope.table is None else scope.table.find(headers, stream)
