"""Timers of a strand: numbers that the reactor's sweep looks at, like its two deadlines.

A strand has a deadline and an idle deadline of its own, which is all that a plain exchange needs.  What a
configuration asks for besides (``max_stream_duration``, ``max_connection_duration`` …) is a :class:`Timer` in
the strand's list.  Those of a stream end with it, those of a connection when they fire or the strand is over.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sidecar.net.reactor import Strand

__all__ = ["Timer", "end_stream_timers", "run_timers", "start_timer", "stop_timer"]


class Timer:
    """Calls ``fire``, a plain function, once ``when`` has passed."""

    __slots__ = ("fire", "is_of_stream", "name", "when")

    def __init__(self, when: float, fire: Callable[[], None], name: str, *, is_of_stream: bool) -> None:
        #: time.monotonic() of the moment.
        self.when = when
        self.fire = fire
        #: The field that asked for it.
        self.name = name
        self.is_of_stream = is_of_stream


def start_timer(
    strand: Strand, when: float, fire: Callable[[], None], name: str, *, is_of_stream: bool = True
) -> Timer:
    """Let ``fire`` be called at ``when``; ``fire`` must not raise."""
    timer = Timer(when, fire, name, is_of_stream=is_of_stream)
    if strand.timers is None:
        strand.timers = [timer]
    else:
        strand.timers.append(timer)
    strand.stir()
    return timer


def stop_timer(strand: Strand, timer: Timer) -> None:
    """Forget ``timer``, which may be over."""
    timers = strand.timers
    if timers is not None and timer in timers:
        timers.remove(timer)
        if not timers:
            strand.timers = None


def end_stream_timers(strand: Strand) -> None:
    """The stream of ``strand`` is over: so are its timers."""
    timers = strand.timers
    if timers is not None:
        strand.timers = [timer for timer in timers if not timer.is_of_stream] or None


def run_timers(strand: Strand, now: float) -> None:
    """Fire those that are due, the earliest first."""
    timers = strand.timers
    if timers is None:
        return
    due = [timer for timer in timers if now > timer.when]
    if not due:
        return
    due.sort(key=lambda timer: timer.when)
    for timer in due:
        stop_timer(strand, timer)
        timer.fire()
