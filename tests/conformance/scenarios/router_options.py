"""What the router's own message says: statistics, spans, and how strict it is with requests."""

from __future__ import annotations

from typing import Any

import trio

from ..configuration import ROUTER, bootstrap, cluster, listener
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import Call, answers
from ..wire import head

SUBJECT = "observability"

INTERNAL = "x-forwarded-for: 10.0.0.1"
STRICT = (
    "x-envoy-upstream-rq-timeout-ms",
    "x-envoy-upstream-rq-per-try-timeout-ms",
    "x-envoy-max-retries",
    "x-envoy-retry-on",
    "x-envoy-retry-grpc-on",
)
ROUTES = """
- {match: {path: /direct}, direct_response: {status: 200, body: {inline_string: here}}}
- {match: {path: /none}, route: {cluster: none}}
- {match: {path: /retry}, route: {cluster: app, timeout: 0s, retry_policy: {retry_on: 5xx, num_retries: 1}}}
- {match: {path: /dead}, route: {cluster: dead}}
- match: {connect_matcher: {}, headers: [{name: ":authority", string_match: {exact: "b:80"}}]}
  route: {cluster: app}
- match: {connect_matcher: {}}
  route: {cluster: raw, upgrade_configs: [{upgrade_type: CONNECT, connect_config: {}}]}
- {match: {prefix: /app}, route: {cluster: app, timeout: 3s}}
"""
COUNTED = (
    *("upstream_rq_completed", "upstream_rq_2xx", "upstream_rq_200", "upstream_rq_503", "upstream_rq_5xx"),
    *("upstream_rq_total", "upstream_rq_retry"),
)


def with_router(name: str, options: str, hcm: str = "") -> dict[str, Any]:
    """A listener whose router has ``options``; callers of 10.0.0.0/8 are our own."""
    settings = f"""
generate_request_id: false
internal_address_config: {{cidr_ranges: [{{address_prefix: 10.0.0.0, prefix_len: 8}}]}}
http_filters:
- {{name: router, typed_config: {{"@type": {ROUTER}, {options}}}}}
{hcm}
"""
    made = listener(name, settings, routes=ROUTES)
    manager = made["filter_chains"][0]["filters"][0]["typed_config"]
    manager["route_config"]["validate_clusters"] = False
    return made


SETUP = Setup(
    "router-options",
    bootstrap(
        [
            with_router("static", "dynamic_stats: false"),
            with_router("dynamic", "dynamic_stats: true"),
            with_router("strict", f"strict_check_headers: [{', '.join(STRICT)}]"),
            with_router("respect", "respect_expected_rq_timeout: true"),
            with_router("grpc", "suppress_grpc_request_failure_code_stats: true"),
            with_router(
                "early",
                "reject_connect_request_early_data: true",
                "upgrade_configs: [{upgrade_type: CONNECT}]\nhttp2_protocol_options: {allow_connect: true}",
            ),
        ],
        [cluster("app", "app"), cluster("dead", "dead"), cluster("raw", "raw")],
    ),
    {"app": "h1", "dead": "dead", "raw": "raw"},
)


def counters(cluster_name: str) -> list[str]:
    trees = ("", "external.", "internal.", "retry.")
    return [f"cluster.{cluster_name}.{tree}{name}" for tree in trees for name in COUNTED]


async def three(s: Session, to: str, *headers: str) -> None:
    """An answer, a failure that is tried again, and one without a connection."""
    s.upstream().script = answers(
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.1 503 No\r\ncontent-length: 2\r\n\r\nno",
        b"HTTP/1.1 503 No\r\ncontent-length: 2\r\n\r\nno",
    )
    for path in ("/app", "/retry", "/dead"):
        await s.get(path, *headers, to=to, label=path)


async def several(s: Session, to: str, *headers: str) -> None:
    async with s.counting(*counters("app"), *counters("dead")):
        await three(s, to, *headers)


@scenario(SETUP)
async def router_without_dynamic_stats(s: Session) -> None:
    """Requests and tries count, responses do not; those that are tried again do."""
    for headers in ((), (INTERNAL,)):
        await three(s, "dynamic", *headers)
    for headers in ((), (INTERNAL,)):
        await several(s, "dynamic", *headers)
        await several(s, "static", *headers)


@scenario(SETUP)
async def router_suppresses_codes_of_grpc(s: Session) -> None:
    """Whatever a request of gRPC is answered, its code counts in the trees of callers alone."""
    for headers in ((), (INTERNAL,)):
        await three(s, "dynamic", *headers)
    await several(s, "grpc", "content-type: application/grpc", "te: trailers")
    await several(s, "grpc")


