"""Circuit breakers of a server with workers: each process counts its own, the limits are for all together.

As in Envoy, whose threads count together, nobody locks between looking and taking: processes that take the
last place in the same moment take it both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sidecar.upstream.resources import CircuitBreakerLimits, Resources, RetryBreaker

if TYPE_CHECKING:
    from sidecar.core.shared_memory import SharedMemory
    from sidecar.observability.stats import Scope

__all__ = ["make_resources"]

_FIELDS = ("connections", "pending", "requests", "pools", "sessions", "retries")
#: Words of a routing priority, and of a process: two priorities.
_WORDS = 8
_STEP = 2 * _WORDS
_RETRIES = _FIELDS.index("retries")


def make_resources(
    name: str,
    limits: tuple[CircuitBreakerLimits, CircuitBreakerLimits],
    scope: Scope,
    memory: SharedMemory | None,
) -> tuple[Resources, Resources]:
    """Those of a cluster, by routing priority; ``scope`` is ``circuit_breakers.``."""
    scopes = (scope.scope("default"), scope.scope("high"))
    first = None if memory is None else memory.words_of_each(f"cluster {name}".encode(), _STEP)
    if memory is None or first is None:
        return Resources(limits[0], scopes[0]), Resources(limits[1], scopes[1])
    return (
        _SharedResources(limits[0], scopes[0], memory, first),
        _SharedResources(limits[1], scopes[1], memory, first + _WORDS),
    )


def _own(index: int) -> Any:
    """What this process counts."""

    def get(self: _SharedResources) -> int:
        return self._words[self._at + index]

    def put(self: _SharedResources, value: int) -> None:
        self._words[self._at + index] = value

    return property(get, put)


def _limit(index: int) -> Any:
    """What the others leave to this process."""

    def get(self: _SharedResources) -> int:
        return self._most[index] - self.others(index)

    def put(self: _SharedResources, value: int) -> None:
        self._most[index] = value

    return property(get, put)


class _SharedResources(Resources):
    """Those of one routing priority.

    Whoever asks compares what it counts with what is allowed; so the counts are this process's, and the
    limits are less by what others count.
    """

    __slots__ = ("_at", "_end", "_first", "_most", "_words")

    connections = _own(0)
    pending = _own(1)
    requests = _own(2)
    pools = _own(3)
    sessions = _own(4)
    max_connections = _limit(0)
    max_pending_requests = _limit(1)
    max_requests = _limit(2)
    max_pools = _limit(3)

    def __init__(self, limits: CircuitBreakerLimits, scope: Scope, memory: SharedMemory, first: int) -> None:
        self._words = memory.words
        self._first = first
        self._at = first + memory.process * _STEP
        self._end = first + memory.processes * _STEP
        self._most = [0] * _WORDS
        super().__init__(limits, scope)

    def _start(self) -> None:
        """What is under way with a cluster that has another of this name in its place stays counted."""
        self.retries = _SharedRetries(self)

    def in_use(self, field: str) -> int:
        """What all processes count."""
        return sum(self._words[self._first + _FIELDS.index(field) : self._end : _STEP])

    def others(self, index: int) -> int:
        """What the other processes count."""
        words = self._words
        return sum(words[self._first + index : self._end : _STEP]) - words[self._at + index]


class _SharedRetries(RetryBreaker):
    """The retries of all processes."""

    __slots__ = ()

    _resources: _SharedResources

    def __init__(self, resources: _SharedResources) -> None:
        # Without setting what is under way to 0: it may be, with a cluster that this one replaces.
        self._resources = resources
        self.was_used = False
        self.was_budgeted = False

    @property
    def active(self) -> int:
        return self._resources._words[self._resources._at + _RETRIES]

    @active.setter
    def active(self, value: int) -> None:
        self._resources._words[self._resources._at + _RETRIES] = value

    def can_create(self) -> bool:
        return self._resources.in_use("retries") < self.limit()
