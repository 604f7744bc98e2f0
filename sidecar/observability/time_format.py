"""Times by strftime patterns, with the extensions that Envoy knows.

``%s`` is seconds since the epoch (``%3s`` as well: the oracle ignores the digit), ``%f`` nanoseconds and
``%1f`` … ``%9f`` that many digits of them; of Abseil ``%E4S`` and ``%E*S``, ``%E3f`` and ``%E*f``,
``%Ez``, ``%E*z``, ``%EZ``, ``%ET``, ``%E4Y``.  What changes once a second is made once a second.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timezone

__all__ = ["DEFAULT_LOCAL_PATTERN", "DEFAULT_PATTERN", "compile_time_format", "has_newline", "is_coarse"]

DEFAULT_PATTERN = "%Y-%m-%dT%H:%M:%S.%3fZ"
DEFAULT_LOCAL_PATTERN = "%Y-%m-%dT%H:%M:%S.%3f%z"

_TOKEN = re.compile(
    r"%%|%([1-9])?s|%([1-9])?f|%E([0-9]|\*)([Sf])|%E(z|\*z|T|Z|4Y)|%[-_0^#]*[EO]?.",
    re.DOTALL,
)
_NEWLINE = re.compile(r"%[-_0^#]*[1-9]*[EO]?n")
_MILLISECONDS = tuple(f"{number:03d}" for number in range(1000))


def has_newline(pattern: str) -> bool:
    """Whether the pattern would print a line feed."""
    return _NEWLINE.search(pattern) is not None


def is_coarse(pattern: str) -> bool:
    """Whether all moments of a millisecond look the same."""
    return all(1 <= part <= 3 for part in _parse(pattern) if isinstance(part, int))


def compile_time_format(pattern: str, *, local: bool = False) -> Callable[[float], str]:
    """A function from seconds since the epoch to text."""
    parts = _parse(pattern)
    zone = None if local else UTC
    fractions = [part for part in parts if isinstance(part, int)]
    if not fractions:
        return _whole_seconds(parts, zone)
    if fractions == [3] and parts.count(3) == 1:
        return _one_millisecond_part(parts, zone)
    return _any_parts(parts, zone)


#: A piece of a pattern: text to put through strftime, or an int: that many digits of the fraction;
#: 0 is all that are needed, with a dot before them if any (``%E*S``), -1 without (``%E*f``).
_Part = str | int
_ALL_WITH_DOT = 0
_ALL = -1


def _parse(pattern: str) -> list[_Part]:
    parts: list[_Part] = [""]

    def add(part: _Part) -> None:
        last = parts[-1]
        if isinstance(part, str) and isinstance(last, str):
            parts[-1] = last + part
        else:
            parts.append(part)

    at = 0
    for match in _TOKEN.finditer(pattern):
        add(pattern[at : match.start()])
        at = match.end()
        found = match.group()
        if match.group(3):
            _add_extended(match.group(3), match.group(4), add)
        elif match.group(5):
            add({"z": "\0z", "*z": "\0Z", "T": "T", "Z": "%Z", "4Y": "%Y"}[match.group(5)])
        elif found.endswith("s") and found != "%%":
            add("\0s")
        elif found.endswith("f") and (found == "%f" or match.group(2)):
            add(int(match.group(2) or 9))
        else:
            add(found)
    add(pattern[at:])
    return [part for part in parts if part != ""]


def _add_extended(digits: str, unit: str, add: Callable[[_Part], None]) -> None:
    if unit == "S":
        add("%S")
        if digits == "*":
            add(_ALL_WITH_DOT)
        elif digits != "0":
            add(".")
            add(int(digits))
    elif digits == "*":
        add(_ALL)
    elif digits != "0":
        add(int(digits))


def _strftime(text: str, second: int, zone: timezone | None) -> str:
    moment = datetime.fromtimestamp(second, UTC)
    if zone is None:
        moment = moment.astimezone()
    if "\0" in text:
        offset = moment.strftime("%z")
        with_colon = f"{offset[:3]}:{offset[3:5]}"
        text = text.replace("\0s", str(second)).replace("\0z", with_colon).replace("\0Z", with_colon + ":00")
    return moment.strftime(text)


def _fraction(part: int, nanoseconds: int) -> str:
    digits = f"{nanoseconds:09d}"
    if part > 0:
        return digits[:part]
    digits = digits.rstrip("0")
    return ("." + digits if digits else "") if part == _ALL_WITH_DOT else (digits or "0")


def _whole_seconds(parts: list[_Part], zone: timezone | None) -> Callable[[float], str]:
    text = "".join(str(part) for part in parts)
    last_second = -1
    last_text = ""

    def whole_seconds(moment: float) -> str:
        nonlocal last_second, last_text
        second = int(moment)
        if second != last_second:
            last_second, last_text = second, _strftime(text, second, zone)
        return last_text

    return whole_seconds


def _one_millisecond_part(parts: list[_Part], zone: timezone | None) -> Callable[[float], str]:
    at = parts.index(3)
    before = "".join(str(part) for part in parts[:at])
    after = "".join(str(part) for part in parts[at + 1 :])
    last_second = -1
    last_before = last_after = ""

    def one_millisecond_part(moment: float) -> str:
        nonlocal last_second, last_before, last_after
        second = int(moment)
        if second != last_second:
            last_second = second
            last_before = _strftime(before, second, zone)
            last_after = _strftime(after, second, zone)
        return last_before + _MILLISECONDS[int((moment - second) * 1000)] + last_after

    return one_millisecond_part


def _any_parts(parts: list[_Part], zone: timezone | None) -> Callable[[float], str]:
    last_second = -1
    texts: list[_Part] = []

    def any_parts(moment: float) -> str:
        nonlocal last_second, texts
        second = int(moment)
        if second != last_second:
            last_second = second
            texts = [_strftime(part, second, zone) if isinstance(part, str) else part for part in parts]
        # A float of today's epoch resolves microseconds, not more: so does Envoy's clock.
        nanoseconds = min(round((moment - second) * 1_000_000), 999_999) * 1000
        return "".join([part if isinstance(part, str) else _fraction(part, nanoseconds) for part in texts])

    return any_parts
