"""What happens to the three upstreams, in phases of equal length.

``crash`` kills the process, ``hang`` stops it; the others are modes of ``tests.chaos.upstream``.
"""

from __future__ import annotations

__all__ = ["PHASES", "UPSTREAMS"]

UPSTREAMS = ("one", "two", "three")

_TEXT = """
ok    ok     ok
crash ok     ok
ok    ok     ok
ok    hang   ok
ok    ok     ok
ok    ok     reset
cut   ok     ok
ok    errors ok
ok    ok     slow
crash slow   ok
ok    ok     ok
hang  errors ok
crash crash  ok
slow  slow   slow
errors errors errors
ok    ok     ok
crash crash  crash
ok    ok     ok
reset cut    ok
hang  hang   hang
ok    ok     ok
"""
#: One tuple per phase: what each upstream does, in the order of UPSTREAMS.
PHASES: tuple[tuple[str, ...], ...] = tuple(tuple(line.split()) for line in _TEXT.strip().splitlines())
