"""Draining: who tells clients that the end is near, and when (Envoy's ``DrainManagerImpl``).

A failed health check lets every answer say so at once.  A graceful drain spreads it over ``--drain-time-s``:
an answer says close with a probability that grows to one, and every open connection begins to drain at some
moment of that time; with ``--drain-strategy immediate`` all of it happens at once.  The end of the process
(:mod:`sidecar.server.shutdown`) is such a drain, too.
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
        #: The process is about to end (``server/shutdown``).
        self.is_shutting_down = False
        #: When the drain began and how long it takes, of inbound listeners and of the others.
        self._since: dict[bool, tuple[float, float]] = {}

    @property
    def health_failed(self) -> bool:
        """``/healthcheck/fail`` and ``/healthcheck/ok``."""
        return self._health_failed

    @health_failed.setter
    def health_failed(self, failed: bool) -> None:
        self._health_failed = failed
        self._is_quiet = not failed and not self._since

    @property
    def is_unready(self) -> bool:
        """Whether those who ask are told not to send more."""
        return self._health_failed or self.is_shutting_down

    def should_close(self, *, inbound: bool) -> bool:
        """Whether the answer that is about to begin ends its connection."""
        if self._is_quiet:
            return False
        if self._health_failed:
            return True
        begun = self._since.get(inbound)
        if begun is None:
            return False
        if not self._is_gradual:
            return True
        since, time_s = begun
        return self._draw() * time_s < self._clock() - since

    def begin(self, *, inbound_only: bool, time_s: float | None = None, since_s: float | None = None) -> bool:
        """Start the graceful drain; False when it has begun before.

        ``time_s``: one that takes no longer than this, in the place of any other.  ``since_s``: when it
        began, if not now.
        """
        now = self._clock() if since_s is None else since_s
        self._is_quiet = False
        if time_s is not None:
            self._since = {True: (now, time_s), False: (now, time_s)}
            return True
        if True in self._since and (inbound_only or False in self._since):
            return False
        self._since.setdefault(True, (now, self._time_s))
        if not inbound_only:
            self._since.setdefault(False, (now, self._time_s))
        return True

    def of_some(self) -> Callable[[], bool]:
        """Begins a drain of less than the server; the result says whether an answer ends its connection."""
        since = self._clock()

        def should_close() -> bool:
            if self._health_failed or not self._is_gradual:
                return True
            return self._draw() * self._time_s < self._clock() - since

        return should_close

    def tell(self, managers: Iterable[ConnectionManager], time_s: float | None = None) -> None:
        """Let every connection of these managers begin to drain within the drain time."""
        now = self._clock()
        if time_s is None:
            time_s = self._time_s
        for manager in managers:
            for driver in tuple(manager.drivers):
                if self._is_gradual and time_s:
                    when = now + self._draw() * time_s
                    start_timer(driver.strand, when, driver.start_drain, "drain", is_of_stream=False)
                else:
                    driver.start_drain()
