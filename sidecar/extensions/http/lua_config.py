"""Compiles ``envoy.extensions.filters.http.lua.v3.Lua`` and ``LuaPerRoute``.

The only part of the Lua filter that sees protobuf.  A script is compiled and its top level run here, so that
a mistake refuses the configuration (Envoy does the same).  Scripts with the same text share one state.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sidecar.core.errors import ConfigError, LuaError
from sidecar.extensions.http.lua import LuaFilter, LuaRoute, LuaStats, PerRoute
from sidecar.extensions.http.lua_script import ScriptOptions
from sidecar.extensions.http.lua_sources import Sources

if TYPE_CHECKING:
    from sidecar.api.context import FactoryContext
    from sidecar.extensions.http.lua_script import Source

__all__ = ["LuaFactory"]

logger = logging.getLogger("sidecar.lua")


class LuaFactory:
    """Makes Lua filters and their per-route configuration."""

    name = "envoy.filters.http.lua"
    category = "envoy.filters.http"
    config_type = "envoy.extensions.filters.http.lua.v3.Lua"
    is_upstream = True
    #: Full name of the message under ``typed_per_filter_config``.
    route_config_type = "envoy.extensions.filters.http.lua.v3.LuaPerRoute"

    def __init__(self) -> None:
        self._per_route = PerRoute()
        self._sources = Sources()

    def compile(self, message: Any, context: FactoryContext) -> LuaFilter:
        """The filter.  Raises: ConfigError."""
        return self.make_filter(message, context, "", ScriptOptions())

    def compile_route(self, message: Any, context: FactoryContext) -> LuaRoute:
        """The compiled LuaPerRoute.  Raises: ConfigError."""
        return self.make_route(message, context, "", ScriptOptions())

    def make_filter(
        self, message: Any, context: FactoryContext, at: str, options: ScriptOptions
    ) -> LuaFilter:
        """The filter of Envoy's message, which stands at ``at``.  Raises: ConfigError."""
        if message.inline_code and message.HasField("default_source_code"):
            raise ConfigError(
                f"{at}inline_code",
                "Error: Only one of `inline_code` or `default_source_code` can be set for the Lua filter.",
            )
        scope = context.stats.scope("lua." + message.stat_prefix)
        default = None
        if message.HasField("default_source_code"):
            default = self._source(message.default_source_code, f"{at}default_source_code", context, options)
        elif message.inline_code:
            default = self._script(message.inline_code.encode(), f"{at}inline_code", context, options)
        named = {
            key: self._source(message.source_codes[key], f"{at}source_codes[{key}]", context, options)
            for key in sorted(message.source_codes)
        }
        if default is not None:
            for hook, start in (
                ("envoy_on_request", default.script.start_request),
                ("envoy_on_response", default.script.start_response),
            ):
                if start is None:
                    logger.info("%s() function not found. Lua filter will not hook %ss.", hook, hook[9:])
        clear = message.clear_route_cache.value if message.HasField("clear_route_cache") else True
        return LuaFilter(
            default,
            named,
            LuaStats(scope.counter("errors"), scope.counter("executions")),
            scope=scope,
            find_cluster=context.find_cluster,
            get_client=context.http_client,
            clear_route_cache=clear,
            per_route=self._per_route,
        )

    def make_route(self, message: Any, context: FactoryContext, at: str, options: ScriptOptions) -> LuaRoute:
        """The route's part of Envoy's message, which stands at ``at``.  Raises: ConfigError."""
        self._per_route.seen = True
        source = None
        if message.HasField("source_code"):
            source = self._source(message.source_code, f"{at}source_code", context, options)
        filter_context = _plain(message.filter_context) if message.HasField("filter_context") else None
        return LuaRoute(message.disabled, message.name, source, filter_context)

    def _source(self, source: Any, path: str, context: FactoryContext, options: ScriptOptions) -> Source:
        """The script in a DataSource; an error in it lies at the field that holds the text."""
        field = source.WhichOneof("specifier") or ""
        code = context.read_data_source(source, path)
        if options.has_traces and field == "filename":
            options = replace(options, file=source.filename)
        return self._script(code, f"{path}.{field}" if field else path, context, options)

    def _script(self, code: bytes, path: str, context: FactoryContext, options: ScriptOptions) -> Source:
        if options.has_traces and not options.file and context.locate_text is not None:
            file, line = context.locate_text(f"{context.path}.{path}")
            options = replace(options, file=file, line=line)
        try:
            source, release = self._sources.get(code, context.root_stats.gauge("lua.lua_vm_count"), options)
        except LuaError as error:
            raise ConfigError(path, str(error), line_in_text=getattr(error, "line", None)) from error
        context.on_close(release)
        return source


def _plain(value: Any) -> Any:
    """A protobuf Struct, ListValue or Value as plain data."""
    kind = value.DESCRIPTOR.name
    if kind == "Struct":
        return {key: _plain(item) for key, item in value.fields.items()}
    if kind == "ListValue":
        return [_plain(item) for item in value.values]
    which = value.WhichOneof("kind")
    if which in ("struct_value", "list_value"):
        return _plain(getattr(value, which))
    return None if which in (None, "null_value") else getattr(value, which)
