"""A repeated field ``access_log`` (``envoy.config.accesslog.v3.AccessLog``) compiled to loggers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sidecar.config.compile.errors import placed
from sidecar.core.errors import ConfigError

if TYPE_CHECKING:
    from sidecar.api.context import FactoryContext
    from sidecar.api.filters import AccessLogger
    from sidecar.config.registry import Registry

__all__ = ["compile_access_logs"]


def compile_access_logs(
    message: Any, context: FactoryContext, registry: Registry, *, field: str = "access_log"
) -> list[AccessLogger]:
    """The loggers of ``message``; one of a kind that is still to come was told about, and is left out.

    Raises: ConfigError with a path from the bootstrap's root.
    """
    loggers: list[AccessLogger] = []
    for index, each in enumerate(getattr(message, field)):
        at = context.at(f"{field}[{index}]")
        inside = at.at("typed_config")
        found = registry.find(each.typed_config)
        if found is None:
            continue
        factory: Any = found[0]
        try:
            compiled = factory.compile(found[1], inside)
        except ConfigError as error:
            raise placed(error, inside.path) from error
        if each.HasField("filter"):
            try:
                compiled = factory.with_filter(compiled, each.filter, at)
            except ConfigError as error:
                raise placed(error, at.path) from error
        loggers.append(compiled)
    return loggers
