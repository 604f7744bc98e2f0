"""Taps: which exchanges are recorded, and where what was recorded goes.

A filter that may be tapped has a :class:`TapPoint`, which says nothing while nobody asks.  A point with a
``config_id`` is known to the :class:`Taps` of its process, where ``POST /tap`` of the admin interface puts a
tap in and takes it out again; one request at a time does, as in Envoy.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from sidecar.core.dataclass import dataclass

if TYPE_CHECKING:
    from sidecar.core.exchange_match import ExchangePredicate

__all__ = ["FORMATS", "Attached", "Tap", "TapPoint", "Taps"]

#: ``OutputSink.Format`` by number, and how the name of a file of that form ends.
FORMATS = (
    ("JSON_BODY_AS_BYTES", ".json"),
    ("JSON_BODY_AS_STRING", ".json"),
    ("PROTO_BINARY", ".pb"),
    ("PROTO_BINARY_LENGTH_DELIMITED", ".pb_length_delimited"),
    ("PROTO_TEXT", ".pb_text"),
)


def _nowhere(trace: bytes) -> None:
    """Nobody listens."""


@dataclass(frozen=True, slots=True)
class Tap:
    """``envoy.config.tap.v3.TapConfig`` compiled."""

    match: ExchangePredicate
    #: Name of the form, as in :data:`FORMATS`.
    format: str
    #: ``streaming_admin``, ``buffered_admin`` or ``file_per_tap``.
    sink: str
    max_buffered_rx_bytes: int = 1024
    max_buffered_tx_bytes: int = 1024
    is_streaming: bool = False
    #: Whether the next exchange is looked at (``tap_enabled``); None for each.
    is_enabled: Callable[[], bool] | None = None
    path_prefix: str = ""
    #: Of ``buffered_admin``: how many traces are gathered, and for how long; 0 for as long as it takes.
    max_traces: int = 0
    timeout_s: float = 0.0


class TapPoint:
    """A place where exchanges can be recorded."""

    __slots__ = ("emit", "tap")

    def __init__(self) -> None:
        #: What is wanted; None for nothing.
        self.tap: Tap | None = None
        #: Takes a trace that was rendered, where the sink is not a file.
        self.emit: Callable[[bytes], None] = _nowhere


@dataclass(frozen=True, slots=True)
class Attached:
    """The tap of a request at the admin interface."""

    config_id: str
    tap: Tap
    emit: Callable[[bytes], None] = _nowhere


class Taps:
    """The points of a process by their ``config_id``, and the tap that is attached."""

    def __init__(self) -> None:
        self._points: dict[str, list[TapPoint]] = {}
        self.attached: Attached | None = None

    @property
    def is_used(self) -> bool:
        """Whether there is a point at all: without one Envoy's admin interface has no ``/tap``."""
        return bool(self._points)

    def register(self, config_id: str, point: TapPoint) -> Callable[[], None]:
        """Know ``point``; the result forgets it."""
        points = self._points.setdefault(config_id, [])
        points.append(point)
        if self.attached is not None and self.attached.config_id == config_id:
            point.tap, point.emit = self.attached.tap, self.attached.emit

        def forget() -> None:
            points.remove(point)
            if not points:
                self._points.pop(config_id, None)

        return forget

    def knows(self, config_id: str) -> bool:
        """Whether a point has this id."""
        return config_id in self._points

    def attach(self, attached: Attached) -> None:
        """Put a tap into every point of its id."""
        self.attached = attached
        for point in self._points.get(attached.config_id, ()):
            point.tap, point.emit = attached.tap, attached.emit

    def detach(self) -> None:
        """Take it out again."""
        attached, self.attached = self.attached, None
        if attached is not None:
            for point in self._points.get(attached.config_id, ()):
                point.tap, point.emit = None, _nowhere
