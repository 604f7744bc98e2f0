"""What the hot path counts with: ``counter.value += 1``.

:mod:`sidecar.observability.stats` holds them by name.
"""

from __future__ import annotations

from mypy_extensions import mypyc_attr

__all__ = ["Counter", "Gauge"]


class Counter:
    """A number that only grows, until it is reset."""

    __slots__ = ("_latched", "_was_used", "delta", "name", "value")

    def __init__(self, name: str) -> None:
        self.name = name
        #: The hot path adds to this directly.
        self.value = 0
        #: The growth between the last two :meth:`latch` calls (what a stats sink sends).
        self.delta = 0
        self._latched = 0
        self._was_used = False

    def inc(self, n: int = 1) -> None:
        """Add ``n``."""
        self.value += n

    def reset(self) -> None:
        """Back to zero (``/reset_counters``); it stays used, and what a sink has not seen is not lost."""
        self._was_used = self._was_used or self.value != 0
        self._latched -= self.value
        self.value = 0

    def latch(self) -> int:
        """End the interval; the growth since the last call."""
        self.delta = self.value - self._latched
        self._latched = self.value
        return self.delta

    @property
    def used(self) -> bool:
        """Whether it was ever counted up."""
        return self.value != 0 or self._was_used


@mypyc_attr(allow_interpreted_subclasses=True)
class Gauge:
    """A number that goes up and down."""

    __slots__ = ("_was_set", "name", "value")

    def __init__(self, name: str) -> None:
        self.name = name
        self.value = 0
        self._was_set = False

    def inc(self, n: int = 1) -> None:
        """Add ``n``."""
        self.value += n
        self._was_set = True

    def dec(self, n: int = 1) -> None:
        """Take ``n`` away."""
        self.value -= n
        self._was_set = True

    def set(self, value: int) -> None:
        """Make it ``value``."""
        self.value = value
        self._was_set = True

    @property
    def used(self) -> bool:
        """Whether it was ever set."""
        return self._was_set or self.value != 0

    @property
    def own(self) -> Gauge:
        """What this process counts with, where what is shown adds up others."""
        return self
