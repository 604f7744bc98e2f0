"""Expressions in CEL as configurations carry them: their trees, as plain data."""

from __future__ import annotations

from typing import Any

from cel.expr import syntax_pb2
from cel_expr_python import cel
from google.api.expr.v1alpha1 import syntax_pb2 as alpha
from google.protobuf import any_pb2, json_format

__all__ = ["tree"]


def tree(text: str) -> dict[str, Any]:
    """A ``google.api.expr.v1alpha1.Expr``, which a ``cel.expr.Expr`` looks like, too."""
    packed = any_pb2.Any.FromString(cel.NewEnv().compile(text, disable_check=True).serialize())
    parsed = syntax_pb2.ParsedExpr.FromString(packed.value)
    expr = alpha.Expr.FromString(parsed.expr.SerializeToString())
    found: dict[str, Any] = json_format.MessageToDict(expr, preserving_proto_field_name=True)
    return found
