"""``enable_dispatcher_stats``: how long the event loop works, and how late it comes back from waiting.

Trio tells of each wait for I/O, which is one turn of its loop; without the option nobody listens and nothing
is measured.  Under load the reactor looks at its sockets several times within one turn.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import trio

from sidecar.observability.histogram import Histogram
from sidecar.observability.stats import Store
from sidecar.server.role import Role

__all__ = ["DispatcherStats", "make_dispatcher_stats"]


class DispatcherStats(trio.abc.Instrument):
    """Records ``loop_duration_us`` and ``poll_delay_us`` of the loop that it is added to."""

    def __init__(
        self,
        durations: Sequence[Histogram],
        delays: Sequence[Histogram],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._durations = durations
        self._delays = delays
        self._clock = clock
        self._began_waiting = 0.0
        self._timeout = 0.0
        #: When the last wait ended; 0.0 before the first.
        self._woke = 0.0

    def before_io_wait(self, timeout: float) -> None:
        """The turn is over; the loop sleeps for ``timeout`` seconds at most."""
        now = self._began_waiting = self._clock()
        self._timeout = timeout
        if self._woke:
            microseconds = int((now - self._woke) * 1e6)
            for histogram in self._durations:
                histogram.record(microseconds)

    def after_io_wait(self, timeout: float) -> None:
        """The loop goes on.  Whoever is woken early, by a socket, is not late."""
        now = self._woke = self._clock()
        late = now - self._began_waiting - self._timeout
        if late >= 0:
            microseconds = int(late * 1e6)
            for histogram in self._delays:
                histogram.record(microseconds)


def make_dispatcher_stats(store: Store, role: Role) -> DispatcherStats:
    """Those of this process, which is the main thread, a worker or, alone, both."""
    scopes = []
    if role.is_main:
        scopes.append(store.scope("server.dispatcher"))
    if not role.has_workers:
        scopes.append(store.scope(f"listener_manager.worker_{role.worker}.dispatcher"))
    return DispatcherStats(
        [scope.histogram("loop_duration_us", "microseconds") for scope in scopes],
        [scope.histogram("poll_delay_us", "microseconds") for scope in scopes],
    )
