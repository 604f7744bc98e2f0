"""``path_match_policy`` and ``path_rewrite_policy`` by URI template, compiled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import re2

from sidecar.config.registry import resolve_any
from sidecar.core.errors import ConfigError
from sidecar.core.uri_template import parse_rewrite, template_regex
from sidecar.router.rewrites import PathRewriter, without_query

if TYPE_CHECKING:
    from sidecar.api.stream import Stream

__all__ = ["MATCH", "REWRITE", "compile_template", "compile_template_rewriter"]

MATCH = "envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig"
REWRITE = "envoy.extensions.path.rewrite.uri_template.v3.UriTemplateRewriteConfig"


def compile_template(policy: Any, path: str) -> Any:
    """The regular expression (RE2) of a ``path_match_policy``.  Raises: ConfigError."""
    message = _unpacked(policy, MATCH, path)
    text = message.path_template
    try:
        pattern = template_regex(text)
    except ValueError as error:
        raise ConfigError(path, f"path_match_policy.path_template {text} is invalid: {error}") from error
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(pattern, options=options)
    except re2.error:
        # As in Envoy, a literal of two stars in a row takes nothing.
        return re2.compile(r"[^\s\S]")


def compile_template_rewriter(policy: Any, pattern: Any, path: str) -> PathRewriter:
    """A ``path_rewrite_policy`` for paths that ``pattern`` matches.  Raises: ConfigError."""
    message = _unpacked(policy, REWRITE, path)
    text = message.path_template_rewrite
    try:
        pieces = parse_rewrite(text)
    except ValueError as error:
        raise ConfigError(
            path, f"path_rewrite_policy.path_template_rewrite {text} is invalid: {error}"
        ) from error
    names = pattern.groupindex
    for is_variable, piece in pieces:
        if is_variable and piece not in names:
            raise ConfigError(path, f"mismatch between variables in path_match_policy and {text}: '{piece}'")
    parts = [(names[piece] if is_variable else 0, piece.encode()) for is_variable, piece in pieces]

    def rewrite(whole: bytes, _: Stream) -> bytes:
        plain = without_query(whole)
        found = pattern.fullmatch(plain)
        if found is None:
            return b""
        fresh = b"".join(found.group(group) if group else text for group, text in parts)
        return fresh + whole[len(plain) :]

    return rewrite


def _unpacked(policy: Any, wanted: str, path: str) -> Any:
    name, message = resolve_any(policy.typed_config)
    if name != wanted or message is None:
        raise ConfigError(path, f"Didn't find a registered implementation for '{policy.name}'")
    return message
