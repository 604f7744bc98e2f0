"""``envoy.config.common.matcher.v3.MatchPredicate`` over all parts of an exchange."""

from __future__ import annotations

from typing import Any

from sidecar.config.compile.matchers import compile_header_matcher
from sidecar.core.exchange_match import (
    REQUEST,
    REQUEST_BODY,
    REQUEST_TRAILERS,
    RESPONSE,
    RESPONSE_BODY,
    RESPONSE_TRAILERS,
    BodyLeaf,
    ExchangePredicate,
    HeaderLeaf,
    Tree,
)

__all__ = ["compile_exchange_predicate"]

_HEADERS = {
    "http_request_headers_match": REQUEST,
    "http_request_trailers_match": REQUEST_TRAILERS,
    "http_response_headers_match": RESPONSE,
    "http_response_trailers_match": RESPONSE_TRAILERS,
}
_BODIES = {
    "http_request_generic_body_match": REQUEST_BODY,
    "http_response_generic_body_match": RESPONSE_BODY,
}


def compile_exchange_predicate(message: Any, path: str) -> ExchangePredicate:
    """The predicate; ``message`` has passed the rules of the API.  Raises: ConfigError."""
    leaves: list[HeaderLeaf | BodyLeaf] = []
    tree = _compile(message, path, leaves)
    return ExchangePredicate(tuple(leaves), tree)


def _compile(message: Any, path: str, leaves: list[HeaderLeaf | BodyLeaf]) -> Tree:
    kind = message.WhichOneof("rule")
    if kind == "any_match":
        return lambda found: True
    if kind == "not_match":
        inner = _compile(message.not_match, f"{path}.not_match", leaves)
        return lambda found: not inner(found)
    if kind in ("or_match", "and_match"):
        rules = [
            _compile(rule, f"{path}.{kind}.rules[{number}]", leaves)
            for number, rule in enumerate(getattr(message, kind).rules)
        ]
        if kind == "or_match":
            return lambda found: any(rule(found) for rule in rules)
        return lambda found: all(rule(found) for rule in rules)
    index = len(leaves)
    if kind in _HEADERS:
        tests = tuple(
            compile_header_matcher(each, f"{path}.{kind}.headers[{number}]")
            for number, each in enumerate(getattr(message, kind).headers)
        )
        leaves.append(HeaderLeaf(_HEADERS[kind], tests))
    else:
        match = getattr(message, kind)
        patterns = tuple(
            each.string_match.encode() if each.WhichOneof("rule") == "string_match" else each.binary_match
            for each in match.patterns
        )
        leaves.append(BodyLeaf(_BODIES[kind], patterns, match.bytes_limit))
    return lambda found: found[index]
