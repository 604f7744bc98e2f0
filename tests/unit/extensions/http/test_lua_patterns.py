"""Patterns that go to RE2 match as Lua's own matcher does."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.extensions.http.lua_patterns import PatternError, degree, find
from sidecar.extensions.http.lua_script import Limits, Script, ScriptOptions

LOOKS = b"""
function looks(text, pattern)
  local out = {}
  local function note(...)
    for i = 1, select("#", ...) do out[#out + 1] = tostring((select(i, ...))) end
    out[#out + 1] = "/"
  end
  note(pcall(string.find, text, pattern))
  note(pcall(string.find, text, pattern, 3))
  note(pcall(string.find, text, pattern, -2))
  note(pcall(string.find, text, pattern, 100))
  note(pcall(string.match, text, pattern))
  note(pcall(string.match, text, pattern, 2))
  note(pcall(string.gsub, text, pattern, "<%0>"))
  note(pcall(string.gsub, text, pattern, "<%1%%>", 2))
  note(pcall(string.gsub, text, pattern, function(a, b) return a ~= "a" and (b or "x") end))
  note(pcall(string.gsub, text, pattern, {a = "A", ab = 5, [1] = "one"}))
  note(pcall(function() for a, b in string.gmatch(text, pattern) do note(a, b) end end))
  return table.concat(out, ",")
end
"""


def _state(ways: int):
    script = Script(LOOKS, ScriptOptions(Limits(ways=ways, instructions=10**9, seconds=60)))
    return script._lua.globals()[b"looks"]


OWN, RE2 = _state(2**62), _state(0)

_PIECES = "a b . %a %d %s %w %u [ab] [^a] [%d_] [a-c] []] [^]] %. %% 1 _"
PIECES = st.sampled_from(_PIECES.split())
ITEMS = st.tuples(PIECES, st.sampled_from(["", "", "*", "+", "-", "?"])).map("".join)
PATTERNS = st.tuples(
    st.sampled_from(["", "^"]),
    st.lists(st.one_of(ITEMS, ITEMS.map("({})".format), st.just("()")), min_size=1, max_size=4).map("".join),
    st.sampled_from(["", "", "$"]),
).map("".join)
TEXTS = st.text(alphabet="ab1_ .%]A\n\0\xff", max_size=12)


@settings(max_examples=400, deadline=None)
@given(TEXTS, PATTERNS)
def test_re2_matches_what_lua_matches(text, pattern):
    arguments = text.encode("latin-1"), pattern.encode("latin-1")
    assert RE2(*arguments) == OWN(*arguments)


@pytest.mark.parametrize("pattern", [b"[", b"%", b"[a", b"[%"])
def test_malformed_pattern_is_left_to_lua(pattern):
    assert degree(pattern) == 0


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        (b"^abc", 0),
        (b"abc", 1),
        (b"^%w+=", 1),
        (b"%s+", 2),
        (b"^(%w+)=(.-);", 2),
        (b"(.-)(.-)x", 4),
        (b"a*a*a*b", 4),
        (b"a*" * 30 + b"c", 31),
        (b"^.*$", 1),
        (b"%b()", 2),
        (b"[", 0),
    ],
)
def test_degree_bounds_the_ways(pattern, expected):
    assert degree(pattern) == expected


def test_pattern_of_exponential_time_is_matched_in_linear_time():
    assert find(b"a" * 5000 + b"b", b"a*" * 30 + b"c", 1, True) == (None, None)


def test_what_re2_cannot_do_is_named():
    with pytest.raises(PatternError, match="too complex"):
        find(b"x", b"(.)%1", 1, True)
