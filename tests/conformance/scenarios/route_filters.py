"""``typed_per_filter_config`` at every level, and filters that are on or off for a route."""

from __future__ import annotations

from ..configuration import bootstrap, cluster, listener
from ..lab import Session
from ..scenario import Setup, scenario
from .route_resolution import LUA, PER_ROUTE

FILTER_CONFIG = "type.googleapis.com/envoy.config.route.v3.FilterConfig"


def says(word: str) -> str:
    """A script that adds the word to requests and responses."""
    adds = f'h:headers():add(\\"x-said\\", \\"{word}\\")'
    return f'"function envoy_on_request(h) {adds} end function envoy_on_response(h) {adds} end"'


def filter_named(name: str, *, disabled: bool = False) -> str:
    return (
        f"- name: {name}\n"
        f"  disabled: {str(disabled).lower()}\n"
        "  typed_config:\n"
        f'    "@type": {LUA}\n'
        f"    default_source_code: {{inline_string: {says(name)}}}\n"
    )


def lua(word: str) -> str:
    return f"{{'@type': {PER_ROUTE}, source_code: {{inline_string: {says(word)}}}}}"


def wrapped(fields: str) -> str:
    return f"{{'@type': {FILTER_CONFIG}, {fields}}}"


def level(**filters: str) -> str:
    return "typed_per_filter_config: {" + ", ".join(f"{name}: {each}" for name, each in filters.items()) + "}"


DISABLED = wrapped("disabled: true")
ENABLED = wrapped("config: {}")
ROUTES = f"""
  - match: {{path: /plain}}
    route: {{cluster: app}}
  - match: {{path: /route}}
    route: {{cluster: app}}
    {level(first=lua("route"), second=DISABLED)}
  - match: {{path: /wrapped}}
    route: {{cluster: app}}
    {level(first=wrapped("config: " + lua("wrapped")), spare=ENABLED)}
  - match: {{path: /on}}
    route: {{cluster: app}}
    {level(spare=lua("switched-on"), first=ENABLED)}
  - match: {{path: /off}}
    route: {{cluster: app}}
    {level(first=DISABLED, second=DISABLED, nobody=DISABLED)}
  - match: {{path: /off-with-config}}
    route: {{cluster: app}}
    {level(first=wrapped("disabled: true, config: " + lua("never")))}
  - match: {{path: /entry}}
    route:
      weighted_clusters:
        clusters:
        - name: app
          weight: 1
          {level(first=ENABLED, second=lua("entry"))}
    {level(first=DISABLED, second=DISABLED)}
  - match: {{path: /entry-off}}
    route: {{weighted_clusters: {{clusters: [{{name: app, weight: 1, {level(second=DISABLED)}}}]}}}}
    {level(second=lua("route"))}
  - match: {{path: /direct}}
    direct_response: {{status: 200}}
    {level(second=DISABLED)}
"""
LEVELS = f"""
route_config:
  {level(first=lua("table"), second=lua("table"))}
  virtual_hosts:
  - name: own
    domains: [own.example]
    {level(second=lua("host"), spare=wrapped("config: " + lua("host")))}
    routes:
    {ROUTES.replace(chr(10), chr(10) + "  ")}
  - name: all
    domains: ["*"]
    routes:
    {ROUTES.replace(chr(10), chr(10) + "  ")}
"""
SOME_ON = f"""
route_config:
  virtual_hosts:
  - name: all
    domains: ["*"]
    routes:
    - {{match: {{path: /on}}, route: {{cluster: app}}, {level(spare=ENABLED)}}}
    - {{match: {{path: /moved}}, route: {{cluster: app}}, {level(spare=ENABLED, mover=DISABLED)}}}
    - {{match: {{prefix: /}}, route: {{cluster: app}}}}
"""
MOVER = f"""
- name: mover
  typed_config:
    "@type": {LUA}
    default_source_code:
      inline_string: |
        function envoy_on_request(h) h:headers():replace(":path", "/moved") end
        function envoy_on_response(h) h:headers():add("x-said", "mover") end
"""
PATHS = (
    "/plain",
    "/route",
    "/wrapped",
    "/on",
    "/off",
    "/off-with-config",
    "/entry",
    "/entry-off",
    "/direct",
    "/nowhere",
)
FILTERS = Setup(
    "route-filters",
    bootstrap(
        [
            listener(
                "levels",
                LEVELS,
                filters=filter_named("first") + filter_named("second") + filter_named("spare", disabled=True),
            ),
            listener("some-on", SOME_ON, filters=filter_named("spare", disabled=True)),
            listener(
                "moved", SOME_ON, filters=filter_named("first") + MOVER + filter_named("spare", disabled=True)
            ),
        ],
        [cluster("app", "app")],
    ),
    {"app": "h1"},
)


@scenario(FILTERS)
async def route_filters_of_every_level(s: Session) -> None:
    """The innermost configuration counts; FilterConfig turns filters off, any entry turns one on."""
    for host in ("own.example", "other.example"):
        for path in PATHS:
            request = f"GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n"
            await s.http(request, "levels", label=f"{host} {path}")


@scenario(FILTERS)
async def route_filters_over_http2(s: Session) -> None:
    """The same over HTTP/2, and where the request breaks before a route is found."""
    client = await s.connect_h2("levels")
    for path in ("/plain", "/on", "/off", "/entry"):
        await client.request([(":method", "GET"), (":scheme", "http"), (":path", path), (":authority", "a")])
    await s.http("GET /plain HTTP/1.1\r\n\r\n", "levels", label="no host")
    await s.http("GET plain HTTP/1.1\r\nhost: a\r\n\r\n", "levels", label="no path")


@scenario(FILTERS)
async def route_filters_stay_when_the_route_moves(s: Session) -> None:
    """What is on for a stream is decided by the route that was found first."""
    for to in ("some-on", "moved"):
        for path in ("/on", "/other"):
            await s.get(path, to=to, label=f"{to} {path}")
