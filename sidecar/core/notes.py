"""Short notes from one process of a server to another: a kind and a number, in order, or lost with a process.

Workers send them by way of their supervisor (:mod:`sidecar.server.workers`).  A process that serves alone has
nobody to send any to.
"""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Notes"]


class Notes:
    """One process's end; ``send(process, kind, number)`` carries a note to another."""

    def __init__(self, send: Callable[[int, str, int], None]) -> None:
        self.send = send
        self._readers: dict[str, Callable[[int], None]] = {}

    def read(self, kind: str, reader: Callable[[int], None]) -> None:
        """Have the notes of this kind from now on; what came before is lost."""
        self._readers[kind] = reader

    def take(self, kind: str, number: int) -> None:
        """A note has come."""
        reader = self._readers.get(kind)
        if reader is not None:
            reader(number)
