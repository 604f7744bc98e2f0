"""From an entry of ``listener_filters`` to what its factory makes of it, of TCP and UDP listeners alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sidecar.config.compile.errors import placed
from sidecar.core.errors import ConfigError

if TYPE_CHECKING:
    from sidecar.api.context import FactoryContext
    from sidecar.config.registry import Registry

__all__ = ["compile_entry"]


def compile_entry(message: Any, context: FactoryContext, registry: Registry, kind: type, what: str) -> Any:
    """The filter or recipe of an entry whose ``typed_config`` stands at ``context``.

    It is a ``kind``, which is called ``what``; None for one of Envoy's that is still to come: the loader
    told it.  Raises: ConfigError.
    """
    found = registry.find(message.typed_config)
    if found is None:
        return None
    factory, inner = found
    try:
        compiled = factory.compile(inner, context)
    except ConfigError as error:
        raise placed(error, context.path) from error
    if not isinstance(compiled, kind):
        raise ConfigError(context.path, f"'{message.name}' is no {what}")
    return compiled
