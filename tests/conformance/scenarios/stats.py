"""Statistics under Envoy's names."""

from __future__ import annotations

from ..client import get
from ..configuration import bootstrap, cluster, listener
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import answers, ok
from ..wire import head

SUBJECT = "observability"

ROUTES = """
- {match: {path: /direct}, direct_response: {status: 200, body: {inline_string: here}}}
- {match: {path: /redirect}, redirect: {host_redirect: other}}
- {match: {path: /up}, route: {cluster: app}}
"""
STATS = Setup(
    "stats",
    bootstrap(
        [
            listener("main", routes=ROUTES, extra="stat_prefix: first"),
            listener("second", routes=ROUTES, extra="stat_prefix: second"),
        ],
        [cluster("app", "app", extra="alt_stat_name: renamed"), cluster("dead", "dead")],
    ),
    {"app": "h1", "dead": "dead"},
)


def under(prefix: str, names: str) -> list[str]:
    return [f"{prefix}.{name}" for name in names.split()]


@scenario(STATS)
async def stats_of_the_connection_manager(s: Session) -> None:
    """http.<prefix>. counters of requests by class, routes that were not found, connections."""
    names = under(
        "http.main",
        "downstream_rq_total downstream_rq_completed downstream_rq_1xx downstream_rq_2xx downstream_rq_3xx "
        "downstream_rq_4xx downstream_rq_5xx downstream_rq_http1_total downstream_rq_http2_total no_route "
        "rq_direct_response rq_redirect rq_total downstream_cx_total downstream_cx_http1_total "
        "downstream_cx_http2_total downstream_cx_active downstream_rq_active downstream_cx_destroy "
        "downstream_cx_protocol_error downstream_cx_destroy_remote downstream_cx_destroy_local",
    )
    async with s.counting(*names):
        client = await s.connect()
        for path in ("/direct", "/redirect", "/up", "/nowhere"):
            await client.send(head(f"GET {path} HTTP/1.1", "host: a"))
            await client.reply()
        await s.http(b"nonsense\r\n\r\n")
        second = await s.connect_h2()
        await second.request(get("/direct"))


@scenario(STATS)
async def stats_of_the_listener(s: Session) -> None:
    """listener.<prefix>. counters, and those of the connection manager below it."""
    names = [
        *under("listener.first", "downstream_cx_total downstream_cx_active downstream_cx_destroy"),
        *under("listener.first", "worker_0.downstream_cx_total no_filter_chain_match"),
        *under("listener.first.http.main", "downstream_rq_2xx downstream_rq_4xx downstream_rq_completed"),
        *under("listener.second", "downstream_cx_total"),
    ]
    async with s.counting(*names):
        await s.get("/direct")
        await s.get("/nowhere")


@scenario(STATS)
async def stats_of_the_cluster(s: Session) -> None:
    """cluster.<name>. counters; alt_stat_name takes the name's place."""
    s.upstream().script = answers(ok(), head("HTTP/1.1 404 Not Found", "content-length: 0"), ok())
    names = under(
        "cluster.renamed",
        "upstream_rq_total upstream_rq_completed upstream_rq_2xx upstream_rq_200 upstream_rq_4xx "
        "upstream_rq_404 upstream_cx_total upstream_cx_http1_total upstream_cx_active upstream_rq_active "
        "upstream_rq_pending_total upstream_rq_pending_active external.upstream_rq_200 "
        "external.upstream_rq_2xx internal.upstream_rq_200 upstream_cx_rx_bytes_total bind_errors "
        "membership_total upstream_cx_connect_fail",
    )
    async with s.counting(*names, "cluster.app.upstream_rq_total"):
        for _ in range(3):
            await s.get("/up")


@scenario(STATS)
async def stats_of_bytes(s: Session) -> None:
    """Bytes of a fixed exchange, downstream."""
    async with s.counting("http.main.downstream_cx_rx_bytes_total", "http.main.downstream_cx_tx_bytes_total"):
        await s.get("/direct")


@scenario(STATS)
async def stats_at_rest(s: Session) -> None:
    """The stats that stand there before any traffic, with their values, for one prefix each."""
    for pattern in (
        r"^http\.second\.",
        r"^listener\.second\.",
        r"^cluster\.dead\.(?!default\.|max_host_weight|upstream_queue|upstream_http3)",
        r"^cluster_manager\.(active|warming|cluster_(added|modified|removed))",
        r"^listener_manager\.(listener_(added|create_success|create_failure)|total_listeners|workers_started)",
    ):
        s.see(pattern, await s.counters(pattern))


@scenario(STATS)
async def stats_of_the_server(s: Session) -> None:
    """server. gauges that do not depend on the machine."""
    s.see(
        "server", await s.counters(r"^server\.(live|state|concurrency|hot_restart_epoch|parent_connections)$")
    )
