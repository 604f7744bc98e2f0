"""Requests that are refused, or lose something, between the codec and the router: which filters see them."""

from __future__ import annotations

from ..configuration import bootstrap, cluster, listener
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import answers, ok
from .early_mutations import early
from .upgrades import handshake

MARK = """
- name: lua-%(name)s
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua
    default_source_code:
      inline_string: |
        function envoy_on_request(handle)
          handle:headers():add("x-seen", "%(name)s")
          if handle:headers():get("x-end") == "%(name)s" then
            handle:respond({[":status"] = "418"}, "from %(name)s")
          end
          if handle:headers():get("x-lose") then
            handle:headers():remove(handle:headers():get("x-lose"))
          end
          if handle:headers():get("x-proto") then
            handle:headers():replace("x-forwarded-proto", handle:headers():get("x-proto"))
          end
        end
        function envoy_on_response(handle)
          handle:headers():add("x-marked", "%(name)s")
        end
"""
CHAIN = MARK % {"name": "one"} + MARK % {"name": "two"}


def indented(text: str, by: int) -> str:
    return "".join(" " * by + line + "\n" for line in text.strip("\n").split("\n"))


OWN = f"""
upgrade_configs:
- upgrade_type: websocket
  filters:
{indented(MARK % {"name": "own"}, 2)}
  - name: envoy.filters.http.router
    typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
- upgrade_type: never
  enabled: false
  filters:
{indented(MARK % {"name": "never"}, 2)}
  - name: envoy.filters.http.router
    typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
"""
ROUTES = """
- match: {prefix: /off}
  route: {cluster: app, upgrade_configs: [{upgrade_type: websocket, enabled: false}]}
- {match: {path: /direct}, direct_response: {status: 200, body: {inline_string: here}}}
- {match: {prefix: /on}, route: {cluster: app, upgrade_configs: [{upgrade_type: never}]}}
- {match: {prefix: /two}, route: {cluster: two}}
- {match: {prefix: /}, route: {cluster: app}}
"""
LOG = (
    "%PROTOCOL% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %ROUTE_NAME% [%REQ(x-seen)%] "
    "[%REQ(:authority)%] [%REQ(host)%]\n"
)
SETUP = Setup(
    "filter-corners",
    bootstrap(
        [
            listener("chain", OWN, routes=ROUTES, filters=CHAIN, log=LOG),
            listener("authority", early("{remove: ':authority'}"), routes=ROUTES, log=LOG),
            listener("host", early("{remove: host}"), routes=ROUTES, log=LOG),
        ],
        [cluster("app", "app"), cluster("two", "two", http2=True)],
    ),
    {"app": "h1", "two": "h2"},
)


@scenario(SETUP)
async def filter_corner_no_forwarded_proto(s: Session) -> None:
    """An empty x-forwarded-proto: no route, which is said by the router, or behind filters?"""
    names = ["http.chain.no_route", "http.chain.rq_total", "http.chain.rq_direct_response"]
    async with s.counting(*names), s.logging(10, "chain"):
        await s.get("/", "x-forwarded-proto:", to="chain", label="nothing else")
        await s.get("/direct", "x-forwarded-proto:", to="chain", label="direct")
        await s.get("/", "x-forwarded-proto:", "x-end: one", to="chain", label="ended by the first")
        await s.get("/", "x-forwarded-proto:", "x-end: two", to="chain", label="ended by the second")
        await s.get("/direct", "x-forwarded-proto:", "x-proto: http", to="chain", label="set by a filter")
        await s.http(handshake("/", "x-forwarded-proto:"), "chain", label="upgrade")
        await s.http(handshake("/", "x-forwarded-proto:", kind="never"), "chain", label="refused upgrade")
        await s.get("/direct", "x-lose: x-forwarded-proto", to="chain", label="taken away by a filter")
        await s.get("/", "x-lose: x-forwarded-proto", to="chain", label="taken away, not direct")
        await s.get("/direct", "x-proto: ftp", to="chain", label="replaced by a filter")


@scenario(SETUP)
async def filter_corner_no_authority(s: Session) -> None:
    """A request that loses its authority on its way: an HTTP/1 upstream gets no host."""
    s.upstream().script = answers(ok(b"up"))
    for to in ("authority", "host"):
        async with s.logging(2, to):
            await s.get("/", to=to, label=to)
            await s.get("/", "x-a: b", to=to, label=to)
    async with s.logging(4, "chain"):
        await s.get("/", "x-lose: :authority", to="chain")
        await s.get("/", "x-lose: host", to="chain")
        await s.get("/", "x-lose: host", "x-end: two", to="chain")
        await s.get("/two", "x-lose: host", to="chain")


@scenario(SETUP)
async def filter_corner_refused_upgrade(s: Session) -> None:
    """An upgrade with filters of its own that the route, or the type, does not allow."""
    async with s.logging(5, "chain"):
        await s.http(handshake("/off"), "chain", label="route says no")
        await s.http(handshake("/off", "x-end: own"), "chain", label="route says no, and its filter too")
        await s.http(handshake("/off", "x-end: one"), "chain", label="route says no, and the chain too")
        await s.http(handshake("/", kind="never"), "chain", label="type says no")
        await s.http(handshake("/").replace(b"host: example.com\r\n", b""), "chain", label="no host")
