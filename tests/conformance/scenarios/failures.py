"""Upstreams and clients that fail: local replies, response flags, what happens to the connections."""

from __future__ import annotations

import trio

from ..configuration import bootstrap, cluster, listener
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import Call, answers, ok
from ..wire import head, read_head, show_headers

ROUTES = """
- {match: {path: /probe}, direct_response: {status: 200, body: {inline_string: here}}}
- {match: {path: /dead}, route: {cluster: dead}}
- {match: {path: /empty}, route: {cluster: empty}}
- {match: {path: /timeout}, route: {cluster: app, timeout: 0.1s}}
- {match: {path: /idle}, route: {cluster: app, idle_timeout: 0.1s}}
- {match: {path: /once}, route: {cluster: once}}
- {match: {prefix: /}, route: {cluster: app}}
"""
ONCE = """
typed_extension_protocol_options:
  envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
    "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
    common_http_protocol_options: {max_requests_per_connection: 1}
    explicit_http_config: {http_protocol_options: {}}
"""
FAILURES = Setup(
    "failures",
    bootstrap(
        [
            listener("main", routes=ROUTES),
            listener("idlestream", "stream_idle_timeout: 0.15s", routes=ROUTES),
            listener("slowrequest", "request_timeout: 0.15s", routes=ROUTES),
            listener("slowhead", "request_headers_timeout: 0.15s", routes=ROUTES),
            listener(
                "idle",
                "{drain_timeout: 0.1s, common_http_protocol_options: {idle_timeout: 0.15s}}",
                routes=ROUTES,
            ),
            listener(
                "twice", "common_http_protocol_options: {max_requests_per_connection: 2}", routes=ROUTES
            ),
        ],
        [
            cluster("app", "app"),
            cluster("dead", "dead"),
            cluster("empty"),
            cluster("once", "app", extra=ONCE),
        ],
    ),
    {"app": "h1", "dead": "dead"},
)

INNER = Setup(
    "failures-internal",
    bootstrap(
        [
            listener(
                "internal",
                "{use_remote_address: true, internal_address_config: "
                "{cidr_ranges: [{address_prefix: 127.0.0.0, prefix_len: 8}]}}",
                routes=ROUTES,
            ),
        ],
        [
            cluster("app", "app"),
            cluster("dead", "dead"),
            cluster("empty"),
            cluster("once", "app", extra=ONCE),
        ],
    ),
    {"app": "h1", "dead": "dead"},
)


async def silent(call: Call) -> None:
    """Never answer; wait until the proxy gives up."""
    await call.gone()


@scenario(FAILURES)
async def failure_connection_refused(s: Session) -> None:
    """An upstream that refuses: 503 with UF; the client's connection stays usable."""
    async with s.logging(2):
        client = await s.connect()
        await client.send(head("GET /dead HTTP/1.1", "host: a"))
        await client.reply()
        await client.usable()


@scenario(FAILURES)
async def failure_connection_refused_with_body(s: Session) -> None:
    """The same for a request whose body has not been sent yet, and for HEAD."""
    async with s.logging(2):
        client = await s.connect()
        await client.send(head("POST /dead HTTP/1.1", "host: a", "content-length: 5"))
        await client.reply()
        await client.closed()
        await s.http(head("HEAD /dead HTTP/1.1", "host: a"), has_body=False, label="HEAD")


@scenario(FAILURES)
async def failure_empty_cluster(s: Session) -> None:
    """A cluster without hosts: 503 with UH."""
    async with s.logging(1):
        await s.get("/empty")


@scenario(FAILURES)
async def failure_upstream_closes_before_the_response(s: Session) -> None:
    """Closed without an answer: 503 with UC."""

    async def script(call: Call) -> None:
        await call.close()

    s.upstream().script = script
    async with s.logging(1):
        await s.get()


@scenario(FAILURES)
async def failure_upstream_resets_before_the_response(s: Session) -> None:
    """A TCP reset without an answer."""

    async def script(call: Call) -> None:
        await call.reset()

    s.upstream().script = script
    async with s.logging(1):
        await s.get()


@scenario(FAILURES)
async def failure_upstream_closes_in_its_head(s: Session) -> None:
    """Half a response head, then the end."""

    async def script(call: Call) -> None:
        await call.send(b"HTTP/1.1 200 OK\r\ncontent-le")
        await call.close()

    s.upstream().script = script
    async with s.logging(1):
        await s.get()


