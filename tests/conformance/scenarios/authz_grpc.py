# ruff: noqa: E501  (a line of configuration reads best unbroken)
"""envoy.filters.http.ext_authz with a gRPC service: what is asked, and what becomes of the answers."""

from __future__ import annotations

from typing import Any

from ..authz import GOOD, HEAD, frame, said, serve_checks
from ..configuration import bootstrap, cluster, listener
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import Call, H2Call, answers, ok
from ..wire import read_response

SUBJECT = "filters"

EXT = "type.googleapis.com/envoy.extensions.filters.http"
AUTHZ = f"{EXT}.ext_authz.v3.ExtAuthz"
PER_ROUTE = f"{EXT}.ext_authz.v3.ExtAuthzPerRoute"
LOG = (
    "%REQ(:METHOD)% %REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% "
    "%DYNAMIC_METADATA(envoy.filters.http.ext_authz:who)% cluster=%UPSTREAM_CLUSTER% %ROUTE_NAME%\n"
)
ROUTES = f"""
- {{name: without, match: {{prefix: /off}}, route: {{cluster: app}},
   typed_per_filter_config: {{authz: {{"@type": {PER_ROUTE}, disabled: true}}}}}}
- {{name: ext, match: {{prefix: /ext}}, route: {{cluster: app}},
   typed_per_filter_config: {{authz: {{"@type": {PER_ROUTE},
     check_settings: {{context_extensions: {{b: route, c: route}}}}}}}}}}
- {{name: direct, match: {{prefix: /direct}}, direct_response: {{status: 200, body: {{inline_string: direct}}}}}}
- {{name: other, match: {{prefix: /, headers: [{{name: x-to, string_match: {{exact: other}}}}]}},
   route: {{cluster: other}}}}
- {{name: rest, match: {{prefix: /}}, route: {{cluster: app}},
   response_headers_to_add: [{{header: {{key: x-of-route, value: r}}}}]}}
"""
HOST = f"""
route_config:
  virtual_hosts:
  - name: all
    domains: ["example.com"]
    typed_per_filter_config: {{authz: {{"@type": {PER_ROUTE},
      check_settings: {{context_extensions: {{a: host, b: host}}}}}}}}
    routes:
"""


def authz(
    fields: str = "", service: str = "grpc_service: {envoy_grpc: {cluster_name: authz}, timeout: 5s}"
) -> str:
    return f'- {{name: authz, typed_config: {{"@type": {AUTHZ}, transport_api_version: V3, {service}, {fields}}}}}'


def hosted(routes: str = ROUTES) -> str:
    return HOST + "\n".join("    " + line for line in routes.strip().splitlines())


def listening(name: str, fields: str = "", **service: str) -> dict[str, Any]:
    return listener(name, hosted(), filters=authz(fields, **service), log=LOG)


SETUP = Setup(
    "authz_grpc",
    bootstrap(
        [
            listening("main", "clear_route_cache: true"),
            listening("plain", "status_on_error: {code: ServiceUnavailable}, stat_prefix: waf"),
            listening("strict", "validate_mutations: true, max_denied_response_body_bytes: 5"),
            listening("rules", "decoder_header_mutation_rules: {disallow_expression: {regex: 'x-no.*'}}"),
            listening(
                "rigid",
                "decoder_header_mutation_rules: {allow_expression: {regex: 'x-yes.*'}, disallow_all: true,"
                " disallow_is_error: true}",
            ),
            listening(
                "open",
                "failure_mode_allow: true, failure_mode_allow_header_add: true",
                service="grpc_service: {envoy_grpc: {cluster_name: dead}}",
            ),
            listening("limits", "enforce_response_header_limits: true"),
            listening("hurry", service="grpc_service: {envoy_grpc: {cluster_name: authz}, timeout: 0.05s}"),
            listening("lost", service="grpc_service: {envoy_grpc: {cluster_name: nobody}}"),
        ],
        [
            cluster("app", "app"),
            cluster("other", "other"),
            cluster("authz", "authz", http2=True),
            cluster("dead", "dead", http2=True),
        ],
    ),
    {"app": "h1", "other": "h1", "authz": "h2", "dead": "dead"},
)
STATS = tuple(
    f"http.main.ext_authz.{name}"
    for name in (
        "ok",
        "denied",
        "error",
        "disabled",
        "failure_mode_allowed",
        "invalid",
        "ignored_dynamic_metadata",
    )
)
OF_CLUSTER = tuple(f"cluster.app.ext_authz.{name}" for name in ("ok", "denied", "error", "invalid"))
CODES = tuple(
    f"cluster.app.{name}"
    for name in (
        "upstream_rq_403",
        "upstream_rq_4xx",
        "upstream_rq_completed",
        "internal.upstream_rq_403",
        "external.upstream_rq_403",
    )
)


