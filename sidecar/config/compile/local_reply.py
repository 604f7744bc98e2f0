"""``local_reply_config`` of a connection manager compiled (…http_connection_manager.v3.LocalReplyConfig)."""

from __future__ import annotations

from typing import Any

from sidecar.api.context import FactoryContext
from sidecar.config.compile.errors import placed
from sidecar.config.compile.log_filter import compile_log_filter
from sidecar.config.compile.route_headers import compile_additions
from sidecar.config.compile.substitution_format import compile_substitution_format
from sidecar.core.errors import ConfigError
from sidecar.http.local_reply_config import BodyFormat, LocalReplyConfig, ResponseMapper
from sidecar.router.header_mutation import HeaderMutations

__all__ = ["compile_local_reply"]


def compile_local_reply(message: Any, context: FactoryContext) -> LocalReplyConfig:
    """What ``message`` does to local replies; ``context`` is its own place.

    Raises: ConfigError with a path from the bootstrap's root.
    """
    try:
        mappers = [_mapper(each, context, f"mappers[{index}]") for index, each in enumerate(message.mappers)]
        return LocalReplyConfig(tuple(mappers), _body_format(message, "body_format", context, "body_format"))
    except ConfigError as error:
        raise placed(error, context.path) from error


def _mapper(message: Any, context: FactoryContext, path: str) -> ResponseMapper:
    body = None
    if message.HasField("body"):
        body = context.read_data_source(message.body, f"{path}.body")
    return ResponseMapper(
        matches=compile_log_filter(message.filter, context, f"{path}.filter"),
        status=message.status_code.value if message.HasField("status_code") else None,
        body=body,
        body_format=_body_format(message, "body_format_override", context, f"{path}.body_format_override"),
        additions=HeaderMutations(compile_additions(message.headers_to_add, f"{path}.headers_to_add")),
    )


def _body_format(message: Any, field: str, context: FactoryContext, path: str) -> BodyFormat | None:
    if not message.HasField(field):
        return None
    inner = getattr(message, field)
    content_type = inner.content_type.encode()
    if not content_type:
        content_type = b"application/json" if inner.WhichOneof("format") == "json_format" else b"text/plain"
    return BodyFormat(compile_substitution_format(inner, context, path), content_type)
