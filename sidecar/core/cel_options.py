"""What expressions in CEL may use beyond the rest of the language."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CelOptions"]


@dataclass(frozen=True, slots=True)
class CelOptions:
    """``envoy.config.core.v3.CelExpressionConfig``."""

    #: ``string(…)``.
    string_conversion: bool = False
    #: ``+`` of texts and of bytes.
    string_concat: bool = False
    #: ``split``, ``lowerAscii`` and so on.
    string_functions: bool = False