async def cut_off(s: Session, response: bytes, partial: int, then: str) -> None:
    """Read the head and `partial` bytes, let the upstream close only then, and observe the client's end."""
    received = trio.Event()

    async def script(call: Call) -> None:
        await call.send(response)
        await received.wait()
        await (call.reset() if then == "reset" else call.close())

    s.upstream().script = script
    async with s.logging(1):
        client = await s.connect()
        await client.send(head("GET / HTTP/1.1", "host: a"))
        start = await read_head(client.wire)
        s.see("head", [start.start_line, *show_headers(start.headers)])
        s.see("partial", (await client.wire.exactly(partial)).decode())
        received.set()
        await client.closed()


@scenario(FAILURES)
async def failure_upstream_closes_within_a_length(s: Session) -> None:
    """An upstream that closes before content-length is reached: so does the proxy."""
    await cut_off(s, head("HTTP/1.1 200 OK", "content-length: 100") + b"partial", 7, "close")


@scenario(FAILURES)
async def failure_upstream_closes_within_chunks(s: Session) -> None:
    """An upstream that closes between chunks: no final chunk reaches the client."""
    await cut_off(s, head("HTTP/1.1 200 OK", "transfer-encoding: chunked") + b"3\r\nabc\r\n", 8, "close")


@scenario(FAILURES)
async def failure_upstream_resets_within_a_length(s: Session) -> None:
    """A TCP reset within the body."""
    await cut_off(s, head("HTTP/1.1 200 OK", "content-length: 100") + b"partial", 7, "reset")


@scenario(FAILURES)
async def failure_upstream_breaks_its_chunks(s: Session) -> None:
    """A chunk size that is none, after the head went out."""
    received = trio.Event()

    async def script(call: Call) -> None:
        await call.send(head("HTTP/1.1 200 OK", "transfer-encoding: chunked") + b"3\r\nabc\r\n")
        await received.wait()
        await call.send(b"nonsense\r\n")
        await call.gone()

    s.upstream().script = script
    async with s.logging(1):
        client = await s.connect()
        await client.send(head("GET / HTTP/1.1", "host: a"))
        await read_head(client.wire)
        s.see("partial", (await client.wire.exactly(8)).decode())
        received.set()
        await client.closed()


@scenario(FAILURES)
async def failure_route_timeout(s: Session) -> None:
    """No answer within the route's timeout: 504 with UT, the upstream connection is closed."""
    s.upstream().script = silent
    async with s.logging(2):
        client = await s.connect()
        await client.send(head("GET /timeout HTTP/1.1", "host: a"))
        await client.reply()
        await client.usable()


@scenario(FAILURES)
async def failure_route_timeout_within_the_body(s: Session) -> None:
    """The route's timeout also ends a response that has begun."""

    async def script(call: Call) -> None:
        await call.send(head("HTTP/1.1 200 OK", "content-length: 100") + b"partial")
        await call.gone()

    s.upstream().script = script
    async with s.logging(1):
        await s.get("/timeout")


@scenario(INNER)
async def failure_timeout_by_header(s: Session) -> None:
    """x-envoy-upstream-rq-timeout-ms of an internal request, and the 204 instead of the 504."""
    s.upstream().script = silent
    async with s.logging(2, "internal"):
        await s.get("/", "x-envoy-upstream-rq-timeout-ms: 100", to="internal")
        await s.get(
            "/",
            "x-envoy-upstream-rq-timeout-ms: 100",
            "x-envoy-upstream-rq-timeout-alt-response: 1",
            to="internal",
        )


@scenario(FAILURES)
async def failure_route_idle_timeout(s: Session) -> None:
    """The route's idle timeout while the upstream is silent."""
    s.upstream().script = silent
    async with s.logging(1):
        await s.get("/idle")


@scenario(FAILURES)
async def failure_stream_idle_timeout(s: Session) -> None:
    """stream_idle_timeout: while the request body is awaited, while the response is."""
    s.upstream().script = silent
    async with s.logging(2, "idlestream"):
        client = await s.connect("idlestream")
        await client.send(head("POST / HTTP/1.1", "host: a", "content-length: 5") + b"he")
        await client.reply()
        await client.closed()
        await s.get(to="idlestream", label="waiting for the response")


@scenario(FAILURES)
async def failure_request_timeouts(s: Session) -> None:
    """request_timeout and request_headers_timeout: 408."""
    async with s.logging(1, "slowrequest"), s.logging(1, "slowhead"):
        for to, data in (
            ("slowrequest", head("POST / HTTP/1.1", "host: a", "content-length: 5") + b"he"),
            ("slowhead", b"GET / HTTP/1.1\r\nhost:"),
        ):
            client = await s.connect(to)
            await client.send(data)
            await client.reply(to)
            await client.closed()
    s.upstream().seen.clear()


