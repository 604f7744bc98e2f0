"""SIGTERM: the end of a process that loses nothing it has begun (a choice of ours; Envoy ends at once).

In order: readiness fails; after ``--shutdown-grace-s`` nobody new is let in, but who waits in the queue of a
socket is still served; connections are told as ``--drain-strategy`` says, spread over ``--drain-time-s`` or
half of what is left if that is less; when no request, tunnel or TCP connection is under way the process
ends, at the latest ``--shutdown-deadline-s`` after the signal.  A second signal ends it at once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import trio

if TYPE_CHECKING:
    from sidecar.core.options import Options
    from sidecar.server.draining import DrainManager
    from sidecar.server.listener import Listener

__all__ = ["Shutdown"]

logger = logging.getLogger("sidecar.main")

#: Between two looks at what is still under way.
_LOOK_S = 0.05
#: A client that got an answer just now may be about to send another request: so many looks without one.
_QUIET_LOOKS = 2
#: How long clients have to close connections that are over, so that nothing they were sent is lost.
_LINGER_S = 0.5


class Shutdown:
    """The end of one server, in good order."""

    def __init__(
        self,
        options: Options,
        draining: DrainManager,
        listeners: Callable[[], Iterable[Listener]],
        stop: Callable[[], None],
    ) -> None:
        self._grace_s = float(options.shutdown_grace_s)
        self._limit_s = float(options.shutdown_deadline_s)
        self._drain_time_s = float(options.drain_time_s)
        self._draining = draining
        #: Those that have connections: the ones that serve, and those that LDS took away.
        self._listeners = listeners
        self._stop = stop
        self.has_begun = False
        self._is_grace_over = trio.Event()

    def end_grace(self) -> None:
        """Another epoch lets in who comes: nothing to wait for before connections are told."""
        self._is_grace_over.set()

    async def run(self) -> None:
        """Drain, then end the server."""
        self.has_begun = True
        self._draining.is_shutting_down = True
        with trio.move_on_after(self._limit_s) as limit:
            began = trio.current_time()
            with trio.move_on_after(self._grace_s):
                await self._is_grace_over.wait()
            await self._drain(self._limit_s - (trio.current_time() - began))
        if limit.cancelled_caught:
            count = sum(each.active for each in self._listeners())
            logger.warning("drain: %d connections are cut off after %g s", count, self._limit_s)
        self._stop()

    async def _drain(self, left_s: float) -> None:
        listeners = list(self._listeners())
        for listener in listeners:
            listener.stop_accepting()
        time_s = min(self._drain_time_s, max(left_s, 0.0) / 2)
        self._draining.begin(inbound_only=False, time_s=time_s)
        self._draining.tell(_managers(listeners), time_s)
        quiet, before = 0, -1
        while quiet < _QUIET_LOOKS:
            listeners = list(self._listeners())
            managers = _managers(listeners)
            requests = _total(managers, "downstream_rq_total")
            quiet = quiet + 1 if requests == before and not _is_busy(listeners, managers) else 0
            before = requests
            if quiet < _QUIET_LOOKS and any(each.active for each in listeners):
                await trio.sleep(_LOOK_S)
        for manager in managers:
            for driver in list(manager.drivers):
                driver.finish()
        with trio.move_on_after(_LINGER_S):
            while True:
                await trio.sleep(_LOOK_S / 5)
                if not any(manager.drivers for manager in managers):
                    return


def _managers(listeners: Iterable[Listener]) -> list[Any]:
    return [manager for listener in listeners for manager in listener.chains.managers]


def _is_busy(listeners: Iterable[Listener], managers: Iterable[Any]) -> bool:
    """Whether a request is under way, or a connection that speaks no HTTP."""
    managers = list(managers)
    if any(not driver.is_idle for manager in managers for driver in manager.drivers):
        return True
    return sum(each.active for each in listeners) > _total(managers, "downstream_cx_active")


def _total(managers: Iterable[Any], name: str) -> int:
    """The sum of a stat, which connection managers of one ``stat_prefix`` share."""
    stats = {id(stat): stat for stat in (getattr(manager.stats, name) for manager in managers)}
    return sum(stat.value for stat in stats.values())
