# ruff: noqa: E501  (a route is a line of a table)
"""retry_policy: requests that are tried again after an answer, a reset, a connect that failed."""

from __future__ import annotations

from ..configuration import bootstrap, cluster, listener
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import Call, H2Call, H2Script, Script, ok
from ..wire import head

SUBJECT = "upstream"

LOG = (
    "%REQ(:METHOD)% %REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% "
    "in=%BYTES_RECEIVED% out=%BYTES_SENT% attempts=%UPSTREAM_REQUEST_ATTEMPT_COUNT% "
    "cluster=%UPSTREAM_CLUSTER% transport=%UPSTREAM_TRANSPORT_FAILURE_REASON%\n"
)
INSIDE = "{use_remote_address: true, internal_address_config: {cidr_ranges: [{address_prefix: 127.0.0.0, prefix_len: 8}]}}"
FAST = "retry_back_off: {base_interval: 0.001s, max_interval: 0.002s}"


def route(path: str, policy: str, to: str = "app", more: str = ", timeout: 0s") -> str:
    return f"- {{match: {{prefix: {path}}}, route: {{cluster: {to}{more}, retry_policy: {{{policy}, {FAST}}}}}}}\n"


ROUTES = "".join(
    (
        route("/5xx", "retry_on: 5xx, num_retries: 2"),
        route("/default", "retry_on: 5xx"),
        route("/none", "retry_on: 5xx, num_retries: 0"),
        route("/gateway", "retry_on: gateway-error"),
        route("/4xx", "retry_on: retriable-4xx"),
        route("/codes", "retry_on: retriable-status-codes, retriable_status_codes: [418, 425, 200]"),
        route("/ratelimited", "retry_on: 'envoy-ratelimited'"),
        route("/both", "retry_on: 'reset, retriable-4xx,nonsense'"),
        route(
            "/headers",
            "retry_on: retriable-headers, retriable_headers: [{name: x-again}, {name: x-value, string_match: {exact: again}}]",
        ),
        route("/requests", "retry_on: 5xx, retriable_request_headers: [{name: x-may}]"),
        route(
            "/grpc",
            "retry_on: 'cancelled,deadline-exceeded,internal,resource-exhausted,unavailable', num_retries: 2",
        ),
        route("/reset", "retry_on: reset"),
        route("/before", "retry_on: reset-before-request"),
        route("/connect", "retry_on: connect-failure, num_retries: 2", "dead"),
        route("/unconnect", "retry_on: retriable-4xx", "dead"),
        route(
            "/half",
            "retry_on: 'connect-failure,5xx', retry_host_predicate: [{name: p, typed_config: {'@type': type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate}}]",
            "half",
        ),
        route("/refused", "retry_on: refused-stream", "h2app"),
        route("/h2reset", "retry_on: connect-failure", "h2app"),
        route("/closed", "retry_on: 5xx, num_retries: 5", "closed"),
        route("/budget", "retry_on: 5xx, num_retries: 5", "budget"),
        route("/try", "retry_on: 5xx, num_retries: 1, per_try_timeout: 0.1s", more=", timeout: 5s"),
        route("/gentle", "retry_on: retriable-4xx, per_try_timeout: 0.1s", more=", timeout: 5s"),
        "- {match: {prefix: /waits}, route: {cluster: app, timeout: 0.1s, retry_policy: {retry_on: 5xx, retry_back_off: {base_interval: 900s}}}}\n",
        route("/idle", "retry_on: 5xx, per_try_idle_timeout: 0.1s"),
        route(
            "/limited",
            "retry_on: 5xx, rate_limited_retry_back_off: {reset_headers: [{name: retry-after}, {name: x-reset, format: UNIX_TIMESTAMP}], max_interval: 2s}",
        ),
        "- {match: {prefix: /small}, request_body_buffer_limit: 10, route: {cluster: app, timeout: 0s, retry_policy: {retry_on: 5xx, "
        + FAST
        + "}}}\n",
        "- {match: {prefix: /policyless}, route: {cluster: app, timeout: 0s, retry_policy: {}}}\n",
        "- {match: {prefix: /redirected}, route: {cluster: app, timeout: 0s, internal_redirect_policy: {}, retry_policy: {retry_on: 5xx, "
        + FAST
        + "}}}\n",
        "- {match: {prefix: /}, route: {cluster: app, timeout: 0s}}\n",
    )
)
COUNTED = f"""
route_config:
  virtual_hosts:
  - name: all
    domains: ["*"]
    include_request_attempt_count: true
    include_attempt_count_in_response: true
    retry_policy: {{retry_on: 5xx, num_retries: 2, {FAST}}}
    virtual_clusters: [{{name: all, headers: [{{name: ":path", string_match: {{prefix: /}}}}]}}]
    routes:
    - {{match: {{prefix: /own}}, route: {{cluster: app, timeout: 0s, retry_policy: {{num_retries: 3}}}}}}
    - {{match: {{prefix: /}}, route: {{cluster: app, timeout: 0s}}}}
"""
BREAKER = "circuit_breakers: {thresholds: [{max_retries: 0}]}"
BUDGET = "circuit_breakers: {thresholds: [{retry_budget: {budget_percent: {value: 1.0}, min_retry_concurrency: 1}}]}"
RETRIES = Setup(
    "retries",
    bootstrap(
        [
            listener("main", routes=ROUTES, log=LOG),
            listener("counted", COUNTED, log=LOG),
            listener("edge", "use_remote_address: true", routes=ROUTES, log=LOG),
            listener("inside", INSIDE, routes=ROUTES, log=LOG),
        ],
        [
            cluster("app", "app"),
            cluster("dead", "dead"),
            cluster("half", "app", "dead"),
            cluster("h2app", "h2app", http2=True),
            cluster("closed", "app", extra=BREAKER),
            cluster("budget", "app", extra=BUDGET),
        ],
    ),
    {"app": "h1", "dead": "dead", "h2app": "h2"},
)


