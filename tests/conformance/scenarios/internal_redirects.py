# ruff: noqa: E501  (a route is a line of a table)
"""internal_redirect_policy: redirects of an upstream that the proxy follows by itself."""

from __future__ import annotations

from ..client import get
from ..configuration import bootstrap, cluster, listener
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import Call, H2Call, Script, h2_ok, ok

LOG = (
    "%REQ(:METHOD)% %REQ(:PATH)% %REQ(:AUTHORITY)% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% "
    "in=%BYTES_RECEIVED% out=%BYTES_SENT% route=%ROUTE_NAME% cluster=%UPSTREAM_CLUSTER% url=%REQ(X-ENVOY-ORIGINAL-URL)% "
    "attempts=%UPSTREAM_REQUEST_ATTEMPT_COUNT% up=%RESP(x-up)%\n"
)
_P = "type.googleapis.com/envoy.extensions.internal_redirect"


def predicates(*configs: str) -> str:
    entries = ", ".join(
        f"{{name: p{number}, typed_config: {{'@type': {_P}.{config}}}}}"
        for number, config in enumerate(configs)
    )
    return f"predicates: [{entries}]"


PREVIOUS = "previous_routes.v3.PreviousRoutesConfig"
SAFE = "safe_cross_scheme.v3.SafeCrossSchemeConfig"
ROUTES = f"""
- {{match: {{prefix: /plain}}, name: plain, route: {{cluster: app, internal_redirect_policy: {{}}}}}}
- {{match: {{prefix: /deprecated}}, route: {{cluster: app, internal_redirect_action: HANDLE_INTERNAL_REDIRECT, max_internal_redirects: 2}}}}
- {{match: {{prefix: /passed}}, route: {{cluster: app, internal_redirect_action: PASS_THROUGH_INTERNAL_REDIRECT, max_internal_redirects: 2}}}}
- {{match: {{prefix: /thrice}}, name: thrice, route: {{cluster: app, internal_redirect_policy: {{max_internal_redirects: 3}}}}}}
- {{match: {{prefix: /never}}, route: {{cluster: app, internal_redirect_policy: {{max_internal_redirects: 0}}}}}}
- {{match: {{prefix: /codes}}, route: {{cluster: app, internal_redirect_policy: {{redirect_response_codes: [301, 303, 307, 308, 200]}}}}}}
- {{match: {{prefix: /cross}}, route: {{cluster: app, internal_redirect_policy: {{allow_cross_scheme_redirect: true}}}}}}
- {{match: {{prefix: /safe-cross}}, route: {{cluster: app, internal_redirect_policy: {{allow_cross_scheme_redirect: true, {predicates(SAFE)}}}}}}}
- {{match: {{prefix: /loop}}, name: loop, route: {{cluster: app, internal_redirect_policy: {{max_internal_redirects: 5, {predicates(PREVIOUS)}}}}}}}
- {{match: {{prefix: /allowed}}, route: {{cluster: app, internal_redirect_policy: {{{predicates("allow_listed_routes.v3.AllowListedRoutesConfig, allowed_route_names: [target, direct]")}}}}}}}
- {{match: {{prefix: /copied}}, route: {{cluster: app, internal_redirect_policy: {{response_headers_to_copy: [x-copied, x-up, x-gone, X-Upper]}}}}}}
- match: {{prefix: /decorated}}
  name: decorated
  route: {{cluster: app, prefix_rewrite: /rewritten, host_rewrite_literal: rewritten.example, timeout: 7s, internal_redirect_policy: {{redirect_response_codes: [302, 303]}}}}
  request_headers_to_add: [{{header: {{key: x-first, value: "%REQ(:PATH)%"}}}}]
  response_headers_to_add: [{{header: {{key: x-first, value: "%REQ(:PATH)%"}}}}]
- {{match: {{prefix: /buffered}}, per_request_buffer_limit_bytes: 10, route: {{cluster: app, internal_redirect_policy: {{redirect_response_codes: [307]}}}}}}
- {{match: {{prefix: /limited}}, request_body_buffer_limit: 10, route: {{cluster: app, internal_redirect_policy: {{redirect_response_codes: [307]}}}}}}
- {{match: {{prefix: /doubly}}, per_request_buffer_limit_bytes: 5, request_body_buffer_limit: 10, route: {{cluster: app, internal_redirect_policy: {{redirect_response_codes: [307]}}}}}}
- {{match: {{prefix: /large}}, request_body_buffer_limit: 10000, route: {{cluster: app, internal_redirect_policy: {{redirect_response_codes: [307]}}}}}}
- {{match: {{prefix: /to-other}}, route: {{cluster: h2app}}}}
- {{match: {{prefix: /from-h2}}, route: {{cluster: h2app, internal_redirect_policy: {{}}}}}}
- {{match: {{prefix: /target}}, name: target, route: {{cluster: app}}, request_headers_to_add: [{{header: {{key: x-second, value: "%REQ(:PATH)%"}}}}]}}
- {{match: {{path: /direct}}, name: direct, direct_response: {{status: 200, body: {{inline_string: direct}}}}}}
- {{match: {{path: /moved}}, name: moved, redirect: {{path_redirect: /elsewhere}}}}
- {{match: {{path: /lost}}, name: lost, route: {{cluster_header: x-cluster}}}}
- {{match: {{path: /refused}}, name: refused, route: {{cluster: refused}}}}
"""
FOLLOWED = "route: {cluster: app, internal_redirect_policy: {redirect_response_codes: [307]}}"
INHERITED = f"""
route_config:
  virtual_hosts:
  - name: all
    domains: ["*"]
    per_request_buffer_limit_bytes: 7
    routes:
    - {{match: {{prefix: /plain}}, {FOLLOWED}}}
    - {{match: {{prefix: /own}}, per_request_buffer_limit_bytes: 9, {FOLLOWED}}}
    - {{match: {{prefix: /new}}, request_body_buffer_limit: 9, {FOLLOWED}}}
    - {{match: {{prefix: /target}}, route: {{cluster: app}}}}
"""
FILTER = """
- name: envoy.filters.http.lua
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua
    default_source_code:
      inline_string: |
        function envoy_on_request(handle) handle:headers():add("x-lua", "request") end
        function envoy_on_response(handle) handle:headers():add("x-lua", "response") end
"""
INTERNAL_REDIRECTS = Setup(
    "internal-redirects",
    bootstrap(
        [
            listener("main", routes=ROUTES, log=LOG),
            listener("filtered", routes=ROUTES, log=LOG, filters=FILTER),
            listener("small", routes=ROUTES, log=LOG, extra="per_connection_buffer_limit_bytes: 100"),
            listener("inherited", INHERITED, log=LOG),
            listener("edge", "use_remote_address: true", routes=ROUTES, log=LOG),
        ],
        [cluster("app", "app"), cluster("refused", "refused"), cluster("h2app", "h2app", http2=True)],
    ),
    {"app": "h1", "refused": "dead", "h2app": "h2"},
)
_FAILURES = ("bad_location", "no_route", "predicate", "too_many_redirects", "unsafe_scheme")
STATS = (
    *(f"http.main.passthrough_internal_redirect_{name}" for name in _FAILURES),
    "cluster.app.upstream_internal_redirect_failed_total",
    "cluster.app.upstream_internal_redirect_succeeded_total",
    "cluster.app.upstream_rq_total",
    "cluster.app.upstream_rq_completed",
    "cluster.app.upstream_rq_302",
    "cluster.app.upstream_rq_200",
    "cluster.app.external.upstream_rq_302",
    "cluster.app.upstream_cx_destroy_local",
    "cluster.app.upstream_cx_destroy_local_with_active_rq",
    "cluster.app.upstream_rq_tx_reset",
    "cluster.app.retry_or_shadow_abandoned",
    "http.main.downstream_rq_total",
    "http.main.downstream_rq_completed",
    "http.main.downstream_rq_2xx",
    "http.main.downstream_rq_3xx",
    "http.main.rq_total",
)


