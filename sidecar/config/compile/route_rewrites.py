"""The rewrites of path and host of one route, compiled to :mod:`sidecar.router.rewrites`' functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sidecar.api.context import FactoryContext
from sidecar.api.stream import Stream
from sidecar.config.compile.errors import placed
from sidecar.config.compile.matchers import compile_regex
from sidecar.config.compile.substitution_format import compile_text_format
from sidecar.config.compile.uri_templates import compile_template_rewriter
from sidecar.core.errors import ConfigError
from sidecar.core.substitution import make_replacer
from sidecar.observability.formatter import encoded
from sidecar.router.rewrites import (
    HostRewriter,
    PathRewriter,
    by_header,
    by_host_format,
    by_path,
    by_prefix,
    by_regex,
    literal,
)
from sidecar.router.route import REGEX, Route

__all__ = ["compile_host_rewriter", "compile_path_format", "compile_path_rewriter", "compile_substitution"]


def compile_substitution(message: Any, path: str) -> Callable[[bytes], bytes]:
    """An ``envoy.type.matcher.v3.RegexMatchAndSubstitute``.  Raises: ConfigError."""
    pattern = compile_regex(message.pattern.regex, f"{path}.pattern.regex")
    return make_replacer(pattern, message.substitution.encode())


def compile_path_rewriter(
    route: Route, message: Any, context: FactoryContext, path: str
) -> PathRewriter | None:
    """What a RouteAction or RedirectAction does to the path; ``route`` has its match already.

    Raises: ConfigError.
    """
    if message.prefix_rewrite:
        # A regular expression matches the whole path.
        matched = None if route.kind == REGEX else len(route.path_value)
        return by_prefix(matched, message.prefix_rewrite.encode())
    if message.HasField("regex_rewrite"):
        return by_regex(compile_substitution(message.regex_rewrite, f"{path}.regex_rewrite"))
    if message.DESCRIPTOR.name == "RouteAction" and message.HasField("path_rewrite_policy"):
        return compile_template_rewriter(
            message.path_rewrite_policy, route.path_value, f"{path}.path_rewrite_policy"
        )
    return None


def compile_path_format(message: Any, context: FactoryContext, path: str) -> Callable[[Stream], bytes] | None:
    """``path_rewrite`` of a RouteAction or RedirectAction: makes the path.  Raises: ConfigError."""
    if not message.path_rewrite:
        return None
    line = _format(message.path_rewrite, context, f"{path}.path_rewrite", omit_empty=True)
    return lambda stream: encoded(line(stream))


def compile_host_rewriter(action: Any, context: FactoryContext, path: str) -> HostRewriter | None:
    """What a RouteAction does to the host before one is chosen.  Raises: ConfigError."""
    if action.host_rewrite_literal:
        return literal(action.host_rewrite_literal.encode())
    if action.host_rewrite_header:
        return by_header(action.host_rewrite_header.lower().encode())
    if action.HasField("host_rewrite_path_regex"):
        at = f"{path}.host_rewrite_path_regex"
        return by_path(compile_substitution(action.host_rewrite_path_regex, at))
    if action.host_rewrite:
        return by_host_format(_format(action.host_rewrite, context, f"{path}.host_rewrite"))
    return None


def _format(text: str, context: FactoryContext, path: str, *, omit_empty: bool = False) -> Any:
    where, _, name = path.rpartition(".")
    inner = context.at("")
    inner.path = where
    try:
        return compile_text_format(text, inner, name, omit_empty=omit_empty)
    except ConfigError as error:
        raise placed(error, where) from error
