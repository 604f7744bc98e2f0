"""Values of CEL as ``%CEL(…)%`` and ``%TYPED_CEL(…)%`` show them."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import Any

from google.protobuf.message import Message

from sidecar.observability.attributes import Duration, Timestamp
from sidecar.observability.cel import FAILED
from sidecar.observability.cel_data import Opaque
from sidecar.observability.cel_messages import message_json, message_text

__all__ = ["cel_json", "cel_text"]

_SECOND_NS = 1_000_000_000
#: Integers beyond it are no numbers of JSON, which are floating.
_EXACT = 1 << 53


def cel_text(value: Any) -> str | None:
    """As text; None for an error."""
    if isinstance(value, str):
        return value
    if value is FAILED:
        return None
    if value is None:
        return "NULL"
    if value is True or value is False:
        return "true" if value else "false"
    if isinstance(value, Duration):
        return _duration_text(value)
    if isinstance(value, Timestamp):
        return _timestamp_text(value).rstrip("Z") + "+00:00"
    if isinstance(value, int):
        return str(int(value))
    if isinstance(value, float):
        return format(value, "g")
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    if isinstance(value, dict | Opaque):
        return "CelMap value"
    if isinstance(value, list):
        return "CelList value"
    return message_text(value) if isinstance(value, Message) else "CelType value"


def cel_json(value: Any) -> Any:
    """As plain data for JSON; None for an error and for what has no form there."""
    if value is None or isinstance(value, bool | str | float):
        return value
    if isinstance(value, Duration):
        return _duration_json(value)
    if isinstance(value, Timestamp):
        return _timestamp_text(value, in_thousands=True)
    if isinstance(value, int):
        return int(value) if -_EXACT <= value <= _EXACT else int(float(value))
    if isinstance(value, bytes | bytearray):
        return base64.b64encode(value).decode()
    if isinstance(value, dict):
        return {str(key): cel_json(item) for key, item in value.items()}
    if isinstance(value, list):
        return [cel_json(item) for item in value]
    return message_json(value) if isinstance(value, Message) else None


def _fraction(nanoseconds: int) -> str:
    """``.5`` for half a second; nothing for none."""
    return f".{nanoseconds:09d}".rstrip("0").rstrip(".") if nanoseconds else ""


def _in_thousands(nanoseconds: int) -> str:
    """With 3, 6 or 9 digits."""
    if not nanoseconds:
        return ""
    digits = f"{nanoseconds:09d}"
    while digits.endswith("000"):
        digits = digits[:-3]
    return f".{digits}"


def _timestamp_text(value: int, *, in_thousands: bool = False) -> str:
    seconds, rest = divmod(int(value), _SECOND_NS)
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return text + (_in_thousands(rest) if in_thousands else _fraction(rest)) + "Z"


def _duration_json(value: int) -> str:
    seconds, rest = divmod(abs(int(value)), _SECOND_NS)
    return f"{'-' if value < 0 else ''}{seconds}{_in_thousands(rest)}s"


def _duration_text(value: int) -> str:
    """As ``absl::FormatDuration`` has it: ``1h30m``, ``1.5s``, ``20ms``."""
    number = abs(int(value))
    sign = "-" if value < 0 else ""
    if number == 0:
        return "0"
    if number < _SECOND_NS:
        for unit, size in (("ms", 1_000_000), ("us", 1000), ("ns", 1)):
            if number >= size:
                whole, rest = divmod(number, size)
                digits = f"{rest:0{len(str(size)) - 1}d}".rstrip("0") if rest else ""
                return f"{sign}{whole}{'.' if digits else ''}{digits}{unit}"
    minutes, rest = divmod(number, 60 * _SECOND_NS)
    hours, minutes = divmod(minutes, 60)
    text = (f"{hours}h" if hours else "") + (f"{minutes}m" if minutes else "")
    if rest:
        text += f"{rest // _SECOND_NS}{_fraction(rest % _SECOND_NS)}s"
    return sign + text
