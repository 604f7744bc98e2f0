"""Attributes as a processor is told them: truth values, numbers, and the text of everything else."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from sidecar.observability.attributes import Duration, Timestamp
from sidecar.observability.cel import FAILED
from sidecar.observability.cel_text import cel_text

if TYPE_CHECKING:
    from sidecar.api.stream import Stream
    from sidecar.observability.cel import Cel

__all__ = ["attribute_values"]


def attribute_values(attributes: Iterable[tuple[str, Cel]], stream: Stream) -> dict[str, Any]:
    """The values by name, without those that cannot be had."""
    found: dict[str, Any] = {}
    for name, expression in attributes:
        value = expression.value(stream)
        if value is FAILED:
            continue
        if not isinstance(value, bool | int) or isinstance(value, Duration | Timestamp):
            value = cel_text(value)
        found[name] = value if value is None or isinstance(value, bool | str) else int(value)
    return found
