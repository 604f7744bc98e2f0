"""How problems are written, sorted and addressed."""

from __future__ import annotations

import pytest

from sidecar.config.errors import ConfigErrors, Mark, Problem, format_path, parse_path
from sidecar.config.nearest import distance, nearest
from sidecar.core.errors import SidecarError


def test_problem_is_written_as_place_path_reason_and_hint() -> None:
    problem = Problem("error", Mark("a.yaml", 3, 7), "a.b[0]", "it is wrong", "write c")
    assert str(problem) == "a.yaml:3:7 a.b[0]: it is wrong (write c)"


def test_problem_with_lines_to_add_indents_them_below() -> None:
    problem = Problem("error", Mark("a.yaml", 3, 7), "a", "it is missing", "add:\nb:\n  c: d")
    assert str(problem) == "a.yaml:3:7 a: it is missing\n  add:\n    b:\n      c: d"


def test_problem_without_place_is_written_without_it() -> None:
    assert str(Problem("error", None, "", "no configuration")) == "no configuration"


def test_problem_as_json_has_the_members_an_editor_needs() -> None:
    problem = Problem("warning", Mark("a.yaml", 3, 7), "a", "doubtful")
    assert problem.to_json() == {
        "severity": "warning",
        "file": "a.yaml",
        "line": 3,
        "column": 7,
        "path": "a",
        "reason": "doubtful",
        "hint": None,
    }
    assert Problem("error", None, "", "x").to_json()["line"] is None


def test_errors_are_sorted_by_place_and_told_once() -> None:
    late = Problem("error", Mark("a", 9, 1), "", "late")
    early = Problem("warning", Mark("a", 2, 1), "", "early")
    nowhere = Problem("error", None, "", "nowhere")
    errors = ConfigErrors([late, early, nowhere, late])
    assert isinstance(errors, SidecarError)
    assert errors.problems == [nowhere, early, late]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (("a", "b", 0, "c"), "a.b[0].c"),
        (("a", 0, 1), "a[0][1]"),
        (("m", "x.y.Z", "f"), 'm["x.y.Z"].f'),
        (("m", "@type"), "m.@type"),
        ((), ""),
    ],
)
def test_path_survives_being_written_and_read(path: tuple[str | int, ...], text: str) -> None:
    assert format_path(path) == text
    assert parse_path(text) == path


def test_nearest_takes_the_closest_name_and_none_that_is_far() -> None:
    assert nearest("stat_prefx", ["stat_prefix", "server_name"]) == "stat_prefix"
    assert nearest("ROUND-ROBIN", ["ROUND_ROBIN", "RANDOM"]) == "ROUND_ROBIN"
    assert nearest("stat_prefix", ["access_log"]) is None
    assert nearest("x", []) is None


def test_distance_counts_a_swap_once_and_stops_at_the_limit() -> None:
    assert distance("abcd", "abdc", 3) == 1
    assert distance("abc", "abc", 3) == 0
    assert distance("abcdef", "uvwxyz", 2) == 3
