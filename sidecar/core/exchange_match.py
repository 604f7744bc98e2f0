"""A predicate over an exchange, evaluated as its parts come (Envoy's ``MatchPredicate``).

Each leaf looks at one part: the headers or trailers of a request or response, or the bytes of a body.  Until
its part has come a leaf is false, and so a negated one is true: what is asked early is answered by what is
known, as in Envoy.  The configuration compiles it (:mod:`sidecar.config.compile.exchange_match`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sidecar.core.headers import HeaderMap

__all__ = [
    "REQUEST",
    "REQUEST_BODY",
    "REQUEST_TRAILERS",
    "RESPONSE",
    "RESPONSE_BODY",
    "RESPONSE_TRAILERS",
    "BodyLeaf",
    "ExchangeMatch",
    "ExchangePredicate",
    "HeaderLeaf",
]

REQUEST, REQUEST_TRAILERS, RESPONSE, RESPONSE_TRAILERS, REQUEST_BODY, RESPONSE_BODY = range(6)

#: What the leaves found → whether the whole matches.
Tree = Callable[[Sequence[bool]], bool]


class HeaderLeaf:
    """All of these tests hold for the headers of ``part``."""

    __slots__ = ("part", "tests")

    def __init__(self, part: int, tests: tuple[Callable[[HeaderMap], bool], ...]) -> None:
        self.part = part
        self.tests = tests


class BodyLeaf:
    """All of these patterns stand in the first ``limit`` bytes of a body; 0 for all of it."""

    __slots__ = ("limit", "overlap", "part", "patterns")

    def __init__(self, part: int, patterns: tuple[bytes, ...], limit: int) -> None:
        self.part = part
        self.patterns = patterns
        self.limit = limit
        self.overlap = max(map(len, patterns), default=1) - 1


class ExchangePredicate:
    """A tree over leaves; :meth:`begin` gives what looks at one exchange."""

    __slots__ = ("leaves", "tree")

    def __init__(self, leaves: tuple[HeaderLeaf | BodyLeaf, ...], tree: Tree) -> None:
        self.leaves = leaves
        self.tree = tree

    def begin(self) -> ExchangeMatch:
        """For an exchange of which nothing has come."""
        return ExchangeMatch(self)


class ExchangeMatch:
    """What is known of one exchange."""

    __slots__ = ("_found", "_predicate", "_seen", "_tails", "_wanted")

    def __init__(self, predicate: ExchangePredicate) -> None:
        self._predicate = predicate
        self._found = [False] * len(predicate.leaves)
        #: By leaf of a body: patterns not found yet, bytes kept from the chunk before, bytes looked at.
        self._wanted: dict[int, set[bytes]] = {}
        self._tails: dict[int, bytes] = {}
        self._seen: dict[int, int] = {}

    @property
    def matches(self) -> bool:
        """By what has come up to now."""
        return self._predicate.tree(self._found)

    def headers(self, part: int, headers: HeaderMap) -> None:
        """Headers or trailers have come."""
        for index, leaf in enumerate(self._predicate.leaves):
            if leaf.part == part and isinstance(leaf, HeaderLeaf):
                self._found[index] = all(test(headers) for test in leaf.tests)

    def body(self, part: int, data: bytes) -> None:
        """A chunk of a body has come."""
        for index, leaf in enumerate(self._predicate.leaves):
            if leaf.part == part and isinstance(leaf, BodyLeaf) and not self._found[index]:
                self._search(index, leaf, data)

    def _search(self, index: int, leaf: BodyLeaf, data: bytes) -> None:
        seen = self._seen.get(index, 0)
        if leaf.limit:
            data = data[: max(0, leaf.limit - seen)]
        self._seen[index] = seen + len(data)
        wanted = self._wanted.setdefault(index, set(leaf.patterns))
        window = self._tails.get(index, b"") + data
        wanted -= {each for each in wanted if each in window}
        self._tails[index] = window[-leaf.overlap :] if leaf.overlap else b""
        self._found[index] = not wanted
