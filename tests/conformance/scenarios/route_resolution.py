"""When a route is looked up, and what of a filter's doing changes it."""

from __future__ import annotations

import textwrap

from ..configuration import bootstrap, cluster, listener
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import answers, ok
from .route_matching import named, try_all

LUA = "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua"
PER_ROUTE = "type.googleapis.com/envoy.extensions.filters.http.lua.v3.LuaPerRoute"
LOG = "%ROUTE_NAME% %RESPONSE_CODE% %RESPONSE_CODE_DETAILS% cluster=%UPSTREAM_CLUSTER%\n"


def script(code: str, name: str = "lua", *, keeps_route: bool = False, extra: str = "") -> str:
    """A Lua filter as YAML."""
    return (
        f"- name: {name}\n"
        "  typed_config:\n"
        f'    "@type": {LUA}\n'
        f"    clear_route_cache: {str(not keeps_route).lower()}\n"
        "    default_source_code:\n"
        f"      inline_string: |\n{textwrap.indent(textwrap.dedent(code), ' ' * 8)}\n" + extra
    )


def value(name: str, matcher: str, path: str = "v", *, invert: bool = False, filter_: str = "lua") -> str:
    keys = ", ".join(f"{{key: '{key}'}}" for key in path.split("."))
    more = ", invert: true" if invert else ""
    found = f"{{filter: {filter_}, path: [{keys}], value: {{{matcher}}}{more}}}"
    return f"- {{match: {{path: /{name}, dynamic_metadata: [{found}]}}, {named(name)}}}\n"


METADATA = "".join(
    (
        value("string", "string_match: {exact: text}", "s"),
        value("string-of-number", 'string_match: {exact: "7"}', "num"),
        value("number", "double_match: {exact: 7}", "num"),
        value("range", "double_match: {range: {start: 6, end: 7.5}}", "num"),
        value("range-end", "double_match: {range: {start: 6, end: 7}}", "num"),
        value("number-of-bool", "double_match: {exact: 1}", "b"),
        value("bool", "bool_match: true", "b"),
        value("is-false", "bool_match: false", "b"),
        value("bool-of-number", "bool_match: true", "one"),
        value("present", "present_match: true", "s"),
        value("absent", "present_match: false", "none"),
        value("absent-of-present", "present_match: false", "s"),
        value("is-null", "null_match: {}", "none"),
        value("list", "list_match: {one_of: {string_match: {prefix: b}}}", "l"),
        value("list-not", "list_match: {one_of: {string_match: {prefix: c}}}", "l"),
        value("or", "or_match: {value_matchers: [{null_match: {}}, {bool_match: true}]}", "b"),
        value("nested", "string_match: {exact: deep}", "t.u"),
        value("too-deep", "present_match: true", "s.t"),
        value("table", "present_match: true", "t"),
        value("inverted", "string_match: {exact: other}", "s", invert=True),
        value("inverted-absent", "present_match: true", "none", invert=True),
        value("no-namespace", "present_match: true", "s", filter_="other"),
        value("no-namespace-inverted", "present_match: true", "s", filter_="other", invert=True),
        "- match: {path: /state, filter_state: [{key: lua.state, string_match: {exact: kept}}]}\n"
        f"  {named('state')}\n",
        "- match: {path: /state-missing, filter_state: [{key: none, string_match: {exact: kept}}]}\n"
        f"  {named('state-missing')}\n",
        "- match: {path: /state-address, filter_state:\n"
        "  [{key: lua.state, address_match: {ranges: [{address_prefix: 127.0.0.0, prefix_len: 8}]}}]}\n"
        f"  {named('state-address')}\n",
        f"- {{match: {{prefix: /}}, {named('rest')}}}\n",
    )
)
SET_METADATA = """
function envoy_on_request(h)
  local m = h:streamInfo():dynamicMetadata()
  m:set("lua", "s", "text")
  m:set("lua", "num", 7)
  m:set("lua", "one", 1)
  m:set("lua", "b", true)
  m:set("lua", "l", {"a", "b"})
  m:set("lua", "t", {u = "deep"})
  h:streamInfo():filterState():set("lua.state", "envoy.string", "kept")
"""
EDIT = "  h:headers():add('x-edited', 'yes')\n"
CLEAR = "  h:clearRouteCache()\n"
END = "end\n"

BY_EDIT = """
- {match: {path: /, headers: [{name: x-edited, present_match: true}]}, name: edited, route: {cluster: two}}
- {match: {prefix: /rewritten}, name: rewritten, route: {cluster: two}}
- {match: {prefix: /by-header}, name: by-header, route: {cluster_header: x-cluster}}
- {match: {prefix: /answer}, name: answered, route: {cluster: one}}
- {match: {prefix: /}, name: first, route: {cluster: one}}
"""
EDITS = """
function envoy_on_request(h)
  h:headers():add("x-name", h:streamInfo():routeName())
  local path = h:headers():get(":path")
  if path == "/path" then h:headers():replace(":path", "/rewritten/x") end
  if path == "/answer" then h:respond({[":status"] = "403"}, "no") end
  h:headers():replace("x-edited", "yes")
  h:headers():replace("x-cluster", "two")
  h:headers():add("x-name", h:streamInfo():routeName())
end
"""
NOTHING = "function envoy_on_request(h) end"
SAY_NAME = """
function envoy_on_request(h)
  h:headers():add("x-later-name", h:streamInfo():routeName())
end
"""


