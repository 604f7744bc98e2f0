"""Regular expressions that are compiled when they are used."""

from __future__ import annotations

import re

import pytest

from sidecar.core.late_pattern import late_pattern


def test_pattern_does_what_the_compiled_one_does() -> None:
    late, compiled = late_pattern(rb"a(b)?", re.IGNORECASE), re.compile(rb"a(b)?", re.IGNORECASE)
    for text in (b"xAB", b"ab", b"", b"ab ac"):
        for method in ("match", "fullmatch", "search"):
            found, expected = getattr(late, method)(text), getattr(compiled, method)(text)
            assert (found and found.span(1)) == (expected and expected.span(1))
        assert late.sub(b"-", text) == compiled.sub(b"-", text)
        assert late.findall(text) == compiled.findall(text)
    assert late.pattern == compiled.pattern


def test_pattern_is_compiled_at_its_first_use_and_once() -> None:
    broken = late_pattern("(")
    with pytest.raises(re.error):
        broken.match("")
    late = late_pattern("a")
    assert "match" not in vars(late)
    assert late.match("a")
    assert vars(late)["match"] == re.compile("a").match
