"""Routes that answer by themselves, compiled.

``envoy.config.route.v3.RedirectAction`` and ``DirectResponseAction``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sidecar.api.context import FactoryContext
from sidecar.api.stream import Stream
from sidecar.config.compile.errors import placed
from sidecar.config.compile.route_rewrites import compile_path_format, compile_path_rewriter
from sidecar.config.compile.substitution_format import compile_substitution_format
from sidecar.core.errors import ConfigError
from sidecar.observability.formatter import encoded
from sidecar.router.route import DirectResponse, Redirect, Route

__all__ = ["compile_direct_response", "compile_redirect"]

_REDIRECT_CODES = (301, 302, 303, 307, 308)


def compile_direct_response(message: Any, context: FactoryContext, path: str) -> DirectResponse:
    """A ``DirectResponseAction``.  Raises: ConfigError."""
    body = b""
    if message.HasField("body"):
        body = context.read_data_source(message.body, f"{path}.body")
    if not message.HasField("body_format"):
        return DirectResponse(message.status, body)
    body_format = message.body_format
    content_type = body_format.content_type.encode()
    if not content_type and body_format.WhichOneof("format") == "json_format":
        content_type = b"application/json"
    return DirectResponse(
        message.status, body, _compile_body_format(body_format, context, path), content_type
    )


def _compile_body_format(
    message: Any, context: FactoryContext, path: str
) -> Callable[[Stream, bytes], bytes]:
    inner = context.at("")
    inner.path = path
    try:
        line = compile_substitution_format(message, inner, "body_format")
    except ConfigError as error:
        raise placed(error, path) from error

    def make(stream: Stream, body: bytes) -> bytes:
        stream.local_reply_body = body  # for %LOCAL_REPLY_BODY%
        return encoded(line(stream))

    return make


def compile_redirect(route: Route, message: Any, context: FactoryContext, path: str) -> Redirect:
    """A ``RedirectAction`` of ``route``.  Raises: ConfigError."""
    scheme = message.scheme_redirect.encode()
    return Redirect(
        status=_REDIRECT_CODES[message.response_code],
        scheme=b"https" if message.https_redirect else scheme,
        host=message.host_redirect.encode(),
        port=message.port_redirect,
        path=compile_path_format(message, context, path) or message.path_redirect.encode(),
        path_rewriter=compile_path_rewriter(route, message, context, path),
        strip_query=message.strip_query,
    )
