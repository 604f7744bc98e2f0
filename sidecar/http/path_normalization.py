"""``normalize_path`` and ``merge_slashes``: one spelling for each path.

Done before filters and routes see a request, so that a rule for ``/admin`` cannot be walked around by
``/x/%2e%2e/admin``.  What is decoded, escaped and left alone is what Envoy does
(``Http::PathUtil::canonicalPath``, the URL canonicaliser behind it, and ``mergeSlashes``), seen on the
oracle; RFC 3986 §6.2.2 is the standard that it leans on.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["normalized_path"]

#: What may have to change: escapes, separators, characters to escape, dot segments, repeated slashes.
_UNUSUAL: Final = re.compile(rb"[%\\\"<>^`{|}\x80-\xff]|/\.|//").search
_ESCAPE: Final = re.compile(rb"%([0-9A-Fa-f]{2})|[\"<>^`{|}\x80-\xff]")
#: A per cent sign that begins no escape.
_LONE_PERCENT: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})").search
#: Parameters of a dot segment (RFC 3986 §3.3), which some servers leave out before they look for dots.
_DOT_PARAMETERS: Final = re.compile(rb"(?<=/)(\.\.?);[^/]*").sub
_UNRESERVED: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


def normalized_path(path: bytes, *, merge: bool, dots: bool) -> bytes | None:
    """``path`` with its part before ``?`` in one spelling; None when it has none (a NUL).

    ``dots`` is Envoy's ``normalize_path``, ``merge`` its ``merge_slashes``.
    """
    plain, question, query = path.partition(b"?")
    if _UNUSUAL(plain) is None:
        return path
    if dots:
        if b"/." in plain and b";" in plain:
            plain = _DOT_PARAMETERS(rb"\1", plain)
        if b"%00" in plain:
            return None
        spelled = _ESCAPE.sub(_respelled, plain) if _LONE_PERCENT(plain) is None else _respelled_nested(plain)
        plain = _without_dots(spelled.replace(b"\\", b"/"))
    if merge and b"//" in plain:
        # Envoy keeps a first and a last slash, so that ``//`` alone stays as it is.
        last = b"/" if plain.endswith(b"/") else b""
        plain = b"/" + b"/".join(part for part in plain.split(b"/") if part) + last
    return plain + question + query


def _respelled(match: re.Match[bytes]) -> bytes:
    digits = match[1]
    if digits is None:
        return b"%%%02X" % match[0][0]
    value = int(digits, 16)
    # An escape that stays keeps the case of its digits.
    return bytes((value,)) if value in _UNRESERVED else match[0]


def _respelled_nested(path: bytes) -> bytes:
    """As :func:`_respelled` for a whole path that has lone per cent signs.

    Such a sign becomes ``%25`` where a character that is decoded after it would make an escape of the two
    (``%4%41`` is no ``%4A``).
    """
    out = bytearray()
    lone = -3
    at = 0
    while at < len(path):
        match = _ESCAPE.match(path, at)
        if match is None:
            if path[at] == 0x25:
                lone = len(out)
            out.append(path[at])
            at += 1
            continue
        text = _respelled(match)
        out += text
        at = match.end()
        if len(text) == 1 and lone >= len(out) - 3:
            tail = bytes(out[lone:]) + (path[at : at + 1] if lone == len(out) - 2 else b"")
            if _ESCAPE.fullmatch(tail) is not None:
                out[lone + 1 : lone + 1] = b"25"
    return bytes(out)


def _without_dots(path: bytes) -> bytes:
    """Resolve ``.`` and ``..``; what would climb over the root stays there (RFC 3986 §5.2.4)."""
    segments: list[bytes] = []
    parts = path.split(b"/")[1:]
    for part in parts:
        if part == b"..":
            if segments:
                segments.pop()
        elif part != b".":
            segments.append(part)
    if parts and parts[-1] in (b".", b".."):
        segments.append(b"")
    return b"/" + b"/".join(segments)
