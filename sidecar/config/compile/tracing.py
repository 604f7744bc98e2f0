"""``Tracing`` of a connection manager and of routes, and ``Decorator``, compiled.

envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.Tracing,
envoy.config.route.v3.Tracing and Decorator.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sidecar.config.compile.chance import fraction
from sidecar.config.compile.custom_tags import compile_custom_tags
from sidecar.config.compile.errors import placed
from sidecar.config.compile.substitution_format import compile_text_format
from sidecar.core.errors import ConfigError
from sidecar.http.tracing import Decorator, RouteTracing, Tracing

if TYPE_CHECKING:
    from sidecar.api.context import FactoryContext
    from sidecar.api.stream import Stream
    from sidecar.config.registry import Registry
    from sidecar.core.runtime import Fraction
    from sidecar.observability.span import Tracer

__all__ = ["add_route_tracing", "compile_tracing"]

_OUTBOUND = "OUTBOUND"


def compile_tracing(message: Any, context: FactoryContext, registry: Registry) -> Tracing:
    """The tracing of an ``HttpConnectionManager``, which has some.

    Raises: ConfigError with a path from the bootstrap's root.
    """
    tracing = message.tracing
    inside = context.at("tracing")
    made = Tracing(context.stats.scope("tracing"), _tracer(tracing, inside, registry))
    # Percents are cut off to whole ones, or to hundredths (PROTOBUF_PERCENT_TO_ROUNDED_INTEGER_OR_DEFAULT).
    share = context.runtime.fraction
    client = int(tracing.client_sampling.value) if tracing.HasField("client_sampling") else 100
    made.client = share(_KEYS["client_sampling"], client, 100)
    chosen = round(tracing.random_sampling.value * 100) if tracing.HasField("random_sampling") else 10_000
    made.random = share(_KEYS["random_sampling"], chosen, 10_000)
    overall = int(tracing.overall_sampling.value) if tracing.HasField("overall_sampling") else 100
    made.overall = share(_KEYS["overall_sampling"], overall, 100)
    made.is_outbound = context.traffic_direction == _OUTBOUND
    made.is_verbose = tracing.verbose
    made.spawns_upstream_span = tracing.spawn_upstream_span.value
    made.propagates_context = not tracing.no_context_propagation
    if tracing.HasField("max_path_tag_length"):
        made.max_path_length = tracing.max_path_tag_length.value
    made.tags = compile_custom_tags(tracing.custom_tags, inside)
    made.operation = _operation(tracing.operation, inside, "operation")
    made.upstream_operation = _operation(tracing.upstream_operation, inside, "upstream_operation")
    node = context.node
    made.node_id, made.zone = node.id, node.zone
    return made


def _tracer(tracing: Any, context: FactoryContext, registry: Registry) -> Tracer | None:
    """The provider's, else the bootstrap's; None where there is none that we have."""
    provider = tracing.provider if tracing.HasField("provider") else context.default_tracing
    found = None if provider is None else registry.find(provider.typed_config)
    if found is None:
        return None
    inside = context.at("provider.typed_config")
    if provider is context.default_tracing:
        inside.path = "tracing.http.typed_config"
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
        client=_fraction(tracing, "client_sampling", context),
        random=_fraction(tracing, "random_sampling", context),
        overall=_fraction(tracing, "overall_sampling", context),
        named_tags=compile_custom_tags(tracing.custom_tags, inside),
        operation=_operation(tracing.operation, inside, "operation"),
        upstream_operation=_operation(tracing.upstream_operation, inside, "upstream_operation"),
    )


_KEYS = {
    "client_sampling": "tracing.client_enabled",
    "random_sampling": "tracing.random_sampling",
    "overall_sampling": "tracing.global_enabled",
}


def _fraction(tracing: Any, field: str, context: FactoryContext) -> Fraction:
    """A route that says nothing of a share says all of it."""
    said = fraction(getattr(tracing, field)) if tracing.HasField(field) else (100, 100)
    return context.runtime.fraction(_KEYS[field], *said)


def _operation(text: str, context: FactoryContext, field: str) -> Callable[[Stream], str] | None:
    if not text:
        return None
    return compile_text_format(text, context, field, omit_empty=True)
