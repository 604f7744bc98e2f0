# ruff: noqa: E501  (a line of configuration reads best unbroken)
"""envoy.filters.http.ext_authz with a service of HTTP: what it is sent, and what becomes of its answers."""

from __future__ import annotations

import trio

from ..configuration import bootstrap, cluster, listener
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import Call, answers, ok

SUBJECT = "filters"

EXT = "type.googleapis.com/envoy.extensions.filters.http"
AUTHZ = f"{EXT}.ext_authz.v3.ExtAuthz"
PER_ROUTE = f"{EXT}.ext_authz.v3.ExtAuthzPerRoute"
LOG = (
    "%REQ(:METHOD)% %REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% "
    "%DYNAMIC_METADATA(envoy.filters.http.ext_authz:x-meta)%\n"
)
URI = "server_uri: {uri: 'http://authz.example/x', cluster: authz, timeout: 5s}"
ROUTES = f"""
- match: {{prefix: /other}}
  route: {{cluster: app}}
  typed_per_filter_config:
    authz: {{"@type": {PER_ROUTE}, check_settings: {{http_service: {{
      server_uri: {{uri: x, cluster: authz, timeout: 5s}}, path_override: /other/check}}}}}}
- match: {{prefix: /}}
  route: {{cluster: app}}
  response_headers_to_add: [{{header: {{key: x-of-route, value: r}}}}]
"""


def on(name: str, service: str, fields: str = "") -> dict[str, object]:
    chain = f'- {{name: authz, typed_config: {{"@type": {AUTHZ}, {fields} http_service: {{{service}}}}}}}'
    return listener(name, routes=ROUTES, filters=chain, log=LOG)


SETUP = Setup(
    "authz_http",
    bootstrap(
        [
            on("main", URI, "clear_route_cache: true,"),
            on(
                "full",
                f"{URI}, path_prefix: /check, authorization_request: {{"
                "allowed_headers: {patterns: [{prefix: x-}]}, headers_to_add: ["
                "{key: x-static, value: s}, {key: x-proto, value: '%PROTOCOL%'}, {key: x-own, value: mine},"
                "{key: x-odd, value: '%REQ(x-a)%'}]}, authorization_response: {"
                "allowed_upstream_headers: {patterns: [{prefix: x-up}, {exact: x-both}]},"
                "allowed_upstream_headers_to_append: {patterns: [{prefix: x-app}, {exact: x-both}]},"
                "allowed_client_headers: {patterns: [{prefix: x-cl}]},"
                "allowed_client_headers_on_success: {patterns: [{prefix: x-ok}]},"
                "dynamic_metadata_from_headers: {patterns: [{prefix: x-meta}]}}",
                "with_request_body: {max_request_bytes: 10, allow_partial_message: true},"
                "disallowed_headers: {patterns: [{exact: x-secret}]},",
            ),
            on(
                "listed",
                f"{URI}, path_override: '/fixed?q=1'",
                "allowed_headers: {patterns: [{prefix: x-}]}, validate_mutations: true,",
            ),
            on(
                "tries",
                f"{URI}, retry_policy: {{retry_on: 5xx, retry_back_off: {{base_interval: 0.2s, max_interval: 0.3s}}}}",
                "status_on_error: {code: BadGateway},",
            ),
            on("once", f"{URI}, retry_policy: {{num_retries: 1}}"),
            on(
                "hurry",
                URI.replace("5s", "0.05s"),
                "failure_mode_allow: true,",
            ),
            on("dead", URI.replace("authz,", "dead,")),
            on("lost", URI.replace("authz,", "nobody,")),
        ],
        [cluster("app", "app"), cluster("authz", "authz"), cluster("dead", "dead")],
    ),
    {"app": "h1", "authz": "h1", "dead": "dead"},
)


def serve(s: Session, *replies: bytes) -> None:
    """Answer with these; what came is shown with its headers sorted, since Envoy sends them in no order."""
    left = list(replies)

    async def script(call: Call) -> None:
        await call.body()
        call.request.headers.sort()
        await call.send(left.pop(0) if len(left) > 1 else left[0])

    s.upstream("authz").script = script


