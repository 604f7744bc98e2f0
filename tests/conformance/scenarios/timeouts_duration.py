# ruff: noqa: E501  (a route is a line of a table)
"""max_stream_duration and its kin: how long a stream may take, and what upstreams hear of it."""

from __future__ import annotations

from ..client import get
from ..configuration import bootstrap, cluster, listener
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import Call, H2Call, answers, ok
from ..wire import head

LINE = (
    "%REQ(:METHOD)% %REQ(:PATH)% %PROTOCOL% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% "
    "in=%BYTES_RECEIVED% out=%BYTES_SENT% up=%UPSTREAM_HOST% %GRPC_STATUS(CAMEL_STRING)%\n"
)
ROUTES = """
- {match: {path: /probe}, direct_response: {status: 200, body: {inline_string: here}}}
- {match: {path: /direct}, direct_response: {status: 200}}
- {match: {prefix: /none}, route: {cluster: app, timeout: 0.05s, idle_timeout: 0.25s, max_stream_duration: {max_stream_duration: 0s}}}
- {match: {prefix: /route}, route: {cluster: app, timeout: 0.05s, max_stream_duration: {max_stream_duration: 0.12s}}}
- {match: {prefix: /max}, route: {cluster: app, max_stream_duration: {grpc_timeout_header_max: 0.12s}}}
- {match: {prefix: /nomax}, route: {cluster: app, max_stream_duration: {grpc_timeout_header_max: 0s}}}
- {match: {prefix: /offset}, route: {cluster: app, max_stream_duration: {grpc_timeout_header_max: 0s, grpc_timeout_header_offset: 0.02s}}}
- {match: {prefix: /both}, route: {cluster: app, max_stream_duration: {max_stream_duration: 0.1s, grpc_timeout_header_max: 5s}}}
- {match: {prefix: /oldoffset}, route: {cluster: app, max_grpc_timeout: 10s, grpc_timeout_offset: 0.05s}}
- {match: {prefix: /oldinfinite}, route: {cluster: app, max_grpc_timeout: 0s}}
- {match: {prefix: /old}, route: {cluster: app, max_grpc_timeout: 10s}}
- {match: {prefix: /cluster}, route: {cluster: short}}
- {match: {prefix: /h2cluster}, route: {cluster: h2short}}
- {match: {prefix: /h2}, route: {cluster: h2app, max_stream_duration: {max_stream_duration: 0.12s}}}
- {match: {prefix: /late1}, route: {cluster: app, timeout: 0.12s}}
- {match: {prefix: /late2}, route: {cluster: h2app, timeout: 0.12s}}
- {match: {prefix: /to2}, route: {cluster: h2app}}
- {match: {prefix: /}, route: {cluster: app}}
"""
INTERNAL = (
    "use_remote_address: true, internal_address_config: "
    "{cidr_ranges: [{address_prefix: 127.0.0.0, prefix_len: 8}]}"
)
SHORT = """
typed_extension_protocol_options:
  envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
    "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
    common_http_protocol_options: {max_stream_duration: 0.12s}
    explicit_http_config: {%s: {}}
"""
DURATION = Setup(
    "duration",
    bootstrap(
        [
            listener("main", routes=ROUTES, log=LINE),
            listener(
                "capped",
                "{use_remote_address: false, common_http_protocol_options: {max_stream_duration: 0.12s}}",
                routes=ROUTES,
                log=LINE,
            ),
            listener("internal", f"{{{INTERNAL}}}", routes=ROUTES, log=LINE),
        ],
        [
            cluster("app", "app"),
            cluster("h2app", "h2app", http2=True),
            cluster("short", "app", extra=SHORT % "http_protocol_options"),
            cluster("h2short", "h2app", extra=SHORT % "http2_protocol_options"),
        ],
    ),
    {"app": "h1", "h2app": "h2"},
)
GRPC = "content-type: application/grpc"


async def silent(call: Call) -> None:
    """Never answer; wait until the proxy gives up."""
    await call.gone()


async def h2_silent(call: H2Call) -> None:
    """The same over HTTP/2."""
    await call.stream.ended.wait()


