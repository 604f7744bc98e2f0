"""The network filter that lets connections through by who they are and where they go."""

from __future__ import annotations

from typing import Any

from sidecar.api.network import CLOSE, CONTINUE, NetworkFilter, NetworkSession
from sidecar.core.headers import RequestHeaders
from sidecar.core.rbac import Engine, MatcherEngine, Subject

__all__ = ["ContinuousRbac", "Rbac", "RbacRules"]

_NAMESPACE = "envoy.filters.network.rbac"


class RbacRules:
    """What both kinds of the filter ask, and what they count."""

    def __init__(
        self,
        stats: Any,
        shadow_stats: Any,
        engine: Engine | MatcherEngine | None,
        shadow: Engine | MatcherEngine | None,
        delay_s: float,
    ) -> None:
        """``stats`` and ``shadow_stats`` are scopes that end in ``rbac.``."""
        self._allowed = stats.counter("allowed")
        self._denied = stats.counter("denied")
        self._shadow_allowed = shadow_stats.counter("shadow_allowed")
        self._shadow_denied = shadow_stats.counter("shadow_denied")
        self._engine = engine
        self._shadow = shadow
        self._delay_s = delay_s

    def judge(self, session: NetworkSession) -> int:
        """CONTINUE or CLOSE; what is denied says by which policy."""
        connection = session.connection
        subject = Subject(connection, RequestHeaders(), connection.dynamic_metadata, connection.filter_state)
        if self._shadow is not None:
            verdict = self._shadow.judge(subject)
            (self._shadow_allowed if verdict.is_allowed else self._shadow_denied).value += 1
            found = connection.stream.metadata_namespace(_NAMESPACE)
            found["shadow_engine_result"] = "allowed" if verdict.is_allowed else "denied"
            if verdict.policy is not None:
                found["shadow_effective_policy_id"] = verdict.policy
        if self._engine is None:
            return CONTINUE
        verdict = self._engine.judge(subject)
        if verdict.is_allowed:
            self._allowed.value += 1
            return CONTINUE
        self._denied.value += 1
        policy = "none" if verdict.policy is None else verdict.policy
        session.details = f"rbac_access_denied_matched_policy[{policy}]"
        session.delay_s = self._delay_s
        return CLOSE


class Rbac(NetworkFilter):
    """``envoy.filters.network.rbac``: asked once, when the first byte has come."""

    def __init__(self, rules: RbacRules) -> None:
        self._rules = rules

    def on_first_data(self, session: NetworkSession, data: bytes) -> int:
        return self._rules.judge(session)


class ContinuousRbac(NetworkFilter):
    """With ``enforcement_type`` CONTINUOUS: asked whenever something comes."""

    def __init__(self, rules: RbacRules) -> None:
        self._rules = rules

    def on_data(self, session: NetworkSession, data: bytes) -> bytes | None:
        return data if self._rules.judge(session) == CONTINUE else None
