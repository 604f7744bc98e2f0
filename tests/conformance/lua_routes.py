"""Many Lua scripts in one setup: a route for each, which brings its own by `LuaPerRoute`."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping
from typing import Any

from .configuration import listener

LUA = "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua"
PER_ROUTE = "type.googleapis.com/envoy.extensions.filters.http.lua.v3.LuaPerRoute"

#: Functions for scripts: `try(h, name, f)` adds what a call gives as a header `x-NAME`.
HELPERS = """
local function show(value)
  if type(value) == "table" then
    local parts = {}
    for k, v in pairs(value) do parts[#parts + 1] = show_key(k) .. "=" .. show(v) end
    table.sort(parts)
    return "{" .. table.concat(parts, ";") .. "}"
  end
  if type(value) == "userdata" then return "object" end
  return (tostring(value):gsub("[%c]", "~"))
end
function show_key(k) return type(k) .. ":" .. tostring(k) end
local function try(h, name, f)
  local function all(...)
    local parts = {}
    for i = 1, select("#", ...) do parts[i] = show((select(i, ...))) end
    return table.concat(parts, ",")
  end
  h:headers():add("x-" .. name, all(pcall(f)))
end
"""


def code(text: str, *, helped: bool = True) -> str:
    """A script; the helpers stand on its first line, so that line numbers are the script's own plus one."""
    text = textwrap.dedent(text).strip("\n")
    return " ".join(HELPERS.split()) + "\n" + text if helped else text


def per_route(**fields: Any) -> dict[str, Any]:
    return {"lua": {"@type": PER_ROUTE, **fields}}


def script_routes(scripts: Mapping[str, str], cluster: str = "app") -> list[dict[str, Any]]:
    """A route `/NAME` (and below) for each script."""
    return [
        {
            "match": {"path_separated_prefix": f"/{name}"},
            "name": f"route-{name}",
            "route": {"cluster": cluster},
            "typed_per_filter_config": per_route(source_code={"inline_string": text}),
        }
        for name, text in scripts.items()
    ]


def lua_filter(name: str = "lua", **fields: Any) -> dict[str, Any]:
    return {"name": name, "typed_config": {"@type": LUA, **fields}}


def lua_listener(
    name: str,
    routes: list[dict[str, Any]],
    *filters: dict[str, Any],
    hcm: str = "",
    extra: str = "",
    **more: Any,
) -> dict[str, Any]:
    """A listener whose chain are these filters, or one Lua filter without a script of its own."""
    return listener(
        name,
        hcm,
        routes=json.dumps(routes),
        filters=json.dumps(list(filters) or [lua_filter()]),
        extra=extra,
        **more,
    )
