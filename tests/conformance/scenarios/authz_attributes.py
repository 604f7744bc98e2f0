# ruff: noqa: E501  (a line of configuration reads best unbroken)
"""envoy.filters.http.ext_authz: bodies, chosen headers, metadata, when it is on, and services of routes."""

from __future__ import annotations

import trio

from ..authz import GOOD, HEAD, asked, frame, said, serve_checks
from ..configuration import bootstrap, cluster, listener
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import H2Call

SUBJECT = "filters"

EXT = "type.googleapis.com/envoy.extensions.filters.http"
AUTHZ = f"{EXT}.ext_authz.v3.ExtAuthz"
PER_ROUTE = f"{EXT}.ext_authz.v3.ExtAuthzPerRoute"
SET = f"{EXT}.set_metadata.v3.Config"
LOG = (
    "%REQ(:METHOD)% %REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% in=%BYTES_RECEIVED% "
    "%DYNAMIC_METADATA(envoy.filters.http.ext_authz:who)%\n"
)
GRPC = "transport_api_version: V3, grpc_service: {envoy_grpc: {cluster_name: authz}, timeout: 5s}"
METADATA = """metadata:
  filter_metadata: {on.route: {r: 1}, both: {r: 2}, other: {r: 3}}
  typed_filter_metadata:
    typed.route: {"@type": type.googleapis.com/google.protobuf.StringValue, value: text}
"""


def on_route(path: str, settings: str, name: str = "authz") -> str:
    return (
        f"- {{match: {{prefix: {path}}}, route: {{cluster: app}}, typed_per_filter_config: {{{name}: "
        f'{{"@type": {PER_ROUTE}, {settings}}}}}}}\n'
    )


ROUTES = (
    on_route("/unbuffered", "check_settings: {disable_request_body_buffering: true}")
    + on_route(
        "/more",
        "check_settings: {with_request_body: {max_request_bytes: 20, allow_partial_message: true}}",
    )
    + on_route("/whole", "check_settings: {with_request_body: {max_request_bytes: 20, pack_as_bytes: true}}")
    + on_route("/second", "check_settings: {grpc_service: {envoy_grpc: {cluster_name: second}, timeout: 5s}}")
    + "- match: {prefix: /}\n  route: {cluster: app}\n  "
    + METADATA.replace("\n", "\n  ")
)


def chain(fields: str, before: str = "") -> str:
    return f'{before}\n- {{name: authz, typed_config: {{"@type": {AUTHZ}, {GRPC}, {fields}}}}}'


def on(name: str, fields: str, before: str = "") -> dict[str, object]:
    return listener(name, routes=ROUTES, filters=chain(fields, before), log=LOG)


SETS = (
    f'- {{name: set, typed_config: {{"@type": {SET}, metadata: ['
    "{metadata_namespace: of.request, value: {a: 1, l: [x, true, null], s: {k: v}}},"
    "{metadata_namespace: both, value: {d: 1}}, {metadata_namespace: other, value: {d: 2}}]}}"
)
SETUP = Setup(
    "authz_attributes",
    bootstrap(
        [
            on("main", "with_request_body: {max_request_bytes: 10}"),
            on("partial", "with_request_body: {max_request_bytes: 10, allow_partial_message: true}"),
            on(
                "bytes",
                "with_request_body: {max_request_bytes: 10, pack_as_bytes: true}, encode_raw_headers: true,"
                "disallowed_headers: {patterns: [{prefix: x-no}]}",
            ),
            on(
                "some",
                "allowed_headers: {patterns: [{prefix: x-, ignore_case: true}, {exact: ':path'}]},"
                "disallowed_headers: {patterns: [{exact: x-forwarded-proto}, {suffix: -id}]}",
            ),
            on(
                "metadata",
                "metadata_context_namespaces: [of.request, both, none],"
                "typed_metadata_context_namespaces: [typed.route],"
                "route_metadata_context_namespaces: [on.route, both, none],"
                "route_typed_metadata_context_namespaces: [typed.route, on.route],"
                "bootstrap_metadata_labels_key: labels, include_tls_session: true, include_peer_certificate: true,"
                "enable_dynamic_metadata_ingestion: false",
                SETS,
            ),
            on(
                "never",
                "filter_enabled: {default_value: {numerator: 0}}, deny_at_disable: {runtime_key: k,"
                "default_value: true}, status_on_error: {code: NotFound}",
            ),
            on("off", "filter_enabled: {default_value: {numerator: 0}}"),
            on(
                "matched",
                "filter_enabled_metadata: {filter: of.request, path: [{key: a}], value: {double_match: {exact: 1}}}",
                SETS,
            ),
            on(
                "unmatched",
                "filter_enabled_metadata: {filter: of.request, path: [{key: a}], value: {double_match: {exact: 2}}}",
                SETS,
            ),
            on("uncharged", "charge_cluster_response_stats: false"),
            listener(
                "nobody",
                routes=ROUTES,
                filters=f'- {{name: authz, typed_config: {{"@type": {AUTHZ}, transport_api_version: V3}}}}',
                log=LOG,
            ),
        ],
        [
            cluster("app", "app"),
            cluster("authz", "authz", http2=True),
            cluster("second", "second", http2=True),
        ],
        "node: {id: me, cluster: mine, metadata: {labels: {a: b, num: 1, s: {x: z}}, other: {a: c}}}",
    ),
    {"app": "h1", "authz": "h2", "second": "h2"},
)


