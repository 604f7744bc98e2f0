"""``typed_per_filter_config`` of one level, compiled by the factories of the filters it is for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sidecar.api.context import FactoryContext
from sidecar.config.compile.errors import placed
from sidecar.config.registry import Registry, resolve_any
from sidecar.core.errors import ConfigError

__all__ = ["PerFilterConfigs"]

_FILTER_CONFIG = "envoy.config.route.v3.FilterConfig"


class PerFilterConfigs:
    """Compiles them, at any level; knows which filters the connection manager has."""

    def __init__(self, context: FactoryContext, registry: Registry, filter_names: Mapping[str, str]) -> None:
        self._context = context
        self._registry = registry
        self._filter_names = filter_names

    def compile(self, message: Any, path: str) -> dict[str, Any]:
        """The compiled configuration of each filter that ``message`` names.  Raises: ConfigError."""
        found: dict[str, Any] = {}
        for name, packed in message.typed_per_filter_config.items():
            at = f'{path}.typed_per_filter_config["{name}"]'
            inner: Any
            type_name, inner = resolve_any(packed)
            if type_name == _FILTER_CONFIG and inner is not None:
                type_name, inner = resolve_any(inner.config)
            factory = self._registry.by_route_type(type_name)
            if factory is None or inner is None:
                continue  # told by the loader
            if name not in self._filter_names:
                self._context.warn(at, f"no enabled filter named '{name}' stands in http_filters: no effect")
            context = self._context.at("")
            context.path = at
            try:
                found[name] = factory.compile_route(inner, context)
            except ConfigError as error:
                raise placed(error, at) from error
        return found
