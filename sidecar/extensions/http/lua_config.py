"""Compiles ``envoy.extensions.filters.http.lua.v3.Lua`` and ``LuaPerRoute``.

The only part of the Lua filter that sees protobuf.  A script is compiled and its top level run here, so that
a mistake refuses the configuration (Envoy does the same).
"""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any

from sidecar.core.errors import ConfigError, LuaError
from sidecar.extensions.http.lua import LuaFilter, LuaRoute, LuaStats, PerRoute
from sidecar.extensions.http.lua_api import LATER
from sidecar.extensions.http.lua_script import Script, ScriptHost

if TYPE_CHECKING:
    from sidecar.api.context import FactoryContext

__all__ = ["LuaFactory"]

logger = logging.getLogger("sidecar.lua")

_LATER_CALL = re.compile(rb":\s*(" + "|".join(LATER).encode() + rb")\s*\(")


class LuaFactory:
    """Makes Lua filters and their per-route configuration."""

    name = "envoy.filters.http.lua"
    category = "envoy.filters.http"
    config_type = "envoy.extensions.filters.http.lua.v3.Lua"
    #: Full name of the message under ``typed_per_filter_config``.
    route_config_type = "envoy.extensions.filters.http.lua.v3.LuaPerRoute"

    def __init__(self) -> None:
        self._per_route = PerRoute()

    def compile(self, message: Any, context: FactoryContext) -> LuaFilter:
        """The filter.  Raises: ConfigError."""
        if message.inline_code and message.HasField("default_source_code"):
            raise ConfigError(
                "inline_code",
                "Error: Only one of `inline_code` or `default_source_code` can be set for the Lua filter.",
            )
        scope = context.stats.scope("lua." + message.stat_prefix)
        default = None
        if message.HasField("default_source_code"):
            default = _script_of(message.default_source_code, "default_source_code", context, scope)
        elif message.inline_code:
            default = _script(message.inline_code.encode(), "inline_code", context, scope)
        named = {
            key: _script_of(message.source_codes[key], f"source_codes[{key}]", context, scope)
            for key in sorted(message.source_codes)
        }
        if default is not None:
            for hook, start in (
                ("envoy_on_request", default.start_request),
                ("envoy_on_response", default.start_response),
            ):
                if start is None:
                    logger.info("%s() function not found. Lua filter will not hook %ss.", hook, hook[9:])
        clear = message.clear_route_cache.value if message.HasField("clear_route_cache") else True
        return LuaFilter(
            default,
            named,
            LuaStats(scope.counter("errors"), scope.counter("executions")),
            clear_route_cache=clear,
            per_route=self._per_route,
        )

    def compile_route(self, message: Any, context: FactoryContext) -> LuaRoute:
        """The compiled LuaPerRoute.  Raises: ConfigError."""
        self._per_route.seen = True
        script = None
        if message.HasField("source_code"):
            scope = context.stats.scope("lua")
            script = _script_of(message.source_code, "source_code", context, scope)
        filter_context = _plain(message.filter_context) if message.HasField("filter_context") else None
        return LuaRoute(message.disabled, message.name, script, filter_context)


def _script_of(source: Any, path: str, context: FactoryContext, scope: Any) -> Script:
    """The script in a DataSource; an error in it lies at the field that holds the text."""
    field = source.WhichOneof("specifier") or ""
    code = context.read_data_source(source, path)
    return _script(code, f"{path}.{field}" if field else path, context, scope)


def _script(code: bytes, path: str, context: FactoryContext, scope: Any) -> Script:
    host = ScriptHost(scope, context.find_cluster, context.root_stats.gauge("lua.lua_vm_count"))
    try:
        script = Script(code, host)
    except LuaError as error:
        raise ConfigError(path, str(error), line_in_text=getattr(error, "line", None)) from error
    context.on_close(script.close)
    for call in sorted({match[1].decode() for match in _LATER_CALL.finditer(code)}):
        reason = f"the script calls {call}(), which needs {LATER[call]} of a later release: a script error"
        context.warn(path, reason)
    return script


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