async def begun(call: Call) -> None:
    """Begin an answer that does not end."""
    await call.send(head("HTTP/1.1 200 OK", "content-length: 100") + b"partial")
    await call.gone()


STATS = (
    "http.capped.downstream_rq_max_duration_reached",
    "http.capped.downstream_rq_timeout",
    "http.capped.downstream_rq_5xx",
    "http.capped.downstream_rq_4xx",
    "http.capped.downstream_rq_tx_reset",
    "http.capped.downstream_rq_rx_reset",
    "http.capped.downstream_cx_destroy_local",
    "cluster.app.upstream_rq_timeout",
    "cluster.app.upstream_rq_tx_reset",
    "cluster.app.upstream_rq_rx_reset",
    "cluster.app.upstream_rq_cancelled",
    "cluster.app.upstream_rq_completed",
    "cluster.app.upstream_rq_max_duration_reached",
    "cluster.app.upstream_cx_destroy_local_with_active_rq",
)


@scenario(DURATION)
async def duration_of_a_silent_upstream(s: Session) -> None:
    """The connection manager's max_stream_duration while the response is awaited; the connection lives on."""
    s.upstream().script = silent
    async with s.counting(*STATS), s.logging(2, "capped"):
        client = await s.connect("capped")
        await client.send(head("GET / HTTP/1.1", "host: a"))
        await client.reply()
        await client.usable()


@scenario(DURATION)
async def duration_of_a_slow_request(s: Session) -> None:
    """The same while the request's body is awaited, and while its head is."""
    s.upstream().script = silent
    async with s.counting(*STATS), s.logging(2, "capped"):
        client = await s.connect("capped")
        await client.send(head("POST / HTTP/1.1", "host: a", "content-length: 5") + b"he")
        await client.reply()
        await client.closed()
        client = await s.connect("capped")
        await client.send(b"GET /head HTTP/1.1\r\nhost:")
        await client.reply("head")
        await client.closed()


@scenario(DURATION)
async def duration_of_a_slow_response(s: Session) -> None:
    """The same after the response began: it is cut off."""
    s.upstream().script = begun
    async with s.counting(*STATS), s.logging(1, "capped"):
        await s.get("/", to="capped")


@scenario(DURATION)
async def duration_of_routes(s: Session) -> None:
    """A route's max_stream_duration comes before the connection manager's, and puts its timeout out of use."""
    s.upstream().script = silent
    async with s.logging(2, "capped"), s.logging(1):
        await s.get("/route", to="capped")
        await s.get("/none", "grpc-timeout: 1m", to="capped", label="none")
        await s.get("/route")
    s.upstream().seen[1:] = []


@scenario(DURATION)
async def duration_over_h2(s: Session) -> None:
    """Over HTTP/2: awaiting the response, awaiting the request, inside the response."""

    async def script(call: H2Call) -> None:
        if call.path == "/h2/begun":
            await call.peer.headers(call.stream, [(":status", "200")])
            await call.peer.data(call.stream, b"partial")
        await call.stream.ended.wait()

    s.upstream("h2app").h2_script = script
    async with s.logging(4):
        client = await s.connect_h2()
        await client.request(get("/h2/silent"))
        await client.reply(
            await client.start(get("/h2/slow", method="POST"), b"begun", end=False), "slow request"
        )
        await client.reply(await client.start(get("/h2/begun")), "slow response")
        await client.request(get("/probe"), label="probe")


@scenario(DURATION)
async def duration_of_grpc_calls(s: Session) -> None:
    """A gRPC call gets DEADLINE_EXCEEDED, whichever limit it was."""
    s.upstream().script = silent
    async with s.logging(3):
        for path in ("/route", "/cluster", "/max"):
            request = head(f"POST {path} HTTP/1.1", "host: a", GRPC, "grpc-timeout: 1S", "content-length: 0")
            await s.http(request, label=path)


