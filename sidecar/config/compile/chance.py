"""Values that the runtime may change: shares of requests, questions answered by chance, flags and numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sidecar.core.runtime import Fraction, Number, Runtime, Switch

__all__ = [
    "ALWAYS",
    "NEVER",
    "compile_chance",
    "compile_flag",
    "compile_fraction",
    "compile_number",
    "fraction",
]

Chance = Callable[[], bool]
_DENOMINATORS = (100, 10_000, 1_000_000)


def ALWAYS() -> bool:
    """Every time."""
    return True


def NEVER() -> bool:
    """Not once."""
    return False


def fraction(message: Any) -> tuple[int, int]:
    """Numerator and denominator of an ``envoy.type.v3.FractionalPercent``."""
    return message.numerator, _DENOMINATORS[message.denominator]


def compile_fraction(percent: Any, runtime: Runtime) -> Fraction:
    """The share of an ``envoy.config.core.v3.RuntimeFractionalPercent``, which its key may change."""
    return runtime.fraction(percent.runtime_key, *fraction(percent.default_value))


def compile_chance(percent: Any, runtime: Runtime) -> Chance:
    """Drawn anew at each call from a ``RuntimeFractionalPercent``, as Envoy's ``featureEnabled`` does."""
    share = compile_fraction(percent, runtime)
    if runtime.is_live and percent.runtime_key:
        return share
    if share.numerator >= share.denominator:
        return ALWAYS
    return share if share.numerator else NEVER


def compile_flag(message: Any, runtime: Runtime) -> Switch:
    """A ``RuntimeFeatureFlag``; true where it says nothing."""
    default = message.default_value.value if message.HasField("default_value") else True
    return runtime.flag(message.runtime_key, default)


def compile_number(message: Any, runtime: Runtime) -> Number:
    """A ``RuntimeUInt32`` or ``RuntimeDouble``."""
    return runtime.number(message.runtime_key, message.default_value)