@scenario(SETUP)
async def authz_grpc_check(s: Session) -> None:
    """What the service is asked: attributes, repeated headers, odd bytes, extensions of host and route."""
    serve_checks(s, {})
    async with (
        s.counting(
            *STATS,
            *OF_CLUSTER,
            "http.async-client.rq_total",
            "cluster.authz.upstream_rq_total",
            "cluster.authz.internal.upstream_rq_200",
        ),
        s.logging(5),
    ):
        await s.get(
            "/plain?a=b&c", "x-many: 1", "x-many: 2", "cookie: a=b", "cookie: c=d", "x-odd: \xff\xe4\xc3\xa4x"
        )
        await s.get("/ext/x", "x-envoy-auth-partial-body: true", "x-envoy-downstream-service-cluster: svc")
        await s.get("/direct")
        await s.get("/off")
        await s.http("POST /post HTTP/1.1\r\nhost: example.com\r\ncontent-length: 5\r\n\r\nhello")


@scenario(SETUP)
async def authz_grpc_calls(s: Session) -> None:
    """The call itself, as the service sees it."""

    async def script(call: H2Call) -> None:
        await call.body()
        call.stream.body.clear()
        await call.answer(HEAD, frame(said({})), GOOD)

    s.upstream("authz").h2_script = script
    await s.get("/")
    await s.get("/", "x-request-id: given", to="hurry")


DENIALS: tuple[dict[str, Any], ...] = (
    {"status": {"code": 7}},
    {
        "status": {"code": 16},
        "denied_response": {
            "status": {"code": 401},
            "body": "no",
            "headers": [
                {"header": {"key": "WWW-Authenticate", "value": "Basic"}},
                {"header": {"key": "set-cookie", "value": "a=1"}},
                {"header": {"key": "set-cookie", "value": "b=2"}},
                {"header": {"key": "content-type", "value": "text/html"}},
            ],
        },
    },
    {"status": {"code": 7}, "denied_response": {"body": "just a body"}},
    {
        "status": {"code": 7},
        "denied_response": {
            "status": {"code": 302},
            "headers": [{"header": {"key": "location", "value": "/login"}, "append": False}],
        },
    },
    {"status": {"code": 7}, "denied_response": {"status": {"code": 503}, "body": "busy"}},
    {"status": {"code": 1}, "ok_response": {"headers": [{"header": {"key": "x-a", "value": "b"}}]}},
    {"status": {"code": 7}, "denied_response": {"status": {"code": 200}, "body": "fine"}},
    {"status": {"code": 7}, "dynamic_metadata": {"who": "eve"}},
    {
        "status": {"code": 7},
        "error_response": {
            "status": {"code": 502},
            "body": "broken",
            "headers": [{"header": {"key": "x-why", "value": "e"}}],
        },
    },
    {"status": {"code": 7}, "error_response": {"body": "broken"}},
    {"error_response": {"status": {"code": 502}, "body": "not looked at"}},
)


@scenario(SETUP)
async def authz_grpc_denials(s: Session) -> None:
    """Answers that refuse: their statuses, bodies and headers."""
    serve_checks(s, *DENIALS, sees=False)
    async with s.counting(*STATS, *OF_CLUSTER, *CODES), s.logging(len(DENIALS)):
        for number in range(len(DENIALS)):
            await s.get(f"/{number}")


@scenario(SETUP)
async def authz_grpc_denials_of_grpc(s: Session) -> None:
    """The same to a request of gRPC."""
    serve_checks(s, *DENIALS[:5], sees=False)
    async with s.logging(5):
        for number in range(5):
            await s.http(
                f"POST /{number} HTTP/1.1\r\nhost: example.com\r\ncontent-type: application/grpc\r\n"
                "content-length: 0\r\n\r\n"
            )


