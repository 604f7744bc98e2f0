"""String and header matchers compiled to plain functions.

``envoy.type.matcher.v3.StringMatcher`` and ``envoy.config.route.v3.HeaderMatcher``; regular
expressions are RE2 and match whole values, as Envoy's do.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import re2

from sidecar.config.registry import resolve_any
from sidecar.core.errors import ConfigError
from sidecar.core.headers import HeaderMap

__all__ = ["compile_header_matcher", "compile_regex", "compile_string_matcher", "custom_matchers"]

Matcher = Callable[[bytes], bool]


def compile_regex(pattern: str, path: str) -> Any:
    """A compiled RE2.  Raises: ConfigError."""
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(pattern, options=options)
    except re2.error as error:
        raise ConfigError(path, f"invalid regular expression '{pattern}': {error}") from error


def compile_string_matcher(message: Any, path: str) -> Matcher:
    """What ``message`` accepts.  Raises: ConfigError."""
    kind = message.WhichOneof("match_pattern")
    fold = message.ignore_case
    if kind == "safe_regex":
        pattern = compile_regex(message.safe_regex.regex, f"{path}.safe_regex.regex")
        return lambda value: pattern.fullmatch(value) is not None
    if kind == "custom":
        return _custom(message.custom, f"{path}.custom")
    if kind not in ("exact", "prefix", "suffix", "contains"):
        raise ConfigError(path, f"string matcher '{kind}' is not supported")
    wanted: bytes = getattr(message, kind).encode()
    if fold:
        wanted = wanted.lower()
    plain = _PLAIN[kind](wanted)
    if fold:
        return lambda value: plain(value.lower())
    return plain


#: What makes matchers of extensions, by the name of their message.  The catalog of extensions fills it once:
#: those who compile text matchers are many, and few of them are given a registry.
custom_matchers: dict[str, Callable[[Any, str], Matcher]] = {}


def _custom(extension: Any, path: str) -> Matcher:
    name, message = resolve_any(extension.typed_config)
    make = custom_matchers.get(name)
    if make is None or message is None:
        raise ConfigError(path, f"string matcher '{name}' is not supported")
    return make(message, f"{path}.typed_config")


_PLAIN: dict[str, Callable[[bytes], Matcher]] = {
    "exact": lambda wanted: lambda value: value == wanted,
    "prefix": lambda wanted: lambda value: value.startswith(wanted),
    "suffix": lambda wanted: lambda value: value.endswith(wanted),
    "contains": lambda wanted: lambda value: wanted in value,
}


def compile_header_matcher(message: Any, path: str) -> Callable[[HeaderMap], bool]:
    """Whether a header map satisfies ``message``.

    Of a repeated header any one value may satisfy it; ``invert_match`` wants none to.  A missing header is no
    match, inverted or not, unless it is treated as empty.
    """
    name = message.name.lower().encode()
    kind = message.WhichOneof("header_match_specifier")
    invert = bool(message.invert_match)
    missing_as_empty = message.treat_missing_header_as_empty
    if kind is None or kind == "present_match":
        wanted = True if kind is None else message.present_match
        return lambda headers: ((name in headers or missing_as_empty) == wanted) != invert
    test = _value_test(message, kind, path)

    def matches(headers: HeaderMap) -> bool:
        value = headers.get(name)
        if value is None:
            if not missing_as_empty:
                return False
            return test(b"") != invert
        if test(value):
            return not invert
        if len(headers.index()) != len(headers.fields):
            for other in headers.get_all(name):
                if test(other):
                    return not invert
        return invert

    return matches


def _value_test(message: Any, kind: str, path: str) -> Matcher:
    if kind == "string_match":
        return compile_string_matcher(message.string_match, f"{path}.string_match")
    if kind == "safe_regex_match":
        pattern = compile_regex(message.safe_regex_match.regex, f"{path}.safe_regex_match.regex")
        return lambda value: pattern.fullmatch(value) is not None
    if kind == "range_match":
        start, end = message.range_match.start, message.range_match.end
        return lambda value: _in_range(value, start, end)
    plain = _PLAIN.get(kind.removesuffix("_match"))
    if plain is None:
        raise ConfigError(path, f"header matcher '{kind}' is not supported")
    return plain(getattr(message, kind).encode())


def _in_range(value: bytes, start: int, end: int) -> bool:
    return _INTEGER.fullmatch(value) is not None and start <= int(value) < end


#: What Envoy reads as a 64-bit number; Python alone would take underscores, too.
_INTEGER = re.compile(rb"[+-]?[0-9]{1,20}")
