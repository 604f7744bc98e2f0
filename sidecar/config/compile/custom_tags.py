"""``envoy.type.tracing.v3.CustomTag`` compiled: tags of spans, and of entries of access logs."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from sidecar.config.compile.substitution_format import compile_text_format
from sidecar.observability.json_values import json_text

if TYPE_CHECKING:
    from sidecar.api.context import FactoryContext
    from sidecar.api.stream import Stream
    from sidecar.observability.span import Span
    from sidecar.observability.span_tags import Tag

__all__ = ["Tags", "compile_custom_tags"]

Tags = dict[str, "Tag"]


def compile_custom_tags(messages: Any, context: FactoryContext) -> Tags:
    """The tags by name; of one name the first counts.  Raises: ConfigError under ``custom_tags``."""
    tags: Tags = {}
    for index, message in enumerate(messages):
        if message.tag not in tags:
            tags[message.tag] = _custom_tag(message, context, f"custom_tags[{index}]")
    return tags


def _custom_tag(message: Any, context: FactoryContext, path: str) -> Tag:
    name: str = message.tag
    kind = message.WhichOneof("type")
    if kind == "literal":
        return _constant(name, message.literal.value)
    if kind == "environment":
        return _constant(name, os.environ.get(message.environment.name) or message.environment.default_value)
    if kind == "request_header":
        header = message.request_header.name.lower().encode()
        default = message.request_header.default_value

        def from_header(span: Span, stream: Stream) -> None:
            value = stream.request.headers.get(header)
            text = default if value is None else value.decode("utf-8", "replace")
            if text:
                span.set_tag(name, text)

        return from_header
    if kind == "metadata":
        return _from_metadata(name, message.metadata)
    line = compile_text_format(message.value, context, f"{path}.value", omit_empty=True)

    def from_format(span: Span, stream: Stream) -> None:
        text = line(stream)
        if text:
            span.set_tag(name, text)

    return from_format


def _constant(name: str, value: str) -> Tag:
    def constant(span: Span, _stream: Stream) -> None:
        if value:
            span.set_tag(name, value)

    return constant


def _metadata_of(kind: str, stream: Stream) -> dict[str, dict[str, Any]]:
    owner = {"route": stream.route, "cluster": stream.cluster, "host": stream.upstream_host}
    if kind in owner:
        return getattr(owner[kind], "metadata", None) or {}
    return stream.dynamic_metadata or {}


def _from_metadata(name: str, message: Any) -> Tag:
    kind: str = message.kind.WhichOneof("kind") or "request"
    key = message.metadata_key.key
    path = [segment.key for segment in message.metadata_key.path]
    default = message.default_value

    def from_metadata(span: Span, stream: Stream) -> None:
        value: Any = _metadata_of(kind, stream).get(key)
        for each in path:
            value = value.get(each) if isinstance(value, dict) else None
        text = default if value is None else value if isinstance(value, str) else json_text(value)
        if text:
            span.set_tag(name, text)

    return from_metadata
