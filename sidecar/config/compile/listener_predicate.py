"""``ListenerFilterChainMatchPredicate``: for which connections a listener filter is left out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sidecar.core.address import split_address
from sidecar.core.errors import ConfigError

__all__ = ["compile_listener_predicate"]


def compile_listener_predicate(message: Any, path: str) -> Callable[[Any], bool]:
    """Whether a connection fits.  Raises: ConfigError."""
    kind = message.WhichOneof("rule")
    if kind in ("or_match", "and_match"):
        rules = tuple(
            compile_listener_predicate(each, f"{path}.{kind}.rules[{index}]")
            for index, each in enumerate(getattr(message, kind).rules)
        )
        if kind == "or_match":
            return lambda connection: any(rule(connection) for rule in rules)
        return lambda connection: all(rule(connection) for rule in rules)
    if kind == "not_match":
        inner = compile_listener_predicate(message.not_match, f"{path}.not_match")
        return lambda connection: not inner(connection)
    if kind == "any_match":
        return lambda connection: True
    if kind == "destination_port_range":
        start, end = message.destination_port_range.start, message.destination_port_range.end

        def in_range(connection: Any) -> bool:
            port = split_address(connection.local_address)[1]
            return port is not None and start <= port < end

        return in_range
    raise ConfigError(path, f"match of kind '{kind}' is not supported")