def reply(status: str, *headers: str, body: bytes = b"") -> bytes:
    lines = [f"HTTP/1.1 {status}", *headers, f"content-length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


@scenario(SETUP)
async def authz_http_request(s: Session) -> None:
    """What the service is sent, by default, with lists of headers, prefix, fixed path, and body."""
    serve(s, ok(b""))
    async with s.counting(
        "http.main.ext_authz.ok",
        "cluster.app.ext_authz.ok",
        "cluster.authz.internal.upstream_rq_200",
        "http.async-client.rq_total",
    ):
        for to in ("main", "full", "listed"):
            fields = (
                "authorization: Basic eA==",
                "x-a: 1",
                "x-a: 2",
                "x-secret: s",
                "cookie: c",
                "x-own: theirs",
            )
            await s.get("/path?q=r", *fields, to=to)
        post = "POST /p HTTP/1.1\r\nhost: example.com\r\ncontent-length: %d\r\n\r\n%s"
        await s.http(post % (5, "hello"), to="main")
        await s.http(post % (5, "hello"), to="full")
        await s.http(post % (13, "hello \xff world"), to="full")
        await s.get("/other/path", "x-a: 1", to="main")


HEADERS = (
    *("x-up-1: u", "x-up-2: a", "x-up-2: b", "x-app: a", "x-app: b", "x-both: new", "x-cl: c", "x-ok: o"),
    *("x-ok: p", "x-meta: m", "x-meta: n", "x-else: e", "server: theirs", "set-cookie: a=b", "location: /l"),
)


@scenario(SETUP)
async def authz_http_answers(s: Session) -> None:
    """Headers of answers that allow and that refuse, taken over as the configuration says."""
    remove = (
        "x-envoy-auth-headers-to-remove: x-gone, X-Gone-2,,host",
        "x-envoy-auth-headers-to-remove: x-gone-3",
    )
    cases = (
        reply("200 OK", *HEADERS, *remove, body=b"body"),
        reply(
            "401 Unauthorized",
            *HEADERS,
            *remove,
            "www-authenticate: Basic",
            "content-type: text/html",
            body=b"who?",
        ),
        reply("302 Found", *HEADERS),
        reply("201 Created", *HEADERS, body=b"made"),
        reply("403 Forbidden", "date: then", "content-encoding: gzip"),
        reply("418 Teapot", "transfer-encoding: chunked"[:0] or "x: y", body=b"short"),
    )
    for to in ("main", "full"):
        serve(s, *cases)
        async with s.logging(len(cases), to):
            for number in range(len(cases)):
                fields = (
                    "x-up-1: old",
                    "x-app: old",
                    "x-both: old",
                    "x-gone: 1",
                    "x-gone-2: 2",
                    "x-gone-3: 3",
                )
                await s.get(f"/{number}", *fields, to=to)


@scenario(SETUP)
async def authz_http_errors(s: Session) -> None:
    """Answers that are none: 5xx, a broken one, none at all, too late; with retries and without."""
    bad = reply("503 Service Unavailable", "x-cl: c", body=b"down")
    async with s.counting(
        *(
            f"http.{to}.ext_authz.{name}"
            for to in ("tries", "main", "dead", "lost")
            for name in ("ok", "error")
        ),
        "cluster.authz.upstream_rq_retry",
        "http.async-client.no_cluster",
        "http.hurry.ext_authz.failure_mode_allowed",
    ):
        serve(s, bad)
        async with s.logging(1, "main"), s.logging(1, "tries"):
            await s.get("/a", to="main")
            await s.get("/b", to="tries")
            await s.get("/b2", to="once")
        serve(s, bad, ok(b""))
        await s.get("/c", to="tries")
        async with s.logging(1, "dead"), s.logging(1, "lost"):
            await s.get("/d", to="dead")
            await s.get("/e", to="lost")

        async def wait(call: Call) -> None:
            call.request.headers.sort()
            await call.gone()

        s.upstream("authz").script = wait
        async with s.logging(1, "hurry"):
            await s.get("/f", to="hurry")

        async def close(call: Call) -> None:
            call.request.headers.sort()
            await call.close()

        s.upstream("authz").script = close
        await s.get("/g", to="main")


@scenario(SETUP)
async def authz_http_hostile(s: Session) -> None:
    """Values of the service that are odd, and paths of the client that are: what is asked is what is sent."""
    serve(s, ok(b""))
    for path in ("/a/../b", "/a%2f..%2fb", "//a", "/a;b", "/%00", "/a\\b", "/?", "/./x", "/caf\xe9"):
        await s.get(path, to="main")
        await s.get(path, to="full")
    serve(s, ok(b"", "x-up-1: \xff\xe4", "x-up-2: a\tb"))
    await s.get("/odd", to="full")


@scenario(SETUP)
async def authz_http_long_answer(s: Session) -> None:
    """A refusal with a long body, all of which the client gets."""
    body = b"0123456789" * 20_000
    serve(s, reply("403 Forbidden", body=body))
    client = await s.connect()
    await client.send(b"GET / HTTP/1.1\r\nhost: example.com\r\n\r\n")
    answer = await client.reply()
    s.see("length", 0 if answer is None else len(answer.body))


@scenario(SETUP)
async def authz_http_keeps_the_order(s: Session) -> None:
    """Two requests on one connection: the second is asked about when the first is through."""
    first = trio.Event()
    count = 0

    async def script(call: Call) -> None:
        nonlocal count
        count += 1
        call.request.headers.sort()
        if count == 1:
            first.set()
        await call.send(ok(b""))

    s.upstream("authz").script = script
    s.upstream().script = answers(ok(b"1"), ok(b"2"))
    client = await s.connect()
    await client.send(b"GET /1 HTTP/1.1\r\nhost: a\r\n\r\nGET /2 HTTP/1.1\r\nhost: a\r\n\r\n")
    await first.wait()
    await client.reply()
    await client.reply()
