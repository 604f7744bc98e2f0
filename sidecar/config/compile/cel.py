"""Expressions in CEL, wherever a configuration has one: as text, as a tree, or as a tree that was checked.

``xds.type.v3.CelExpression``, ``google.api.expr.v1alpha1`` and ``cel.expr``, whose trees are the same bytes.
Of a tree that was checked only the tree counts, as in Envoy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sidecar.core.cel_options import CelOptions
from sidecar.core.errors import ConfigError

if TYPE_CHECKING:
    from sidecar.observability.cel import Cel

__all__ = ["cel_options", "compile_cel_expression", "compile_cel_text", "compile_cel_tree"]

_DEFAULTS = CelOptions()


def cel_options(owner: Any) -> CelOptions:
    """``cel_config`` of a message."""
    config = owner.cel_config
    return CelOptions(
        config.enable_string_conversion, config.enable_string_concat, config.enable_string_functions
    )


def compile_cel_text(text: str, path: str, options: CelOptions = _DEFAULTS, *, has_node: bool = True) -> Cel:
    """An expression as text; ``has_node`` where ``xds.node`` is known.  Raises: ConfigError at ``path``."""
    from sidecar.observability import cel

    try:
        return cel.compile_cel(text, options, has_node=has_node)
    except cel.CelFault as error:
        raise ConfigError(path, str(error)) from error


def compile_cel_tree(expr: Any, path: str, options: CelOptions = _DEFAULTS, *, has_node: bool = True) -> Cel:
    """An ``Expr``.  Raises: ConfigError at ``path``."""
    from sidecar.observability import cel

    try:
        return cel.compile_cel_tree(expr.SerializeToString(), options, has_node=has_node)
    except cel.CelFault as error:
        raise ConfigError(path, str(error)) from error


def compile_cel_expression(message: Any, path: str) -> Cel:
    """An ``xds.type.v3.CelExpression``; Envoy 1.40 reads no text of it.

    Raises: ConfigError under ``path``.
    """
    for field in ("cel_expr_checked", "cel_expr_parsed", "checked_expr", "parsed_expr"):
        if message.HasField(field):
            return compile_cel_tree(getattr(message, field).expr, f"{path}.{field}.expr")
    hint = " (cel_expr_string is not read: give cel_expr_parsed)" if message.cel_expr_string else ""
    raise ConfigError(path, f"failed to create an expression: CEL expression not set.{hint}")
