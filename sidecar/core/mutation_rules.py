"""Which header mutations a service may ask for.

``envoy.config.common.mutation_rules.v3.HeaderMutationRules``.
"""

from __future__ import annotations

from collections.abc import Callable

from sidecar.core.dataclass import dataclass

__all__ = ["APPEND", "FAIL", "IGNORE", "OK", "REMOVE", "SET", "MutationRules"]

#: What is asked for.
SET, APPEND, REMOVE = range(3)
#: What is to be done about it.
OK, IGNORE, FAIL = range(3)

_ROUTING = frozenset((b"host", b":authority", b":method", b":scheme"))


@dataclass(frozen=True, slots=True)
class MutationRules:
    """Names are lower-case; an expression is what a whole name has to match."""

    allow_all_routing: bool = False
    allow_envoy: bool = False
    disallow_system: bool = False
    disallow_all: bool = False
    allow_expression: Callable[[bytes], bool] | None = None
    disallow_expression: Callable[[bytes], bool] | None = None
    disallow_is_error: bool = False

    def check(self, operation: int, name: bytes) -> int:
        """Whether ``name`` may be changed so: OK, IGNORE or FAIL."""
        if self._allows(operation, name):
            return OK
        return FAIL if self.disallow_is_error else IGNORE

    def _allows(self, operation: int, name: bytes) -> bool:
        is_system = name[:1] == b":"
        if operation != SET and (is_system or name == b"host"):
            return False  # the message would be none without it, or with two
        if self.disallow_expression is not None and self.disallow_expression(name):
            return False
        if self.allow_expression is not None and self.allow_expression(name):
            return True
        if self.disallow_all or (self.disallow_system and is_system):
            return False
        if not self.allow_all_routing and name in _ROUTING:
            return False
        return self.allow_envoy or not name.startswith(b"x-envoy-")
