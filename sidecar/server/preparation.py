"""What has to be done before listeners accept: Envoy's init manager.

Extensions say so while they are compiled (``FactoryContext.before_serving``).  Jobs run side by side, once
clusters have had their first answers; each limits its own time, so that none keeps a server from starting.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

__all__ = ["Preparation"]

Job = Callable[[], Awaitable[object]]


class Preparation:
    """The jobs of one server."""

    def __init__(self) -> None:
        self._jobs: list[Job] = []
        self._nursery: trio.Nursery | None = None

    def add(self, job: Job) -> None:
        """Have ``job`` done before serving, or at once where that has begun."""
        if self._nursery is None:
            self._jobs.append(job)
        else:
            self._nursery.start_soon(job, name="preparation")

    async def run(self, nursery: trio.Nursery) -> None:
        """Do all of them; those that come later run in ``nursery``."""
        while self._jobs:
            jobs, self._jobs = self._jobs, []
            async with trio.open_nursery() as together:
                for job in jobs:
                    together.start_soon(job, name="preparation")
        self._nursery = nursery
