"""What the metadata of a host has to be for a request: the criteria of ``metadata_match`` and of filters.

Values are compared by a canonical text, in which two values are the same exactly where Envoy's ``ValueUtil``
finds them equal, so that finding a subset is one look-up of a text.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sidecar.api.stream import Stream

__all__ = ["NAMESPACE", "MetadataMatch", "canonical", "criteria_of"]

#: Of the metadata of hosts, of routes and of streams.
NAMESPACE = "envoy.lb"
_FALLBACK_LIST = "fallback_list"


def canonical(value: Any) -> str:
    """A text that two values of a ``google.protobuf.Struct`` share where they are equal.

    Numbers are doubles there, so 1 and 1.0 are one value, and neither is true or "1".
    """
    if isinstance(value, str):
        return f"s{len(value)}:{value}"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        fields = sorted(value.items())
        return "{" + ",".join(f"{len(name)}:{name}={canonical(each)}" for name, each in fields) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(map(canonical, value)) + "]"
    return repr(float(value) + 0.0)  # -0.0 is 0.0


class MetadataMatch:
    """Names and values, sorted by name; never changed (``Router::MetadataMatchCriteria``)."""

    __slots__ = ("_narrowed", "fallbacks", "key", "names", "values")

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.values: dict[str, Any] = dict(sorted(values.items()))
        self.names = tuple(self.values)
        #: The same for all criteria that match the same hosts.
        self.key = canonical(self.values)
        #: What to try one after another, for ``FALLBACK_LIST``; None where it says nothing of it.
        self.fallbacks: tuple[MetadataMatch, ...] | None = None
        if _FALLBACK_LIST in self.values:
            rest = {name: value for name, value in self.values.items() if name != _FALLBACK_LIST}
            listed = self.values[_FALLBACK_LIST]
            overrides = listed if isinstance(listed, (list, tuple)) and listed else ({},)
            self.fallbacks = tuple(
                MetadataMatch({**rest, **override} if isinstance(override, Mapping) else rest)
                for override in overrides
            )
        self._narrowed: dict[frozenset[str], MetadataMatch | None] = {}

    def merged(self, values: Mapping[str, Any]) -> MetadataMatch:
        """With these besides, which win."""
        return MetadataMatch({**self.values, **values})

    def only(self, names: frozenset[str]) -> MetadataMatch | None:
        """What it says of these names; None where that is nothing."""
        if names not in self._narrowed:
            kept = {name: value for name, value in self.values.items() if name in names}
            self._narrowed[names] = MetadataMatch(kept) if kept else None
        return self._narrowed[names]

    def __repr__(self) -> str:
        return f"<MetadataMatch {self.values}>"


def criteria_of(stream: Stream) -> MetadataMatch | None:
    """What the route asks for, over it what the connection says and over all what filters have set.

    None where nobody says anything.
    """
    found: MetadataMatch | None = stream.route.metadata_match
    for dynamic in (stream.connection.dynamic_metadata, stream.dynamic_metadata):
        own = None if dynamic is None else dynamic.get(NAMESPACE)
        if own is not None:
            found = MetadataMatch(own) if found is None else found.merged(own)
    return found