def header(key: str, value: str = "new", **more: Any) -> dict[str, Any]:
    return {"header": {"key": key, "value": value}, **more}


ACTIONS = ("APPEND_IF_EXISTS_OR_ADD", "ADD_IF_ABSENT", "OVERWRITE_IF_EXISTS_OR_ADD", "OVERWRITE_IF_EXISTS")
CHANGES: list[dict[str, Any]] = [
    header(f"x-{kind}-{number}", action, append_action=action)
    for kind in ("old", "new")
    for number, action in enumerate(ACTIONS)
]
LEGACY: list[dict[str, Any]] = [
    header("x-old-5", append=True),
    header("x-old-6", append=False),
    header("x-new-5", append=True),
    header("x-new-6", append=False),
    header("x-old-7"),
]
OLD = tuple(f"x-old-{number}: old" for number in range(8))


@scenario(SETUP)
async def authz_grpc_request_headers(s: Session) -> None:
    """Headers added to, changed in and taken out of the request, in their order."""
    serve_checks(
        s,
        {"ok_response": {"headers": CHANGES}},
        {
            "ok_response": {
                "headers": LEGACY,
                "headers_to_remove": ["x-old-0", "X-Old-1", "x-none", ":path", "host"],
            }
        },
        {
            "ok_response": {
                "headers": [
                    header("x-twice", "1"),
                    header("x-twice", "2"),
                    header("X-Upper", "U"),
                    header("x-empty", ""),
                    header("cookie", "c=d"),
                    header("x-request-id", "mine"),
                ]
            }
        },
        {
            "ok_response": {
                "headers": [
                    header("x-old-0", "1", append=False),
                    header("x-old-0", "2", append=False),
                    header("x-old-0", "3", append=True),
                    header("x-old-0", "4"),
                ]
            }
        },
        {
            "ok_response": {
                "headers": [
                    header("host", "a.example"),
                    header(":path", "/else"),
                    header(":authority", "b.example"),
                    header(":method", "PUT"),
                    header(":scheme", "https"),
                ]
            }
        },
        {
            "ok_response": {
                "headers": [
                    header("host", "a.example", append=False),
                    header(":path", "/else", append=False),
                    header(":method", "PUT", append=False),
                ]
            }
        },
        {"ok_response": {"headers": [header("connection", "close", append=False)]}},
        {"ok_response": {"headers_to_remove": ["x-old-0", "content-length", "x-forwarded-proto"]}},
        sees=False,
    )
    async with s.logging(8):
        for number in range(8):
            await s.get(f"/{number}", *OLD, "x-old-0: older", to="main")


@scenario(SETUP)
async def authz_grpc_response_headers(s: Session) -> None:
    """Headers for the answer to the client: the upstream's, and one of the proxy's own."""
    serve_checks(
        s,
        {"ok_response": {"response_headers_to_add": [*CHANGES, header("x-of-route", "authz")]}},
        {
            "ok_response": {
                "response_headers_to_add": [*LEGACY, header("set-cookie", "a"), header("Set-Cookie", "b")]
            }
        },
        {
            "ok_response": {
                "response_headers_to_add": [
                    header("server", "mine", append=False),
                    header("content-type", "x/y", append=False),
                    header("date", "now"),
                    header(":status", "201"),
                ]
            }
        },
        sees=False,
    )
    s.upstream().script = answers(ok(b"ok", *OLD, "x-old-0: older"))
    await s.get("/a")
    await s.get("/b")
    await s.get("/c")
    await s.get("/direct")


