"""``%CEL(EXPRESSION)%`` and ``%TYPED_CEL(EXPRESSION)%``.

Both are built in; the formatter extension ``envoy.formatter.cel`` only says what expressions may use.  The
library is loaded where a format has one of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sidecar.api.stream import Stream
from sidecar.core.cel_options import CelOptions
from sidecar.observability.header_operators import truncated
from sidecar.observability.json_values import CelValue

__all__ = ["CelOptions", "make_cel_operator"]


def make_cel_operator(
    text: str, limit: int | None, options: CelOptions, *, is_typed: bool
) -> Callable[[Stream], Any]:
    """The operator for an expression.  Raises: CelFault."""
    from sidecar.observability.cel import compile_cel
    from sidecar.observability.cel_text import cel_json, cel_text

    expression = compile_cel(text, options)
    if is_typed:

        def typed(stream: Stream) -> CelValue | None:
            value = expression.value(stream)
            text = cel_text(value)
            if text is None:
                return None
            plain = cel_json(value)
            return CelValue(
                truncated(text, limit), truncated(plain, limit) if isinstance(plain, str) else plain
            )

        return typed

    def shown(stream: Stream) -> str | None:
        value = cel_text(expression.value(stream))
        return None if value is None else truncated(value, limit)

    return shown