@scenario(DURATION)
async def duration_of_the_upstream(s: Session) -> None:
    """The cluster's max_stream_duration: awaiting the response, the request, inside the response."""
    s.upstream().script = silent
    names = [
        f"cluster.short.{name}"
        for name in (
            "upstream_rq_max_duration_reached",
            "upstream_rq_timeout",
            "upstream_rq_completed",
            "upstream_rq_tx_reset",
            "upstream_rq_rx_reset",
            "upstream_cx_destroy_local_with_active_rq",
        )
    ]
    async with s.counting(*names, "http.main.downstream_rq_max_duration_reached"), s.logging(4):
        client = await s.connect()
        await client.send(head("GET /cluster HTTP/1.1", "host: a"))
        await client.reply()
        await client.usable()
        client = await s.connect()
        await client.send(head("POST /cluster HTTP/1.1", "host: a", "content-length: 5") + b"he")
        await client.reply()
        await client.closed()
        s.upstream().script = begun
        await s.get("/cluster")


@scenario(DURATION)
async def duration_of_an_h2_upstream(s: Session) -> None:
    """The same where the upstream speaks HTTP/2: it sees the stream reset."""
    s.upstream("h2app").h2_script = h2_silent
    async with s.logging(2):
        await s.get("/h2cluster")
        client = await s.connect_h2()
        await client.request(get("/h2cluster"))


@scenario(DURATION)
async def duration_by_header(s: Session) -> None:
    """x-envoy-upstream-stream-duration-ms of any client, before the cluster's; 0 and nonsense."""
    s.upstream().script = silent
    async with s.logging(2), s.logging(1, "internal"):
        await s.get("/", "x-envoy-upstream-stream-duration-ms: 100", to="internal")
        await s.get("/cluster", "x-envoy-upstream-stream-duration-ms: nonsense")
        await s.get("/cluster", "x-envoy-upstream-stream-duration-ms: 4000")
    s.upstream().script = answers(ok())
    await s.get("/cluster", "x-envoy-upstream-stream-duration-ms: 0", to="internal")
    await s.get("/", "x-envoy-upstream-stream-duration-ms: -5", to="internal")


@scenario(DURATION)
async def duration_grpc_timeout_header(s: Session) -> None:
    """What an upstream gets of a grpc-timeout in every unit, under each of the settings."""
    for path in ("/plain", "/nomax", "/max", "/offset", "/both", "/old", "/oldoffset", "/oldinfinite"):
        client = await s.connect()
        for value in ("1H", "2M", "3S", "40m", "5000000u", "1n", "1500000n", "99999999S", "0m"):
            if path in ("/max", "/offset", "/both", "/nomax") and value in ("1n", "0m", "1500000n"):
                continue  # over before it began
            request = head(
                f"POST {path} HTTP/1.1", "host: a", GRPC, f"grpc-timeout: {value}", "content-length: 0"
            )
            await client.send(request)
            await client.reply(f"{path} {value}")


@scenario(DURATION)
async def duration_grpc_timeout_nonsense(s: Session) -> None:
    """Values of grpc-timeout that are none."""
    for path in ("/nomax", "/old"):
        client = await s.connect()
        for value in (
            "",
            "S",
            "1",
            "1s",
            "-1S",
            "+1S",
            "100000000S",
            "1 S",
            " 1S",
            "1.5S",
            "0x1S",
            "1SS",
            "\u0663S",
        ):
            request = head(f"POST {path} HTTP/1.1", "host: a", GRPC, "content-length: 0")
            request = request[:-2] + f"grpc-timeout: {value}\r\n\r\n".encode()
            await client.send(request)
            await client.reply(f"{path} {value}")


@scenario(DURATION)
async def duration_grpc_timeout_of_others(s: Session) -> None:
    """grpc-timeout of requests that are not gRPC; a gRPC request without one."""
    client = await s.connect()
    for path in ("/nomax", "/max", "/both", "/old", "/oldinfinite"):
        await client.send(head(f"GET {path} HTTP/1.1", "host: a", "grpc-timeout: 5S"))
        await client.reply(path)
        await client.send(head(f"POST {path} HTTP/1.1", "host: a", GRPC, "content-length: 0"))
        await client.reply(f"{path} without")


