"""What expressions in CEL may use beyond the rest of the language."""

from __future__ import annotations

from sidecar.core.dataclass import dataclass

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
    #: What guests of Wasm may, and no configuration: loops (``all``, ``exists`` …), ``+`` of lists and bytes,
    #: and patterns that are compiled when they are used.
    for_guests: bool = False
