"""The nearest name to a mistyped one, by edit distance."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["distance", "nearest"]


def distance(a: str, b: str, limit: int) -> int:
    """How many letters to insert, delete, replace or swap to turn ``a`` into ``b``; ``limit + 1`` if more."""
    if abs(len(a) - len(b)) > limit:
        return limit + 1
    before: list[int] = []
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        previous, row = row, [i]
        for j, y in enumerate(b, 1):
            cost = min(previous[j] + 1, row[j - 1] + 1, previous[j - 1] + (x != y))
            if i > 1 and j > 1 and x == b[j - 2] and a[i - 2] == y:
                cost = min(cost, before[j - 2] + 1)
            row.append(cost)
        if min(row) > limit:
            return limit + 1
        before = previous
    return row[-1]


def nearest(name: str, candidates: Iterable[str]) -> str | None:
    """The candidate closest to ``name``, or None where none is close enough to be meant."""
    best: str | None = None
    limit = max(2, len(name) // 3)
    folded = name.casefold().replace("-", "_")
    for candidate in sorted(candidates):
        found = distance(folded, candidate.casefold(), limit)
        if found <= limit:
            best, limit = candidate, found - 1
        if limit < 0:
            break
    return best