@scenario(SETUP)
async def authz_grpc_query(s: Session) -> None:
    """Query parameters set and removed."""

    def change(remove: tuple[str, ...] = (), **to_set: str) -> dict[str, Any]:
        pairs = [{"key": key, "value": value} for key, value in to_set.items()]
        return {"ok_response": {"query_parameters_to_set": pairs, "query_parameters_to_remove": list(remove)}}

    cases: tuple[tuple[str, dict[str, Any]], ...] = (
        ("/a", change(b="c")),
        ("/a?z=1&b=2&a=3&b=4", change(b="c")),
        ("/a?z=1&b=2&a=3&b=4", change(("b",))),
        ("/a?b=2", change(("b",))),
        ("/a?b=2", change(("b",), b="3")),
        ("/a?x=%20%41&y", change(n="1 2&3")),
        ("/a?x=%20%41&y=a+b", change(("none",))),
        ("/a?", change(q="%zz")),
        ("/a?x#y", change(q="")),
    )
    serve_checks(s, *(answer for _, answer in cases), sees=False)
    for path, _ in cases:
        await s.get(path)


@scenario(SETUP)
async def authz_grpc_clears_the_route(s: Session) -> None:
    """With clear_route_cache the changed request finds another route; without it does not."""
    serve_checks(s, {"ok_response": {"headers": [header("x-to", "other")]}}, sees=False)
    async with s.logging(1), s.logging(1, "plain"):
        await s.get("/a")
        await s.get("/a", to="plain")


@scenario(SETUP)
async def authz_grpc_metadata(s: Session) -> None:
    """Dynamic metadata of answers, of both places."""
    serve_checks(
        s,
        {"dynamic_metadata": {"who": "bob"}},
        {"dynamic_metadata": {"who": "bob"}, "ok_response": {"dynamic_metadata": {"who": "old"}}},
        {"dynamic_metadata": {"who": {"name": ["x", 1, True, None]}}, "ok_response": {}},
        {"dynamic_metadata": {}},
        sees=False,
    )
    async with s.logging(4):
        for number in range(4):
            await s.get(f"/{number}")


ERRORS: tuple[tuple[str, Any], ...] = (
    ("a status", lambda: ([*HEAD], b"", [("grpc-status", "14"), ("grpc-message", "down")])),
    ("a status alone", lambda: ([*HEAD, ("grpc-status", "7")], b"", None)),
    ("no message", lambda: ([*HEAD], b"", [("grpc-status", "0")])),
    ("no status", lambda: ([*HEAD], frame(b""), [("x", "y")])),
    ("no trailers", lambda: ([*HEAD], frame(b""), None)),
    ("nonsense", lambda: ([*HEAD], frame(b"\xff\xff\xff"), [("grpc-status", "0")])),
    (
        "no text",
        lambda: ([*HEAD], frame(b"\x1a\x02\x1a\x00\x12\x04\x1a\x02\xff\xff"), [("grpc-status", "0")]),
    ),
    ("compressed", lambda: ([*HEAD], b"\1" + frame(b"abc")[1:], [("grpc-status", "0")])),
    ("cut", lambda: ([*HEAD], frame(b"abc")[:-1], [("grpc-status", "0")])),
    ("HTTP 503", lambda: ([(":status", "503")], b"", None)),
    (
        "HTTP 200 of no gRPC",
        lambda: ([(":status", "200"), ("content-type", "text/plain")], b"hello world", None),
    ),
    ("two messages", lambda: ([*HEAD], frame(said(DENIALS[0])) + frame(said({})), [("grpc-status", "0")])),
    ("empty", lambda: ([*HEAD], frame(b""), [("grpc-status", "0")])),
)


@scenario(SETUP)
async def authz_grpc_errors(s: Session) -> None:
    """Answers that are none."""
    left = [make for _, make in ERRORS]

    async def script(call: H2Call) -> None:
        await call.body()
        call.stream.body.clear()
        head, body, trailers = left.pop(0)()
        await call.answer(head, body, trailers)
        # Whether a client that has read enough resets before the rest has come is a race on either.
        shown = call.shown
        call.shown = lambda: {name: value for name, value in shown().items() if name != "reset"}  # type: ignore[method-assign]

    s.upstream("authz").h2_script = script
    names = tuple(
        f"http.plain.ext_authz.waf.{name}" for name in ("ok", "denied", "error", "failure_mode_allowed")
    )
    async with (
        s.counting(*names, "cluster.app.ext_authz.waf.error", "cluster.app.ext_authz.waf.ok"),
        s.logging(len(ERRORS), "plain"),
    ):
        for number in range(len(ERRORS)):
            await s.get(f"/{number}", to="plain")


