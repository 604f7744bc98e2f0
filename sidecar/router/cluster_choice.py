"""Which cluster a route names, where it does not name one: ``weighted_clusters`` and ``cluster_header``.

The choice is made when the route is resolved, as in Envoy, so filters see what was chosen; a new one is
made only when the route is looked up again.  What is chosen is a route of its own, made once: the route's
copy with the cluster, the header mutations and the filter configuration of the entry.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Sequence
from dataclasses import field
from typing import TYPE_CHECKING, Any

from sidecar.core.dataclass import dataclass
from sidecar.core.headers import RequestHeaders
from sidecar.core.matching import Tree
from sidecar.router.filter_configs import merge_filter_configs
from sidecar.router.header_mutation import (
    NO_MUTATIONS,
    AttemptCount,
    HeaderMutations,
    Mutations,
    SetAuthority,
)
from sidecar.router.route_counters import Counted
from sidecar.router.timeouts import unsigned
from sidecar.upstream.metadata_match import MetadataMatch

if TYPE_CHECKING:
    from sidecar.api.stream import Stream
    from sidecar.core.runtime import Number
    from sidecar.router.route import Route

__all__ = [
    "HeaderChoice",
    "LiveWeightedChoice",
    "TreeChoice",
    "WeightedChoice",
    "WeightedCluster",
    "random_value",
]

#: Names taken from headers for which a route is kept.
_KEPT = 1024


def random_value(stream: Stream | None) -> int:
    """64 bits that are drawn once for a stream, for all its fractions and weights."""
    if stream is None:
        return random.getrandbits(64)
    if stream.random_bits is None:
        stream.random_bits = random.getrandbits(64)
    return stream.random_bits


@dataclass(frozen=True, slots=True)
class WeightedCluster:
    """One entry of ``weighted_clusters``."""

    name: str
    weight: int
    request_mutations: HeaderMutations = NO_MUTATIONS
    response_mutations: HeaderMutations = NO_MUTATIONS
    host_rewrite: bytes | None = None
    per_filter_config: dict[str, Any] = field(default_factory=dict)
    filter_switches: dict[str, bool] = field(default_factory=dict)
    #: What it asks of a host's metadata, over what the route asks.
    metadata_match: dict[str, Any] | None = None
    #: The header that names the cluster, where ``name`` does not.
    cluster_header: bytes | None = None
    #: Its weight by ``runtime_key_prefix``, where the runtime may say one.
    live_weight: Number | None = None


class WeightedChoice:
    """Chooses an entry by its weight."""

    __slots__ = ("_entries", "_hash", "_header", "_total")

    def __init__(self, route: Route) -> None:
        self._entries = tuple((entry.weight, *_of_entry(route, entry)) for entry in route.weighted)
        self._total = sum(entry.weight for entry in route.weighted)
        self._header = route.weighted_header
        self._hash = route.weighted_by
        for _, made, _ in self._entries:
            made.chosen_by = self

    def __call__(self, headers: RequestHeaders, stream: Stream | None) -> Route:
        draw = self._value(headers, stream) % self._total
        for weight, route, choose in self._entries:
            if draw < weight:
                return route if choose is None else choose(headers, stream)
            draw -= weight
        raise AssertionError("the total is the sum of the weights")

    def _value(self, headers: RequestHeaders, stream: Stream | None) -> int:
        value = None
        if self._header is not None:
            value = _number(headers.get_all(self._header))
        elif self._hash is not None and stream is not None:
            value = self._hash(headers, stream, False)
        return random_value(stream) if value is None else value

    def again(self, headers: RequestHeaders, stream: Stream, tried: set[str]) -> Route:
        """Another entry: of no cluster in ``tried`` while one has weight, and then any."""
        made = [
            (weight, route if choose is None else choose(headers, stream))
            for weight, route, choose in self._entries
        ]
        left = [each for each in made if each[1].cluster_name not in tried]
        total = sum(weight for weight, _ in left)
        if not total:
            tried.clear()
            left, total = made, self._total
        draw = self._value(headers, stream) % total
        for weight, route in left:
            if draw < weight:
                return route
            draw -= weight
        raise AssertionError("the total is the sum of the weights")


class LiveWeightedChoice(WeightedChoice):
    """Chooses by weights that the runtime may change; where they come to nothing, those of the route hold."""

    __slots__ = ("_cells", "_said", "_set")

    def __init__(self, route: Route) -> None:
        super().__init__(route)
        self._set = tuple(entry.weight for entry in route.weighted)
        self._said = self._set
        self._cells = tuple(entry.live_weight for entry in route.weighted)

    def __call__(self, headers: RequestHeaders, stream: Stream | None) -> Route:
        said = tuple(
            weight if cell is None else cell.value
            for cell, weight in zip(self._cells, self._set, strict=True)
        )
        if said != self._said:
            self._said = said
            weights = said if sum(said) else self._set
            self._entries = tuple(
                (weight, *entry[1:]) for weight, entry in zip(weights, self._entries, strict=True)
            )
            self._total = sum(weights)
        return super().__call__(headers, stream)


class HeaderChoice:
    """Takes the cluster's name from a request header; of a missing one it is empty, as of no cluster."""

    __slots__ = ("_name", "_route", "_routes")

    def __init__(self, route: Route, name: bytes) -> None:
        self._route = route
        self._name = name
        self._routes: dict[bytes, Route] = {}

    def __call__(self, headers: RequestHeaders, stream: Stream | None) -> Route:
        value = headers.get(self._name) or b""
        found = self._routes.get(value)
        if found is None:
            found = _copy(self._route)
            found.cluster_name = value.decode("latin-1")
            if found.chosen_by is None:
                found.chosen_by = self
            found.freeze()
            if len(self._routes) < _KEPT:
                self._routes[value] = found
        return found

    def again(self, headers: RequestHeaders, stream: Stream, tried: set[str]) -> Route:
        """What the header says now."""
        return self(headers, stream)


