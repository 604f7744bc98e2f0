"""What a regular expression's matches are replaced by: RE2's ``GlobalReplace``.

``envoy.type.matcher.v3.RegexMatchAndSubstitute`` of rewrites and hash policies.  Python's own differs in
what stands for a group, and in what an empty match behind another one does.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

__all__ = ["make_replacer"]

_ESCAPE = re.compile(rb"\\([0-9\\])|(\\)|([^\\]+)")


def make_replacer(pattern: Any, substitution: bytes) -> Callable[[bytes], bytes]:
    """What replaces every match of ``pattern`` (a compiled RE2) in a text.

    ``\\1`` stands for a group, ``\\0`` for the whole match, ``\\\\`` for a backslash.  With a group that
    ``pattern`` has not, nothing is replaced; any other escape ends the substitution where it stands.
    """
    pieces: list[bytes | int] = []
    for escaped, broken, plain in _ESCAPE.findall(substitution):
        if broken:
            break
        pieces.append(plain or (escaped if escaped == b"\\" else int(escaped)))
    if any(isinstance(piece, int) and piece > pattern.groups for piece in pieces):
        return _unchanged
    if all(isinstance(piece, bytes) for piece in pieces):
        fixed = b"".join(piece for piece in pieces if isinstance(piece, bytes))
        return lambda text: _replace(pattern, text, lambda _: fixed)

    def expand(match: Any) -> bytes:
        return b"".join(piece if isinstance(piece, bytes) else match[piece] or b"" for piece in pieces)

    return lambda text: _replace(pattern, text, expand)


def _unchanged(text: bytes) -> bytes:
    return text


def _replace(pattern: Any, text: bytes, expand: Callable[[Any], bytes]) -> bytes:
    out: list[bytes] = []
    copied = 0
    last = -1
    for match in pattern.finditer(text):
        start, end = match.span()
        if start == end == last:
            continue  # empty, right behind the last one
        out += (text[copied:start], expand(match))
        copied = last = end
    if last < 0:
        return text
    out.append(text[copied:])
    return b"".join(out)
