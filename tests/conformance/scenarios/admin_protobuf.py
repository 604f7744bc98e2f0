"""/stats/prometheus as protobuf: who gets it, and every byte of it."""

from __future__ import annotations

from ..configuration import bootstrap, cluster, listener
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import answers, ok
from ..wire import head, read_response

SUBJECT = "observability"

TYPE = "application/vnd.google.protobuf"
#: Prometheus' own, without and with native histograms.
ACCEPTS = (
    "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
    f"{TYPE};proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.7,text/plain;q=0.3",
    TYPE,
    f"text/plain;q=0.1,{TYPE};q=0.9",
    f"text/html, {TYPE};q=0",
    f"{TYPE} ; proto=x",
    TYPE.upper(),
    "*/*",
)
#: Sizes of bodies, each list in a cluster of its own: the schema follows from how many buckets they touch.
SIZES = (
    (1, 2, 3, 2, 100, 104, 109, 110, 1_000, 20_000),
    tuple(int(112 * 1.15**power) for power in range(14)),
    tuple(range(1, 31)),
    tuple(10**power + 3 * 10 ** (power - 1) * extra for power in range(1, 5) for extra in range(4)),
)
ROUTES = "".join(f"- {{match: {{prefix: /{n}}}, route: {{cluster: sized{n}}}}}\n" for n in range(len(SIZES)))
SETUP = Setup(
    "admin-protobuf",
    bootstrap(
        [listener("main", routes=ROUTES)],
        [
            cluster(f"sized{n}", "app", extra="track_cluster_stats: {request_response_sizes: true}")
            for n in range(len(SIZES))
        ]
        + [cluster('odd "name\\', "app")],
        "stats_flush_on_admin: true",
    ),
    {"app": "h1"},
)


@scenario(SETUP)
async def admin_protobuf(s: Session) -> None:
    """What is negotiated, and counters, gauges and the kinds of histograms."""
    for accept in ACCEPTS:
        await s.admin("GET /stats/prometheus?filter=no_route$", accept, extra=f"accept: {accept}")
    for query in ("format=prometheus&", ""):
        await s.admin(f"GET /stats?{query}filter=no_route$", extra=f"accept: {TYPE}")
    for query in (
        "histogram_buckets=detailed",
        "histogram_buckets=nonsense",
        "filter=(",
        "filter=^runtime.num_keys|^cluster.sized.\\.(upstream_cx_max|membership_healthy|max_host_weight)",
        "filter=^cluster.odd.*membership_(healthy|total)$",
        "filter=^cluster.sized0.upstream_rs_body_size$&usedonly",
        "filter=^cluster.sized[01].upstream_rs_body_size$",
        "filter=^cluster.sized[01].upstream_rs_body_size$&histogram_buckets=summary",
        "filter=^cluster.sized[01].upstream_rs_body_size$&histogram_buckets=prometheusnative",
    ):
        await s.admin(f"GET /stats/prometheus?{query}", extra=f"accept: {TYPE}")
    await s.admin("GET /stats/prometheus?histogram_buckets=prometheusnative", "native as text")


@scenario(SETUP)
async def admin_protobuf_native(s: Session) -> None:
    """Native histograms of known values."""
    s.upstream().script = answers(ok(b""))
    for number, sizes in enumerate(SIZES):
        client = await s.connect("main")
        for size in sizes:
            request = head(f"POST /{number} HTTP/1.1", "host: a", f"content-length: {size}")
            await client.wire.send(request + b"x" * size)
            await read_response(client.wire)
        client.close()
    await s.quiet()
    s.upstream().seen.clear()  # tells nothing
    s.proxy.is_spent = True
    for number in range(len(SIZES)):
        name = f"^cluster.sized{number}.upstream_rq_body_size$"
        for mode in ("prometheusnative", "cumulative"):
            query = f"filter={name}&histogram_buckets={mode}"
            await s.admin(f"GET /stats/prometheus?{query}", extra=f"accept: {TYPE}", headers=False)
