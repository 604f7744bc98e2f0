"""What is told of an exchange with a processor afterwards: ``%FILTER_STATE(<the filter's name>)%``."""

from __future__ import annotations

__all__ = ["ProcLog"]


class ProcLog:
    """How long the processor took for each part, and how each call of it ended."""

    __slots__ = ("calls",)

    def __init__(self) -> None:
        self.calls: dict[str, list[int]] = {}

    def record(self, direction: str, state: int, took_ns: int, status: int) -> None:
        """One call is over."""