@scenario(FAILURES)
async def failure_downstream_idle(s: Session) -> None:
    """idle_timeout closes a connection at once before the first request, later after drain_timeout."""
    await (await s.connect("idle")).closed("fresh")
    client = await s.connect("idle")
    await client.send(head("GET /probe HTTP/1.1", "host: a"))
    await client.reply()
    await client.closed()


@scenario(FAILURES)
async def failure_downstream_max_requests(s: Session) -> None:
    """max_requests_per_connection downstream: the last answer says close."""
    client = await s.connect("twice")
    for _ in range(2):
        await client.send(head("GET /probe HTTP/1.1", "host: a"))
        await client.reply()
    await client.closed()


@scenario(FAILURES)
async def failure_upstream_max_requests(s: Session) -> None:
    """max_requests_per_connection upstream: a connection each."""
    await s.get("/once")
    await s.get("/once")


@scenario(FAILURES)
async def failure_client_leaves_before_the_response(s: Session) -> None:
    """A client that leaves: DC in the log, and the upstream connection is closed."""
    left = trio.Event()

    async def script(call: Call) -> None:
        await call.gone()
        left.set()

    s.upstream().script = script
    async with s.logging(1):
        client = await s.connect()
        await client.send(head("GET / HTTP/1.1", "host: a"))
        await s.upstream().arrivals(1)
        client.close()
        await left.wait()


@scenario(FAILURES)
async def failure_client_leaves_within_its_body(s: Session) -> None:
    """A client that leaves in the middle of its upload."""
    left = trio.Event()

    async def script(call: Call) -> None:
        await call.body()
        left.set()

    s.upstream().script = script
    async with s.logging(1):
        client = await s.connect()
        await client.send(head("POST / HTTP/1.1", "host: a", "content-length: 100") + b"partial")
        await s.upstream().arrivals(1)
        client.close()
        await left.wait()
    s.upstream().seen.clear()  # how much of the body came through is a race


@scenario(FAILURES)
async def failure_client_half_closes(s: Session) -> None:
    """A client that sends its FIN after the request, before the answer."""
    left = trio.Event()

    async def script(call: Call) -> None:
        await call.gone()
        left.set()

    s.upstream().script = script
    async with s.logging(1):
        client = await s.connect()
        await client.send(head("GET / HTTP/1.1", "host: a"))
        await s.upstream().arrivals(1)
        client.wire.half_close()
        await client.closed()
        await left.wait()


@scenario(FAILURES)
async def failure_idle_upstream_connection_is_closed(s: Session) -> None:
    """An idle upstream connection that closes is noticed: the next request takes a new one."""

    async def script(call: Call) -> None:
        await call.send(ok())
        if call.path == "/1":
            await call.close()

    s.upstream().script = script
    await s.get("/1")
    await s.until_stats(lambda stats: not any(stats.values()), r"^cluster\.app\.upstream_cx_active$")
    await s.get("/2")
    await s.get("/3")


@scenario(FAILURES)
async def failure_upstream_errors_pass(s: Session) -> None:
    """Error answers of an upstream are its own business."""
    s.upstream().script = answers(
        head("HTTP/1.1 503 Service Unavailable", "content-length: 4") + b"busy",
        head("HTTP/1.1 500 Internal Server Error", "content-length: 0"),
    )
    async with s.logging(2):
        await s.get()
        await s.get()


@scenario(FAILURES)
async def failure_stats_of_failures(s: Session) -> None:
    """The counters that a refused, a timed-out and a cut-off request move."""
    s.upstream().script = silent
    names = [
        *(
            f"cluster.dead.{name}"
            for name in ("upstream_cx_total", "upstream_cx_connect_fail", "upstream_rq_503")
        ),
        *(f"cluster.dead.{name}" for name in ("upstream_rq_5xx", "upstream_rq_pending_failure_eject")),
        *(f"cluster.dead.{name}" for name in ("upstream_rq_total", "upstream_rq_completed")),
        *(f"cluster.app.{name}" for name in ("upstream_rq_timeout", "upstream_rq_504", "upstream_rq_total")),
        *(
            f"cluster.app.{name}"
            for name in ("upstream_rq_tx_reset", "upstream_rq_rx_reset", "upstream_rq_5xx")
        ),
        *(
            f"cluster.app.{name}"
            for name in ("upstream_cx_destroy_local_with_active_rq", "upstream_cx_destroy")
        ),
        *("cluster.empty.upstream_cx_none_healthy", "cluster.empty.upstream_rq_503"),
        *(
            f"http.main.{name}"
            for name in ("downstream_rq_5xx", "downstream_rq_total", "downstream_rq_completed")
        ),
    ]
    async with s.counting(*names):
        await s.get("/dead")
        await s.get("/timeout")
        await s.get("/empty")
