"""Lua's patterns, judged by how long Lua's own matcher could take, and matched by RE2 where that is too long.

Lua's matcher backtracks: a pattern with several repetitions that may take the same bytes is tried in as many
ways as they can be shared out.  ``degree`` says how that grows with the subject.  A pattern of single
characters, classes, repetitions, captures and anchors means the same as a regular expression, which RE2
matches in linear time; ``%b``, ``%f`` and back references mean nothing to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import re2

from sidecar.core.dataclass import dataclass
from sidecar.core.errors import LuaError

__all__ = ["PatternError", "degree", "find", "plain_find", "some"]


class PatternError(LuaError):
    """A pattern that is malformed, or too much for its subject."""


def _class(test: str) -> int:
    return sum(1 << code for code in range(128) if eval_class(test, code))


def eval_class(letter: str, code: int) -> bool:
    """Whether the class ``%letter`` holds the character, in the C locale."""
    char = chr(code)
    alpha, digit = char.isalpha(), "0" <= char <= "9"
    return {
        "a": alpha,
        "d": digit,
        "l": "a" <= char <= "z",
        "u": "A" <= char <= "Z",
        "w": alpha or digit,
        "x": digit or char.lower() in "abcdef",
        "s": char in " \t\n\v\f\r",
        "c": code < 32 or code == 127,
        "p": 32 < code < 127 and not alpha and not digit,
        "g": 32 < code < 127,
        "z": code == 0,
    }[letter]


_ALL = (1 << 256) - 1
_CLASSES = {ord(letter): _class(letter) for letter in "adluwxscpgz"}
_CLASSES.update({letter - 32: _ALL & ~members for letter, members in list(_CLASSES.items())})

#: Bytes of pieces of a pattern.
_PERCENT, _OPEN, _CLOSE, _BRACKET, _END_BRACKET, _CARET, _DOLLAR, _DOT, _DASH = b"%()[]^$.-"
_REPEATS = b"*+-?"
#: Matches at a time.
_AT_A_TIME = 1000
#: Bytes of the subject times those of the pattern that RE2 is given: no hook can end what it does.
_MOST_WORK = 50_000_000


@dataclass(frozen=True, slots=True)
class _Item:
    """A single character class, how often it stands there, or a piece of syntax."""

    #: ``char``, ``open``, ``position``, ``close``, ``end``, ``other``
    kind: str
    members: int = 0
    repeat: int = 0


def _set(pattern: bytes, at: int) -> tuple[int, int]:
    """The class that begins at ``at``, and where it ends."""
    code = pattern[at]
    if code == _DOT:
        return _ALL, at + 1
    if code == _PERCENT:
        if at + 1 >= len(pattern):
            raise PatternError("malformed pattern (ends with '%')")
        after = pattern[at + 1]
        return _CLASSES.get(after, 1 << after), at + 2
    if code != _BRACKET:
        return 1 << code, at + 1
    at += 1
    is_negated = at < len(pattern) and pattern[at] == _CARET
    at += is_negated
    members, is_first = 0, True
    while True:
        if at >= len(pattern):
            raise PatternError("malformed pattern (missing ']')")
        code = pattern[at]
        if code == _END_BRACKET and not is_first:
            break
        is_first = False
        if code == _PERCENT and at + 1 < len(pattern):
            after = pattern[at + 1]
            members |= _CLASSES.get(after, 1 << after)
            at += 2
        elif at + 2 < len(pattern) and pattern[at + 1] == _DASH and pattern[at + 2] != _END_BRACKET:
            for each in range(code, pattern[at + 2] + 1):
                members |= 1 << each
            at += 3
        else:
            members |= 1 << code
            at += 1
    return (_ALL & ~members if is_negated else members), at + 1


@lru_cache(maxsize=512)
def _parse(pattern: bytes) -> tuple[bool, tuple[_Item, ...]]:
    """Whether it is anchored, and its items.  Raises: PatternError."""
    is_anchored = pattern[:1] == b"^"
    at = int(is_anchored)
    items: list[_Item] = []
    while at < len(pattern):
        code = pattern[at]
        if code == _OPEN:
            is_position = pattern[at + 1 : at + 2] == b")"
            items.append(_Item("position" if is_position else "open"))
            at += 1 + is_position
        elif code == _CLOSE:
            items.append(_Item("close"))
            at += 1
        elif code == _DOLLAR and at + 1 == len(pattern):
            items.append(_Item("end"))
            at += 1
        elif (code == _PERCENT and pattern[at + 1 : at + 2] in (b"b", b"f")) or _is_reference(pattern, at):
            items.append(_Item("other"))
            at += 2
            if pattern[at - 1 : at] == b"b":
                at += 2
            elif pattern[at - 1 : at] == b"f":
                _, at = _set(pattern, at) if at < len(pattern) else (0, at)
        else:
            members, at = _set(pattern, at)
            repeat = 0
            if at < len(pattern) and pattern[at] in _REPEATS:
                repeat = pattern[at]
                at += 1
            items.append(_Item("char", members, repeat))
    return is_anchored, tuple(items)


def _is_reference(pattern: bytes, at: int) -> bool:
    return pattern[at] == _PERCENT and pattern[at + 1 : at + 2].isdigit()


@lru_cache(maxsize=2048)
def degree(pattern: bytes) -> int:
    """A bound on what Lua's matcher does is ``(size of the subject + 1) ** degree``."""
    try:
        is_anchored, items = _parse(pattern)
    except PatternError:
        return 0  # Lua says what is wrong with it
    grows = any(item.kind == "other" or (item.repeat and item.repeat != ord("?")) for item in items)
    result = (not is_anchored) + grows
    for index, item in enumerate(items):
        if item.kind == "char" and item.repeat and _is_shared(item, items[index + 1 :]):
            result += 1
    return result


