"""Role based access control: which policy a connection or a request fits, and whether it may pass.

``envoy.config.rbac.v3.RBAC`` compiled (:mod:`sidecar.config.compile.rbac`).  What is asked is a
:class:`Subject`; policies are asked in the order of their names, and the first that fits counts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sidecar.core.matching import Tree

__all__ = ["Engine", "MatcherEngine", "Rule", "Subject", "Verdict"]


@dataclass(slots=True)
class Subject:
    """What rules look at."""

    #: A :class:`sidecar.api.stream.ConnectionInfo`.
    connection: Any
    #: Of a request; without any for a connection.
    headers: Any
    dynamic_metadata: dict[str, dict[str, Any]] | None = None
    filter_state: dict[str, Any] | None = None
    #: A :class:`sidecar.api.stream.Stream`; None for a connection.
    stream: Any = None


Rule = Callable[[Subject], bool]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether it may pass, and the policy that it fits; None for none."""

    is_allowed: bool
    policy: str | None
    #: Of an action LOG.
    is_logged: bool = False
    #: Of a match tree that found no action.
    is_default: bool = False
    #: What metadata say of it, by the names that they say it with.
    told: dict[tuple[str, str], dict[str, str]] = field(default_factory=dict, compare=False, repr=False)


class Engine:
    """One RBAC: ``action`` is ``ALLOW``, ``DENY`` or ``LOG``."""

    __slots__ = ("_policies", "_verdicts", "is_log")

    def __init__(self, action: str, policies: Sequence[tuple[str, Rule]]) -> None:
        #: Whether all pass, and are to be logged where a policy fits.
        self.is_log = action == "LOG"
        self._policies = tuple(sorted(policies, key=lambda each: each[0].encode()))
        names: list[str | None] = [None, *(name for name, _ in policies)]
        #: By the policy that fits, None where none does; LOG lets everything pass.
        self._verdicts = {
            name: Verdict(True, name, is_logged=name is not None)
            if self.is_log
            else Verdict((name is not None) is (action == "ALLOW"), name)
            for name in names
        }

    def judge(self, subject: Subject) -> Verdict:
        """What becomes of it."""
        policy = None
        for name, rule in self._policies:
            if rule(subject):
                policy = name
                break
        return self._verdicts[policy]


class MatcherEngine:
    """A match tree whose actions are verdicts."""

    __slots__ = ("_tree", "is_log")

    def __init__(self, tree: Tree[Subject], *, is_log: bool) -> None:
        self._tree = tree
        #: Whether an action of the tree is LOG.
        self.is_log = is_log

    def judge(self, subject: Subject) -> Verdict:
        """What the action says; without one it is denied."""
        found: Verdict | None = self._tree.match(subject)
        return _NO_ACTION if found is None else found


_NO_ACTION = Verdict(False, None, is_default=True)
