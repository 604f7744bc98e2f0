"""``xds.type.matcher.v3.Matcher`` compiled to the trees of :mod:`sidecar.core.matching`.

A caller says which inputs and which actions there are, each by the message that configures it: a virtual host
has its own (:mod:`sidecar.config.compile.route_matcher`), as other places will.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import xxhash

from sidecar.config.compile.cel import compile_cel_expression
from sidecar.config.compile.chance import fraction
from sidecar.config.compile.matchers import compile_string_matcher
from sidecar.config.compile.value_matchers import compile_value_matcher
from sidecar.config.messages import type_name
from sidecar.config.registry import resolve_any
from sidecar.core.address import parse_range
from sidecar.core.errors import ConfigError
from sidecar.core.matching import ExactMap, Input, MatchList, OnMatch, Predicate, PrefixMap, Tree
from sidecar.core.matching_sets import DomainMap, IpRangeMap, Network, Range, parse_address

__all__ = ["CEL_INPUT", "COMMON_INPUTS", "METADATA_INPUT", "Compile", "MatcherCompiler"]

#: Makes an input, a predicate's test or an action of its message and path.
Compile = Callable[[Any, str], Any]

_MATCHERS = "envoy.extensions.matching.input_matchers"
#: An input that takes all of the stream, for the matcher that is an expression.
CEL_INPUT = "xds.type.matcher.v3.HttpAttributesCelMatchInput"
_CEL_MATCHER = "xds.type.matcher.v3.CelMatcher"
#: An input that is a value of the dynamic metadata, for the matcher of such values.
METADATA_INPUT = "envoy.extensions.matching.common_inputs.network.v3.DynamicMetadataInput"
_METADATA_MATCHER = f"{_MATCHERS}.metadata.v3.Metadata"


class MatcherCompiler:
    """Compiles the trees of one place."""

    def __init__(
        self, inputs: Mapping[str, Compile], actions: Mapping[str, Compile], *, keeps_matching: bool = False
    ) -> None:
        self._inputs = {**COMMON_INPUTS, **inputs}
        self._actions = actions
        self._keeps_matching = keeps_matching

    def tree(self, message: Any, path: str) -> Tree[Any]:
        """The tree of a Matcher.  Raises: ConfigError."""
        on_no_match = None
        if message.HasField("on_no_match"):
            on_no_match = self._on_match(message.on_no_match, f"{path}.on_no_match")
        kind = message.WhichOneof("matcher_type")
        if kind == "matcher_tree":
            return self._map(message.matcher_tree, on_no_match, f"{path}.matcher_tree")
        entries = []
        for index, each in enumerate(message.matcher_list.matchers):
            at = f"{path}.matcher_list.matchers[{index}]"
            predicate = self._predicate(each.predicate, f"{at}.predicate")
            on_match = self._on_match(each.on_match, f"{at}.on_match")
            if on_match is not None:
                entries.append((predicate, on_match))
        return MatchList(entries, on_no_match)

    def _on_match(self, message: Any, path: str) -> OnMatch[Any] | None:
        if message.keep_matching:
            if not self._keeps_matching:
                raise ConfigError(f"{path}.keep_matching", "keep_matching is not supported in this context")
            # What is found is told to nobody here, and the search goes on.
            return OnMatch(tree=MatchList([], None))
        kind = message.WhichOneof("on_match")
        if kind == "matcher":
            return OnMatch(tree=self.tree(message.matcher, f"{path}.matcher"))
        if kind == "action":
            return OnMatch(action=self._extension(message.action, self._actions, f"{path}.action"))
        return None

    def _map(self, message: Any, on_no_match: OnMatch[Any] | None, path: str) -> Tree[Any]:
        take = self._input(message.input, f"{path}.input")
        kind = message.WhichOneof("tree_type")
        if kind == "custom_match":
            return self._set(message.custom_match, take, on_no_match, f"{path}.custom_match")
        if kind not in ("exact_match_map", "prefix_match_map"):
            raise ConfigError(path, f"match tree '{kind}' is not supported")
        entries = {}
        for key, each in getattr(message, kind).map.items():
            on_match = self._on_match(each, f'{path}.{kind}.map["{key}"]')
            if on_match is not None:
                entries[key.encode()] = on_match
        return (ExactMap if kind == "exact_match_map" else PrefixMap)(take, entries, on_no_match)

    def _set(self, message: Any, take: Input[Any], on_no_match: OnMatch[Any] | None, path: str) -> Tree[Any]:
        """The tree of an extension: ranges of addresses, or domains."""
        inner: Any
        name, inner = resolve_any(message.typed_config)
        at = f"{path}.typed_config"
        if inner is not None and name == "xds.type.matcher.v3.IPMatcher":
            return IpRangeMap(take, self._ranges(inner.range_matchers, f"{at}.range_matchers"), on_no_match)
        if inner is not None and name == "xds.type.matcher.v3.ServerNameMatcher":
            return DomainMap(take, self._domains(inner.domain_matchers, f"{at}.domain_matchers"), on_no_match)
        raise _unknown(message, name, path)

    def _ranges(self, messages: Sequence[Any], path: str) -> list[Range[Any]]:
        found: list[Range[Any]] = []
        for index, each in enumerate(messages):
            at = f"{path}[{index}]"
            on_match = self._on_match(each.on_match, f"{at}.on_match")
            for number, entry in enumerate(each.ranges):
                network = _network(entry, f"{at}.ranges[{number}]")
                if on_match is not None:
                    found.append((network, on_match, each.exclusive))
        return found

    def _domains(self, messages: Sequence[Any], path: str) -> list[tuple[str, OnMatch[Any]]]:
        found: dict[str, OnMatch[Any] | None] = {}
        for index, each in enumerate(messages):
            on_match = self._on_match(each.on_match, f"{path}[{index}].on_match")
            for number, domain in enumerate(each.domains):
                reason = _domain_fault(domain)
                if domain in found:
                    reason = f"Duplicate domain in ServerNameMatcher: {domain}"
                if reason is not None:
                    raise ConfigError(f"{path}[{index}].domains[{number}]", reason)
                found[domain] = on_match
        return [(domain, on_match) for domain, on_match in found.items() if on_match is not None]

    def _predicate(self, message: Any, path: str) -> Predicate[Any]:
        kind = message.WhichOneof("match_type")
        if kind == "single_predicate":
            return self._single(message.single_predicate, f"{path}.single_predicate")
        if kind == "not_matcher":
            inner = self._predicate(message.not_matcher, f"{path}.not_matcher")
            return lambda data: not inner(data)
        parts = tuple(
            self._predicate(each, f"{path}.{kind}.predicate[{index}]")
            for index, each in enumerate(getattr(message, kind).predicate)
        )
        if kind == "or_matcher":
            return lambda data: any(part(data) for part in parts)
        return lambda data: all(part(data) for part in parts)

    def _single(self, message: Any, path: str) -> Predicate[Any]:
        take = self._input(message.input, f"{path}.input")
        of_cel = type_name(message.input.typed_config.type_url) == CEL_INPUT
        if of_cel is not (type_name(message.custom_match.typed_config.type_url) == _CEL_MATCHER):
            kind = "cel_data_input" if of_cel else "string"
            raise ConfigError(path, f"Unsupported data input type: {kind}. The matcher supports input type: ")
        if message.WhichOneof("matcher") == "value_match":
            test = compile_string_matcher(message.value_match, f"{path}.value_match")
        else:
            test = self._extension(message.custom_match, _CUSTOM, f"{path}.custom_match")
        of_metadata = type_name(message.input.typed_config.type_url) == METADATA_INPUT
        if of_metadata is not (type_name(message.custom_match.typed_config.type_url) == _METADATA_MATCHER):
            # A value that is no text never fits a matcher of text, nor text one of values.
            return lambda data: False

        def holds(data: Any) -> bool:
            value = take(data)
            return value is not None and test(value)

        return holds

    def _input(self, message: Any, path: str) -> Input[Any]:
        name = type_name(message.typed_config.type_url)
        if name not in self._inputs:
            raise ConfigError(path, f"the input {message.typed_config.type_url} is not supported here")
        found: Input[Any] = self._extension(message, self._inputs, path)
        return found

    def _extension(self, message: Any, known: Mapping[str, Compile], path: str) -> Any:
        name, inner = resolve_any(message.typed_config)
        if name not in known or inner is None:
            raise _unknown(message, name, path)
        return known[name](inner, f"{path}.typed_config")


def _unknown(message: Any, name: str, path: str) -> ConfigError:
    reason = f"Didn't find a registered implementation for '{message.name}' with type URL: '{name}'"
    return ConfigError(path, reason)


def _network(message: Any, path: str) -> Network:
    try:
        return parse_range(message.address_prefix, message.prefix_len.value)
    except ValueError as error:
        raise ConfigError(path, str(error)) from error


def _domain_fault(domain: str) -> str | None:
    """What is wrong with a domain of a ServerNameMatcher."""
    if domain == "*":
        return None
    if not domain:
        return "Empty domain in ServerNameMatcher"
    wrong = f"Invalid wildcard domain format: {domain}"
    if "*" in domain and (not domain.startswith("*.") or len(domain) < len("*.a")):
        return f"{wrong}. Only '*' and '*.domain' patterns are supported"
    if "*" in domain[1:]:
        return f"{wrong}. Multiple wildcards are not supported"
    return None


def _ip(message: Any, path: str) -> Callable[[bytes], bool]:
    networks = [
        _network(each, f"{path}.cidr_ranges[{index}]") for index, each in enumerate(message.cidr_ranges)
    ]

    def test(value: bytes) -> bool:
        address = parse_address(value)
        return address is not None and any(address in network for network in networks)

    return test


def _environment(message: Any, _: str) -> Input[Any]:
    """The value when the configuration was read."""
    value = os.environb.get(message.name.encode())
    return lambda _: value


def _consistent_hashing(message: Any, _: str) -> Callable[[bytes], bool]:
    threshold, modulo, seed = message.threshold, message.modulo, message.seed
    return lambda value: xxhash.xxh64_intdigest(value, seed) % modulo >= threshold


def _runtime_fraction(message: Any, _: str) -> Callable[[bytes], bool]:
    numerator, denominator = fraction(message.runtime_fraction.default_value)
    seed = message.seed
    return lambda value: xxhash.xxh64_intdigest(value, seed) % denominator < numerator


def _cel(message: Any, path: str) -> Callable[[Any], bool]:
    """Whether an expression is true of a stream, which :data:`CEL_INPUT` takes."""
    return compile_cel_expression(message.expr_match, f"{path}.expr_match").matches


def _metadata(message: Any, path: str) -> Callable[[Any], bool]:
    """Whether a value of the metadata is one that fits."""
    test, inverted = compile_value_matcher(message.value, f"{path}.value"), bool(message.invert)
    return lambda value: test(value) is not inverted


#: Inputs that need no data.
COMMON_INPUTS: dict[str, Compile] = {
    "envoy.extensions.matching.common_inputs.environment_variable.v3.Config": _environment,
}
_CUSTOM: dict[str, Compile] = {
    _CEL_MATCHER: _cel,
    f"{_MATCHERS}.ip.v3.Ip": _ip,
    f"{_MATCHERS}.consistent_hashing.v3.ConsistentHashing": _consistent_hashing,
    _METADATA_MATCHER: _metadata,
    f"{_MATCHERS}.runtime_fraction.v3.RuntimeFraction": _runtime_fraction,
}
