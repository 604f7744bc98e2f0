"""How a virtual host finds a route where trying its routes in order is not enough."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Protocol

from sidecar.core.headers import RequestHeaders
from sidecar.core.matching import Tree
from sidecar.router.route import CONNECT, Route

__all__ = ["Finder", "InOrder", "MatchedRoutes", "WithoutParameters"]


_PARAMETERS = re.compile(rb";[^/]*")


class Finder(Protocol):
    """Finds the first route that takes a request; ``path`` is without its query."""

    def find(self, headers: RequestHeaders, path: bytes, stream: Any) -> Route | None: ...


class InOrder:
    """Tries one route after the other."""

    __slots__ = ("_routes",)

    def __init__(self, routes: Sequence[Route]) -> None:
        self._routes = tuple(routes)

    def find(self, headers: RequestHeaders, path: bytes, stream: Any = None) -> Route | None:
        has_path = headers.path is not None
        for route in self._routes:
            if (has_path or route.kind == CONNECT) and route.matches(headers, path, stream):
                return route
        return None


class MatchedRoutes:
    """Finds among the routes that a match tree leads to (``VirtualHost.matcher``)."""

    __slots__ = ("_tree",)

    def __init__(self, tree: Tree[tuple[RequestHeaders, Any]]) -> None:
        self._tree = tree

    def find(self, headers: RequestHeaders, path: bytes, stream: Any = None) -> Route | None:
        routes: InOrder | None = self._tree.match((headers, stream))
        return None if routes is None else routes.find(headers, path, stream)


class WithoutParameters:
    """Finds by the path without what follows a ``;`` in each segment (RFC 3986 §3.3).

    ``ignore_path_parameters_in_path_matching``.
    """

    __slots__ = ("_finder",)

    def __init__(self, finder: Finder) -> None:
        self._finder = finder

    def find(self, headers: RequestHeaders, path: bytes, stream: Any) -> Route | None:
        return self._finder.find(headers, _PARAMETERS.sub(b"", path) if b";" in path else path, stream)
