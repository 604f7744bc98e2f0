"""Times that resources hold: without another answer they go when these are over (Envoy's ``TtlManager``)."""

from __future__ import annotations

import time
from collections.abc import Callable

import trio

__all__ = ["Ttls"]


class Ttls:
    """Those of one stream; the clock is ``time.monotonic``."""

    def __init__(self) -> None:
        self._ends: dict[tuple[str, str], float] = {}
        self._changed: trio.Event | None = None

    def set(self, type_url: str, name: str, ttl_s: float | None, now: float) -> None:
        """It holds so long from ``now`` on; None: for ever."""
        if ttl_s is None:
            self._ends.pop((type_url, name), None)
            return
        self._ends[type_url, name] = now + ttl_s
        if self._changed is not None:
            self._changed.set()

    def take_expired(self, now: float) -> dict[str, list[str]]:
        """What does not hold any more, by type."""
        expired: dict[str, list[str]] = {}
        for (type_url, name), end in list(self._ends.items()):
            if end <= now:
                del self._ends[type_url, name]
                expired.setdefault(type_url, []).append(name)
        return expired

    def next_s(self, now: float) -> float:
        """How long until something expires."""
        return min(self._ends.values(), default=float("inf")) - now

    async def run(self, expire: Callable[[str, list[str]], None]) -> None:
        """Call ``expire`` with a type and names whenever their time is over."""
        while True:
            self._changed = trio.Event()
            with trio.move_on_after(max(0.0, self.next_s(time.monotonic()))):
                await self._changed.wait()
            for type_url, names in self.take_expired(time.monotonic()).items():
                expire(type_url, names)
