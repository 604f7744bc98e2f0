"""Verdicts of policies and of match trees."""

from __future__ import annotations

from typing import Any

import pytest

from sidecar.core.rbac import Engine, MatcherEngine, Subject, Verdict

SUBJECT = Subject(None, None)


class Tree:
    def __init__(self, found: Verdict | None) -> None:
        self._found = found

    def match(self, _data: Any) -> Verdict | None:
        return self._found


@pytest.mark.parametrize(
    ("action", "fits", "expected"),
    [
        ("ALLOW", True, Verdict(True, "a")),
        ("ALLOW", False, Verdict(False, None)),
        ("DENY", True, Verdict(False, "a")),
        ("DENY", False, Verdict(True, None)),
        ("LOG", True, Verdict(True, "a", is_logged=True)),
        ("LOG", False, Verdict(True, None)),
    ],
)
def test_action_says_what_a_fit_means(action: str, fits: bool, expected: Verdict) -> None:
    policies = [("b", lambda _: True), ("a", lambda _: True)] if fits else [("a", lambda _: False)]
    assert Engine(action, policies).judge(SUBJECT) == expected


def test_without_policies_allow_denies_and_deny_allows() -> None:
    assert not Engine("ALLOW", []).judge(SUBJECT).is_allowed
    assert Engine("DENY", []).judge(SUBJECT).is_allowed


def test_tree_without_an_action_denies() -> None:
    verdict = MatcherEngine(Tree(None), is_log=True).judge(SUBJECT)  # type: ignore[arg-type]
    assert (verdict.is_allowed, verdict.policy, verdict.is_default) == (False, None, True)
    found = Verdict(True, "x")
    assert MatcherEngine(Tree(found), is_log=False).judge(SUBJECT) is found  # type: ignore[arg-type]