@scenario(SETUP)
async def authz_grpc_resets(s: Session) -> None:
    """The service resets the call, before and behind its head."""
    count = 0

    async def script(call: H2Call) -> None:
        nonlocal count
        await call.body()
        call.stream.body.clear()
        count += 1
        if count == 2:
            await call.answer_open(HEAD)
        await call.peer.reset(call.stream)

    s.upstream("authz").h2_script = script
    async with (
        s.counting(
            "http.plain.ext_authz.waf.error",
            "cluster.authz.upstream_rq_rx_reset",
            "cluster.authz.upstream_rq_503",
        ),
        s.logging(2, "plain"),
    ):
        await s.get("/a", to="plain")
        await s.get("/b", to="plain")


@scenario(SETUP)
async def authz_grpc_failure_modes(s: Session) -> None:
    """A dead service with failure_mode_allow, one that is too slow, and one that no cluster is."""

    async def script(call: H2Call) -> None:
        await call.body()
        call.stream.body.clear()
        await call.stream.ended.wait()

    s.upstream("authz").h2_script = script
    async with (
        s.counting(
            *(f"http.open.ext_authz.{name}" for name in ("ok", "error", "failure_mode_allowed", "denied")),
            "cluster.app.ext_authz.failure_mode_allowed",
            "http.hurry.ext_authz.error",
            "http.lost.ext_authz.error",
            "cluster.authz.upstream_rq_timeout",
            "cluster.authz.upstream_rq_504",
            "http.async-client.no_cluster",
        ),
        s.logging(1, "open"),
        s.logging(1, "hurry"),
        s.logging(1, "lost"),
    ):
        await s.get("/a", "x-envoy-auth-failure-mode-allowed: sent", to="open")
        await s.get("/a", to="hurry")
        await s.get("/a", to="lost")


HOSTILE: tuple[dict[str, Any], ...] = (
    {"ok_response": {"headers": [header("x-crlf", "a\r\nx-injected: 1")]}},
    {"ok_response": {"headers": [header("x-nul", "a\0b")]}},
    {"ok_response": {"headers": [header("x bad", "v")]}},
    {"ok_response": {"headers": [header("x-crlf\r\nx-injected", "v", append=False)]}},
    {"ok_response": {"headers_to_remove": ["x bad", ""]}},
    {"ok_response": {"response_headers_to_add": [header("x-crlf", "a\r\nx-injected: 1")]}},
    {"ok_response": {"response_headers_to_add": [header("x bad", "v", append=False)]}},
    {"status": {"code": 7}, "denied_response": {"headers": [header("x-crlf", "a\r\nx-injected: 1")]}},
    {"status": {"code": 7}, "denied_response": {"headers": [header("x bad", "v")], "body": "long enough"}},
    {"status": {"code": 7}, "denied_response": {"body": "long enough"}},
    {"ok_response": {"query_parameters_to_set": [{"key": "a", "value": "b c"}]}},
    {"ok_response": {"query_parameters_to_set": [{"key": "a", "value": "b\r\nx-injected: 1"}]}},
    {"ok_response": {"query_parameters_to_set": [{"key": "a", "value": "b%20c"}]}},
    {"ok_response": {"query_parameters_to_remove": ["b c"]}},
    {"ok_response": {"headers": [header("x-tab", "a\tb"), header("x-obs", "\u00e4")]}},
)


@scenario(SETUP)
async def authz_grpc_validates(s: Session) -> None:
    """With validate_mutations what cannot be sent is refused."""
    serve_checks(s, *HOSTILE, sees=False)
    async with (
        s.counting(
            "http.strict.ext_authz.invalid",
            "http.strict.ext_authz.ok",
            "http.strict.ext_authz.denied",
            "cluster.app.ext_authz.invalid",
        ),
        s.logging(len(HOSTILE), "strict"),
    ):
        for number in range(len(HOSTILE)):
            await s.get(f"/{number}?x=1", to="strict")


