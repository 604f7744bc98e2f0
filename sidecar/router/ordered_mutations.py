"""Header mutations that are done one after the other (envoy.config.common.mutation_rules.v3.HeaderMutation).

Unlike those of routes (:mod:`sidecar.router.header_mutation`) each sees what the ones before it did.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from sidecar.core.dataclass import dataclass
from sidecar.router.header_mutation import (
    ADD_IF_ABSENT,
    APPEND,
    OVERWRITE_IF_EXISTS,
    HeaderAddition,
)

if TYPE_CHECKING:
    from sidecar.api.stream import Stream
    from sidecar.core.headers import HeaderMap

__all__ = ["OrderedMutations", "Removal", "RemovalOnMatch"]


@dataclass(frozen=True, slots=True)
class Removal:
    """``remove``."""

    name: bytes


@dataclass(frozen=True, slots=True)
class RemovalOnMatch:
    """``remove_on_match``: every header whose name matches."""

    matches: Callable[[bytes], bool]


@dataclass(frozen=True, slots=True)
class OrderedMutations:
    """A list of mutations."""

    mutations: tuple[HeaderAddition | Removal | RemovalOnMatch, ...]

    def apply(self, headers: HeaderMap, stream: Stream) -> None:
        """Change ``headers``."""
        for mutation in self.mutations:
            if isinstance(mutation, Removal):
                headers.remove(mutation.name)
            elif isinstance(mutation, RemovalOnMatch):
                for name in [name for name, _ in headers if mutation.matches(name)]:
                    headers.remove(name)
            else:
                _add(mutation, headers, stream)


def _add(addition: HeaderAddition, headers: HeaderMap, stream: Stream) -> None:
    value = addition.value
    text = value if isinstance(value, bytes) else value(stream)
    if not text and not addition.keep_empty_value:
        return
    name = addition.name
    action = addition.action
    if action == APPEND or (action == ADD_IF_ABSENT and name not in headers):
        headers.append(name, text)
    elif action != ADD_IF_ABSENT and (action != OVERWRITE_IF_EXISTS or name in headers):
        headers.replace(name, text)
