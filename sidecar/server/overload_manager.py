"""The overload manager: reads its monitors in an interval, and tells actions and load-shed points.

Monitors are read in the order of the file; the global limit on connections, which is asked before each of
them, tells its pressure here too.
"""

from __future__ import annotations

import ctypes
import gc
import logging
import time
from collections.abc import Callable
from typing import Any

from sidecar.core.overload import LoadShedPoint, Overload, OverloadAction
from sidecar.server.resource_monitors import Monitor

__all__ = ["OverloadManager"]

#: How often timers that every byte begins anew are looked at.
_SWEEP_S = 0.05
_SWEPT = ("HTTP_DOWNSTREAM_STREAM_IDLE", "HTTP_DOWNSTREAM_STREAM_FLUSH")

logger = logging.getLogger("sidecar.main")


class OverloadManager:
    """See the module."""

    def __init__(self, overload: Overload, refresh_s: float, scope: Any) -> None:
        #: What others ask.
        self.overload = overload
        self._refresh_s = refresh_s
        self._scope = scope
        self._monitors: list[tuple[str, Monitor, Any, Any]] = []
        self._told: list[tuple[str, Callable[[], float], Any]] = []
        self._actions: list[OverloadAction] = []
        self._points: list[LoadShedPoint] = []
        self._delays = scope.histogram("refresh_interval_delay", "milliseconds")
        self._before_s = 0.0

    def add_monitor(self, name: str, monitor: Monitor) -> None:
        """Read ``monitor`` in the interval."""
        scope = self._scope.scope(name)
        scope.counter("skipped_updates")
        self._monitors.append((name, monitor, scope.gauge("pressure"), scope.counter("failed_updates")))

    def add_told(self, name: str, pressure: Callable[[], float]) -> None:
        """A resource that keeps its own count."""
        scope = self._scope.scope(name)
        scope.counter("failed_updates")
        self._told.append((name, pressure, scope.gauge("pressure")))

    def add_action(self, action: OverloadAction) -> None:
        self._actions.append(action)

    def add_point(self, point: LoadShedPoint) -> None:
        self._points.append(point)

    def start(self, every: Callable[[float, Callable[[], None]], Any]) -> None:
        """Begin to measure."""
        if not self._monitors:
            return
        self._before_s = time.monotonic()
        every(self._refresh_s, self.refresh)
        timers = self.overload.timers
        if timers is not None and any(map(timers.scales, _SWEPT)):
            every(_SWEEP_S, timers.sweep)
        action = self.overload.shrink_heap
        if action is not None:
            shrunk = self._scope.scope("envoy.overload_actions.shrink_heap").counter("shrink_count")

            def shrink() -> None:
                if action.value == 1:
                    shrunk.value += 1
                    shrink_heap(self.overload.shrink_unfreed_bytes)

            every(self.overload.shrink_interval_s, shrink)

    def refresh(self) -> None:
        """Read every monitor once."""
        for name, monitor, gauge, failed in self._monitors:
            try:
                pressure = monitor.read()
            except (OSError, ValueError) as error:
                failed.value += 1
                logger.info("Failed to update resource %s: %s", name, error)
                continue
            self._tell(name, pressure)
            gauge.set(int(pressure * 100))
        for name, read, gauge in self._told:
            pressure = read()
            self._tell(name, pressure)
            gauge.set(int(pressure * 100))
        now = time.monotonic()
        self._delays.record(int((now - self._before_s) * 1000))
        self._before_s = now

    def _tell(self, name: str, pressure: float) -> None:
        for action in self._actions:
            action.update(name, pressure)
        for point in self._points:
            point.update(name, pressure)


class _Mallinfo(ctypes.Structure):
    """``struct mallinfo2`` of glibc 2.33 and later."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks",
            "keepcost",
        )
    )  # fmt: skip


def free_heap_bytes() -> int | None:
    """What the C library keeps of memory that nobody uses; None where it does not say."""
    try:
        ask = ctypes.CDLL(None).mallinfo2
    except AttributeError:
        return None  # another C library than glibc
    ask.restype = _Mallinfo
    return int(ask().fordblks)


def shrink_heap(unfreed_bytes: int) -> bool:
    """Give memory that nobody uses back to the system, where it is more than ``unfreed_bytes``."""
    gc.collect()
    free = free_heap_bytes()
    if free is not None and free <= unfreed_bytes:
        return False
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except AttributeError:
        return False
    return True
