"""``header_key_format: {proper_case_words: {}}``: names of HTTP/1 headers as Train-Case.

For peers that take the case of a name for part of it, against RFC 9112 §5.1.
"""

from __future__ import annotations

import re

__all__ = ["proper_case"]

_NAMES = re.compile(rb"^[^:\r\n]+(?=:)", re.MULTILINE)
_FIRST_LETTERS = re.compile(rb"(?<![0-9A-Za-z])[a-z]")


def proper_case(head: bytes) -> bytes:
    """``head`` with a capital at the start of each name, and behind all but letters and digits."""
    first, end, rest = head.partition(b"\r\n")
    return first + end + _NAMES.sub(_cased, rest)


def _cased(match: re.Match[bytes]) -> bytes:
    return _FIRST_LETTERS.sub(_upper, match[0])


def _upper(match: re.Match[bytes]) -> bytes:
    return match[0].upper()
