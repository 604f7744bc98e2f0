"""Telephones: ``http.<prefix>.user_agent.<ios|android>.``, by the first request of each connection.

What a ``user-agent`` must contain, in this case, is that of Envoy's ``Http::UserAgent``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sidecar.core.headers import RequestHeaders

__all__ = ["AgentStats", "agent_of"]

_KINDS = ((b"iOS", "ios"), (b"android", "android"))


class AgentStats:
    """The connections of one kind of telephone."""

    __slots__ = ("_destroy", "_length")

    def __init__(self, scope: Any) -> None:
        self._destroy = scope.counter("downstream_cx_destroy_remote_active_rq")
        self._length = scope.histogram("downstream_cx_length_ms", "milliseconds")
        scope.counter("downstream_cx_total").value += 1
        scope.counter("downstream_rq_total").value += 1

    def end(self, length_ms: int, *, is_cut_off: bool) -> None:
        """The connection is over; ``is_cut_off``: the client left during a request."""
        if is_cut_off:
            self._destroy.value += 1
        self._length.record(length_ms)


def agent_of(headers: RequestHeaders, scope: Any) -> AgentStats | None:
    """Count a connection by its first request; None for any other client.  ``scope`` is the manager's."""
    value = headers.get(b"user-agent")
    if value is not None:
        for text, name in _KINDS:
            if text in value:
                return AgentStats(scope.scope(f"user_agent.{name}"))
    return None
