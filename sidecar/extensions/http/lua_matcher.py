"""Matches text by a Lua script (``envoy.string_matcher.lua``): its ``envoy_match(text)`` says true or false.

What fails, or gives something else, is no match.  Running scripts is
:mod:`sidecar.extensions.http.lua_script`'s.
"""

from __future__ import annotations

import logging
from typing import Any

from sidecar.config.data_source import read_data_source
from sidecar.core.errors import ConfigError, LuaError
from sidecar.extensions.http.lua_api import printable
from sidecar.extensions.http.lua_script import Source

__all__ = ["LUA_MATCHER", "LuaMatcher", "compile_lua_matcher"]

logger = logging.getLogger("sidecar.lua")

LUA_MATCHER = "envoy.extensions.string_matcher.lua.v3.Lua"


class LuaMatcher:
    """Whether a script takes a text."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._script: Any = None
        self._match: Any = None

    def __call__(self, value: bytes) -> bool:
        script = self._source.script
        if script is not self._script:
            self._script, self._match = script, script.answering(b"envoy_match", False)
        try:
            outcome = self._match(value)
        except script.lua_error as error:
            outcome = False, script.broke(error)[1]
        if script.is_spent:
            self._source.renew()
        is_well, found = outcome if isinstance(outcome, tuple) else (outcome, None)
        if not is_well:
            logger.error("Lua StringMatcher error running script: %s", printable(found))
        elif not isinstance(found, bool):
            logger.error("Lua StringMatcher match function did not return a boolean")
        else:
            return found
        return False


def compile_lua_matcher(message: Any, path: str) -> LuaMatcher:
    """The matcher of an ``envoy.extensions.string_matcher.lua.v3.Lua``.  Raises: ConfigError."""
    code = read_data_source(message.source_code, f"{path}.source_code")
    at = f"{path}.source_code.{message.source_code.WhichOneof('specifier')}"
    try:
        source = Source(code)
    except LuaError as error:
        reason = (
            f"Failed to load lua code in Lua StringMatcher:{str(error).removeprefix('script load error: ')}"
        )
        raise ConfigError(at, reason, line_in_text=getattr(error, "line", None)) from error
    if source.script.answering(b"envoy_match", False) is None:
        raise ConfigError(at, "Lua code did not contain a global function named 'envoy_match'")
    return LuaMatcher(source)