RULED: tuple[dict[str, Any], ...] = (
    {
        "ok_response": {
            "headers": [header("x-no-1"), header("x-yes-1"), header("x-envoy-1"), header(":path", "/p")]
        }
    },
    {"ok_response": {"headers": [header("host", "h", append=False), header(":method", "PUT", append=False)]}},
    {"ok_response": {"headers": [header("x-yes-2", append=False), header("x-no-2", append=False)]}},
    {"ok_response": {"headers": [header("x-yes-3", append=True)]}},
    {"ok_response": {"headers_to_remove": ["x-no-4", "x-yes-4"]}},
    {"ok_response": {"headers_to_remove": ["x-yes-4"]}},
    {"ok_response": {"headers_to_remove": [":path"]}},
    {"ok_response": {"response_headers_to_add": [header("x-no-5")]}},
)


@scenario(SETUP)
async def authz_grpc_mutation_rules(s: Session) -> None:
    """decoder_header_mutation_rules, ignoring what they forbid and refusing it."""
    for to in ("rules", "rigid"):
        serve_checks(s, *RULED, sees=False)
        async with (
            s.counting(f"http.{to}.ext_authz.invalid", f"http.{to}.ext_authz.ok"),
            s.logging(len(RULED), to),
        ):
            for number in range(len(RULED)):
                await s.get(f"/{number}", "x-yes-3: old", "x-no-4: a", "x-yes-4: b", to=to)


@scenario(SETUP, differs={"reply": "header-without-a-name", "upstream app": "header-without-a-name"})
async def authz_grpc_header_without_a_name(s: Session) -> None:
    """A header whose name is empty, from a service whose answers are looked at."""
    serve_checks(s, {"ok_response": {"headers": [header("", "v")]}}, sees=False)
    await s.get("/", to="strict")


@scenario(SETUP)
async def authz_grpc_hostile_request_headers(s: Session) -> None:
    """What cannot be sent, from a service whose answers are not looked at: the request does not go out."""
    bad = [each for each in HOSTILE if each.get("ok_response", {}).get("headers")]
    cases = [bad.pop(), {"ok_response": {"headers_to_remove": ["x bad", ""]}}, *bad]
    serve_checks(s, *cases, sees=False)
    async with s.logging(len(cases), "plain"):
        for number in range(len(cases)):
            await s.get(f"/{number}", to="plain")


@scenario(SETUP)
async def authz_grpc_pseudo_headers(s: Session) -> None:
    """Pseudo headers where the route stays the same."""
    serve_checks(
        s,
        {
            "ok_response": {
                "headers": [header("host", "a.example"), header(":path", "/else?x"), header(":method", "PUT")]
            }
        },
        {
            "ok_response": {
                "headers": [
                    header(":authority", "b.example", append=True),
                    header(":path", "?x", append=True),
                ]
            }
        },
        {"ok_response": {"headers": [header("host", "b.example", append=True), header(":scheme", "ftp")]}},
        {"ok_response": {"response_headers_to_add": [header(":status", "201", append=False)]}},
        {"ok_response": {"headers": [header(":authority", "")]}},
        {"ok_response": {"headers": [header(":odd", "x")]}},
        {"ok_response": {"response_headers_to_add": [header(":status", "201")]}},
        sees=False,
    )
    async with s.logging(7, "plain"):
        for number in range(7):
            await s.get(f"/{number}", to="plain")


@scenario(SETUP, differs=dict.fromkeys(("reply 5",), "framing-is-the-codecs"))
async def authz_grpc_denial_headers(s: Session) -> None:
    """Headers of a refusal, with every action, beside those of the route."""
    serve_checks(
        s,
        {"status": {"code": 7}, "denied_response": {"headers": [*CHANGES, header("x-of-route", "authz")]}},
        {
            "status": {"code": 7},
            "denied_response": {"headers": [*LEGACY, header("x-of-route", "a", append=True)]},
        },
        {
            "status": {"code": 7},
            "denied_response": {
                "headers": [
                    header("server", "mine"),
                    header("date", "now"),
                    header("content-length", "3"),
                    header(":status", "201"),
                    header("x", "1"),
                    header("X", "2"),
                ],
                "body": "long",
            },
        },
        {"status": {"code": 7}, "error_response": {"headers": [*CHANGES, header("x-of-route", "e")]}},
        {"status": {"code": 7}, "denied_response": {"status": {"code": 204}, "body": "none"}},
        {"status": {"code": 7}, "denied_response": {"status": {"code": 304}, "body": "none"}},
        sees=False,
    )
    async with s.logging(6, "plain"):
        for number in range(6):
            await s.get(f"/{number}", to="plain")


