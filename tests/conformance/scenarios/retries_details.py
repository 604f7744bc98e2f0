# ruff: noqa: E501  (a route is a line of a table)
"""What else changes from one try to the next: headers, limits of time, hosts."""

from __future__ import annotations

import trio

from ..client import get
from ..configuration import bootstrap, cluster, listener
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import H2Call
from ..wire import head
from .hedging import legs, sends, stall
from .retries import BAD, DONE, FAST, INSIDE, LOG, script, stats

SUBJECT = "upstream"

ROUTES = "".join(
    (
        f"- {{match: {{prefix: /grpc}}, route: {{cluster: h2app, max_grpc_timeout: 5s, retry_policy: {{retry_on: unavailable, {FAST}}}}}}}\n",
        f"- {{match: {{prefix: /grpc-try}}, route: {{cluster: h2app, max_grpc_timeout: 5s, retry_policy: {{retry_on: unavailable, per_try_timeout: 2s, {FAST}}}}}}}\n",
        f"- {{match: {{prefix: /limited}}, route: {{cluster: limited, timeout: 0s, retry_policy: {{retry_on: 5xx, {FAST}}}}}}}\n",
        f"- {{match: {{prefix: /hedged-limited}}, route: {{cluster: limited, timeout: 0s, hedge_policy: {{hedge_on_per_try_timeout: true}}, retry_policy: {{retry_on: 5xx, per_try_timeout: 10s, {FAST}}}}}}}\n",
        f"- {{match: {{prefix: /try}}, route: {{cluster: app, timeout: 0s, retry_policy: {{retry_on: 5xx, per_try_timeout: 0.1s, {FAST}}}}}}}\n",
        f"- {{match: {{prefix: /named}}, route: {{cluster: named, timeout: 0s, auto_host_rewrite: true, append_x_forwarded_host: true, retry_policy: {{retry_on: 5xx, {FAST}}}}}}}\n",
        f"- {{match: {{prefix: /plain}}, route: {{cluster: app, timeout: 3s, retry_policy: {{retry_on: 5xx, num_retries: 2, {FAST}}}}}}}\n",
        "- {match: {prefix: /slowly}, route: {cluster: app, timeout: 0s, retry_policy: {retry_on: 5xx, retry_back_off: {base_interval: 900s}}}}\n",
    )
)
TOLD = f"""
route_config:
  virtual_hosts:
  - name: all
    domains: ["*"]
    include_is_timeout_retry_header: true
    include_request_attempt_count: true
    routes:
    - {{match: {{prefix: /hedged}}, route: {{cluster: app, timeout: 0s, hedge_policy: {{hedge_on_per_try_timeout: true}}, retry_policy: {{retry_on: 5xx, num_retries: 2, per_try_timeout: 0.1s, {FAST}}}}}}}
    - {{match: {{prefix: /}}, route: {{cluster: app, timeout: 0s, retry_policy: {{retry_on: 5xx, num_retries: 2, per_try_timeout: 0.1s, {FAST}}}}}}}
"""
BARE = """
http_filters:
- name: envoy.filters.http.router
  typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router, suppress_envoy_headers: true}
"""
NAMED = """
load_assignment:
  cluster_name: named
  endpoints:
  - lb_endpoints:
    - endpoint: {hostname: the.host.name, address: {socket_address: {address: 127.0.0.1, port_value: PORT(app)}}}
"""
LIMIT = """
typed_extension_protocol_options:
  envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
    "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
    explicit_http_config: {http_protocol_options: {}}
    common_http_protocol_options: {max_stream_duration: 0.1s}
"""
DETAILS = Setup(
    "retries_details",
    bootstrap(
        [
            listener("main", routes=ROUTES, log=LOG),
            listener("inside", INSIDE, routes=ROUTES, log=LOG),
            listener("told", TOLD, log=LOG),
            listener("bare", BARE, routes=ROUTES, log=LOG),
        ],
        [
            cluster("app", "app"),
            cluster("h2app", "h2app", http2=True),
            cluster("limited", "app", extra=LIMIT),
            cluster("named", extra=NAMED),
        ],
    ),
    {"app": "h1", "h2app": "h2"},
)


