"""Line feeds at the end of a quoted scalar, as yaml-cpp leaves them.

YAML 1.2 (§7.3) folds ``n`` line breaks into ``n - 1`` line feeds wherever they stand.  yaml-cpp, which Envoy
reads with, clips those before the closing quote to one, as it does for block scalars; to two where an escape
stands before them, and to none where nothing does.  Seen on Envoy 1.40.
"""

from __future__ import annotations

import re

__all__ = ["clip_line_feeds"]

_PARTS = {
    "'": re.compile(r"''|[^']"),
    '"': re.compile(
        r"\\(?:x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[^xuU])|.",
        re.DOTALL,
    ),
}


def clip_line_feeds(text: str, raw: str, quote: str) -> str:
    """``text``, which ends in a line feed and was written as ``raw`` between two ``quote``."""
    written = raw.rstrip(" \t\r\n")
    breaks = raw.count("\n", len(written))
    if breaks < 2:
        return text  # written as an escape
    if not written:
        return ""
    before = len(text) - (breaks - 1)
    # A backslash alone is that of an escaped blank or line break.
    last = _PARTS[quote].findall(written)[-1]
    return text[: before + (2 if len(last) > 1 or last == "\\" else 1)]
