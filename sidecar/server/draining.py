"""Draining: who tells clients that the end is near, and when (Envoy's ``DrainManagerImpl``).

A failed health check lets every answer say so at once.  A graceful drain spreads it over ``--drain-time-s``:
an answer says close with a probability that grows to one, and every open connection begins to drain at some
moment of that time; with ``--drain-strategy immediate`` all of it happens at once.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from sidecar.net.timer import start_timer

if TYPE_CHECKING:
    from sidecar.core.options import Options
    from sidecar.http.connection_manager import ConnectionManager

__all__ = ["DrainManager"]


class DrainManager:
    """The drain state of one server."""

    def __init__(
        self, options: Options, clock: Callable[[], float], draw: Callable[[], float] = random.random
    ) -> None:
        self._is_gradual = options.drain_strategy != "immediate"
        self._time_s = float(options.drain_time_s)
        self._clock = clock
        #: A number from 0 up to 1.
        self._draw = draw
        #: Nothing drains: what is asked for every answer is told at once.
        self._is_quiet = True
        self._health_failed = False
        #: When the drain began, of inbound listeners and of the others.
        self._since: dict[bool, float] = {}

    @property
    def health_failed(self) -> bool:
        """``/healthcheck/fail`` and ``/healthcheck/ok``."""
        return self._health_failed

    @health_failed.setter
    def health_failed(self, failed: bool) -> None:
        self._health_failed = failed
        self._is_quiet = not failed and not self._since

    def should_close(self, *, inbound: bool) -> bool:
        """Whether the answer that is about to begin ends its connection."""
        if self._is_quiet:
            return False
        if self._health_failed:
            return True
        since = self._since.get(inbound)
        if since is None:
            return False
        if not self._is_gradual:
            return True
        return self._draw() * self._time_s < self._clock() - since

    def begin(self, *, inbound_only: bool) -> bool:
        """Start the graceful drain; False when it has begun before."""
        if True in self._since and (inbound_only or False in self._since):
            return False
        now = self._clock()
        self._is_quiet = False
        self._since.setdefault(True, now)
        if not inbound_only:
            self._since.setdefault(False, now)
        return True

    def of_some(self) -> Callable[[], bool]:
        """Begins a drain of less than the server; the result says whether an answer ends its connection."""
        since = self._clock()

        def should_close() -> bool:
            if self._health_failed or not self._is_gradual:
                return True
            return self._draw() * self._time_s < self._clock() - since

        return should_close

    def tell(self, managers: Iterable[ConnectionManager]) -> None:
        """Let every connection of these managers begin to drain within the drain time."""
        now = self._clock()
        for manager in managers:
            for driver in manager.drivers:
                if self._is_gradual and self._time_s:
                    when = now + self._draw() * self._time_s
                    start_timer(driver.strand, when, driver.start_drain, "drain", is_of_stream=False)
                else:
                    driver.start_drain()
