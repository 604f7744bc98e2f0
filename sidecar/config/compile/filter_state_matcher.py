"""Compiles ``envoy.type.matcher.v3.FilterStateMatcher``: tests of one object of the filter state."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from typing import Any

from sidecar.config.compile.matchers import compile_string_matcher
from sidecar.core.address import parse_range
from sidecar.core.errors import ConfigError
from sidecar.core.filter_state import IpText, bytes_of

__all__ = ["compile_filter_state_matcher"]


def compile_filter_state_matcher(message: Any, path: str) -> Callable[[Any], bool]:
    """A test of an object, or of None where there is none.  Raises: ConfigError."""
    if message.WhichOneof("matcher") == "address_match":
        return _in_ranges(message.address_match, f"{path}.address_match")
    test = compile_string_matcher(message.string_match, f"{path}.string_match")

    def matches(value: Any) -> bool:
        text = bytes_of(value)
        return text is not None and test(text)

    return matches


def _in_ranges(message: Any, path: str) -> Callable[[Any], bool]:
    ranges = []
    for index, each in enumerate(message.ranges):
        try:
            ranges.append(parse_range(each.address_prefix, each.prefix_len.value))
        except ValueError as error:
            raise ConfigError(f"{path}.ranges[{index}]", str(error)) from error

    def matches(value: Any) -> bool:
        if not isinstance(value, IpText):
            return False
        address = ipaddress.ip_address(value.ip)
        return any(address in each for each in ranges)

    return matches
