"""base64url and JSON as Envoy reads them in tokens and in sets of keys.

Envoy decodes with Abseil's ``WebSafeBase64Unescape`` and parses with protobuf's JSON parser into a
``google.protobuf.Struct``: every number is a double, a name must not stand twice in an object, and there are
at most 100 levels.
"""

from __future__ import annotations

import json
from binascii import Error, a2b_base64
from math import isinf
from typing import Any, Final

__all__ = ["MISSING", "WRONG_TYPE", "find", "parse_object", "unescape"]

MISSING: Final = object()
WRONG_TYPE: Final = object()

#: base64url to base64; what is base64's alone becomes something that is neither's.
_FROM_URL = bytes.maketrans(b"-_+/", b"+/!!")
_SPACE = b" \t\n\v\f\r"
_MOST_LEVELS = 100
#: Digits that no double has.
_FEWEST_INFINITE = 309


def unescape(text: bytes) -> bytes | None:
    """The bytes that base64url ``text`` stands for, padded or not; None where it is none."""
    if text[-1:] != b"=":
        try:
            return a2b_base64(text.translate(_FROM_URL) + b"==="[: -len(text) % 4], strict_mode=True)
        except Error:
            pass
    bare = text.translate(_FROM_URL, _SPACE)
    if bare.endswith((b"=", b".")):
        # Abseil takes a dot for padding, too, and as much of either as is right.
        stripped = bare.rstrip(b"=.")
        if (len(bare) - len(stripped)) != -len(stripped) % 4:
            return None
        bare = stripped
    try:
        return a2b_base64(bare + b"==="[: -len(bare) % 4], strict_mode=True)
    except Error:
        return None


def parse_object(data: bytes) -> dict[str, Any] | None:
    """The JSON object that ``data`` is; None where it is none."""
    try:
        text = data.decode()
        if text[:1] == "{":
            found, end = (_scan_short if len(text) < _FEWEST_INFINITE else _scan)(text, 0)
            if end != len(text) and text[end:].strip(" \t\n\r"):
                return None
        else:
            found = _decode(text)
        if type(found) is not dict:
            return None
        if "\\u" in text:
            # A half of a surrogate pair is no character.
            json.dumps(found, ensure_ascii=False).encode()
        if text.count("{") + text.count("[") > _MOST_LEVELS and _levels(found) > _MOST_LEVELS:
            return None
    except (ValueError, RecursionError, StopIteration):  # the last is how a scanner misses a value
        return None
    return found


def find(claims: dict[str, Any], path: tuple[str, ...]) -> Any:
    """The value at ``path``; MISSING, or WRONG_TYPE where something on the way is no object."""
    value: Any = claims
    for name in path:
        if type(value) is not dict:
            return WRONG_TYPE
        if name not in value:
            return MISSING
        value = value[name]
    return value


def _levels(value: Any) -> int:
    """How deep it goes; no deeper than the parser, which has been there."""
    if type(value) is dict:
        return 1 + max(map(_levels, value.values()), default=0)
    if type(value) is list:
        return 1 + max(map(_levels, value), default=0)
    return 0


def _number(text: str) -> float:
    value = float(text)
    if isinf(value):
        raise ValueError("out of range")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice")
    return found


def _constant(text: str) -> Any:
    raise ValueError(text)


_decoder: Any = json.JSONDecoder(
    object_pairs_hook=_object, parse_float=_number, parse_int=_number, parse_constant=_constant
)
_decode = _decoder.decode
#: The parser itself: what ``decode`` has around it costs as much as a small object does.
_scan = _decoder.scan_once
#: For texts so short that no integer in them is too large for a double.
_decoder_of_short: Any = json.JSONDecoder(
    object_pairs_hook=_object, parse_float=_number, parse_int=float, parse_constant=_constant
)
_scan_short = _decoder_of_short.scan_once
