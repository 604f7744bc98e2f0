"""The filter ``envoy.filters.http.set_filter_state``: puts texts into the filter state of a request."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING

from sidecar.api.filters import HttpFilter
from sidecar.core.dataclass import dataclass

if TYPE_CHECKING:
    from sidecar.api.message import LocalReply
    from sidecar.api.stream import Stream
    from sidecar.extensions.network.set_filter_state import FilterStateValue

__all__ = ["RouteValues", "SetHttpFilterState"]


@dataclass(frozen=True, slots=True)
class RouteValues:
    """What a level says, behind what those around it say: all of it counts."""

    values: tuple[FilterStateValue, ...]

    def within(self, outer: RouteValues) -> RouteValues:
        """Both, the outer first."""
        return RouteValues((*outer.values, *self.values))


class SetHttpFilterState(HttpFilter):
    """Its own values, then those of the virtual host and of the route."""

    uses_trio = False

    def __init__(self, values: tuple[FilterStateValue, ...], *, clears_route_cache: bool) -> None:
        self._values = values
        self._clears_route_cache = clears_route_cache

    def decode_headers(self, stream: Stream) -> LocalReply | Awaitable[LocalReply | None] | None:
        _set(self._values, stream)
        route = stream.find_route()
        more: RouteValues | None = None if route is None else route.per_filter_config.get(self.config_name)
        if more is not None:
            _set(more.values, stream)
        if self._clears_route_cache:
            stream.clear_route_cache()
        return None


def _set(values: tuple[FilterStateValue, ...], stream: Stream) -> None:
    for each in values:
        text = each.text(stream)
        if each.skip_if_empty and not text:
            continue
        value = each.make(text)
        if value is None:
            continue
        if stream.filter_state is None:
            stream.filter_state = {}
        stream.filter_state[each.key] = value
