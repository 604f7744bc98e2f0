"""Role based access control: which policy a connection or a request fits, and whether it may pass.

``envoy.config.rbac.v3.RBAC`` compiled (:mod:`sidecar.config.compile.rbac`).  What is asked is a
:class:`Subject`; policies are asked in the order of their names, and the first that fits counts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Engine", "Rule", "Subject", "Verdict"]


@dataclass(slots=True)
class Subject:
    """What rules look at."""

    #: A :class:`sidecar.api.stream.ConnectionInfo`.
    connection: Any
    #: Of a request; without any for a connection.
    headers: Any
    dynamic_metadata: dict[str, dict[str, Any]] | None = None
    filter_state: dict[str, Any] | None = None


Rule = Callable[[Subject], bool]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether it may pass, and the policy that it fits; None for none."""

    is_allowed: bool
    policy: str | None


class Engine:
    """One RBAC: ``action`` is ``ALLOW``, ``DENY`` or ``LOG``."""

    __slots__ = ("_action", "_policies")

    def __init__(self, action: str, policies: Sequence[tuple[str, Rule]]) -> None:
        self._action = action
        self._policies = tuple(sorted(policies, key=lambda each: each[0].encode()))

    def judge(self, subject: Subject) -> Verdict:
        """What becomes of it.  LOG lets everything pass."""
        policy = next((name for name, rule in self._policies if rule(subject)), None)
        if self._action == "LOG":
            return Verdict(True, policy)
        return Verdict((policy is not None) is (self._action == "ALLOW"), policy)
