"""How often Python looks for cycles: seldom, since counting references frees nearly all of a proxy's memory.

While a process starts it makes modules, classes and compiled configuration, which all stay.  Collections at
Python's own thresholds walk them over and over: a tenth of a start.  A single one on the way is another
tenth, since all of them are young: a process that only starts has none until its loop runs.
"""

from __future__ import annotations

import gc

__all__ = ["collect_from_now_on", "collect_later", "collect_seldom", "keep_all"]


def collect_seldom() -> None:
    """Look at the youngest objects every 50,000 that are left, at the others after many of those."""
    gc.set_threshold(50_000, 50, 1000)


def collect_later() -> None:
    """Look for no cycles until :func:`collect_from_now_on`."""
    gc.disable()


def collect_from_now_on() -> None:
    """Look for cycles again, among what comes: what is there is not walked before :func:`keep_all`."""
    if not gc.isenabled():
        gc.freeze()
        gc.enable()


def keep_all(*, is_copy: bool = False) -> None:
    """Free what nobody refers to by now; what is left lives as long as the process, and is not walked.

    Of a process that is a copy of another only what is its own is looked at: the rest stays the same memory.
    """
    if not is_copy:
        gc.unfreeze()
    gc.collect()
    gc.freeze()
    collect_seldom()
