"""Lists of ``envoy.config.core.v3.TypedExtensionConfig`` compiled by the factories of their types."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sidecar.config.compile.errors import placed
from sidecar.core.errors import ConfigError

if TYPE_CHECKING:
    from sidecar.api.context import FactoryContext
    from sidecar.config.registry import Registry

__all__ = ["compile_extensions"]


def compile_extensions(
    message: Any, field: str, context: FactoryContext, registry: Registry
) -> tuple[Any, ...]:
    """What the factories make of ``field``, repeated or not, of ``message`` at the context's place.

    One of a type that is still to come is left out: the loader told it.
    Raises: ConfigError with a path from the bootstrap's root.
    """
    compiled = []
    entries = getattr(message, field)
    if not message.DESCRIPTOR.fields_by_name[field].is_repeated:
        entries = [entries] if message.HasField(field) else []
    for index, entry in enumerate(entries):
        found = registry.find(entry.typed_config)
        if found is None:
            continue
        inside = context.at(f"{field}[{index}].typed_config")
        try:
            compiled.append(found[0].compile(found[1], inside))
        except ConfigError as error:
            raise placed(error, inside.path) from error
    return tuple(compiled)
