"""The filter ``envoy.filters.http.rbac``: which requests may pass, by who asks for what."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from sidecar.api.filters import HttpFilter
from sidecar.api.message import LocalReply
from sidecar.core.rbac import Subject, Verdict

if TYPE_CHECKING:
    from sidecar.api.stream import AnyStream

__all__ = ["HttpRbacFilter", "RbacSettings", "RuleStats"]

_NAMESPACE = "envoy.filters.http.rbac"
_COMMON_NAMESPACE = "envoy.common"


class _Judge(Protocol):
    """An engine of policies, or one of a match tree."""

    #: Whether it decides what is to be logged.
    is_log: bool

    def judge(self, subject: Subject) -> Verdict: ...


class RuleStats:
    """What is counted of one engine: in all, and by policy where that is asked for."""

    __slots__ = ("_denied", "_names", "_scope", "allowed")

    def __init__(self, scope: Any, names: tuple[str, str]) -> None:
        self._scope = scope
        self._names = names
        self.allowed = scope.counter(names[0])
        self._denied = scope.counter(names[1])

    def count(self, verdict: Verdict, by_policy: bool) -> None:
        """One verdict."""
        (self.allowed if verdict.is_allowed else self._denied).value += 1
        if by_policy and verdict.policy is not None:
            name = self._names[0] if verdict.is_allowed else self._names[1]
            self._scope.counter(f"policy.{verdict.policy}.{name}").value += 1


@dataclass(frozen=True, slots=True)
class RbacSettings:
    """``RBAC``, of the filter or of a route; no engine lets everything pass."""

    engine: _Judge | None
    shadow: _Judge | None
    #: Whether the policies are counted each.
    counts_policies: bool = False
    #: Names in metadata: of the policy, and of the result.
    names: tuple[str, str] = ("", "")
    shadow_names: tuple[str, str] = ("", "")


class HttpRbacFilter(HttpFilter):
    """Judges every request by the rules of its route, or else its own."""

    uses_trio = False

    def __init__(self, settings: RbacSettings, stats: RuleStats, shadow_stats: RuleStats) -> None:
        self._settings = settings
        self._stats = stats
        self._shadow_stats = shadow_stats

    def decode_headers(self, stream: AnyStream) -> LocalReply | Awaitable[LocalReply | None] | None:
        settings = self._settings
        route = stream.find_route() if stream.resolve_route else stream.route
        if route is not None:
            settings = route.per_filter_config.get(self.config_name, settings)
        engine = settings.engine
        if engine is None and settings.shadow is None:
            return None
        subject = Subject(
            stream.connection,
            stream.request.headers,
            stream.dynamic_metadata,
            stream.filter_state,
            stream,
        )
        if settings.shadow is not None:
            verdict = settings.shadow.judge(subject)
            self._shadow_stats.count(verdict, settings.counts_policies)
            _tell(stream, settings.shadow_names, verdict)
        if engine is None:
            return None
        verdict = engine.judge(subject)
        if engine.is_log and not verdict.is_default:
            stream.metadata_namespace(_COMMON_NAMESPACE)["access_log_hint"] = verdict.is_logged
        if verdict.is_allowed and not settings.counts_policies:
            self._stats.allowed.value += 1
        else:
            self._stats.count(verdict, settings.counts_policies)
        _tell(stream, settings.names, verdict)
        if verdict.is_allowed:
            return None
        policy = "none" if verdict.policy is None else "_".join(verdict.policy.split())
        return LocalReply(403, b"RBAC: access denied", details=f"rbac_access_denied_matched_policy[{policy}]")


def _tell(stream: AnyStream, names: tuple[str, str], verdict: Verdict) -> None:
    told = verdict.told.get(names)
    if told is None:
        told = verdict.told[names] = {names[1]: "allowed" if verdict.is_allowed else "denied"}
        if verdict.policy is not None:
            told[names[0]] = verdict.policy
    metadata = stream.dynamic_metadata
    if metadata is None:
        stream.dynamic_metadata = {_NAMESPACE: told.copy()}
    else:
        metadata.setdefault(_NAMESPACE, {}).update(told)
