"""Match trees (``xds.type.matcher.v3.Matcher``): from data to an action, or to none.

Compiled once and never changed.  What the data is, is the caller's: an input takes from it the text that is
matched (None where there is none), a predicate decides on it, an action is whatever the caller made of it.
A nested tree that finds nothing lets the search go on where it stands, as in Envoy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, Protocol, TypeVar

__all__ = ["ExactMap", "Input", "MatchList", "OnMatch", "Predicate", "PrefixMap", "Tree"]

D = TypeVar("D")
D_contra = TypeVar("D_contra", contravariant=True)
Input = Callable[[D], bytes | None]
Predicate = Callable[[D], bool]


class Tree(Protocol[D_contra]):
    """Something that finds an action."""

    def match(self, data: D_contra) -> Any:
        """The action for ``data``; None for no match."""
        ...


class OnMatch(Generic[D]):
    """``OnMatch``: an action, or a tree that finds one."""

    __slots__ = ("_action", "_tree")

    def __init__(self, *, action: Any = None, tree: Tree[D] | None = None) -> None:
        self._action = action
        self._tree = tree

    def resolve(self, data: D) -> Any:
        """The action; None when the tree finds none."""
        return self._action if self._tree is None else self._tree.match(data)


class MatchList(Generic[D]):
    """``MatcherList``: the first predicate that holds; without any, ``on_no_match`` alone."""

    __slots__ = ("_entries", "_on_no_match")

    def __init__(
        self, entries: Sequence[tuple[Predicate[D], OnMatch[D]]], on_no_match: OnMatch[D] | None
    ) -> None:
        self._entries = tuple(entries)
        self._on_no_match = on_no_match

    def match(self, data: D) -> Any:
        """The action for ``data``; None for no match."""
        for predicate, on_match in self._entries:
            if predicate(data):
                found = on_match.resolve(data)
                if found is not None:
                    return found
        return None if self._on_no_match is None else self._on_no_match.resolve(data)


class ExactMap(Generic[D]):
    """``MatcherTree.exact_match_map``."""

    __slots__ = ("_input", "_map", "_on_no_match")

    def __init__(
        self, take: Input[D], entries: dict[bytes, OnMatch[D]], on_no_match: OnMatch[D] | None
    ) -> None:
        self._input = take
        self._map = entries
        self._on_no_match = on_no_match

    def match(self, data: D) -> Any:
        """The action for ``data``; None for no match."""
        value = self._input(data)
        on_match = None if value is None else self._map.get(value)
        found = None if on_match is None else on_match.resolve(data)
        if found is None and self._on_no_match is not None:
            return self._on_no_match.resolve(data)
        return found


class PrefixMap(Generic[D]):
    """``MatcherTree.prefix_match_map``: the longest prefix, then the shorter ones."""

    __slots__ = ("_input", "_lengths", "_map", "_on_no_match")

    def __init__(
        self, take: Input[D], entries: dict[bytes, OnMatch[D]], on_no_match: OnMatch[D] | None
    ) -> None:
        self._input = take
        self._map = entries
        self._lengths = tuple(sorted({len(prefix) for prefix in entries}, reverse=True))
        self._on_no_match = on_no_match

    def match(self, data: D) -> Any:
        """The action for ``data``; None for no match."""
        value = self._input(data)
        if value is not None:
            for length in self._lengths:
                on_match = self._map.get(value[:length]) if length <= len(value) else None
                found = None if on_match is None else on_match.resolve(data)
                if found is not None:
                    return found
        return None if self._on_no_match is None else self._on_no_match.resolve(data)
