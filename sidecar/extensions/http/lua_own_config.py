"""Compiles our own Lua filter: Envoy's, and what ``sidecar.extensions.filters.http.lua.v1.Lua`` adds.

Its message holds Envoy's, whose meaning stays; beside it stand what happens when a script fails, the limits
of a step, and what the modules of its scripts (lua_modules.lua) work with.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sidecar.core.errors import ConfigError
from sidecar.extensions.http.lua_config import LuaFactory
from sidecar.extensions.http.lua_dictionary import make_dictionary
from sidecar.extensions.http.lua_jwt import JwtError, JwtProvider, parse_jwks
from sidecar.extensions.http.lua_script import Limits, ScriptOptions

if TYPE_CHECKING:
    from sidecar.api.context import FactoryContext
    from sidecar.extensions.http.lua import LuaFilter, LuaRoute

__all__ = ["OwnLuaFactory"]

_DEFAULT_ENTRIES = 10_000
_DEFAULT_BYTES = 16 * 1024 * 1024
_LEAST_MEMORY = 1024 * 1024


class OwnLuaFactory(LuaFactory):
    """``sidecar.filters.http.lua``."""

    name = "sidecar.filters.http.lua"
    config_type = "sidecar.extensions.filters.http.lua.v1.Lua"
    is_upstream = True
    route_config_type = "sidecar.extensions.filters.http.lua.v1.LuaPerRoute"

    def compile(self, message: Any, context: FactoryContext) -> LuaFilter:
        """The filter.  Raises: ConfigError."""
        options = ScriptOptions(
            limits=_limits(message.limits), has_modules=True, has_traces=message.stack_traces
        )
        made = self.make_filter(message.lua, context, "lua.", options)
        made.fails_closed = message.on_error == 1
        made.dictionaries = {
            name: make_dictionary(
                context.shared_memory,
                f"{context.path} {name}",
                each.max_entries or _DEFAULT_ENTRIES,
                each.max_bytes or _DEFAULT_BYTES,
            )
            for name, each in message.shared_dictionaries.items()
        }
        made.jwt_providers = {
            name: _provider(each, f"jwt_providers[{name}]", context)
            for name, each in message.jwt_providers.items()
        }
        return made

    def compile_route(self, message: Any, context: FactoryContext) -> LuaRoute:
        """The compiled LuaPerRoute.  Raises: ConfigError."""
        for field, is_set in (("limits", message.HasField("limits")), ("stack_traces", message.stack_traces)):
            if is_set and not message.lua.HasField("source_code"):
                raise ConfigError(
                    field, "it is about the route's own script, and there is no lua.source_code"
                )
        options = ScriptOptions(
            limits=_limits(message.limits), has_modules=True, has_traces=message.stack_traces
        )
        return self.make_route(message.lua, context, "lua.", options)


def _limits(message: Any) -> Limits:
    plain = Limits()
    if message.memory_bytes and message.memory_bytes < _LEAST_MEMORY:
        raise ConfigError("limits.memory_bytes", f"a state takes at least {_LEAST_MEMORY} bytes")
    return Limits(
        instructions=message.instructions or plain.instructions,
        seconds=message.time.ToTimedelta().total_seconds() if message.HasField("time") else plain.seconds,
        memory_bytes=message.memory_bytes or plain.memory_bytes,
    )


def _provider(message: Any, path: str, context: FactoryContext) -> JwtProvider:
    try:
        keys = parse_jwks(context.read_data_source(message.jwks, f"{path}.jwks"))
    except JwtError as error:
        raise ConfigError(f"{path}.jwks", str(error)) from error
    skew = message.clock_skew.ToTimedelta().total_seconds() if message.HasField("clock_skew") else 60.0
    return JwtProvider(message.issuer, frozenset(message.audiences), keys, skew)
