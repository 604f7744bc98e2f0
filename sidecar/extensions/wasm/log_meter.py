"""How much a Wasm guest may log: so many bytes in a second, and what is more is counted and left out.

A full second's worth may come at once.  When a line is admitted again, one before it says how many were not.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

__all__ = ["LogMeter"]

logger = logging.getLogger("sidecar.wasm")


class LogMeter:
    """The meter of one plugin, whichever of its VMs logs."""

    __slots__ = ("_clock", "_dropped", "_left", "_left_out", "_rate", "_since")

    def __init__(self, bytes_per_s: int, dropped: Any, clock: Callable[[], float] = time.monotonic) -> None:
        """``dropped`` counts the lines that are left out."""
        self._rate = bytes_per_s
        self._dropped = dropped
        self._clock = clock
        self._left = float(bytes_per_s)
        self._since = clock()
        self._left_out = 0

    def admit(self, size: int, label: str) -> bool:
        """Whether a line of that size may be written."""
        now = self._clock()
        self._left = min(float(self._rate), self._left + (now - self._since) * self._rate)
        self._since = now
        # A line longer than a second's worth passes where nothing else was written for as long.
        if self._left < min(size, self._rate):
            self._left_out += 1
            self._dropped.inc()
            return False
        self._left -= size
        if self._left_out:
            logger.warning(
                "%s: %d lines left out: more than %d bytes in a second", label, self._left_out, self._rate
            )
            self._left_out = 0
        return True
