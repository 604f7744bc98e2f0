"""Matchers of values inside metadata, compiled to plain functions.

``envoy.type.matcher.v3.ValueMatcher``, ``MetadataMatcher``, ``DoubleMatcher``.  A value is what a
``google.protobuf.Value`` holds, as Python has it; :data:`MISSING` stands for one that is not there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sidecar.config.compile.matchers import compile_string_matcher
from sidecar.core.errors import ConfigError

__all__ = ["MISSING", "ValueMatcher", "compile_metadata_matcher", "compile_value_matcher"]

MISSING: Any = object()
ValueMatcher = Callable[[Any], bool]


def compile_value_matcher(message: Any, path: str) -> ValueMatcher:
    """What a ValueMatcher accepts; a value of another kind never.  Raises: ConfigError."""
    kind = message.WhichOneof("match_pattern")
    if kind == "null_match":
        return lambda value: value is None
    if kind == "double_match":
        return _double(message.double_match)
    if kind == "string_match":
        test = compile_string_matcher(message.string_match, f"{path}.string_match")
        return lambda value: (
            test(value.encode("utf-8", "surrogateescape"))
            if isinstance(value, str)
            else isinstance(value, bytes) and test(value)
        )
    if kind == "bool_match":
        wanted = bool(message.bool_match)
        return lambda value: value is wanted
    if kind == "present_match":
        present = bool(message.present_match)
        # False takes nothing at all, not what is absent (seen on Envoy 1.40).
        return lambda value: present and value is not MISSING
    if kind == "list_match":
        one = compile_value_matcher(message.list_match.one_of, f"{path}.list_match.one_of")
        return lambda value: isinstance(value, list | tuple) and any(map(one, value))
    if kind == "or_match":
        tests = [
            compile_value_matcher(each, f"{path}.or_match.value_matchers[{index}]")
            for index, each in enumerate(message.or_match.value_matchers)
        ]
        return lambda value: any(test(value) for test in tests)
    raise ConfigError(path, f"value matcher '{kind}' is not supported")


def _double(message: Any) -> ValueMatcher:
    if message.WhichOneof("match_pattern") == "range":
        start, end = message.range.start, message.range.end
        return lambda value: _is_number(value) and start <= value < end
    exact = message.exact
    return lambda value: _is_number(value) and value == exact


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def compile_metadata_matcher(message: Any, path: str) -> Callable[[dict[str, dict[str, Any]] | None], bool]:
    """Whether metadata (namespace to fields, None for none) has what a MetadataMatcher asks for.

    Raises: ConfigError.
    """
    namespace, keys = message.filter, tuple(segment.key for segment in message.path)
    test = compile_value_matcher(message.value, f"{path}.value")
    invert = bool(message.invert)

    def matches(metadata: dict[str, dict[str, Any]] | None) -> bool:
        value: Any = MISSING if metadata is None else metadata.get(namespace, MISSING)
        for key in keys:
            if not isinstance(value, dict):
                value = MISSING
                break
            value = value.get(key, MISSING)
        return test(value) is not invert

    return matches