def of_entry(name: str) -> str:
    code = f'"function envoy_on_request(h) h:headers():add(\\"x-entry\\", \\"{name}\\") end"'
    return (
        f"typed_per_filter_config: {{lua: {{'@type': {PER_ROUTE}, source_code: {{inline_string: {code}}}}}}}"
    )


WEIGHTED = f"""
- match: {{path: /entry}}
  route:
    weighted_clusters:
      clusters:
      - {{name: one, weight: 0, {of_entry("one")}}}
      - name: two
        weight: 5
        request_headers_to_add: [{{header: {{key: x-level, value: entry}}}}]
        response_headers_to_add: [{{header: {{key: x-level, value: entry}}}}]
        {of_entry("two")}
  request_headers_to_add: [{{header: {{key: x-level, value: route}}}}]
  response_headers_to_add: [{{header: {{key: x-level, value: route}}}}]
  {of_entry("route")}
- match: {{path: /of-route}}
  route: {{weighted_clusters: {{clusters: [{{name: one, weight: 1}}]}}}}
  {of_entry("route")}
- match: {{prefix: /half, runtime_fraction: {{default_value: {{numerator: 50}}}}}}
  route: {{weighted_clusters: {{clusters: [{{name: one, weight: 50}}, {{name: two, weight: 50}}]}}}}
- {{match: {{prefix: /half}}, route: {{cluster: three}}}}
"""
NOWHERE = """
- {match: {path: /non-forwarding}, name: nowhere, non_forwarding_action: {}}
- {match: {path: /filter}, name: filter, filter_action: {}}
"""
RESOLUTION = Setup(
    "route-resolution",
    bootstrap(
        [
            listener("meta-kept", routes=METADATA, filters=script(SET_METADATA + END)),
            listener("meta-edited", routes=METADATA, filters=script(SET_METADATA + EDIT + END)),
            listener(
                "meta-edited-kept",
                routes=METADATA,
                filters=script(SET_METADATA + EDIT + END, keeps_route=True),
            ),
            listener(
                "meta-cleared",
                routes=METADATA,
                filters=script(SET_METADATA + CLEAR + END, keeps_route=True),
            ),
            listener("edits", routes=BY_EDIT, filters=script(EDITS) + script(SAY_NAME, "later"), log=LOG),
            listener(
                "edits-kept",
                routes=BY_EDIT,
                filters=script(EDITS, keeps_route=True) + script(SAY_NAME, "later", keeps_route=True),
                log=LOG,
            ),
            listener(
                "weighted", routes=WEIGHTED, filters=script("function envoy_on_request(h) end"), log=LOG
            ),
            listener("plain", routes=WEIGHTED, log=LOG),
            listener("nowhere", routes=NOWHERE, log=LOG),
        ],
        [cluster("one", "one"), cluster("two", "two"), cluster("three", "three")],
    ),
    {"one": "h1", "two": "h1", "three": "h1"},
)


@scenario(RESOLUTION)
async def resolution_by_metadata(s: Session) -> None:
    """Metadata and filter state that a filter sets count once the route is looked up again."""
    paths = [line.split("path: ")[1].split(",")[0] for line in METADATA.splitlines() if "path: /" in line]
    for to in ("meta-kept", "meta-edited-kept", "meta-edited", "meta-cleared"):
        await try_all(s, to, paths)


@scenario(RESOLUTION)
async def resolution_before_the_filters(s: Session) -> None:
    """The route is that of the request as it came, unless a filter has it looked up again."""
    for to in ("edits", "edits-kept"):
        async with s.logging(5, to):
            for path in ("/", "/path", "/by-header", "/answer", "/other"):
                await s.get(path, "x-cluster: one", to=to, label=f"{to} {path}")


@scenario(RESOLUTION)
async def resolution_of_weighted_clusters(s: Session) -> None:
    """The entry is chosen with the route: filters have its configuration, and its mutations come first."""
    async with s.logging(2, "weighted"):
        for path in ("/entry", "/of-route"):
            await s.get(path, to="weighted", label=path)


@scenario(RESOLUTION)
async def resolution_draws_once(s: Session) -> None:
    """A fraction and the weights behind it go by one random value: what passed as the lower half stays it."""
    seen = set()
    client = await s.connect("plain")
    for name in ("one", "two", "three"):
        s.upstream(name).script = answers(ok(name.encode()))
    for _ in range(48):
        await client.send(b"GET /half HTTP/1.1\r\nhost: a\r\n\r\n")
        reply = await client.reply("ignored")
        assert reply is not None
        seen.add(reply.body.decode())
    client.close()
    s._seen.clear()  # which request went where is chance
    for upstream in s.upstreams.values():
        upstream.seen.clear()
    s.see("answered", sorted(seen))


@scenario(RESOLUTION)
async def resolution_to_nowhere(s: Session) -> None:
    """non_forwarding_action and filter_action lead to no cluster."""
    async with s.logging(2, "nowhere"), s.counting("http.nowhere.no_cluster", "http.nowhere.no_route"):
        for path in ("/non-forwarding", "/filter"):
            await s.get(path, to="nowhere", label=path)
