"""How many connections a listener takes, and all of them together; those beyond are closed at once."""

from __future__ import annotations

from typing import Any

from sidecar.core.overload import Overload
from sidecar.core.runtime import Number
from sidecar.core.shared_memory import Count

__all__ = ["ConnectionLimits", "GlobalLimit"]


class GlobalLimit:
    """``global_downstream_max_connections``: shared by the listeners that do not ignore it."""

    __slots__ = ("count", "maximum")

    def __init__(self, maximum: int, count: Count | None = None) -> None:
        self.maximum = maximum
        self.count = count or Count()


class ConnectionLimits:
    """What one listener looks at before it goes on with a connection."""

    __slots__ = ("_accept", "_count", "_global", "_maximum", "_overflow", "_reject")

    def __init__(
        self,
        maximum: Number | None,
        all_listeners: GlobalLimit | None,
        overload: Overload | None = None,
        count: Count | None = None,
    ) -> None:
        self._reject = None if overload is None else overload.reject_incoming_connections
        self._accept = None if overload is None else overload.tcp_listener_accept
        self._maximum = maximum
        self._global = all_listeners
        self._count = count or Count()
        self._overflow: tuple[Any, Any, Any] | None = None

    def set_scope(self, scope: Any) -> None:
        """Count in ``listener.<address>.``."""
        self._overflow = (
            scope.counter("downstream_global_cx_overflow"),
            scope.counter("downstream_cx_overflow"),
            scope.counter("downstream_cx_overload_reject"),
        )

    def admit(self) -> bool:
        """Whether one more connection may come: it then counts until :meth:`leave`."""
        shared = self._global
        if shared is not None and shared.count.total() >= shared.maximum:
            self._refuse(0)
            return False
        if (self._accept is not None and self._accept.shed()) or (
            self._reject is not None and self._reject.draw()
        ):
            self._refuse(2)
            return False
        if self._maximum is not None and self._count.total() >= self._maximum.value:
            self._refuse(1)
            return False
        self._count.add(1)
        if shared is not None:
            shared.count.add(1)
        return True

    def leave(self) -> None:
        """A connection that was admitted is over."""
        self._count.add(-1)
        if self._global is not None:
            self._global.count.add(-1)

    def _refuse(self, which: int) -> None:
        if self._overflow is not None:
            self._overflow[which].value += 1
