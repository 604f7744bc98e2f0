"""Cancel a piece of asynchronous work at each of its steps in turn."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

__all__ = ["cancel_at_every_step"]

_MOST_STEPS = 2000


class _Steps(trio.abc.Instrument):
    """Cancels the scope before the n-th step that any task takes."""

    def __init__(self, scope: trio.CancelScope, number: int) -> None:
        self._scope = scope
        self._left = number

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self._left -= 1
        if self._left == 0:
            self._scope.cancel()


async def cancel_at_every_step(work: Callable[[], Awaitable[None]], check: Callable[[], None]) -> int:
    """Run ``work`` again and again, cancelled one step later each time, until it ends by itself.

    ``check`` is called after each run; the result is how many runs were cancelled.
    """
    for number in range(1, _MOST_STEPS):
        with trio.CancelScope() as scope:
            steps = _Steps(scope, number)
            trio.lowlevel.add_instrument(steps)
            try:
                await work()
            finally:
                trio.lowlevel.remove_instrument(steps)
        check()
        if not scope.cancelled_caught:
            return number - 1
    raise AssertionError("the work does not end")
