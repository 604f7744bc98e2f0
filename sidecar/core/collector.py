"""How often Python looks for cycles: seldom, since counting references frees nearly all of a proxy's memory.

While a process starts it makes modules, classes and compiled configuration, which all stay.  Collections at
Python's own thresholds walk them over and over: a tenth of a start.
"""

from __future__ import annotations

import gc

__all__ = ["collect_seldom"]


def collect_seldom() -> None:
    """Look at the youngest objects every 50,000 that are left, at the others after many of those."""
    gc.set_threshold(50_000, 50, 1000)
