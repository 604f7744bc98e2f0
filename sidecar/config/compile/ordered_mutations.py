"""A list of ``envoy.config.common.mutation_rules.v3.HeaderMutation`` compiled."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sidecar.config.compile.matchers import compile_string_matcher
from sidecar.config.compile.route_headers import compile_additions
from sidecar.router.header_mutation import HeaderAddition
from sidecar.router.ordered_mutations import OrderedMutations, Removal, RemovalOnMatch

__all__ = ["compile_ordered_mutations"]


def compile_ordered_mutations(mutations: Any, path: str) -> OrderedMutations:
    """The list at ``path``.  Raises: ConfigError."""
    return OrderedMutations(tuple(_each(mutations, path)))


def _each(mutations: Any, path: str) -> Iterator[HeaderAddition | Removal | RemovalOnMatch]:
    for index, each in enumerate(mutations):
        at = f"{path}[{index}]"
        kind = each.WhichOneof("action")
        if kind == "remove":
            name = each.remove.lower()
            yield Removal(b":authority" if name == "host" else name.encode())
        elif kind == "remove_on_match":
            where = f"{at}.remove_on_match.key_matcher"
            yield RemovalOnMatch(compile_string_matcher(each.remove_on_match.key_matcher, where))
        else:
            yield from compile_additions([each.append], f"{at}.append")
