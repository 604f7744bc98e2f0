"""The filter ``envoy.filters.http.header_mutation``: its own mutations, then those of the route's levels."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING

from sidecar.api.filters import HttpFilter
from sidecar.api.message import LocalReply
from sidecar.api.stream import Flag
from sidecar.core.dataclass import dataclass
from sidecar.extensions.http.header_edits import BAD_VALUE
from sidecar.extensions.http.query_mutation import QueryAddition, QueryRemoval, mutate_query

if TYPE_CHECKING:
    from sidecar.api.message import Message
    from sidecar.api.stream import Stream
    from sidecar.core.headers import HeaderMap
    from sidecar.router.ordered_mutations import OrderedMutations

__all__ = ["HeaderMutationFilter", "RouteMutations", "SideMutations"]


@dataclass(frozen=True, slots=True)
class SideMutations:
    """``envoy.extensions.filters.http.header_mutation.v3.Mutations``; None where there is nothing to do."""

    request: OrderedMutations | None
    response: OrderedMutations | None
    request_trailers: OrderedMutations | None
    response_trailers: OrderedMutations | None
    query: tuple[QueryAddition | QueryRemoval, ...]


@dataclass(frozen=True, slots=True)
class RouteMutations:
    """Those of a route's levels, the route configuration's first."""

    levels: tuple[SideMutations, ...]

    def within(self, outer: RouteMutations) -> RouteMutations:
        """All of them, not the most specific alone."""
        return RouteMutations((*outer.levels, *self.levels))


_BAD_PATH = LocalReply(
    503,
    b"invalid header value for: :path",
    details="filter_removed_required_request_headers{invalid_header_value_for:_:path}",
    flag=Flag.DOWNSTREAM_PROTOCOL_ERROR,
)


class HeaderMutationFilter(HttpFilter):
    """Changes headers, trailers and the query."""

    uses_trio = False

    def __init__(self, own: SideMutations, *, most_specific_wins: bool) -> None:
        self._own = own
        self._most_specific_wins = most_specific_wins

    def decode_headers(self, stream: Stream) -> LocalReply | Awaitable[LocalReply | None] | None:
        headers = stream.request.headers
        trailers = []
        for each in self._levels(stream, stream.find_route()):
            if each.request is not None:
                each.request.apply(headers, stream)
            if each.query and headers.path is not None:
                headers.path = mutate_query(headers.path, each.query, stream)
                if BAD_VALUE.search(headers.path):
                    return _BAD_PATH
            if each.request_trailers is not None:
                trailers.append(each.request_trailers)
        if trailers:
            _pipe(stream.request, trailers, stream)
        return None

    def encode_headers(self, stream: Stream) -> LocalReply | Awaitable[LocalReply | None] | None:
        response = stream.response
        assert response is not None
        stream.response_code = response.headers.status
        trailers = []
        for each in self._levels(stream, stream.route):
            if each.response is not None:
                each.response.apply(response.headers, stream)
            if each.response_trailers is not None:
                trailers.append(each.response_trailers)
        if trailers:
            _pipe(response, trailers, stream)
        return None

    def _levels(self, stream: Stream, route: object) -> tuple[SideMutations, ...]:
        config: RouteMutations | None = None
        if route is not None:
            config = route.per_filter_config.get(self.config_name)  # type: ignore[attr-defined]
        if config is None:
            return (self._own,)
        levels = config.levels if self._most_specific_wins else config.levels[::-1]
        return (self._own, *levels)


def _pipe(message: Message, mutations: list[OrderedMutations], stream: Stream) -> None:
    if message.body is not None:
        message.pipe_body(_Trailers(mutations, stream))


class _Trailers:
    """A stage of a body that changes the trailers behind it."""

    __slots__ = ("_mutations", "_stream")

    def __init__(self, mutations: list[OrderedMutations], stream: Stream) -> None:
        self._mutations = mutations
        self._stream = stream

    def push(self, data: bytes, end_stream: bool) -> bytes:
        return data

    def end(self, trailers: HeaderMap) -> bytes:
        for each in self._mutations:
            each.apply(trailers, self._stream)
        return b""