@scenario(SETUP)
async def authz_grpc_query_characters(s: Session) -> None:
    """Which characters of a parameter validate_mutations takes."""
    characters = [chr(code) for code in range(0x20, 0x7F)] + ["\u00e4", "%41", ""]
    serve_checks(
        s,
        *({"ok_response": {"query_parameters_to_set": [{"key": "k", "value": each}]}} for each in characters),
        sees=False,
    )
    async with s.logging(len(characters), "strict", lambda line: line.split(" ")[2]):
        client = await s.connect("strict")
        for _ in characters:
            await client.send(b"GET / HTTP/1.1\r\nhost: example.com\r\n\r\n")
            await read_response(client.wire)
    seen = [call.path for call in s.upstream().seen if isinstance(call, Call)]
    s.upstream().seen.clear()
    s.upstream("authz").seen.clear()
    s.see("paths", seen)


MANY = [header(f"x-{number}", "v") for number in range(150)]
TOO_MUCH: tuple[dict[str, Any], ...] = (
    {"ok_response": {"headers": MANY[:80]}},
    {"ok_response": {"headers": MANY}},
    {"ok_response": {"headers": [header("x-big", "b" * 61440)]}},
    {"ok_response": {"headers": [header(f"x-{number}", "b" * 8000) for number in range(8)]}},
    {"ok_response": {"headers": [header(":path", "/" + "p" * 61440)]}},
    {"ok_response": {"response_headers_to_add": MANY}},
    {"ok_response": {"response_headers_to_add": MANY[:94]}},
    {"ok_response": {"response_headers_to_add": MANY[:97]}},
    {"ok_response": {"response_headers_to_add": [header("x-big", "b" * 70000)]}},
    {
        "ok_response": {
            "response_headers_to_add": [
                {**each, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"} for each in MANY
            ]
        }
    },
    {
        "ok_response": {
            "response_headers_to_add": [{**each, "append_action": "ADD_IF_ABSENT"} for each in MANY]
        }
    },
    {"status": {"code": 7}, "denied_response": {"headers": MANY}},
    {"status": {"code": 7}, "error_response": {"headers": MANY}},
)
LIMITS = (
    "ok",
    "denied",
    "error",
    "invalid",
    "omitted_response_headers",
    "request_header_limits_reached",
    "response_header_limits_reached",
)


@scenario(SETUP)
async def authz_grpc_too_many_headers(s: Session) -> None:
    """More headers than a request or an answer may have, and longer ones, with the limits enforced and not."""
    for to in ("limits", "main"):
        serve_checks(s, *TOO_MUCH, sees=False)
        async with (
            s.counting(*(f"http.{to}.ext_authz.{name}" for name in LIMITS)),
            s.logging(len(TOO_MUCH), to, lambda line: line.split(" ", 2)[2]),
        ):
            for number in range(len(TOO_MUCH)):
                client = await s.connect(to)
                await client.send(
                    b"GET /%d HTTP/1.1\r\nhost: example.com\r\nconnection: close\r\n\r\n" % number
                )
                reply = await read_response(client.wire)
                client.close()
                s.see(f"{to} {number}", [reply.start_line, len(reply.headers)])
    s.see("sent", [len(call.request.headers) for call in s.upstream().seen if isinstance(call, Call)])
    s.upstream().seen.clear()
    s.upstream("authz").seen.clear()


@scenario(SETUP)
async def authz_grpc_denies_a_body(s: Session) -> None:
    """A body that came with its head is read while the service is asked: the connection goes on."""
    serve_checks(s, {"denied_response": {"status": {"code": 402}}, "status": {"code": 7}}, sees=False)
    head = "POST /{} HTTP/1.1\r\nhost: example.com\r\n"
    length = head.format("length") + "content-length: 5\r\n\r\nhello"
    chunked = head.format("chunked") + "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    for to in ("main", "lost"):
        for request in (length, chunked, length.replace("hello", "hel")):
            await s.http(request, to, label=f"{to} {request.split()[1]}")
    client = await s.connect()
    await client.send((length + length).encode())
    for _ in range(2):
        await client.reply("one of two")
    await client.usable()
