"""``envoy.config.common.mutation_rules.v3.HeaderMutationRules`` compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sidecar.config.compile.matchers import compile_regex
from sidecar.core.mutation_rules import MutationRules

__all__ = ["compile_mutation_rules"]


def compile_mutation_rules(message: Any, path: str) -> MutationRules:
    """The rules at ``path``.  Raises: ConfigError."""
    return MutationRules(
        allow_all_routing=message.allow_all_routing.value,
        allow_envoy=message.allow_envoy.value,
        disallow_system=message.disallow_system.value,
        disallow_all=message.disallow_all.value,
        allow_expression=_expression(message, "allow_expression", path),
        disallow_expression=_expression(message, "disallow_expression", path),
        disallow_is_error=message.disallow_is_error.value,
    )


def _expression(message: Any, field: str, path: str) -> Callable[[bytes], bool] | None:
    if not message.HasField(field):
        return None
    pattern = compile_regex(getattr(message, field).regex, f"{path}.{field}.regex")
    return lambda name: pattern.fullmatch(name) is not None
