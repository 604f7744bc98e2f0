"""Tasks that last as long as the server: what is asked for before it runs starts with it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

__all__ = ["Background"]

Task = Callable[[], Awaitable[None]]


class Background:
    """The tasks of one server."""

    def __init__(self) -> None:
        self._tasks: list[tuple[str, Task]] = []
        self._nursery: trio.Nursery | None = None

    def add(self, name: str, task: Task) -> None:
        """Run ``task``, now or once the server runs."""
        if self._nursery is None:
            self._tasks.append((name, task))
        else:
            self._nursery.start_soon(task, name=name)

    def start(self, nursery: trio.Nursery) -> None:
        """The server runs."""
        self._nursery = nursery
        for name, task in self._tasks:
            nursery.start_soon(task, name=name)
        self._tasks.clear()
