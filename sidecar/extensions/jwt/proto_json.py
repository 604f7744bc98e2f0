"""JSON as protobuf's ``MessageToJsonString`` writes a Struct: its numbers, and what it escapes.

``google/protobuf/json/internal/writer.cc``.  The members of an object come sorted: protobuf's order is none.
"""

from __future__ import annotations

import re
from typing import Any

__all__ = ["proto_json"]

_ESCAPED = re.compile(
    '[\x00-\x1f"\\\\<>\x7f\xad\u0600-\u0603\u06dd\u070f\u17b4\u17b5\u200b-\u200f\u2028-\u202e\u2060-\u2064'
    "\u206a-\u206f\ufeff\ufff9-\ufffb\U0001d173-\U0001d17a\U000e0001\U000e0020-\U000e007f]"
)
_SHORT = {"\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", '"': '\\"', "\\": "\\\\"}


def proto_json(value: Any) -> str:
    """``value`` (None, bool, float, str, dict, list) as text."""
    if value is None:
        return "null"
    if value is True:
        return "true"
    if value is False:
        return "false"
    if isinstance(value, str):
        return f'"{_ESCAPED.sub(_escape, value)}"'
    if isinstance(value, dict):
        return "{" + ",".join(f"{proto_json(key)}:{proto_json(value[key])}" for key in sorted(value)) + "}"
    if isinstance(value, list):
        return "[" + ",".join([proto_json(each) for each in value]) + "]"
    short = f"{value:.15g}"
    return short if float(short) == value else f"{value:.17g}"


def _escape(match: re.Match[str]) -> str:
    character = match[0]
    short = _SHORT.get(character)
    if short is not None:
        return short
    code = ord(character)
    if code < 0x10000:
        return f"\\u{code:04x}"
    code -= 0x10000
    return f"\\u{0xD800 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"
