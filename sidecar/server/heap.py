"""Freed memory: how much the C library keeps, and when the collector looks for what is left in cycles.

With its defaults glibc gives the top of the heap back to the system as soon as 128 KiB of it are free, and
maps each larger block anew: a response of 64 KiB then costs seven page faults, and system calls.  It raises
both limits by itself once a larger block that was mapped is freed.  So one such block is all it takes, and
other C libraries are none the worse for it.

The collector's oldest generation is left alone while requests are served.  What a configuration that was
replaced leaves there (a listener that drained is old by then) is looked for after a number of such endings.
"""

import gc

__all__ = ["Endings", "keep_freed_memory"]

#: More than the longest read: blocks up to this size are no longer mapped each by itself, and up to twice as
#: much is kept.
_BLOCK_BYTES = (1 << 20) + (1 << 16)


def keep_freed_memory() -> None:
    """Let the C library keep some freed memory for the next bodies.  Called once, before a process serves."""
    bytes(_BLOCK_BYTES)


class Endings:
    """Counts what was replaced and has ended; every so often the collector frees what is left of it."""

    BETWEEN_COLLECTIONS = 64

    def __init__(self) -> None:
        self._count = 0

    def one_more(self) -> None:
        """A listener or its filter chains have ended."""
        self._count += 1
        if self._count == self.BETWEEN_COLLECTIONS:
            self._count = 0
            gc.collect()