@scenario(DETAILS)
async def retry_announces_the_time_of_grpc(s: Session) -> None:
    """grpc-timeout of each try; what is left of the whole is a little less."""
    left = [1]
    seen: list[tuple[bool, str]] = []

    async def run(call: H2Call) -> None:
        await call.body()
        headers = dict(call.stream.headers)
        asked, expected = headers["grpc-timeout"], headers["x-envoy-expected-rq-timeout-ms"]
        seen.append((asked == f"{expected}m", expected if expected in ("5000", "2000", "1000") else "less"))
        if left:
            left.pop()
            await trio.sleep(0.05)
            await call.answer(
                [(":status", "200"), ("content-type", "application/grpc"), ("grpc-status", "14")]
            )
        else:
            await call.answer(
                [(":status", "200"), ("content-type", "application/grpc"), ("grpc-status", "0")]
            )

    s.upstream("h2app").h2_script = run
    client = await s.connect_h2()
    for path in ("/grpc", "/grpc-try"):
        for timeout in ("9S", "1S"):
            left[:] = [1]
            fields = [
                *get(path, method="POST"),
                ("content-type", "application/grpc"),
                ("grpc-timeout", timeout),
            ]
            await client.request(fields, b"\0\0\0\0\2hi")
    s.see("timeouts", seen)
    s.upstream("h2app").seen.clear()


@scenario(DETAILS)
async def retry_within_a_stream_duration(s: Session) -> None:
    """max_stream_duration of the cluster ends a try; there is another, hedged or not."""
    async with (
        s.logging(4),
        s.counting(*stats("limited"), "cluster.limited.upstream_rq_max_duration_reached"),
    ):
        for path in ("/limited", "/hedged-limited"):
            s.upstream().script = legs(stall, sends(DONE))
            await s.get(path)
            s.upstream().script = stall
            await s.get(path)


@scenario(DETAILS)
async def retry_limit_of_a_try_waits_for_the_request(s: Session) -> None:
    """per_try_timeout does not run while the request is still coming."""
    async with s.logging(1), s.counting(*stats()):
        s.upstream().script = sends(DONE)
        client = await s.connect()
        await client.send(head("POST /try HTTP/1.1", "host: a", "content-length: 6") + b"abc")
        await trio.sleep(0.3)
        await client.send(b"def")
        await client.reply()


@scenario(DETAILS)
async def retry_and_the_alternative_status(s: Session) -> None:
    """x-envoy-upstream-rq-timeout-alt-response: the last try that is too slow is a 204."""
    s.upstream().script = stall
    async with s.logging(1, "inside"), s.counting(*stats()):
        await s.get("/try", "x-envoy-upstream-rq-timeout-alt-response: 1", to="inside")


@scenario(DETAILS)
async def retry_tells_of_timeouts(s: Session) -> None:
    """include_is_timeout_retry_header: whether a try follows one that was too slow."""
    s.upstream().script = legs(stall, sends(BAD), sends(DONE))
    await s.get("/", to="told")
    s.upstream().script = legs(sends(BAD), stall, sends(DONE))
    await s.get("/hedged", "x-envoy-is-timeout-retry: mine", to="told")


@scenario(DETAILS)
async def retry_with_another_host_name(s: Session) -> None:
    """auto_host_rewrite for each try."""
    s.upstream().script = script(BAD, DONE)
    await s.get("/named")


@scenario(DETAILS)
async def retry_without_headers_of_envoy(s: Session) -> None:
    """suppress_envoy_headers holds for each try."""
    s.upstream().script = script(BAD, BAD, DONE)
    await s.get("/plain", to="bare")


@scenario(DETAILS)
async def retry_of_a_stream_that_is_reset(s: Session) -> None:
    """The client resets its stream between two tries."""
    s.upstream().script = script(BAD)
    async with s.logging(1), s.counting(*stats()):
        client = await s.connect_h2()
        stream = await client.start(get("/slowly"))
        await s.upstream().arrivals(1)
        await s.until_stats(lambda found: not any(found.values()), r"^cluster\.app\.upstream_rq_active$")
        await client.peer.reset(stream)
