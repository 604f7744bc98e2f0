"""Judging two observations: what was compared, where they differ, and which differences are documented."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, cast

from .observe import leaves

Observed = TypeVar("Observed")

DIFFERENCES_PAGE = Path(__file__).parents[2] / "docs" / "envoy-differences.md"


@dataclass(frozen=True, slots=True)
class Verdict:
    """`compared` counts the leaves looked at; `problems` is empty when all is well."""

    compared: int
    problems: tuple[str, ...]


def compare(oracle: Mapping[str, object], ours: Mapping[str, object], differs: Mapping[str, str]) -> Verdict:
    """Compare label by label.

    `differs` maps a label to the id of a documented difference: there the two must differ, and the id must be
    on the page of differences.
    """
    problems = []
    compared = 0
    known = documented_ids()
    for label in [*oracle, *(label for label in ours if label not in oracle)]:
        left, right = oracle.get(label), ours.get(label)
        compared += len(leaves(left))
        if label in differs:
            if differs[label] not in known:
                problems.append(f"{label}: difference {differs[label]!r} is not in {DIFFERENCES_PAGE.name}")
            if left == right:
                problems.append(f"{label}: documented difference {differs[label]!r} is gone: drop it")
        elif left != right:
            problems.append(f"{label}:\n{_difference(left, right)}")
    problems.extend(
        f"{label}: difference {differs[label]!r} declared, nothing observed there"
        for label in differs
        if label not in oracle and label not in ours
    )
    if compared == 0:
        problems.append("nothing was compared")
    return Verdict(compared, tuple(problems))


def unborn(observation: Observed) -> Observed:
    """The observation with each stat that did not move as absent.

    Whether such a stat exists depends on what the process has served before; a record was taken in another.
    """
    if not isinstance(observation, dict) or not isinstance(stats := observation.get("stats"), dict):
        return observation
    still = {name: "absent" if value == 0 else value for name, value in stats.items()}
    return cast("Observed", {**observation, "stats": still})


def documented_ids() -> frozenset[str]:
    """The ids on the page of differences: its third-level headings."""
    return frozenset(re.findall(r"^### `([a-z0-9-]+)`", DIFFERENCES_PAGE.read_text(), re.MULTILINE))


def _difference(left: object, right: object) -> str:
    lines = difflib.unified_diff(_lines(left), _lines(right), "envoy", "other", lineterm="", n=1)
    return "\n".join(f"    {line}" for line in lines if not line.startswith("@@"))


def _lines(value: object) -> list[str]:
    return json.dumps(value, indent=1).splitlines()