def moved(location: str, *headers: str, status: str = "302 Found", body: bytes = b"") -> bytes:
    lines = [f"HTTP/1.1 {status}", *headers, f"content-length: {len(body)}", "x-up: one"]
    if location != "-":
        lines.append(f"location: {location}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def script(*answers: bytes) -> Script:
    """Give these answers one after the other; the last one for ever."""
    left = list(answers)

    async def run(call: Call) -> None:
        await call.body()
        await call.send(left.pop(0) if len(left) > 1 else left[0])

    return run


DONE = ok(b"done", "x-up: two")


@scenario(INTERNAL_REDIRECTS)
async def internal_redirect_is_followed(s: Session) -> None:
    """The client sees the second answer; the log has a line for each request; filters run twice."""
    s.upstream().script = script(moved("http://other.example/target/x?y=z"), DONE)
    async with s.logging(2):
        await s.get("/plain?q", "x-mine: 1")
    s.upstream().script = script(moved("http://other.example/target"), DONE)
    async with s.logging(2, "filtered"):
        await s.get("/plain?q", to="filtered")
    s.upstream().script = script(moved("http://other.example/target"), DONE)
    async with s.logging(2, "edge"):
        await s.get("/plain?q", "x-forwarded-for: 1.2.3.4", to="edge")
    s.upstream().script = script(moved("http://other.example/target"), DONE)
    async with s.logging(2):
        await s.get("/decorated?q", label="decorated")


@scenario(INTERNAL_REDIRECTS)
async def internal_redirect_counts(s: Session) -> None:
    """What both requests count as."""
    s.upstream().script = script(moved("http://other.example/target"), DONE)
    async with s.counting(*STATS):
        await s.get("/plain")
    s.upstream().script = script(moved("http://other.example/target", body=b"moved"), DONE)
    async with s.counting(*STATS):
        await s.get("/plain", label="with a body")


@scenario(INTERNAL_REDIRECTS)
async def internal_redirect_locations(s: Session) -> None:
    """What can be followed: absolute URLs with a route; the rest is handed on."""
    for location in (
        "-",
        "",
        "/target",
        "target",
        "//other/target",
        "http://other.example",
        "http://other.example:8080/target",
        "http://other.example/target#part",
        "http://other.example/target?a#part",
        "http://other.example?a=b",
        "http://user@other.example/target",
        "http://[::1]:80/target",
        "HTTP://Other.Example/target",
        "http://other.example:80/target",
        "http://other.example/nowhere",
        "https://other.example/target",
        "ftp://other.example/target",
        "http:///target",
        "http://other.example/target /x",
        "http://other.example/direct",
        "http://other.example/moved",
        "http://other.example/lost",
        "http://other.example/refused",
    ):
        s.upstream().script = script(moved(location), DONE)
        async with s.counting(*STATS[:7]):
            await s.get("/plain", label=location)


@scenario(INTERNAL_REDIRECTS)
async def internal_redirect_limits(s: Session) -> None:
    """max_internal_redirects, its default, and none."""
    async with s.counting(*STATS[:7]):
        for path in ("/plain", "/thrice", "/never", "/deprecated", "/passed"):
            s.upstream().script = script(
                moved(f"http://a{path}1"),
                moved(f"http://b{path}2"),
                moved(f"http://c{path}3"),
                moved(f"http://d{path}4"),
                DONE,
            )
            await s.get(path, label=path)
        s.upstream().script = script(moved("http://a/thrice"), moved("http://a/plain"), DONE)
        await s.get("/plain", label="another route's limit")
        s.upstream().script = script(moved("http://a/thrice"), moved("http://a/thrice"), DONE)
        await s.get("/plain", label="a larger limit")


@scenario(INTERNAL_REDIRECTS)
async def internal_redirect_codes(s: Session) -> None:
    """Which codes are followed, and what becomes of the method and the body."""
    for status in (
        "200 OK",
        "301 Moved Permanently",
        "302 Found",
        "303 See Other",
        "307 Temporary Redirect",
        "308 Permanent Redirect",
        "300 Multiple Choices",
    ):
        for method, body in (("GET", ""), ("POST", "body"), ("HEAD", ""), ("DELETE", "")):
            if status.startswith(("302", "300", "200")) and method != "GET":
                continue
            s.upstream().script = script(
                moved("http://a/target", status=status), ok(b"", "x-up: two") if method == "HEAD" else DONE
            )
            length = f"content-length: {len(body)}\r\n" if body else ""
            await s.http(
                f"{method} /codes HTTP/1.1\r\nhost: a\r\n{length}\r\n{body}",
                label=f"{method} {status}",
                has_body=method != "HEAD",
            )


REDIRECT = moved("http://a/target", status="307 Temporary Redirect")


@scenario(INTERNAL_REDIRECTS)
async def internal_redirect_replays_the_body(s: Session) -> None:
    """A body goes out again, however it came."""
    for body in ("x" * 3000, ""):
        s.upstream().script = script(REDIRECT, DONE)
        async with s.logging(2):
            await s.http(
                f"POST /codes HTTP/1.1\r\nhost: a\r\ncontent-length: {len(body)}\r\n\r\n{body}",
                label=f"{len(body)} bytes",
            )
    s.upstream().script = script(REDIRECT, DONE)
    chunks = "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    async with s.logging(2):
        await s.http(
            f"POST /codes HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n{chunks}", label="chunked"
        )


@scenario(INTERNAL_REDIRECTS)
async def internal_redirect_limits_of_the_body(s: Session) -> None:
    """What is longer than may be kept is handed on: limits of the listener, the virtual host and the route."""
    for to, path, size in (
        *(
            ("main", f"/{path}", size)
            for path in ("limited", "doubly", "buffered")
            for size in (5, 6, 10, 11)
        ),
        *(("small", "/codes", size) for size in (100, 101)),
        *(("small", "/large", size) for size in (101, 9000)),
        *(("inherited", "/plain", size) for size in (7, 8)),
        *(("inherited", path, size) for path in ("/own", "/new") for size in (9, 10)),
    ):
        s.upstream().script = script(REDIRECT, DONE)
        async with s.counting("cluster.app.retry_or_shadow_abandoned", *STATS[5:7]):
            await s.http(
                f"POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: {size}\r\n\r\n{'x' * size}",
                to,
                label=f"{to} {path} {size}",
            )
    s.upstream().seen.clear()


@scenario(INTERNAL_REDIRECTS)
async def internal_redirect_replays_pieces(s: Session) -> None:
    """A body that was sent on in pieces goes out again as well."""
    s.upstream().script = script(REDIRECT, DONE)
    client = await s.connect()
    await client.send(b"POST /codes HTTP/1.1\r\nhost: a\r\ncontent-length: 6\r\n\r\nabc")
    await s.upstream().arrivals(1)
    await client.send(b"def")
    await client.reply()
    client.close()


@scenario(INTERNAL_REDIRECTS)
async def internal_redirect_of_an_unfinished_request(s: Session) -> None:
    """A redirect that comes before the request is over is handed on."""

    async def early(call: Call) -> None:
        await call.send(moved("http://a/target", status="307 Temporary Redirect"))
        await call.gone()

    s.upstream().script = early
    async with s.counting("cluster.app.upstream_internal_redirect_failed_total"):
        client = await s.connect()
        await client.send(b"POST /codes HTTP/1.1\r\nhost: a\r\ncontent-length: 6\r\n\r\nabc")
        await client.reply("early")
        client.close()


@scenario(INTERNAL_REDIRECTS)
async def internal_redirect_schemes(s: Session) -> None:
    """allow_cross_scheme_redirect and safe_cross_scheme."""
    for path in ("/plain", "/cross", "/safe-cross"):
        for proto in ("http", "https"):
            for scheme in ("http", "https"):
                s.upstream().script = script(moved(f"{scheme}://a/target"), DONE)
                async with s.counting(*STATS[:7]):
                    await s.get(path, f"x-forwarded-proto: {proto}", label=f"{path} {proto} to {scheme}")


@scenario(INTERNAL_REDIRECTS)
async def internal_redirect_predicates(s: Session) -> None:
    """previous_routes and allow_listed_routes."""
    async with s.counting(*STATS[:7]):
        s.upstream().script = script(
            moved("http://a/loop1"), moved("http://a/loop2"), moved("http://a/loop3"), DONE
        )
        await s.get("/loop", label="loop")
        for target in ("target", "direct", "moved", "plain"):
            s.upstream().script = script(moved(f"http://a/{target}"), DONE)
            await s.get("/allowed", label=f"allowed {target}")


@scenario(INTERNAL_REDIRECTS)
async def internal_redirect_copies_headers(s: Session) -> None:
    """response_headers_to_copy: from the redirect into the next request, or out of it."""
    headers = ("x-copied: 1", "x-copied: 2", "X-Upper: u", "x-not: n")
    s.upstream().script = script(moved("http://a/target", *headers), DONE)
    await s.get("/copied", "x-copied: old", "x-gone: old", "x-not: old")
    s.upstream().script = script(moved("http://a/nowhere", *headers), DONE)
    await s.get("/copied", "x-copied: old", "x-gone: old", label="not followed")


@scenario(INTERNAL_REDIRECTS)
async def internal_redirect_over_http2(s: Session) -> None:
    """The same with a client that speaks HTTP/2; its trailers are gone."""
    s.upstream().script = script(moved("http://other.example/target"), DONE)
    async with s.logging(2):
        client = await s.connect_h2()
        await client.request(get("/plain"))
    s.upstream().script = script(REDIRECT, DONE)
    async with s.logging(2):
        client = await s.connect_h2()
        await client.request(get("/codes", method="POST"), b"a body", [("x-trailer", "1")])


@scenario(INTERNAL_REDIRECTS)
async def internal_redirect_between_clusters(s: Session) -> None:
    """From one cluster to another, over HTTP/2 as well, and what the log calls the cluster."""

    async def away(call: H2Call) -> None:
        await call.body()
        if call.path == "/from-h2":
            await call.answer([(":status", "302"), ("location", "http://a/target")])
        else:
            await h2_ok(call)

    s.upstream("h2app").h2_script = away
    async with s.logging(2):
        await s.get("/from-h2")
    for target in ("to-other", "direct", "lost", "refused"):
        s.upstream().script = script(moved(f"http://a/{target}"), DONE)
        async with s.logging(2):
            await s.get("/plain", label=target)
