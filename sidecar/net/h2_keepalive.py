"""PING, to see whether an HTTP/2 peer is still there (``envoy.config.core.v3.KeepaliveSettings``).

One :class:`Keepalive` belongs to one connection, of either side; only those whose configuration asks for it
have one.  Times are looked at by the reactor's sweep (:mod:`sidecar.net.timer`), so they are as fine as it.
"""

from __future__ import annotations

from collections.abc import Callable
from random import random
from time import time
from typing import TYPE_CHECKING

from sidecar.net.timer import Timer, start_timer, stop_timer

if TYPE_CHECKING:
    from sidecar.codec.h2_types import KeepaliveSettings
    from sidecar.net.h2_wire import H2Wire
    from sidecar.net.reactor import Strand

__all__ = ["Keepalive"]

_NAME = "connection_keepalive"


class Keepalive:
    """Sends PING, and calls ``on_timeout`` once when nothing came back in time."""

    __slots__ = ("_clock", "_next", "_on_timeout", "_settings", "_strand", "_timeout", "_wire", "last_data_s")

    def __init__(
        self, settings: KeepaliveSettings, wire: H2Wire, strand: Strand, on_timeout: Callable[[], None]
    ) -> None:
        self._settings = settings
        self._wire = wire
        self._strand = strand
        self._on_timeout = on_timeout
        self._clock = wire.reactor.clock
        self._next: Timer | None = None
        #: Runs while an answer is awaited.
        self._timeout: Timer | None = None
        #: When the peer was last heard.
        self.last_data_s = self._clock()
        self._schedule()

    def _schedule(self) -> None:
        interval = self._settings.interval_s
        if interval:
            interval += interval * self._settings.jitter_percent / 100 * random()  # noqa: S311
            when = self._clock() + interval
            self._next = start_timer(self._strand, when, self.ping, _NAME, is_of_stream=False)

    def on_data(self) -> None:
        """Bytes came: a connection that carries something lives, however long its PING takes."""
        self.last_data_s = self._clock()

    def stop(self) -> None:
        """The connection has ended."""
        for timer in (self._timeout, self._next):
            if timer is not None:
                stop_timer(self._strand, timer)
        self._timeout = self._next = None

    def on_pong(self) -> None:
        """The answer is here: the next PING goes out an interval later."""
        self.stop()
        self._schedule()

    def ping(self) -> None:
        """Send PING, unless the answer to one is awaited."""
        if self._timeout is None:
            # The time, as Envoy has it: it helps whoever looks at a capture.
            self._wire.codec.ping(int(time() * 1000).to_bytes(8, "big"))
            self._wire.flush_later()
            self._wait(self._clock() + self._settings.timeout_s)

    def before_stream(self) -> None:
        """A stream is to be opened (client): look first whether anybody is there, after a long silence."""
        idle = self._settings.connection_idle_interval_s
        if idle and self._clock() - self.last_data_s > idle:
            self.ping()

    def _wait(self, when: float) -> None:
        self._timeout = start_timer(self._strand, when, self._look, _NAME, is_of_stream=False)

    def _look(self) -> None:
        when = self.last_data_s + self._settings.timeout_s
        if when > self._clock():
            self._wait(when)
        else:
            self._timeout = None
            self._on_timeout()
