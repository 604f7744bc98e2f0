"""Matchers: mistakes that no rule expresses, and what a match tree in the place of routes may ask and say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import re2

from sidecar.config.compile.uri_templates import compile_template, compile_template_rewriter
from sidecar.config.context import Context
from sidecar.config.errors import Path
from sidecar.config.messages import type_name
from sidecar.config.walk import walk
from sidecar.core.address import is_ip
from sidecar.core.errors import ConfigError

__all__ = [
    "check_cidr_range",
    "check_cluster_specifier",
    "check_program_size",
    "check_route_matcher",
    "check_string_matcher",
    "check_templates",
]

_REGEX_OPTIONS = re2.Options()
_REGEX_OPTIONS.log_errors = False
_MATCHER = "xds.type.matcher.v3.Matcher"
_CEL_INPUT = "xds.type.matcher.v3.HttpAttributesCelMatchInput"
_INPUTS = frozenset(
    (
        "envoy.type.matcher.v3.HttpRequestHeaderMatchInput",
        "envoy.extensions.matching.common_inputs.network.v3.FilterStateInput",
        "envoy.extensions.matching.common_inputs.environment_variable.v3.Config",
    )
)
_SPECIFIER = "envoy.extensions.router.cluster_specifiers.matcher.v3"
_CLUSTER_ACTIONS = frozenset((f"{_SPECIFIER}.ClusterAction",))
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
            _check_action(context, (*at, "action"), message.action, _ACTIONS)
        elif name in (f"{_MATCHER}.MatcherTree", f"{_MATCHER}.MatcherList.Predicate.SinglePredicate"):
            url = message.input.typed_config.type_url
            kind = type_name(url)
            if kind == _CEL_INPUT and name == f"{_MATCHER}.MatcherTree":
                reason = "currently only string type is supported in map matcher"
                context.report.error((*at, "input"), f"Unsupported data input type: cel_data_input, {reason}")
            elif url and kind not in _INPUTS:
                reason = f"Route table can only match on request headers, saw {url}"
                context.report.error((*at, "input"), reason)


def check_cluster_specifier(context: Context, path: Path, specifier: Any) -> None:
    """``MatcherClusterSpecifier``: its tree leads to clusters."""
    for here, message in walk(specifier.cluster_matcher, (*path, "cluster_matcher")):
        if message.DESCRIPTOR.full_name == f"{_MATCHER}.OnMatch" and message.HasField("action"):
            _check_action(context, (*here, "action"), message.action, _CLUSTER_ACTIONS)


def _check_action(context: Context, path: Path, action: Any, known: frozenset[str]) -> None:
    kind = type_name(action.typed_config.type_url)
    if kind not in known:
        reason = f"Didn't find a registered implementation for '{action.name}' with type URL: '{kind}'"
        context.report.error(path, reason)


def check_templates(context: Context, path: Path, route: Any) -> None:
    """The URI templates of an ``envoy.config.route.v3.Route``, and that a rewrite has a match beside it."""
    match, action = route.match, route.route
    pattern = None
    if match.HasField("path_match_policy"):
        at = (*path, "match", "path_match_policy")
        pattern = _compiled(context, at, lambda: compile_template(match.path_match_policy, ""))
        if pattern is None:
            return
    if action.HasField("path_rewrite_policy"):
        at = (*path, "route", "path_rewrite_policy")
        if pattern is None:
            reason = f"unable to use {_REWRITER} extension without a compatible path match policy"
            context.report.error(at, reason)
        else:
            _compiled(context, at, lambda: compile_template_rewriter(action.path_rewrite_policy, pattern, ""))


_REWRITER = "envoy.path.rewrite.uri_template.uri_template_rewriter"


def _compiled(context: Context, path: Path, make: Callable[[], Any]) -> Any:
    try:
        return make()
    except ConfigError as error:
        if not context.report.has_failed((*path, "typed_config")):
            context.report.error(path, error.reason)
        return None


def check_string_matcher(context: Context, path: Path, matcher: Any) -> None:
    """``envoy.type.matcher.v3.StringMatcher``: a regular expression says itself what case means."""
    if matcher.ignore_case and matcher.HasField("safe_regex"):
        context.report.error((*path, "ignore_case"), "ignore_case has no effect for safe_regex.")


def check_program_size(context: Context, path: Path, matcher: Any) -> None:
    """``envoy.type.matcher.v3.RegexMatcher``: its program fits into ``max_program_size``."""
    if not matcher.google_re2.HasField("max_program_size"):
        return
    limit = matcher.google_re2.max_program_size.value
    try:
        size = re2.compile(matcher.regex, options=_REGEX_OPTIONS).programsize
    except re2.error:
        return  # told as such
    if size > limit:
        reason = f"regex '{matcher.regex}' RE2 program size of {size} > max program size of {limit}."
        context.report.error((*path, "google_re2", "max_program_size"), reason)


def check_cidr_range(context: Context, path: Path, cidr: Any) -> None:
    """``xds.core.v3.CidrRange``: an address with the length of its prefix."""
    if not is_ip(cidr.address_prefix):
        text = f"{cidr.address_prefix}/{cidr.prefix_len.value}"
        reason = f"invalid ip/mask combo '{text}' (format is <ip>/<# mask bits>)"
        context.report.error((*path, "address_prefix"), reason)