def post(path: str, body: bytes, *headers: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "host: example.com", f"content-length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


@scenario(SETUP)
async def authz_asks_whole_bodies(s: Session) -> None:
    """A body goes along up to its limit, above it is 413; routes that say otherwise."""
    serve_checks(s, {})
    async with s.logging(6), s.counting("http.main.ext_authz.ok", "http.main.downstream_rq_too_large"):
        await s.http(post("/ten", b"0123456789"))
        await s.http(post("/eleven", b"0123456789a"))
        await s.http(post("/odd", b"\xff\x00\xc3\xa4"))
        await s.http(post("/unbuffered", b"0123456789a"))
        await s.http(post("/whole", b"0123456789a\xff"))
        await s.get("/none")


@scenario(SETUP)
async def authz_asks_chunked_bodies(s: Session) -> None:
    """The same without a length, and with trailers over HTTP/2."""
    serve_checks(s, {})
    head = "POST /a HTTP/1.1\r\nhost: example.com\r\ntransfer-encoding: chunked\r\n\r\n"
    await s.http(head + "3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n")
    await s.http(head + "6\r\nabcdef\r\n6\r\nghijkl\r\n0\r\n\r\n")
    client = await s.connect_h2()
    fields = [(":method", "POST"), (":scheme", "http"), (":authority", "example.com"), (":path", "/t")]
    await client.request(fields, b"body", [("x-trailer", "1")])


@scenario(SETUP)
async def authz_asks_partial_bodies(s: Session) -> None:
    """Of a longer body its beginning goes along; all of it goes upstream."""
    serve_checks(s, {})
    async with s.logging(5, "partial"):
        await s.http(post("/nine", b"012345678"), to="partial")
        await s.http(post("/ten", b"0123456789"), to="partial")
        await s.http(post("/eleven", b"0123456789a"), to="partial")
        await s.http(post("/more", b"x" * 30), to="partial")
        await s.http(post("/whole", b"x" * 30), to="partial")


@scenario(SETUP)
async def authz_asks_partial_body_that_still_comes(s: Session) -> None:
    """The service is asked as soon as enough of a body is here, and what follows passes it by."""
    may_go_on = trio.Event()

    async def script(call: H2Call) -> None:
        body = await call.body()
        found = asked(body[5:])["request"]["http"]
        s.see("body", [found["body"], found["headers"]["x-envoy-auth-partial-body"]])
        call.stream.body.clear()
        may_go_on.set()
        await call.answer(HEAD, frame(said({})), GOOD)

    s.upstream("authz").h2_script = script
    client = await s.connect("partial")
    await client.send(b"POST / HTTP/1.1\r\nhost: example.com\r\ncontent-length: 20\r\n\r\n0123456789ab")
    await may_go_on.wait()
    await client.send(b"cdefghij")
    await client.reply()


@scenario(SETUP)
async def authz_asks_bytes(s: Session) -> None:
    """Headers and bodies as bytes, without those that are not for the service."""
    serve_checks(s, {})
    await s.http(
        post("/a", b"\xff\x00", "x-odd: \xe4", "x-many: 1", "x-many: 2", "x-no: 1", "x-not: 2"), to="bytes"
    )
    await s.get("/a", to="bytes")


@scenario(SETUP)
async def authz_asks_chosen_headers(s: Session) -> None:
    """allowed_headers and disallowed_headers, of which the latter count."""
    serve_checks(s, {})
    await s.get("/a", "X-Big: 1", "y: 2", "x-my-id: 3", to="some")


@scenario(SETUP)
async def authz_asks_metadata_contexts(s: Session) -> None:
    """Metadata of the request and of its route, labels of the node; answers may not add any."""
    serve_checks(s, {"dynamic_metadata": {"who": "bob"}})
    async with (
        s.counting("http.metadata.ext_authz.ignored_dynamic_metadata", "http.metadata.ext_authz.ok"),
        s.logging(1, "metadata"),
    ):
        await s.get("/a", to="metadata")


@scenario(SETUP)
async def authz_asks_switched_off(s: Session) -> None:
    """Requests that are not asked about, and one refused for that; a filter without a service."""
    serve_checks(s, {"status": {"code": 7}}, sees=False)
    names = ("never", "off", "matched", "unmatched", "uncharged", "nobody")
    stats = [f"http.{name}.ext_authz.{stat}" for name in names for stat in ("disabled", "denied", "error")]
    async with s.counting(*stats, "cluster.app.upstream_rq_403", "cluster.app.ext_authz.denied"):
        for name in names[:-1]:
            async with s.logging(1, name):
                await s.get("/a", to=name)


@scenario(SETUP)
async def authz_asks_service_of_a_route(s: Session) -> None:
    """A route that names another service."""
    serve_checks(s, {}, name="second")
    async with s.counting("http.main.ext_authz.ok", "cluster.second.upstream_rq_total"):
        await s.get("/second")


@scenario(SETUP)
async def authz_asks_client_leaves(s: Session) -> None:
    """A client that does not wait for the answer: the question is taken back."""
    arrived = trio.Event()

    async def script(call: H2Call) -> None:
        await call.body()
        call.stream.body.clear()
        arrived.set()
        await call.stream.ended.wait()
        await trio.sleep_forever()

    s.upstream("authz").h2_script = script
    stats = ("http.main.ext_authz.ok", "http.main.ext_authz.error", "cluster.authz.upstream_rq_tx_reset")
    async with s.counting(*stats), s.logging(1):
        client = await s.connect()
        await client.send(b"GET / HTTP/1.1\r\nhost: example.com\r\n\r\n")
        await arrived.wait()
        client.close()
        await s.until_stats(lambda found: not any(found.values()), r"^cluster\.authz\.upstream_rq_active$")


@scenario(SETUP)
async def authz_asks_stat_names(s: Session) -> None:
    """What a filter counts, by name."""
    await s.quiet()
    s.see("names", sorted(await s.counters(r"^http\.off\.ext_authz\.")))