@scenario(SETUP)
async def router_checks_headers_strictly(s: Session) -> None:
    """Values that mean nothing are refused, in the order of the list, where a cluster was found."""
    values = {
        STRICT[0]: ("10", "a", "-1", "", " 7", "+7"),
        STRICT[1]: ("1.5",),
        STRICT[2]: ("1", "x", "99999999999999999999"),
        STRICT[3]: ("5xx", "5xx,foo", "5xx, gateway-error", "", "5xx,", "foo"),
        STRICT[4]: ("cancelled", "cancelled,bar", "5xx"),
        "x-envoy-hedge-on-per-try-timeout": ("foo",),
    }
    async with s.logging(sum(map(len, values.values())), "strict"):
        for name, several_values in values.items():
            for value in several_values:
                await s.get("/app", INTERNAL, f"{name}: {value}", to="strict", label=f"{name} {value!r}")
    wrong = "x-envoy-max-retries: x"
    async with s.logging(6, "strict"):
        for path in ("/nowhere", "/none", "/direct", "/dead"):
            await s.get(path, INTERNAL, wrong, to="strict", label=path)
        await s.get("/app", INTERNAL, wrong, "x-envoy-upstream-rq-timeout-ms: y", to="strict", label="two")
        await s.get("/app", wrong, to="strict", label="of a stranger")


@scenario(SETUP)
async def router_respects_an_expected_timeout(s: Session) -> None:
    """The caller's own timeout goes before the one it asks for, which then stays in the request."""
    for headers in (
        (),
        ("x-envoy-expected-rq-timeout-ms: 700",),
        ("x-envoy-expected-rq-timeout-ms: 700", "x-envoy-upstream-rq-timeout-ms: 900"),
        ("x-envoy-upstream-rq-timeout-ms: 900",),
        ("x-envoy-expected-rq-timeout-ms: x", "x-envoy-upstream-rq-timeout-ms: 900"),
        ("x-envoy-expected-rq-timeout-ms: 700", "x-envoy-upstream-rq-per-try-timeout-ms: 300"),
        ("x-envoy-expected-rq-timeout-ms: 0",),
    ):
        for to in ("respect", "dynamic"):
            await s.get("/app", INTERNAL, *headers, to=to, label=f"{to} {headers}")
    await s.get("/app", "x-envoy-expected-rq-timeout-ms: 700", to="respect", label="of a stranger")


@scenario(SETUP)
async def router_rejects_early_data(s: Session) -> None:
    """Bytes behind a CONNECT that nobody has accepted."""
    async with s.logging(1, "early"):
        await s.http(head("CONNECT a:80 HTTP/1.1", "host: a:80") + b"early", "early")


@scenario(SETUP)
async def router_rejects_early_data_over_http2(s: Session) -> None:
    """The same over HTTP/2."""
    async with s.logging(1, "early"):
        client = await s.connect_h2("early")
        await client.request([(":method", "CONNECT"), (":authority", "a:80")], b"early")


async def answers_late(call: Call) -> None:
    await trio.sleep(0.4)
    await call.send(head("HTTP/1.1 200 OK"))


@scenario(SETUP)
async def router_rejects_data_before_the_answer(s: Session) -> None:
    """Bytes behind a CONNECT that the upstream has not answered; then some that come in time."""
    s.upstream().script = answers_late
    request = head("CONNECT b:80 HTTP/1.1", "host: b:80")
    async with s.logging(1, "early"):
        client = await s.connect("early")
        await client.send(request)
        await s.upstream().arrivals(1)
        await client.send(b"early")
        await client.reply("early")
        await client.closed("closed")
    async with s.logging(1, "early"):
        client = await s.connect("early")
        await client.send(request)
        await client.reply("accepted", has_body=False)
        await client.send(b"in time")
        await trio.sleep(0.2)
        client.close()


@scenario(SETUP)
async def router_rejects_data_before_the_answer_over_http2(s: Session) -> None:
    """The same over HTTP/2."""
    s.upstream().script = answers_late
    async with s.logging(1, "early"):
        client = await s.connect_h2("early")
        stream = await client.start([(":method", "CONNECT"), (":authority", "b:80")], end=False)
        await s.upstream().arrivals(1)
        await client.peer.data(stream, b"early")
        await client.reply(stream)
