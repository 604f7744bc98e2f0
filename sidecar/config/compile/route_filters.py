"""``typed_per_filter_config`` of one level, compiled by the factories of the filters it is for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any

from sidecar.api.context import FactoryContext
from sidecar.config.compile.errors import placed
from sidecar.config.registry import Registry, resolve_any
from sidecar.core.dataclass import dataclass
from sidecar.core.errors import ConfigError
from sidecar.router.filter_configs import merge_filter_configs

__all__ = ["LevelFilters", "PerFilterConfigs"]

#: Where such a policy is kept, among those of filters, which have no such names.
_CORS = "envoy.config.route.v3.CorsPolicy"
_FILTER_CONFIG = "envoy.config.route.v3.FilterConfig"


@dataclass(slots=True)
class LevelFilters:
    """What a level, with those outside of it, says of filters, by the filters' names."""

    configs: dict[str, Any] = field(default_factory=dict)
    #: Whether the filter is off; a filter that is off by default is on where it is named at all.
    switches: dict[str, bool] = field(default_factory=dict)

    def over(self, outer: LevelFilters) -> LevelFilters:
        """This level inside ``outer``: what it says itself counts."""
        configs = merge_filter_configs(outer.configs, self.configs)
        return LevelFilters(configs, {**outer.switches, **self.switches})


class PerFilterConfigs:
    """Compiles them, at any level; knows which filters the connection manager has."""

    def __init__(self, context: FactoryContext, registry: Registry, filter_names: Mapping[str, str]) -> None:
        self._context = context
        self._registry = registry
        self._filter_names = filter_names
        #: Whether some level turned a filter off.
        self.switches_off = False

    def compile(self, message: Any, path: str) -> LevelFilters:
        """What ``message`` says of each filter that it names.  Raises: ConfigError."""
        found = LevelFilters()
        for name, packed in message.typed_per_filter_config.items():
            at = f'{path}.typed_per_filter_config["{name}"]'
            inner: Any
            type_name, inner = resolve_any(packed)
            disabled = False
            if type_name == _FILTER_CONFIG and inner is not None:
                disabled = inner.disabled
                type_name, inner = resolve_any(inner.config)
            if name not in self._filter_names and name not in self._context.upstream_filter_names:
                self._context.warn(at, f"no filter named '{name}' stands in http_filters: no effect")
            found.switches[name] = disabled
            if disabled:
                self.switches_off = True
                continue
            factory = self._registry.by_route_type(type_name)
            if factory is None or inner is None:
                continue  # told by the loader
            context = self._context.at("")
            context.path = at
            try:
                found.configs[name] = factory.compile_route(inner, context)
            except ConfigError as error:
                raise placed(error, at) from error
        self._compile_cors(message, path, found)
        return found

    def _compile_cors(self, message: Any, path: str, found: LevelFilters) -> None:
        """The ``cors`` of routes and virtual hosts, which is older than ``typed_per_filter_config``."""
        fields = message.DESCRIPTOR.fields_by_name
        if "route" in fields and message.HasField("route"):
            message, path = message.route, f"{path}.route"
            fields = message.DESCRIPTOR.fields_by_name
        if "cors" in fields and message.HasField("cors"):
            factory = self._registry.by_route_type("envoy.extensions.filters.http.cors.v3.CorsPolicy")
            if factory is not None:
                context = self._context.at("")
                context.path = f"{path}.cors"
                found.configs[_CORS] = factory.compile_route(message.cors, context)
