"""Lua beside the filter: scripts that choose a route's cluster, and scripts that match text."""

from __future__ import annotations

import json

from ..configuration import bootstrap, cluster, listener
from ..lab import Session
from ..scenario import Setup, scenario
from .route_matching import try_all

SUBJECT = "lua"

SPECIFIER = "type.googleapis.com/envoy.extensions.router.cluster_specifiers.lua.v3.LuaConfig"
MATCHER = "type.googleapis.com/envoy.extensions.string_matcher.lua.v3.Lua"


def plugin(code: str, default: str = "other", name: str = "lua") -> str:
    config = {"@type": SPECIFIER, "source_code": {"inline_string": code}, "default_cluster": default}
    return json.dumps({"extension": {"name": name, "typed_config": config}})


def chosen(body: str) -> str:
    return f"function envoy_on_route(h) {body} end"


CHOICES = {
    "/to": 'return h:headers():get("X-To")',
    "/error": 'error("no cluster")',
    "/number": "return 12",
    "/true": "return true",
    "/nothing": "local x = 1",
    "/two": 'return "other", "app"',
    "/add": 'h:headers():add("x-a", "1") return "app"',
    "/dot": 'return h.headers():get("x-to")',
    "/key": "return h:headers():get({})",
    "/pseudo": 'if h:headers():get(":path") == "/pseudo" and h:headers():get(":authority") then return "app" end',
    "/kept": 'local before = kept kept = nil if before then return before:headers():get("x-to") end kept = h return "app"',
    "/shared": 'n = (n or 0) + 1 if n % 2 == 1 then return "app" end return "other"',
    "/cluster": (
        'local c = h:getCluster("app") '
        'if c:numConnections() >= 0 and c:numRequests() == 0 and c:numPendingRequests() == 0 then return "app" end'
    ),
    "/unknown": 'if h:getCluster("nobody") == nil then return "app" end',
    "/wrong": "h:getCluster()",
    "/logs": 'h:logInfo("from a route") h:headers():logInfo("from headers") return "app"',
    "/type": 'if type(h) == "userdata" and type(h:headers()) == "userdata" then return "app" end',
}
CLUSTER_ROUTES = "\n".join(
    f"    - {{match: {{path: {path}}}, name: '{path[1:]}', route: {{inline_cluster_specifier_plugin: {plugin(chosen(body))}}}}}"
    for path, body in CHOICES.items()
)
CLUSTERS = f"""
route_config:
  cluster_specifier_plugins:
  - {plugin(chosen('return h:headers():get("x-to")'), "app", "by-name")}
  - {plugin(chosen('return h:headers():get("x-to")'), "", "without")}
  virtual_hosts:
  - name: v
    domains: ["*"]
    routes:
{CLUSTER_ROUTES}
    - {{match: {{path: /named}}, route: {{cluster_specifier_plugin: by-name, timeout: 3s}}}}
    - {{match: {{path: /without}}, route: {{cluster_specifier_plugin: without, cluster_not_found_response_code: NOT_FOUND}}}}
    - {{match: {{path: /direct}}, direct_response: {{status: 200}}}}
"""


def matching(body: str, more: str = "") -> str:
    config = {"@type": MATCHER, "source_code": {"inline_string": f"function envoy_match(v) {body} end"}}
    custom = json.dumps({"name": "lua", "typed_config": config})
    return f"string_match: {{custom: {custom}{more}}}"


def named(name: str) -> str:
    return f"direct_response: {{status: 200, body: {{inline_string: {name}}}}}"


MATCHES = {
    "digits": 'return v:match("^a%d+$") ~= nil',
    "number": "return 1",
    "nothing": "local x = 1",
    "error": 'error("broken")',
    "type": 'return type(v) == "string" and #v == 0',
    "two": "return false, true",
}
TEXTS = f"""
route_config:
  virtual_hosts:
  - name: v
    domains: ["*"]
    routes:
    - {{match: {{path: /, headers: [{{name: x-upper, {matching('return v == "Upper"', ", ignore_case: true")}}}]}}, {named("upper")}}}
    - {{match: {{path: /, query_parameters: [{{name: q, {matching('return v == "lua"')}}}]}}, {named("query")}}}
    - {{match: {{path: /, headers: [{{name: x-not, invert_match: true, {matching('return v == "no"')}}}]}}, {named("not")}}}
""" + "\n".join(
    f"    - {{match: {{path: /, headers: [{{name: x-{name}, {matching(body)}}}]}}, {named(name)}}}"
    for name, body in MATCHES.items()
)
LOG = "%ROUTE_NAME% %RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %UPSTREAM_CLUSTER%\n"
SETUP = Setup(
    "lua-elsewhere",
    bootstrap(
        [listener("clusters", CLUSTERS, log=LOG), listener("texts", TEXTS)],
        [cluster("app", "app"), cluster("other", "other")],
    ),
    {"app": "h1", "other": "h1"},
)


@scenario(SETUP)
async def lua_elsewhere_cluster(s: Session) -> None:
    """envoy_on_route(): what it gives, what it may ask, and when the default is taken."""
    twice = ("/to", "/kept", "/shared", "/dot")
    asked = [(path, *each) for path in CHOICES for each in ((), ("x-to: app",)) if not each or path in twice]
    await _ask(s, asked)


@scenario(SETUP)
async def lua_elsewhere_cluster_by_name(s: Session) -> None:
    """Plugins that routes name, names that no cluster has, and a default that is not set."""
    values = ((), ("x-to: other",), ("x-to: nobody",), ("x-to: app", "x-to: other"), ("x-to: ",))
    await _ask(s, [(path, *each) for path in ("/named", "/without") for each in values])


async def _ask(s: Session, requests: list[tuple[str, ...]]) -> None:
    async with s.logging(len(requests), "clusters"):
        for path, *headers in requests:
            await s.get(path, *headers, to="clusters", label=" ".join((path, *headers)))


@scenario(SETUP)
async def lua_elsewhere_text(s: Session) -> None:
    """envoy_match() in headers and query parameters: true is a match, and nothing else."""
    headers = [(f"x-{name}: a12",) for name in MATCHES]
    headers += [("x-digits: b",), ("x-digits: b", "x-digits: a1"), ("x-type: ",), ("x-upper: Upper",)]
    headers += [("x-upper: upper",), ("x-not: no",), ("x-not: yes",), ()]
    await try_all(s, "texts", ("/", "/?q=lua", "/?q=lu"), headers)
