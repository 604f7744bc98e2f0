"""``envoy.config.common.matcher.v3.MatchPredicate`` where nothing but the head of a response is looked at."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sidecar.config.compile.matchers import compile_header_matcher
from sidecar.core.headers import HeaderMap

__all__ = ["compile_response_predicate"]

Predicate = Callable[[HeaderMap], bool]


def compile_response_predicate(message: Any, path: str) -> Predicate:
    """Whether a response's headers satisfy ``message``; what is about other parts of an exchange does not.

    Raises: ConfigError.
    """
    kind = message.WhichOneof("rule")
    if kind == "any_match":
        return lambda headers: True
    if kind == "not_match":
        inner = compile_response_predicate(message.not_match, f"{path}.not_match")
        return lambda headers: not inner(headers)
    if kind in ("or_match", "and_match"):
        rules = [
            compile_response_predicate(rule, f"{path}.{kind}.rules[{number}]")
            for number, rule in enumerate(getattr(message, kind).rules)
        ]
        if kind == "or_match":
            return lambda headers: any(rule(headers) for rule in rules)
        return lambda headers: all(rule(headers) for rule in rules)
    if kind == "http_response_headers_match":
        tests = [
            compile_header_matcher(each, f"{path}.{kind}.headers[{number}]")
            for number, each in enumerate(message.http_response_headers_match.headers)
        ]
        return lambda headers: all(test(headers) for test in tests)
    return lambda headers: False
