"""Which request targets Envoy's HTTP/1 parser takes (``BalsaParser``, ``isUrlValid``)."""

from __future__ import annotations

import re

__all__ = ["is_url"]

_PATH = re.compile(rb"[/*][\t\x0c!-~]*").fullmatch
_AUTHORITY = rb"[A-Za-z0-9!$%&'()*+,\-.:;=@\[\]_~]*(?:[/?][\t\x0c!-~]*)?"
_ABSOLUTE = re.compile(rb"[A-Za-z]+://" + _AUTHORITY).fullmatch
_CONNECT = re.compile(_AUTHORITY).fullmatch
_TWO_AT = re.compile(rb"[^/?]*@@").match


def is_url(target: bytes, *, is_connect: bool = False) -> bool:
    """Whether ``target`` is a path, ``*``, or an absolute URL; CONNECT takes an authority instead."""
    if _PATH(target):
        return True
    whole = _CONNECT(target) if is_connect else _ABSOLUTE(target)
    if whole is None or not target:
        return False
    return not _TWO_AT(target.partition(b"://")[2] if not is_connect else target)
