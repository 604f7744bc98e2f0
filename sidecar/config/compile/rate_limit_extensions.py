"""Descriptor producers that are extensions: inputs of HTTP match trees as values of entries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

from sidecar.api.rate_limit import SKIPPED, Action, Entry
from sidecar.config.compile.cel import compile_cel_text, compile_cel_tree
from sidecar.config.registry import resolve_any
from sidecar.core.errors import ConfigError

if TYPE_CHECKING:
    from sidecar.api.stream import Stream

__all__ = ["compile_extension_action"]

_HEADER = "envoy.type.matcher.v3.HttpRequestHeaderMatchInput"
_EXPRESSION = "envoy.extensions.rate_limit_descriptors.expr.v3.Descriptor"
_QUERY = "envoy.type.matcher.v3.HttpRequestQueryParamMatchInput"


def compile_extension_action(message: Any, path: str) -> Action:
    """The action of a ``TypedExtensionConfig``; its name is the entry's key.  Raises: ConfigError."""
    kind, inner = resolve_any(message.typed_config)
    key = message.name.encode()
    config: Any = inner
    if kind == _HEADER:
        header = config.header_name.lower().encode()

        def of_header(stream: Stream) -> Entry | None:
            value = stream.request.headers.get_joined(header)
            return (key, value) if value else None

        return of_header
    if kind == _QUERY:
        name = config.query_param.encode()

        def of_query(stream: Stream) -> Entry | None:
            query = (stream.request.headers.path or b"").partition(b"?")[2]
            for pair in query.split(b"&") if query else ():
                found, _, value = pair.partition(b"=")
                if unquote_to_bytes(found) == name:
                    return (key, unquote_to_bytes(value)) if value else None
            return None

        return of_query
    if kind == _EXPRESSION:
        return _expression(config, f"{path}.typed_config")
    raise ConfigError(f"{path}.typed_config", f"rate limit descriptor extension '{kind}' is not supported")


def _expression(config: Any, path: str) -> Action:
    """What an expression in CEL says; an error ends the descriptor, or with ``skip_if_error`` the entry."""
    kind = config.WhichOneof("expr_specifier")
    if kind == "text":
        expression = compile_cel_text(config.text, f"{path}.text", has_node=False)
    elif kind == "parsed":
        expression = compile_cel_tree(config.parsed, f"{path}.parsed", has_node=False)
    else:
        raise ConfigError(path, "Rate limit descriptor extension failed: expression specifier is not set")
    from sidecar.observability.cel_text import cel_text

    key = config.descriptor_key.encode()
    on_error = SKIPPED if config.skip_if_error else None

    def of_expression(stream: Stream) -> Entry | None:
        text = cel_text(expression.value(stream))
        return on_error if text is None else (key, text.encode("utf-8", "surrogateescape"))

    return of_expression
