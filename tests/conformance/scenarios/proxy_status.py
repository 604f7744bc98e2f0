# ruff: noqa: E501  (a line of configuration reads best unbroken)
"""proxy_status_config: the header Proxy-Status."""

from __future__ import annotations

from ..configuration import bootstrap, cluster, listener
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import Call, answers, ok

ROUTES = """
- {match: {path: /dead}, route: {cluster: dead}}
- {match: {path: /nobody}, route: {cluster_header: x-none}}
- {match: {path: /empty}, route: {cluster: empty}}
- {match: {path: /slow}, route: {cluster: app, timeout: 0.05s}}
- {match: {path: /direct}, direct_response: {status: 503}}
- {match: {path: /full}, route: {cluster: full}}
- {match: {prefix: /app}, route: {cluster: app}}
"""
LOG = "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %RESP(proxy-status)%\n"
PATHS = ("/none", "/dead", "/nobody", "/empty", "/direct", "/full")


def status(config: str) -> str:
    return f"proxy_status_config: {{{config}}}\n"


SETUP = Setup(
    "proxy-status",
    bootstrap(
        [
            listener("plain", status(""), routes=ROUTES, log=LOG),
            listener(
                "named",
                "server_name: mine\nvia: me\n" + status("remove_details: true"),
                routes=ROUTES,
                log=LOG,
            ),
            listener(
                "node",
                status(
                    "use_node_id: true, remove_response_flags: true, remove_connection_termination_details: true"
                ),
                routes=ROUTES,
                log=LOG,
            ),
            listener(
                "literal",
                status('literal_proxy_name: "own name", set_recommended_response_code: true'),
                routes=ROUTES,
                log=LOG,
            ),
            listener("notnode", status("use_node_id: false"), routes=ROUTES, log=LOG),
        ],
        [
            cluster("app", "app"),
            cluster("dead", "dead"),
            {"name": "empty", "type": "STATIC", "load_assignment": {"cluster_name": "empty"}},
            cluster(
                "full",
                "app",
                extra="circuit_breakers: {thresholds: [{max_connections: 0, max_pending_requests: 0}]}",
            ),
        ],
        "node: {id: the-node, cluster: c}",
    ),
    {"app": "h1", "dead": "dead"},
)


@scenario(SETUP)
async def proxy_status_errors(s: Session) -> None:
    """Each response flag has its error; without one there is no header."""
    for to in ("plain", "named", "node", "literal", "notnode"):
        async with s.logging(len(PATHS), to):
            for path in PATHS:
                await s.get(path, to=to, label=f"{to} {path}")


@scenario(SETUP)
async def proxy_status_of_upstreams(s: Session) -> None:
    """What goes wrong at an upstream; the header of a proxy before this one."""

    async def closing(call: Call) -> None:
        await call.body()
        await call.close()

    async def resetting(call: Call) -> None:
        await call.body()
        await call.reset()

    for to in ("plain", "literal"):
        s.upstream().script = answers(b"garbage\r\n\r\n")
        await s.get("/app", to=to, label=f"{to} garbage")
        s.upstream().script = closing
        await s.get("/app", to=to, label=f"{to} closed")
        s.upstream().script = resetting
        await s.get("/app", to=to, label=f"{to} reset")
        s.upstream().script = answers(ok(b"x", "proxy-status: first; error=dns_error"))
        await s.get("/app", to=to, label=f"{to} ok")
        await s.http("GET /a b HTTP/1.1\r\n\r\n", to, label=f"{to} bad request")
        await s.http("GET / HTTP/1.1\r\n\r\n", to, label=f"{to} no host")
        await s.get("/dead", "content-type: application/grpc", to=to, label=f"{to} grpc")


@scenario(SETUP)
async def proxy_status_of_a_timeout(s: Session) -> None:
    """The upstream took too long."""

    async def never(call: Call) -> None:
        await call.body()
        await call.gone()

    s.upstream().script = never
    for to in ("plain", "literal"):
        await s.get("/slow", to=to, label=to)