def _is_shared(item: _Item, rest: Sequence[_Item]) -> bool:
    """Whether what comes next may take a byte that the repetition takes as well."""
    for each in rest:
        if each.kind in ("open", "close", "position"):
            continue
        if each.kind == "end":
            return False
        if each.kind == "other":
            return True
        if each.members & item.members:
            return True
        if not each.repeat or each.repeat == ord("+"):
            return False
    return False


def _written(members: int) -> bytes:
    out = bytearray(b"[")
    code = 0
    while code < 256:
        if members >> code & 1:
            last = code
            while last + 1 < 256 and members >> (last + 1) & 1:
                last += 1
            out += b"\\x%02x" % code
            if last > code:
                out += b"-\\x%02x" % last
            code = last
        code += 1
    return bytes(out + b"]")


@lru_cache(maxsize=256)
def _compile(pattern: bytes) -> tuple[Any, tuple[bool, ...]]:
    """The expression, and which of its captures are positions.  Raises: PatternError."""
    is_anchored, items = _parse(pattern)
    out = bytearray(b"\\A" if is_anchored else b"")
    positions: list[bool] = []
    for item in items:
        if item.kind == "other":
            raise PatternError("pattern too complex for a subject of this size (%b, %f or a back reference)")
        if item.kind == "char":
            out += _written(item.members) if item.members else b"[^\\x00-\\xff]"
            out += {0: b"", ord("*"): b"*", ord("+"): b"+", ord("-"): b"*?", ord("?"): b"?"}[item.repeat]
        elif item.kind == "position":
            positions.append(True)
            out += b"()"
        elif item.kind == "open":
            positions.append(False)
            out += b"("
        else:
            out += b")" if item.kind == "close" else b"\\z"
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.log_errors = False
    options.max_mem = 8 << 20
    try:
        return re2.compile(bytes(out), options), tuple(positions)
    except re2.error as error:
        raise PatternError(f"malformed pattern ({error})") from error


def _check_size(text: bytes, pattern: bytes) -> None:
    if len(text) * len(pattern) > _MOST_WORK:
        raise PatternError("pattern too complex for a subject of this size")


def _captures(match: Any, positions: tuple[bool, ...]) -> list[Any]:
    return [
        match.start(number) + 1 if is_position else match.group(number)
        for number, is_position in enumerate(positions, 1)
    ]


def find(text: bytes, pattern: bytes, init: int, shows_place: bool) -> tuple[Any, ...]:
    """(None, what string.find or string.match gives …); ``init`` counts from 1.  Raises: PatternError."""
    _check_size(text, pattern)
    expression, positions = _compile(pattern)
    start = init - 1
    if start > len(text):
        return (None, None)
    match = expression.search(text[start:])  # an anchor stands where the search begins
    if match is None:
        return (None, None)
    caught = [
        each + start if is_position else each
        for each, is_position in zip(_captures(match, positions), positions, strict=True)
    ]
    if shows_place:
        return (None, start + match.start() + 1, start + match.end(), *caught)
    return (None, *(caught or [match.group()]))


def plain_find(text: bytes, needle: bytes, init: int) -> tuple[Any, ...]:
    """(None, start, end), or (None, None)."""
    at = text.find(needle, init - 1) if init - 1 <= len(text) else -1
    return (None, None) if at < 0 else (None, at + 1, at + len(needle))


def some(text: bytes, pattern: bytes, position: int) -> tuple[list[Any], int, int | None]:
    """The next matches from the byte at ``position`` on, where gsub and gmatch would find them.

    Start, end and captures of one after the other; how many values each has; where to go on, None for
    nowhere.  Raises: PatternError.
    """
    _check_size(text, pattern)
    expression, positions = _compile(pattern)
    flat: list[Any] = []
    size = len(text)
    count = 0
    while position <= size:
        match = expression.search(text, position)
        if match is None or (pattern[:1] == b"^" and match.start() != 0):
            return flat, 2 + len(positions), None
        start, end = match.span()
        flat += (start + 1, end)
        flat += _captures(match, positions)
        position = end if end > start else end + 1
        count += 1
        if count == _AT_A_TIME:
            return flat, 2 + len(positions), position
    return flat, 2 + len(positions), None
