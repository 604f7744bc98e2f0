"""Every statistic that documentation of Envoy names is asserted by value in the record of a scenario."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from .named_stats import NAMED, NOT_ASSERTED, asserted_values, pattern_of
from .records import DIRECTORY


def seen() -> Iterator[tuple[str, Any]]:
    for path in DIRECTORY.glob("*.json"):
        yield from asserted_values(json.loads(path.read_text())["observation"])


def test_every_named_statistic_is_asserted_or_says_why_not() -> None:
    names = {name for name, value in seen() if value not in (None, "absent")}
    missing = set()
    for prefix, listed in NAMED.items():
        for name in listed.split():
            pattern = pattern_of(prefix, name)
            if not any(pattern.fullmatch(each) for each in names):
                missing.add(prefix + name)
    assert missing == set(NOT_ASSERTED)
