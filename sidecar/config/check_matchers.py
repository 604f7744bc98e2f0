"""What a match tree in the place of routes may ask, and say (``VirtualHost.matcher``)."""

from __future__ import annotations

from typing import Any

from sidecar.config.context import Context
from sidecar.config.errors import Path
from sidecar.config.messages import type_name
from sidecar.config.walk import walk

__all__ = ["check_route_matcher"]

_MATCHER = "xds.type.matcher.v3.Matcher"
_CEL_INPUT = "xds.type.matcher.v3.HttpAttributesCelMatchInput"
_INPUTS = frozenset(
    (
        "envoy.type.matcher.v3.HttpRequestHeaderMatchInput",
        "envoy.extensions.matching.common_inputs.network.v3.FilterStateInput",
        "envoy.extensions.matching.common_inputs.environment_variable.v3.Config",
    )
)
_ACTIONS = frozenset(("envoy.config.route.v3.Route", "envoy.config.route.v3.RouteList"))


def check_route_matcher(context: Context, path: Path, matcher: Any) -> None:
    """The inputs are a request's, no match is to be kept looking after, and maps take text."""
    for here, message in walk(matcher):
        at = (*path, *here)
        name = message.DESCRIPTOR.full_name
        if name == f"{_MATCHER}.OnMatch" and message.keep_matching:
            reason = "keep_matching is not supported in this context"
            context.report.error((*at, "keep_matching"), reason)
        elif name == f"{_MATCHER}.OnMatch" and message.HasField("action"):
            kind = type_name(message.action.typed_config.type_url)
            if kind not in _ACTIONS:
                reason = f"Didn't find a registered implementation for '{message.action.name}'"
                context.report.error((*at, "action"), f"{reason} with type URL: '{kind}'")
        elif name in (f"{_MATCHER}.MatcherTree", f"{_MATCHER}.MatcherList.Predicate.SinglePredicate"):
            url = message.input.typed_config.type_url
            kind = type_name(url)
            if kind == _CEL_INPUT and name != f"{_MATCHER}.MatcherTree":
                continue
            if kind == _CEL_INPUT:
                reason = "currently only string type is supported in map matcher"
                context.report.error((*at, "input"), f"Unsupported data input type: cel_data_input, {reason}")
            elif url and kind not in _INPUTS:
                reason = f"Route table can only match on request headers, saw {url}"
                context.report.error((*at, "input"), reason)