class TreeChoice:
    """Finds the cluster's name by a match tree, or what else a cluster specifier plugin is."""

    __slots__ = ("_route", "_routes", "_tree")

    def __init__(self, route: Route, tree: Tree[tuple[RequestHeaders, Any]]) -> None:
        self._route = route
        self._tree = tree
        #: As many as there are clusters to find; the empty name where there is none.
        self._routes: dict[str, Route] = {}

    def __call__(self, headers: RequestHeaders, stream: Stream | None) -> Route:
        name: str = self._tree.match((headers, stream)) or ""
        found = self._routes.get(name)
        if found is None:
            found = _copy(self._route)
            found.cluster_name = name
            found.chosen_by = self
            found.freeze()
            if len(self._routes) < _KEPT:
                self._routes[name] = found
        return found

    def again(self, headers: RequestHeaders, stream: Stream, tried: set[str]) -> Route:
        """What the tree finds now."""
        return self(headers, stream)


def _number(values: Sequence[bytes]) -> int | None:
    """The number that a header gives; None where it is missing, repeated or no uint64."""
    return unsigned(values[0]) if len(values) == 1 else None


def _of_entry(route: Route, entry: WeightedCluster) -> tuple[Route, HeaderChoice | None]:
    """The route of an entry, and what names its cluster where the entry does not."""
    made = _copy(route)
    made.cluster_name = entry.name
    first: list[Mutations] = [entry.request_mutations] if entry.request_mutations else []
    rewrite: list[Mutations] = [] if entry.host_rewrite is None else [SetAuthority(entry.host_rewrite)]
    # Before those of the route, also with most_specific_header_mutations_wins (Envoy: WeightedClusterEntry),
    # but behind what the router itself does first.
    own = [each for each in route.request_mutations if isinstance(each, (AttemptCount, Counted))]
    others = route.request_mutations[len(own) :]
    made.request_mutations = (*own, *first, *rewrite, *others)
    if entry.response_mutations:
        made.response_mutations = (entry.response_mutations, *route.response_mutations)
    made.per_filter_config = merge_filter_configs(route.per_filter_config, entry.per_filter_config)
    made.filter_switches = {**route.filter_switches, **entry.filter_switches}
    if entry.metadata_match is not None:
        over = route.metadata_match
        made.metadata_match = (
            MetadataMatch(entry.metadata_match) if over is None else over.merged(entry.metadata_match)
        )
    made.freeze()
    return made, None if entry.cluster_header is None else HeaderChoice(made, entry.cluster_header)


def _copy(route: Route) -> Route:
    made = copy.copy(route)
    made.weighted = ()
    made.cluster_header = None
    made.cluster_tree = None
    made.choose = None
    return made