def stats(name: str = "app") -> tuple[str, ...]:
    return (
        *(
            f"cluster.{name}.upstream_rq_retry{each}"
            for each in ("", "_success", "_overflow", "_limit_exceeded")
        ),
        f"cluster.{name}.upstream_rq_retry_backoff_exponential",
        f"cluster.{name}.upstream_rq_retry_backoff_ratelimited",
        f"cluster.{name}.retry_or_shadow_abandoned",
        f"cluster.{name}.upstream_rq_per_try_timeout",
        f"cluster.{name}.upstream_rq_per_try_idle_timeout",
        f"cluster.{name}.upstream_rq_timeout",
        f"cluster.{name}.upstream_rq_total",
        f"cluster.{name}.upstream_rq_completed",
        f"cluster.{name}.upstream_rq_active",
        f"cluster.{name}.circuit_breakers.default.rq_retry_open",
    )


def status(code: int, *headers: str, body: bytes = b"") -> bytes:
    return head(f"HTTP/1.1 {code} Status", *headers, f"content-length: {len(body)}") + body


def script(*replies: bytes | None) -> Script:
    """Answer with these in turn, the last one for ever; None closes the connection."""
    left = list(replies)

    async def run(call: Call) -> None:
        await call.body()
        reply = left.pop(0) if len(left) > 1 else left[0]
        if reply is None:
            await call.close()
        else:
            await call.send(reply)

    return run


#: What comes with its first use.
BY_STATUS = tuple(
    f"cluster.app.{name}"
    for name in (
        *("upstream_rq_2xx", "upstream_rq_5xx", "external.upstream_rq_completed", "external.upstream_rq_503"),
        *("retry.upstream_rq_completed", "retry.upstream_rq_5xx", "retry.upstream_rq_503"),
    )
)
BAD = status(503, body=b"bad")
DONE = ok(b"done")


@scenario(RETRIES)
async def retry_on_5xx(s: Session) -> None:
    """Until an answer is good, or the last try is not; without a body, with one, with one in chunks."""
    async with s.logging(7), s.counting(*stats(), *BY_STATUS):
        for path, replies in (
            ("/5xx/good", (BAD, status(500), DONE)),
            ("/5xx/bad", (BAD,)),
            ("/5xx/at-once", (DONE,)),
            ("/default", (BAD,)),
            ("/none", (BAD, DONE)),
        ):
            s.upstream().script = script(*replies)
            await s.get(path, "x-mine: 1")
        s.upstream().script = script(BAD, None, DONE)
        await s.http(head("POST /5xx HTTP/1.1", "host: a", "content-length: 5") + b"hello")
        s.upstream().script = script(BAD, BAD, DONE)
        await s.http(
            head("POST /5xx HTTP/1.1", "host: a", "transfer-encoding: chunked")
            + b"5\r\nhello\r\n2\r\n, \r\n0\r\n\r\n"
        )


