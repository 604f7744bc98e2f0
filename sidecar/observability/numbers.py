"""Numbers as Envoy prints them in its three renderings."""

from __future__ import annotations

import math

__all__ = ["json_number", "text_number", "wide_number"]


def text_number(value: float) -> str:
    """The shortest digits that read back the same, whole numbers without a point (fmt's ``{}``)."""
    if math.isnan(value):
        return "nan"
    if value == int(value) and abs(value) < 1e16:
        return str(int(value)) if value or math.copysign(1, value) > 0 else "-0"
    return repr(value)


def json_number(value: float) -> str:
    """The shortest of the fixed and the scientific form, fixed when both are as long; NaN is null.

    That is ``std::to_chars``: 300000 is ``3e+05`` and 60000 is ``60000``.
    """
    if math.isnan(value):
        return "null"
    fixed = text_number(value)
    if "e" in fixed:
        if abs(value) < 1:
            return fixed
        whole = str(int(value))
        return whole if len(whole) <= len(fixed) else fixed
    digits = fixed.replace(".", "").strip("-")
    significant = digits.strip("0") or "0"
    exponent = math.floor(math.log10(abs(value))) if value else 0
    mantissa = significant[0] + ("." + significant[1:] if len(significant) > 1 else "")
    scientific = f"{'-' if value < 0 else ''}{mantissa}e{'-' if exponent < 0 else '+'}{abs(exponent):02d}"
    return scientific if len(scientific) < len(fixed) else fixed


def wide_number(value: float) -> str:
    """Up to 32 digits (``{:.32g}``), as the Prometheus rendering has them."""
    return format(value, ".32g")
