"""Values of log operators as JSON text, with Envoy's escapes.

Text that came from the wire is UTF-8 with surrogate escapes.  Where it is valid UTF-8 it is written as
it is; otherwise every byte that is not plain ASCII is written as ``\\u00XX`` (``Json::sanitize``).
"""

from __future__ import annotations

import json
import math
from json.encoder import encode_basestring
from typing import Any

from sidecar.core.late_pattern import late_pattern
from sidecar.observability.numbers import json_number

__all__ = ["CelValue", "Shortened", "json_text", "quoted", "quoted_inside"]

_NEEDS_ESCAPE = late_pattern(r'[\x00-\x1f"\\\udc80-\udcff]')
_encode = json.JSONEncoder(ensure_ascii=False).encode


class CelValue:
    """What an expression gave: another value as text than in JSON."""

    __slots__ = ("plain", "text")

    def __init__(self, text: str, plain: Any) -> None:
        self.text = text
        self.plain = plain


class Shortened:
    """A value that a length limit shortens where it is text, and leaves alone in typed JSON."""

    __slots__ = ("plain", "text")

    def __init__(self, text: str, plain: Any) -> None:
        self.text = text
        self.plain = plain


def quoted(text: str) -> str:
    """A JSON string."""
    if text.isascii():
        return encode_basestring(text)
    return f'"{quoted_inside(text)}"'


def quoted_inside(text: str) -> str:
    """A JSON string without its quotation marks."""
    if _NEEDS_ESCAPE.search(text) is None:
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return "".join(
            chr(byte) if 0x20 <= byte < 0x7F and byte not in b'"\\' else f"\\u{byte:04x}"
            for byte in text.encode("utf-8", "surrogateescape")
        )
    return _encode(text)[1:-1]


def json_text(value: Any) -> str:
    """``value`` (None, bool, number, str, dict, list) as compact JSON, keys sorted."""
    if value is None:
        return "null"
    if value is True:
        return "true"
    if value is False:
        return "false"
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return _float_text(value)
    if isinstance(value, bytes):
        return quoted(value.decode("utf-8", "surrogateescape"))
    if isinstance(value, dict):
        return "{" + ",".join(f"{quoted(key)}:{json_text(value[key])}" for key in sorted(value)) + "}"
    if isinstance(value, CelValue | Shortened):
        return json_text(value.plain)
    return "[" + ",".join([json_text(item) for item in value]) + "]"


def _float_text(value: float) -> str:
    if not math.isfinite(value):
        return "null"
    return json_number(value)
