"""``Tracing`` of a connection manager and of routes, and ``Decorator``, compiled.

envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.Tracing,
envoy.config.route.v3.Tracing and Decorator, envoy.type.tracing.v3.CustomTag.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sidecar.config.compile.errors import placed
from sidecar.config.compile.substitution_format import compile_text_format
from sidecar.core.errors import ConfigError
from sidecar.http.tracing import Decorator, Fraction, RouteTracing, Tracing
from sidecar.observability.json_values import json_text

if TYPE_CHECKING:
    from sidecar.api.context import FactoryContext
    from sidecar.api.stream import Stream
    from sidecar.config.registry import Registry
    from sidecar.observability.span import Span, Tracer
    from sidecar.observability.span_tags import Tag

__all__ = ["add_route_tracing", "compile_tracing"]

_DENOMINATORS = (100, 10_000, 1_000_000)
_OUTBOUND = "OUTBOUND"

Tags = dict[str, "Tag"]


def compile_tracing(message: Any, context: FactoryContext, registry: Registry) -> Tracing:
    """The tracing of an ``HttpConnectionManager``, which has some.

    Raises: ConfigError with a path from the bootstrap's root.
    """
    tracing = message.tracing
    inside = context.at("tracing")
    made = Tracing(context.stats.scope("tracing"), _tracer(tracing, inside, registry))
    # Percents are cut off to whole ones, or to hundredths (PROTOBUF_PERCENT_TO_ROUNDED_INTEGER_OR_DEFAULT).
    if tracing.HasField("client_sampling"):
        made.client = (int(tracing.client_sampling.value), 100)
    if tracing.HasField("random_sampling"):
        made.random = (round(tracing.random_sampling.value * 100), 10_000)
    if tracing.HasField("overall_sampling"):
        made.overall = (int(tracing.overall_sampling.value), 100)
    made.is_outbound = context.traffic_direction == _OUTBOUND
    made.is_verbose = tracing.verbose
    made.spawns_upstream_span = tracing.spawn_upstream_span.value
    made.propagates_context = not tracing.no_context_propagation
    if tracing.HasField("max_path_tag_length"):
        made.max_path_length = tracing.max_path_tag_length.value
    made.tags = _custom_tags(tracing.custom_tags, inside)
    made.operation = _operation(tracing.operation, inside, "operation")
    made.upstream_operation = _operation(tracing.upstream_operation, inside, "upstream_operation")
    node = context.node
    made.node_id, made.zone = node.id, node.zone
    return made


def _tracer(tracing: Any, context: FactoryContext, registry: Registry) -> Tracer | None:
    """The provider's; None where there is none, or where it is still to come and the loader told it."""
    if not tracing.HasField("provider"):
        return None
    found = registry.find(tracing.provider.typed_config)
    if found is None:
        return None
    inside = context.at("provider.typed_config")
    try:
        made: Any = found[0].compile(found[1], inside)
    except ConfigError as error:
        raise placed(error, inside.path) from error
    return made  # type: ignore[no-any-return]


def add_route_tracing(route: Any, message: Any, context: FactoryContext, path: str) -> None:
    """Give a :class:`sidecar.router.route.Route` what its message says of tracing."""
    if message.HasField("decorator"):
        decorator = message.decorator
        propagate = decorator.propagate.value if decorator.HasField("propagate") else True
        route.decorator = Decorator(decorator.operation, propagate)
    if not message.HasField("tracing"):
        return
    tracing = message.tracing
    inside = context.at("")
    inside.path = f"{path}.tracing"
    route.tracing = RouteTracing(
        client=_fraction(tracing, "client_sampling"),
        random=_fraction(tracing, "random_sampling"),
        overall=_fraction(tracing, "overall_sampling"),
        named_tags=_custom_tags(tracing.custom_tags, inside),
        operation=_operation(tracing.operation, inside, "operation"),
        upstream_operation=_operation(tracing.upstream_operation, inside, "upstream_operation"),
    )


def _fraction(tracing: Any, field: str) -> Fraction:
    """A route that says nothing of a share says all of it."""
    if not tracing.HasField(field):
        return 100, 100
    fraction = getattr(tracing, field)
    return fraction.numerator, _DENOMINATORS[fraction.denominator]


def _operation(text: str, context: FactoryContext, field: str) -> Callable[[Stream], str] | None:
    if not text:
        return None
    return compile_text_format(text, context, field, omit_empty=True)


# -- custom tags ---------------------------------------------------------------------------------------
def _custom_tags(messages: Any, context: FactoryContext) -> Tags:
    """The tags by name; of one name the first counts."""
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