@scenario(RETRIES)
async def retry_on_answers(s: Session) -> None:
    """Which status and which header make another try, by policy."""
    async with s.logging(20), s.counting(*stats()):
        for path, first in (
            ("/gateway", status(500)),
            ("/gateway", status(502)),
            ("/gateway", status(504)),
            ("/4xx", status(409)),
            ("/4xx", status(404)),
            ("/4xx", status(503)),
            ("/codes", status(418)),
            ("/codes", status(425)),
            ("/codes", status(419)),
            ("/ratelimited", status(429, "x-envoy-ratelimited: true")),
            ("/5xx", status(503, "x-envoy-ratelimited: true")),
            ("/5xx", status(503, "x-envoy-overloaded: true")),
            ("/both", status(409)),
            ("/headers", status(200, "x-again: 0")),
            ("/headers", status(200, "x-value: again")),
            ("/headers", status(200, "x-value: other")),
            ("/requests", status(503)),
            ("/policyless", status(503)),
        ):
            s.upstream().script = script(first, DONE)
            await s.get(path)
        s.upstream().script = script(status(503), DONE)
        await s.get("/requests", "x-may: 0")
        s.upstream().script = script(status(200))
        await s.get("/codes")


@scenario(RETRIES)
async def retry_on_grpc(s: Session) -> None:
    """retry_on has values of gRPC too; the status counts where it stands in the head."""
    async with s.logging(7):
        for code in (1, 4, 8, 13, 14, 2, 0):
            s.upstream().script = script(
                head(
                    "HTTP/1.1 200 OK",
                    "content-type: application/grpc",
                    f"grpc-status: {code}",
                    "content-length: 0",
                ),
                DONE,
            )
            await s.get("/grpc")


@scenario(RETRIES)
async def retry_on_resets(s: Session) -> None:
    """A connection that breaks before an answer, or inside one's head, or that cannot be made."""
    async with s.logging(8):
        for path in ("/reset", "/before", "/gateway", "/4xx"):
            s.upstream().script = script(None, DONE)
            await s.get(path)
        s.upstream().script = script(b"nonsense\r\n\r\n", DONE)
        await s.get("/reset")
        s.upstream().script = script(None)
        await s.get("/reset")
        await s.get("/unconnect")
        await s.get("/connect")


@scenario(RETRIES)
async def retry_connect_failure_counts(s: Session) -> None:
    """What a host that refuses counts."""
    async with s.logging(1), s.counting(*stats("dead"), "cluster.dead.upstream_cx_connect_fail"):
        await s.get("/connect")


@scenario(RETRIES)
async def retry_goes_to_another_host(s: Session) -> None:
    """previous_hosts: never twice to the same one while there is another."""
    s.upstream().script = script(DONE)
    for _ in range(4):
        await s.get("/half")


@scenario(RETRIES)
async def retry_on_refused_stream(s: Session) -> None:
    """RST_STREAM with REFUSED_STREAM, and with another code."""

    def resets(code: int, times: int) -> H2Script:
        left = ["REFUSED_STREAM" if code == 7 else "INTERNAL_ERROR"] * times

        async def run(call: H2Call) -> None:
            await call.body()
            if left:
                await call.peer.reset(call.stream, left.pop())
            else:
                await call.answer([(":status", "200")], b"done")

        return run

    async with s.logging(4), s.counting(*stats("h2app")):
        for path, code, times in (
            ("/refused", 7, 1),
            ("/refused", 7, 2),
            ("/refused", 2, 1),
            ("/h2reset", 7, 1),
        ):
            s.upstream("h2app").h2_script = resets(code, times)
            await s.get(path)


@scenario(RETRIES)
async def retry_breakers(s: Session) -> None:
    """max_retries of the cluster: the answer stays, with UO; a budget has its minimum."""
    async with s.logging(3), s.counting(*stats("closed"), *stats("budget")):
        s.upstream().script = script(BAD, DONE)
        await s.get("/closed")
        s.upstream().script = script(None, DONE)
        await s.get("/closed")
        s.upstream().script = script(BAD, BAD, DONE)
        await s.get("/budget")