@scenario(DURATION)
async def duration_grpc_timeout_runs_out(s: Session) -> None:
    """Deadlines of the client: capped, offset, of each setting; 0."""
    s.upstream().script = silent
    cases = (
        ("/nomax", "100m"),
        ("/max", "5S"),
        ("/offset", "100m"),
        ("/offset", "10m"),
        ("/nomax", "0m"),
        ("/old", "100m"),
        ("/oldoffset", "150m"),
    )
    async with s.logging(len(cases) + 1):
        for path, value in cases:
            await s.http(
                head(f"POST {path} HTTP/1.1", "host: a", GRPC, f"grpc-timeout: {value}", "content-length: 0"),
                label=f"{path} {value}",
            )
        await s.get("/nomax", "grpc-timeout: 100m", label="not gRPC")
    s.upstream().seen.clear()


@scenario(DURATION)
async def duration_of_grpc_calls_by_the_connection_manager(s: Session) -> None:
    """What the connection manager's limit makes of grpc-timeout."""
    for path in ("/", "/probe", "/none", "/both", "/nomax", "/old", "/oldinfinite"):
        client = await s.connect("capped")
        for value in ("grpc-timeout: 5S", "grpc-timeout: 50S", "x-none: 1"):
            await client.send(head(f"POST {path} HTTP/1.1", "host: a", GRPC, value, "content-length: 0"))
            await client.reply(f"{path} {value}")


@scenario(DURATION)
async def duration_old_and_headers(s: Session) -> None:
    """max_grpc_timeout beside the timeout headers of an internal client."""
    client = await s.connect("internal")
    for fields in (
        ["grpc-timeout: 3S", "x-envoy-upstream-rq-timeout-ms: 500"],
        ["grpc-timeout: 3S", "x-envoy-upstream-rq-per-try-timeout-ms: 700"],
        ["grpc-timeout: 3S", "x-envoy-expected-rq-timeout-ms: 9"],
        ["x-envoy-upstream-rq-timeout-ms: 0"],
    ):
        await client.send(head("POST /old HTTP/1.1", "host: a", GRPC, *fields, "content-length: 0"))
        await client.reply()


MOVED_ROUTES = """
- {match: {prefix: /, headers: [{name: x-free, present_match: true}]}, route: {cluster: app, timeout: 0.2s}}
- {match: {prefix: /, headers: [{name: x-bound, present_match: true}]}, route: {cluster: app, max_stream_duration: {max_stream_duration: 0.06s}}}
- match: {prefix: /weighted}
  route:
    weighted_clusters: {clusters: [{name: app, weight: 1}, {name: app2, weight: 1}]}
    max_stream_duration: {grpc_timeout_header_max: 0s, grpc_timeout_header_offset: 0.1s}
- {match: {prefix: /free}, route: {cluster: app, timeout: 0.2s}}
- {match: {prefix: /}, route: {cluster: app, max_stream_duration: {max_stream_duration: 0.06s}}}
"""
MOVES = """
- name: envoy.filters.http.lua
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua
    default_source_code:
      inline_string: |
        function envoy_on_request(h)
          local name = h:headers():get("x-move")
          if name ~= nil then
            h:headers():add(name, "1")
            h:clearRouteCache()
          end
        end
"""
MOVED = Setup(
    "duration_moved",
    bootstrap(
        [listener("main", routes=MOVED_ROUTES, filters=MOVES, log=LINE)],
        [cluster("app", "app"), cluster("app2", "app")],
    ),
    {"app": "h1"},
)


@scenario(MOVED)
async def duration_of_a_stream_that_a_filter_moves(s: Session) -> None:
    """The limit is that of the route where the stream arrives, also where that has none."""
    s.upstream().script = silent
    async with s.logging(4):
        await s.get("/bound", label="stays")
        await s.get("/bound", "x-move: x-free", label="to a route without")
        await s.get("/free", "x-move: x-bound", label="to a route with one")
        await s.get("/free", "x-move: x-free", label="without both")


@scenario(MOVED)
async def duration_offset_of_weighted_clusters(s: Session) -> None:
    """The offset is taken off once."""
    await s.http(head("POST /weighted HTTP/1.1", "host: a", GRPC, "grpc-timeout: 1S", "content-length: 0"))
