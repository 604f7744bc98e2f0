"""An index over the routes of a virtual host: ten thousand cost about what ten do.

Envoy tries routes one after the other, so the cost of a request grows with the place of its route.  Here
tables tell which routes the path can belong to at all (exact paths by hash, prefixes by a hash for each
length that occurs, regular expressions by the literal text that they begin with); only those are tried, in
the order of the file.  The first that matches wins, as without an index (tests/property).
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sidecar.core.headers import RequestHeaders
from sidecar.router import route as table

if TYPE_CHECKING:
    from sidecar.router.route import Route

__all__ = ["INDEXED_FROM", "RouteIndex", "literal_prefix"]

#: Fewer routes than this are faster tried one by one.
INDEXED_FROM = 8


class _Paths:
    """Exact paths and prefixes, each with the numbers of its routes in ascending order."""

    __slots__ = ("_exact", "_lengths", "_prefixes")

    def __init__(self) -> None:
        self._exact: dict[bytes, list[int]] = {}
        self._prefixes: dict[bytes, list[int]] = {}
        self._lengths: tuple[int, ...] = ()

    def add_exact(self, path: bytes, number: int) -> None:
        self._exact.setdefault(path, []).append(number)

    def add_prefixes(self, entries: Sequence[tuple[bytes, int]]) -> None:
        for prefix, number in entries:
            self._prefixes.setdefault(prefix, []).append(number)
        self._lengths = tuple(sorted({len(prefix) for prefix in self._prefixes}))

    def __bool__(self) -> bool:
        return bool(self._exact or self._prefixes)

    def collect(self, path: bytes, found: list[int]) -> None:
        """Add the numbers of the routes that ``path`` may belong to."""
        numbers = self._exact.get(path)
        if numbers is not None:
            found += numbers
        size = len(path)
        prefixes = self._prefixes
        for length in self._lengths:
            if length > size:
                break
            numbers = prefixes.get(path[:length])
            if numbers is not None:
                found += numbers


class RouteIndex:
    """The routes of one virtual host, by their paths."""

    __slots__ = ("_folded", "_others", "_paths", "_routes")

    def __init__(self, routes: Sequence[Route]) -> None:
        self._routes = tuple(routes)
        self._paths = _Paths()
        #: Those that do not care for case, in lower case.
        self._folded = _Paths()
        #: Routes that no path tells apart: CONNECT.
        self._others: list[int] = []
        prefixes: dict[bool, list[tuple[bytes, int]]] = {True: [], False: []}
        for number, route in enumerate(self._routes):
            path = route.path_value
            paths = self._paths if route.case_sensitive else self._folded
            match route.kind:
                case table.PATH:
                    paths.add_exact(path, number)
                case table.PREFIX | table.SEPARATED_PREFIX:
                    prefixes[route.case_sensitive].append((path, number))
                case table.REGEX:
                    prefixes[True].append((literal_prefix(path.pattern), number))
                case _:
                    self._others.append(number)
        for sensitive, entries in prefixes.items():
            (self._paths if sensitive else self._folded).add_prefixes(entries)

    def find(self, headers: RequestHeaders, path: bytes, stream: Any = None) -> Route | None:
        """The first route that takes the request; ``path`` is without its query."""
        found = self._others.copy()
        self._paths.collect(path, found)
        if self._folded:
            self._folded.collect(path.lower(), found)
        found.sort()
        routes = self._routes
        has_path = headers.path is not None
        for number in found:
            route = routes[number]
            if (has_path or route.kind == table.CONNECT) and route.matches(headers, path, stream):
                return route
        return None


_LITERAL = frozenset(string.ascii_letters + string.digits + "/-_~:@!%&=,;")


def literal_prefix(pattern: str) -> bytes:
    """What every text that ``pattern`` (RE2) matches whole begins with; empty where that is not plain to see.

    An RE2 set would tell more, but not when it ran out of memory: then it finds nothing, and a route is lost.
    """
    if "\\Q" in pattern or _has_alternatives(pattern):
        return b""
    start = pattern.removeprefix("^")
    end = 0
    while end < len(start) and start[end] in _LITERAL:
        end += 1
    if end < len(start) and start[end] in "*?{":
        end -= 1  # the last one may be absent
    return start[: max(end, 0)].encode()


def _has_alternatives(pattern: str) -> bool:
    """Whether a ``|`` stands outside all groups."""
    depth = 0
    at = 0
    while at < len(pattern):
        character = pattern[at]
        if character == "\\":
            at += 1
        elif character == "[":
            # A bracket that comes first in a class is one of its members.
            at += 3 if pattern.startswith("[^]", at) else 2 if pattern.startswith("[]", at) else 1
            while at < len(pattern) and pattern[at] != "]":
                at += 2 if pattern[at] == "\\" else 1
        elif character == "(":
            depth += 1
        elif character == ")":
            depth -= 1
        elif character == "|" and not depth:
            return True
        at += 1
    return False
