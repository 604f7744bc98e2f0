"""``xds.type.matcher.v3.Matcher`` compiled to the trees of :mod:`sidecar.core.matching`.

A caller says which inputs and which actions there are, each by the message that configures it: a virtual host
has its own (:mod:`sidecar.config.compile.route_matcher`), as other places will.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

import xxhash

from sidecar.config.compile.matchers import compile_string_matcher
from sidecar.config.compile.route_predicates import fraction
from sidecar.config.messages import type_name
from sidecar.config.registry import resolve_any
from sidecar.core.errors import ConfigError
from sidecar.core.matching import ExactMap, Input, MatchList, OnMatch, Predicate, PrefixMap, Tree

__all__ = ["COMMON_INPUTS", "MatcherCompiler"]

#: Makes an input, a predicate's test or an action of its message and path.
Compile = Callable[[Any, str], Any]

_MATCHERS = "envoy.extensions.matching.input_matchers"


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
        if kind not in ("exact_match_map", "prefix_match_map"):
            raise ConfigError(path, f"match tree '{kind}' is not supported")
        entries = {}
        for key, each in getattr(message, kind).map.items():
            on_match = self._on_match(each, f'{path}.{kind}.map["{key}"]')
            if on_match is not None:
                entries[key.encode()] = on_match
        return (ExactMap if kind == "exact_match_map" else PrefixMap)(take, entries, on_no_match)

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
        if message.WhichOneof("matcher") == "value_match":
            test = compile_string_matcher(message.value_match, f"{path}.value_match")
        else:
            test = self._extension(message.custom_match, _CUSTOM, f"{path}.custom_match")

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
            raise ConfigError(
                path, f"Didn't find a registered implementation for '{message.name}' with type URL: '{name}'"
            )
        return known[name](inner, f"{path}.typed_config")


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


#: Inputs that need no data.
COMMON_INPUTS: dict[str, Compile] = {
    "envoy.extensions.matching.common_inputs.environment_variable.v3.Config": _environment,
}
_CUSTOM: dict[str, Compile] = {
    f"{_MATCHERS}.consistent_hashing.v3.ConsistentHashing": _consistent_hashing,
    f"{_MATCHERS}.runtime_fraction.v3.RuntimeFraction": _runtime_fraction,
}