@scenario(RETRIES)
async def retry_request_headers(s: Session) -> None:
    """What the request itself asks for, on a route with a policy and on one without."""
    async with s.logging(13, "inside"):
        for path, first, headers in (
            ("/", 503, ("x-envoy-retry-on: 5xx",)),
            ("/", 503, ("x-envoy-retry-on: reset, 5xx", "x-envoy-max-retries: 0")),
            ("/", 503, ("x-envoy-max-retries: 3",)),
            ("/5xx", 503, ("x-envoy-max-retries: x",)),
            ("/5xx", 503, ("x-envoy-max-retries: 0",)),
            ("/none", 503, ("x-envoy-max-retries: 1",)),
            (
                "/",
                418,
                ("x-envoy-retry-on: retriable-status-codes", "x-envoy-retriable-status-codes: 1, 418"),
            ),
            ("/codes", 419, ("x-envoy-retriable-status-codes: 419",)),
            ("/", 200, ("x-envoy-retry-on: retriable-headers", "x-envoy-retriable-header-names: x-no, X-Up")),
            ("/", 200, ("x-envoy-retry-grpc-on: unavailable",)),
            ("/", 503, ("x-envoy-retry-on: unavailable",)),
            ("/4xx", 503, ("x-envoy-retry-on: gateway-error",)),
            ("/requests", 503, ("x-envoy-retry-on: 5xx", "x-envoy-max-retries: 3")),
        ):
            s.upstream().script = script(status(first, "x-up: 1", "grpc-status: 14"), DONE)
            await s.get(path, *headers, to="inside")
    for to in ("main", "edge"):  # whose clients are not internal
        s.upstream().script = script(BAD, DONE)
        await s.get("/", "x-envoy-retry-on: 5xx", to=to)


@scenario(RETRIES)
async def retry_attempt_counts(s: Session) -> None:
    """x-envoy-attempt-count both ways; a virtual host's policy, and a route's that takes its place."""
    vhost = "vhost.all.vcluster.all.upstream_rq_"
    names = ("retry", "retry_success", "retry_limit_exceeded", "retry_overflow", "total", "completed")
    async with s.logging(3, "counted"), s.counting(*(vhost + name for name in names)):
        for path, replies in (("/x", (BAD, BAD, DONE)), ("/y", (BAD,)), ("/own", (BAD, DONE))):
            s.upstream().script = script(*replies)
            await s.get(path, to="counted")


@scenario(RETRIES)
async def retry_too_large(s: Session) -> None:
    """A body that is longer than what is kept is sent once."""
    async with s.logging(4), s.counting(*stats()):
        for body in (b"0123456789", b"0123456789a"):
            s.upstream().script = script(BAD, DONE)
            await s.http(head("POST /small HTTP/1.1", "host: a", f"content-length: {len(body)}") + body)
            s.upstream().script = script(BAD, DONE)
            await s.http(
                head("POST /small HTTP/1.1", "host: a", "transfer-encoding: chunked")
                + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
            )


@scenario(RETRIES)
async def retry_per_try_timeout(s: Session) -> None:
    """A try that takes too long: another, or 504; the header may say it as well."""

    def slow(times: int) -> Script:
        left = [0] * times

        async def run(call: Call) -> None:
            if left:
                left.pop()
                await call.gone()
            else:
                await call.send(DONE)

        return run

    async with s.logging(5), s.counting(*stats()):
        for path, times, headers in (
            ("/try", 1, ()),
            ("/try", 2, ()),
            ("/gentle", 1, ()),
            ("/idle", 1, ()),
            ("/idle", 2, ()),
        ):
            s.upstream().script = slow(times)
            await s.get(path, *headers)
            s.see(path, times)


@scenario(RETRIES)
async def retry_in_the_whole_time(s: Session) -> None:
    """The route's timeout is that of all tries together, and of the time between them."""
    s.upstream().script = script(BAD)
    async with s.logging(1), s.counting(*stats()):
        await s.get("/waits")


@scenario(RETRIES)
async def retry_after_redirect(s: Session) -> None:
    """A redirect that is followed begins anew."""
    moved = status(302, "location: http://a/5xx")
    s.upstream().script = script(BAD, moved, BAD, DONE)
    async with s.logging(2):
        await s.get("/redirected")


@scenario(RETRIES)
async def retry_rate_limited(s: Session) -> None:
    """How long to wait as the answer says; what is too long, over or no number is not heard."""
    async with s.logging(4), s.counting(*stats()):
        for field in ("retry-after: 1", "retry-after: 3", "retry-after: soon", "x-reset: 1"):
            s.upstream().script = script(status(503, field), DONE)
            await s.get("/limited")
