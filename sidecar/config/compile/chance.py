"""``RuntimeFractionalPercent`` and ``FractionalPercent`` as a question that is answered by chance."""

from __future__ import annotations

from collections.abc import Callable
from random import randrange
from typing import Any

from sidecar.config.compile.route_predicates import fraction

__all__ = ["ALWAYS", "NEVER", "compile_chance"]

Chance = Callable[[], bool]


def ALWAYS() -> bool:
    """Every time."""
    return True


def NEVER() -> bool:
    """Not once."""
    return False


def compile_chance(percent: Any) -> Chance:
    """Drawn anew at each call from ``envoy.type.v3.FractionalPercent``, as Envoy's ``featureEnabled`` does.

    The key of a ``RuntimeFractionalPercent`` means something to ``layered_runtime`` alone.
    """
    numerator, denominator = fraction(percent)
    if numerator >= denominator:
        return ALWAYS
    if not numerator:
        return NEVER
    return lambda: randrange(denominator) < numerator  # noqa: S311 - load, not secrets
