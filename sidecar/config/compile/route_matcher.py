"""``VirtualHost.matcher``: the match tree that stands in the place of a virtual host's routes.

It may look at request headers, filter state and the environment, as in Envoy; its actions are a Route, or a
RouteList of which the first that matches is taken.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sidecar.config.compile.matching import METADATA_INPUT, MatcherCompiler
from sidecar.config.compile.value_matchers import MISSING
from sidecar.core.filter_state import bytes_of, field_of
from sidecar.core.headers import RequestHeaders
from sidecar.core.matching import Input, Tree
from sidecar.router.finders import InOrder, MatchedRoutes
from sidecar.router.route import Route

__all__ = ["HTTP_INPUTS", "compile_route_matcher"]

_Data = tuple[RequestHeaders, Any]


def compile_route_matcher(
    message: Any, path: str, compile_route: Callable[[Any, str], Route]
) -> MatchedRoutes:
    """The finder of a virtual host; ``compile_route`` makes its routes.  Raises: ConfigError."""

    def of(routes: list[Route]) -> InOrder:
        for route in routes:
            route.freeze()
        return InOrder(routes)

    def of_list(action: Any, at: str) -> InOrder:
        return of(
            [compile_route(each, f"{at}.routes[{number}]") for number, each in enumerate(action.routes)]
        )

    compiler = MatcherCompiler(
        HTTP_INPUTS,
        {
            "envoy.config.route.v3.Route": lambda action, at: of([compile_route(action, at)]),
            "envoy.config.route.v3.RouteList": of_list,
        },
    )
    tree: Tree[_Data] = compiler.tree(message, path)
    return MatchedRoutes(tree)


def _request_header(message: Any, _: str) -> Input[_Data]:
    """All values of the header in one."""
    name = message.header_name.lower().encode()
    return lambda data: data[0].get_joined(name)


def _filter_state(message: Any, _: str) -> Input[_Data]:
    """An object as text, or a field of it."""
    key, field = message.key, message.field

    def take(data: _Data) -> bytes | None:
        state = None if data[1] is None else data[1].filter_state
        value = None if state is None else state.get(key)
        return bytes_of(field_of(value, field) if field else value)

    return take


def _dynamic_metadata(message: Any, _: str) -> Input[_Data]:
    """A value of the dynamic metadata, for the matcher of such values."""
    namespace, keys = message.filter, tuple(segment.key for segment in message.path)

    def take(data: _Data) -> Any:
        found: Any = None if data[1] is None else data[1].dynamic_metadata
        for key in (namespace, *keys):
            if not isinstance(found, dict) or key not in found:
                return MISSING
            found = found[key]
        return found

    return take


#: Inputs over the headers of a request and its stream.
HTTP_INPUTS: dict[str, Callable[[Any, str], Input[_Data]]] = {
    "envoy.type.matcher.v3.HttpRequestHeaderMatchInput": _request_header,
    "envoy.extensions.matching.common_inputs.network.v3.FilterStateInput": _filter_state,
    METADATA_INPUT: _dynamic_metadata,
}
