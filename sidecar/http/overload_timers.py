"""``reduce_timeouts``: the timers of a connection manager, which end sooner the more pressure there is.

What is under way moves along with what begins.  Without the action there is nothing here: the fields of the
manager that are changed here are those that it was configured with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from sidecar.core.overload import ScaledTimers
from sidecar.http.connection_manager import ConnectionManager

if TYPE_CHECKING:
    from sidecar.api.stream import Stream
    from sidecar.net.reactor import Strand

__all__ = ["StreamIdle", "scale_timers", "stream_idle"]

_CONNECTION_IDLE = "HTTP_DOWNSTREAM_CONNECTION_IDLE"
_CONNECTION_MAX = "HTTP_DOWNSTREAM_CONNECTION_MAX"
_STREAM_IDLE = "HTTP_DOWNSTREAM_STREAM_IDLE"
_STREAM_FLUSH = "HTTP_DOWNSTREAM_STREAM_FLUSH"


def scale_timers(
    manager: ConnectionManager, timers: ScaledTimers, on_close: Callable[[Callable[[], None]], None]
) -> None:
    """Let ``timers`` scale what ``manager`` waits for, until it is closed."""
    silent: set[Strand] = set()
    manager.silent_connections = silent

    def move_idle(seconds: float, more_s: float) -> None:
        manager.idle_timeout_s = seconds
        for driver in tuple(manager.drivers):
            strand = driver.strand
            if strand.idle_deadline and driver.is_idle:
                strand.idle_deadline += more_s
                strand.stir()
        for strand in silent:
            if strand.idle_deadline:
                strand.idle_deadline += more_s
                strand.stir()

    def move_age(seconds: float, more_s: float) -> None:
        manager.max_connection_duration_s = seconds
        for strand in (*(driver.strand for driver in manager.drivers), *silent):
            for timer in strand.timers or ():
                if timer.name == "max_connection_duration":
                    timer.when += more_s
                    strand.stir()

    if manager.idle_timeout_s and timers.scales(_CONNECTION_IDLE):
        on_close(timers.follow(_CONNECTION_IDLE, manager.idle_timeout_s, move_idle))
    if manager.max_connection_duration_s and timers.scales(_CONNECTION_MAX):
        on_close(timers.follow(_CONNECTION_MAX, manager.max_connection_duration_s, move_age))
    streams = manager.stream_idle
    if streams is not None:
        sweep, sweeps = streams.sweep, timers.sweeps
        sweeps.append(sweep)
        on_close(lambda: sweeps.remove(sweep))


class StreamIdle:
    """``stream_idle_timeout`` and ``stream_flush_timeout``, which bytes of a body begin anew.

    Their deadlines stay as they are configured; those that the pressure makes late are found by looking.
    """

    def __init__(self, manager: ConnectionManager, timers: ScaledTimers) -> None:
        self._manager = manager
        self._timers = timers
        self._streams: WeakKeyDictionary[Strand, Stream] = WeakKeyDictionary()
        #: Those whose response waits for the client's windows, and how long it may as configured.
        self._flushes: WeakKeyDictionary[Strand, float] = WeakKeyDictionary()

    def begin(self, stream: Stream, strand: Strand) -> None:
        """A stream is here."""
        self._streams[strand] = stream

    def flush(self, strand: Strand, configured_s: float) -> None:
        """The end of a response begins to wait for the client's windows."""
        self._flushes[strand] = configured_s

    def flushed(self, strand: Strand) -> None:
        """It does not any more."""
        self._flushes.pop(strand, None)

    def _waiting(self) -> Iterator[tuple[Strand, str, float]]:
        """What waits within a stream, by which timer, and how long it may as configured."""
        manager = self._manager
        idle = {driver.strand for driver in manager.drivers if driver.is_idle}
        for strand, stream in self._streams.items():
            if strand.done or not strand.idle_deadline or strand in idle:
                continue
            flush_s = self._flushes.get(strand)
            if flush_s is not None:
                yield strand, _STREAM_FLUSH, flush_s
                continue
            route = stream.route
            own_s = None if route is None else route.idle_timeout_s
            yield strand, _STREAM_IDLE, manager.stream_idle_timeout_s if own_s is None else own_s

    def sweep(self) -> None:
        """Let end what waited too long for the pressure that there is."""
        now = self._manager.reactor.clock()
        timers = self._timers
        for strand, name, configured_s in self._waiting():
            if not timers.scales(name):
                continue
            less_s = configured_s - timers.scaled(name, configured_s)
            if now > strand.idle_deadline - less_s:
                strand.idle_deadline = now
                strand.stir()


def stream_idle(manager: ConnectionManager, timers: ScaledTimers | None) -> StreamIdle | None:
    """What watches the streams of ``manager``; None where nothing has to."""
    if timers is None or not (timers.scales(_STREAM_IDLE) or timers.scales(_STREAM_FLUSH)):
        return None
    return StreamIdle(manager, timers)
