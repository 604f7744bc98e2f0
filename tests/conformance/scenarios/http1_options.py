"""Http1ProtocolOptions, and what else of the connection manager is about HTTP/1 alone."""

from __future__ import annotations

from typing import Any

from ..configuration import HTTP_OPTIONS, TO_APP, bootstrap, cluster, listener
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import Call, answers, ok
from ..wire import head

FORMATTERS = "envoy.extensions.http.header_formatters.preserve_case.v3"
PRESERVE = (
    "header_key_format: {stateful_formatter: {name: envoy.http.stateful_header_formatters.preserve_case, "
    f'typed_config: {{"@type": type.googleapis.com/{FORMATTERS}.PreserveCaseFormatterConfig, %s}}}}}}'
)
PROBE = "- {match: {path: /probe}, direct_response: {status: 200, body: {inline_string: here}}}\n"
EVERYWHERE = PROBE + "".join(
    f"- {{match: {{prefix: /{name}}}, route: {{cluster: {name}}}}}\n"
    for name in ("trailers", "case", "envoycase", "full", "few", "large")
)


def http1(name: str, options: str, more: str = "") -> dict[str, Any]:
    """A listener with these Http1ProtocolOptions."""
    return listener(name, f"{{http_protocol_options: {{{options}}}{more}}}", routes=EVERYWHERE + TO_APP)


def peer(name: str, options: str = "", common: str = "") -> dict[str, Any]:
    """A cluster with these Http1ProtocolOptions and HttpProtocolOptions, over the upstream ``app``."""
    return cluster(
        name,
        "app",
        extra=f"""
        typed_extension_protocol_options:
          {HTTP_OPTIONS}:
            "@type": type.googleapis.com/{HTTP_OPTIONS}
            explicit_http_config: {{http_protocol_options: {{{options}}}}}
            common_http_protocol_options: {{{common}}}
        """,
    )


OPTIONS = Setup(
    "http1-options",
    bootstrap(
        [
            http1("main", ""),
            http1("trailers", "enable_trailers: true"),
            http1("continue", "accept_http_10: true", ", proxy_100_continue: true"),
            http1("case", "enable_trailers: true, " + PRESERVE % "forward_reason_phrase: true"),
            http1("envoycase", PRESERVE % "formatter_type_on_envoy_headers: PROPER_CASE"),
            http1("proper", "enable_trailers: true, header_key_format: {proper_case_words: {}}"),
            http1("legacy", "use_balsa_parser: false"),
            http1("relative", "allow_absolute_url: false"),
            http1("lengths", "allow_chunked_length: true"),
            http1("open", "override_stream_error_on_invalid_http_message: true"),
            http1("hcmopen", "", ", stream_error_on_invalid_http_message: true"),
            http1(
                "shut",
                "override_stream_error_on_invalid_http_message: false",
                ", stream_error_on_invalid_http_message: true",
            ),
            http1("custom", "allow_custom_methods: true"),
            http1("ignore", "ignore_http_11_upgrade: [{exact: websocket}, {prefix: TLS}]"),
            http1("few", "", ", common_http_protocol_options: {max_headers_count: 5}"),
            http1("small", "", ", max_request_headers_kb: 1"),
        ],
        [
            cluster("app", "app"),
            peer("trailers", "enable_trailers: true"),
            peer("case", "enable_trailers: true, " + PRESERVE % "forward_reason_phrase: true"),
            peer("envoycase", PRESERVE % "formatter_type_on_envoy_headers: PROPER_CASE"),
            peer("full", "send_fully_qualified_url: true"),
            peer("few", "", "max_headers_count: 5, max_response_headers_kb: 1"),
            peer(
                "large", "allow_chunked_length: true", "max_headers_count: 300, max_response_headers_kb: 200"
            ),
        ],
    ),
    {"app": "h1"},
)
CHUNKED = "transfer-encoding: chunked"
TRAILED = head("HTTP/1.1 200 OK", CHUNKED) + b"2\r\nok\r\n0\r\nX-T: 1\r\nX-U:  2 \r\nx-t: 3\r\n\r\n"


@scenario(OPTIONS)
async def h1_trailers_by_side(s: Session) -> None:
    """enable_trailers of the listener and of the cluster: each of the four combinations."""
    s.upstream().script = answers(TRAILED)
    for to in ("main", "trailers"):
        for path in ("/", "/trailers"):
            body = b"1\r\nx\r\n0\r\nX-Client: t\r\nx-empty:\r\n\r\n"
            await s.http(head(f"POST {path} HTTP/1.1", "host: a", CHUNKED) + body, to, label=f"{to} {path}")


@scenario(OPTIONS)
async def h1_trailers_of_odd_messages(s: Session) -> None:
    """Trailers where there is no chunked body to carry them, and trailers alone."""
    s.upstream().script = answers(
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx-t: 1\r\n\r\n",
        TRAILED,
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nconnection: x\r\n"
        b"content-length: 5\r\ntransfer-encoding: chunked\r\nhost: b\r\n\r\n",
    )
    request = head("POST /trailers HTTP/1.1", "host: a", CHUNKED)
    await s.http(request + b"0\r\nx-client: t\r\n\r\n", "trailers", label="without body")
    await s.http(head("GET /trailers HTTP/1.0", "host: a"), "trailers", label="HTTP/1.0")
    forbidden = b"0\r\ncontent-length: 5\r\nhost: b\r\nconnection: y\r\ntransfer-encoding: chunked\r\n\r\n"
    await s.http(request + b"1\r\nx\r\n" + forbidden, "trailers", label="forbidden")


@scenario(OPTIONS)
async def h1_trailers_that_are_broken(s: Session) -> None:
    """Trailers that are no fields, with and without enable_trailers."""
    bad = {
        "no colon": b"nocolon",
        "space in name": b"x a: b",
        "NUL": b"x: a\0b",
        "empty name": b": a",
        "space before colon": b"x : a",
        "bare LF": b"x: a\nx-b: c",
    }
    for to in ("main", "trailers"):
        for label, line in bad.items():
            client = await s.connect(to)
            await client.send(
                head("POST /trailers HTTP/1.1", "host: a", CHUNKED) + b"0\r\n" + line + b"\r\n\r\n"
            )
            await client.reply(f"{to} {label}")
            await client.closed(f"{to} {label}, then")
    s.upstream().seen.clear()  # whether a head came before the end is a race


@scenario(OPTIONS)
async def h1_trailers_too_large(s: Session) -> None:
    """Trailers count against the limits of headers."""
    request = head("POST /trailers HTTP/1.1", "host: a", CHUNKED) + b"0\r\n"
    many = b"".join(b"x-%d: y\r\n" % number for number in range(12))
    for to, trailers in (
        ("trailers", b"x: " + b"a" * 61 * 1024 + b"\r\n"),
        ("few", many),
        ("main", many * 10),
    ):
        client = await s.connect(to)
        await client.send(request + trailers + b"\r\n")
        await client.reply(to)
        await client.closed(f"{to}, then")
    s.upstream().seen.clear()


@scenario(OPTIONS)
async def h1_interim_responses_proxied(s: Session) -> None:
    """proxy_100_continue: which 1xx of an upstream are handed on."""
    interim = head("HTTP/1.1 100 Continue", "x-a: 1") + head("HTTP/1.1 102 Processing", "x-b: 2")
    interim += head("HTTP/1.1 103 Early Hints", "Link: <x>", "server: them", "date: then")
    interim += head("HTTP/1.1 104 Upload", "x-c: 3")
    names = [f"http.continue.downstream_rq_{name}" for name in ("1xx", "2xx", "completed")]
    names += ["http.main.downstream_rq_1xx", "http.main.downstream_cx_protocol_error"]
    names += [f"cluster.app.upstream_rq_{name}" for name in ("1xx", "2xx", "100", "103", "completed")]
    s.upstream().script = answers(interim + ok())
    async with s.counting(*names), s.logging(2, "continue"):
        await s.get(to="continue")
        await s.http(head("GET / HTTP/1.0", "host: a"), "continue", label="HTTP/1.0")
    names = [f"cluster.app.upstream_rq_{name}" for name in ("1xx", "2xx", "100", "completed")]
    names += [f"http.main.downstream_rq_{name}" for name in ("1xx", "4xx", "completed")]
    names += ["http.main.downstream_rq_http1_total", "http.main.downstream_rq_total"]
    async with s.counting(*names, "http.main.downstream_cx_protocol_error"), s.logging(3):
        await s.get(label="not proxied")
        await s.get("/", "expect: 100-continue", label="expected")
        await s.http(head("GET / HTTP/1.0", "host: a"), label="HTTP/1.0 refused")


@scenario(OPTIONS)
async def h1_interim_responses_unknown(s: Session) -> None:
    """A 1xx that HTTP does not know."""
    s.upstream().script = answers(head("HTTP/1.1 199 Odd", "x-a: 1") + ok())
    async with s.logging(1, "continue"), s.logging(1):
        await s.get(to="continue", label="proxied")
        await s.get(label="not proxied")


@scenario(OPTIONS)
async def h1_expect_answered_at_once(s: Session) -> None:
    """With proxy_100_continue an upstream may answer instead of asking for the body."""

    async def script(call: Call) -> None:
        await call.send(head("HTTP/1.1 417 Expectation Failed", "content-length: 0"))
        await call.gone()

    s.upstream().script = script
    client = await s.connect("continue")
    await client.send(head("POST / HTTP/1.1", "host: a", "expect: 100-continue", "content-length: 5"))
    await client.reply()
    await client.closed()


@scenario(OPTIONS)
async def h1_expect_of_other_kinds(s: Session) -> None:
    """Expectations that are not 100-continue, and 100-continue of HTTP/1.0 and without a body."""
    await s.get("/", "expect: nothing", label="other")
    await s.get("/", "expect: 100-Continue", label="capitals")
    await s.get("/", "expect: 100-continue", to="continue", label="proxied, without a body")
    s.upstream().script = answers(head("HTTP/1.1 100 Continue") + ok())
    await s.get("/", "expect: 100-continue, x", to="continue", label="list")


CASED = (
    head("HTTP/1.1 200 Fine, Thanks", "Content-Length: 2", "X-UpStream: Yes", "Set-COOKIE: a=b", "DaTe: x")
    + b"ok"
)
MIXED = (
    "HoSt: Example.com",
    "X-FoO: 1",
    "x-foo: 2",
    "ACCEPT: */*",
    "X-Envoy-Max-Retries: 0",
    "User-AGENT: me",
)


@scenario(OPTIONS)
async def h1_preserve_case(s: Session) -> None:
    """preserve_case on either side: the case of names, and the reason phrase."""
    s.upstream().script = answers(CASED)
    for to in ("main", "case", "envoycase"):
        for path in ("/", "/case", "/envoycase"):
            await s.http(head(f"GET {path} HTTP/1.1", *MIXED), to, label=f"{to} {path}")


@scenario(OPTIONS)
async def h1_preserve_case_of_local_replies(s: Session) -> None:
    """What the proxy answers itself has the case that it has."""
    await s.http(head("GET /probe HTTP/1.1", "HOST: a", "Connection: Close"), "case")
    await s.http(head("GET /probe HTTP/1.1", "X: a"), "case", label="refused")


@scenario(OPTIONS)
async def h1_preserve_case_of_bodies(s: Session) -> None:
    """The names of framing headers, and those of a chunked message."""
    s.upstream().script = answers(
        b"HTTP/1.1 200 \r\nTransfer-ENCODING: chunked\r\nConnection: Keep-Alive\r\n\r\n2\r\nok\r\n0\r\n\r\n"
    )
    body = b"1\r\nx\r\n0\r\n\r\n"
    for path in ("/", "/case"):
        await s.http(
            head(f"POST {path} HTTP/1.1", "HOST: a", "Transfer-Encoding: chunked") + body, "case", label=path
        )
    await s.http(head("POST /case HTTP/1.1", "Host: a", "Content-LENGTH: 2") + b"xy", "case", label="length")


@scenario(OPTIONS)
async def h1_absolute_url_not_allowed(s: Session) -> None:
    """allow_absolute_url: false."""
    async with s.logging(2, "relative"):
        await s.http(head("GET http://other.example/a HTTP/1.1", "host: a"), "relative")
        await s.http(head("OPTIONS * HTTP/1.1", "host: a"), "relative", label="asterisk")


@scenario(OPTIONS)
async def h1_chunked_length_allowed(s: Session) -> None:
    """allow_chunked_length takes the length out, from requests and from responses."""
    s.upstream().script = answers(
        head("HTTP/1.1 200 OK", "content-length: 50", CHUNKED) + b"2\r\nok\r\n0\r\n\r\n"
    )
    body = b"1\r\nx\r\n0\r\n\r\n"
    for path in ("/", "/large"):
        for label, lines in {
            "length first": ("content-length: 50", CHUNKED),
            "chunked first": (CHUNKED, "content-length: 0"),
        }.items():
            await s.http(
                head(f"POST {path} HTTP/1.1", "host: a", *lines) + body, "lengths", label=f"{path} {label}"
            )
    await s.http(
        head("POST / HTTP/1.1", "host: a", "content-length: 5", "content-length: 6", CHUNKED) + body,
        "lengths",
        label="two lengths",
    )
    await s.http(
        head("POST / HTTP/1.1", "host: a", "content-length: x", CHUNKED) + body, "lengths", label="no number"
    )


@scenario(OPTIONS)
async def h1_invalid_message_leaves_the_connection(s: Session) -> None:
    """override_stream_error_on_invalid_http_message and stream_error_on_invalid_http_message."""
    cases = {
        "no host": b"GET / HTTP/1.1\r\n\r\n",
        "garbage": b"garbage\r\n\r\n",
        "bad header": b"GET / HTTP/1.1\r\nhost: a\r\nx y: z\r\n\r\n",
        "gzip": head("POST / HTTP/1.1", "host: a", "transfer-encoding: gzip"),
        "fragment": head("GET /a#b HTTP/1.1", "host: a"),
        "two lengths": head("POST / HTTP/1.1", "host: a", "content-length: 1", "content-length: 2") + b"x",
        "connection token": head("GET / HTTP/1.1", "host: a", "connection: x-forwarded-for"),
        "bad host": head("GET / HTTP/1.1", "host: a b"),
        "version": head("GET / HTTP/1.0", "host: a"),
        "upgrade": head("GET / HTTP/1.1", "host: a", "connection: upgrade", "upgrade: x"),
        "bad chunk": head("POST /probe HTTP/1.1", "host: a", CHUNKED) + b"z\r\n",
    }
    for to in ("open", "hcmopen", "shut"):
        for label, data in cases.items():
            client = await s.connect(to)
            await client.send(data)
            reply = await client.reply(f"{to} {label}")
            if reply is not None and "close" not in reply.values("connection"):
                await client.usable(f"{to} {label}, then")
            else:
                await client.closed(f"{to} {label}, then")


@scenario(OPTIONS)
async def h1_custom_methods(s: Session) -> None:
    """allow_custom_methods: any token is a method."""
    for method in (
        "BREW",
        "get",
        "X-Y",
        "A!#$%&'*+.^_`|~9",
        "PRI",
        "FOO(",
        "G\x01T",
        "M" * 300,
        "QUERY",
        "\xe9",
    ):
        for to in ("custom", "main"):
            await s.http(head(f"{method} / HTTP/1.1", "host: a"), to, label=f"{to} {method[:20]}")


@scenario(OPTIONS)
async def h1_known_methods(s: Session) -> None:
    """The methods that pass without allow_custom_methods."""
    methods = (
        "ACL BIND CHECKOUT COPY LINK LOCK MERGE MKACTIVITY MKCALENDAR MKCOL MOVE MSEARCH M-SEARCH NOTIFY "
        "PROPFIND PROPPATCH PURGE REBIND REPORT SEARCH SOURCE SUBSCRIBE UNBIND UNLINK UNLOCK UNSUBSCRIBE PRI"
    )
    for method in methods.split(" "):
        await s.http(head(f"{method} / HTTP/1.1", "host: a"), label=method)


@scenario(OPTIONS)
async def h1_ignored_upgrades(s: Session) -> None:
    """ignore_http_11_upgrade: such an upgrade is not asked for."""
    for value in ("websocket", "WebSocket", "TLS/1.2", "foo", "websocket, foo", "foo, websocket", "h2c"):
        await s.http(
            head("GET / HTTP/1.1", "host: a", "connection: upgrade, x-z", f"upgrade: {value}", "x-z: 1"),
            "ignore",
            label=value,
        )


@scenario(OPTIONS)
async def h1_header_limits(s: Session) -> None:
    """max_headers_count and max_request_headers_kb."""
    names = (
        "http.few.downstream_rq_too_large",
        "http.small.downstream_rq_too_large",
        "http.few.downstream_cx_protocol_error",
    )
    async with s.counting(*names), s.logging(4, "few"), s.logging(3, "small"):
        for count in (3, 4, 5, 6):
            await s.get("/", *(f"x-{n}: {n}" for n in range(count)), to="few", label=f"{count} and host")
        for size in (900, 990, 1100):
            await s.get("/", "x: " + "a" * size, to="small", label=f"{size} bytes")


@scenario(OPTIONS)
async def h1_request_line_limits(s: Session) -> None:
    """The request line counts against max_request_headers_kb."""
    for size in (900, 1000, 1010, 1100):
        await s.http(head(f"GET /{'a' * size} HTTP/1.1", "host: a"), "small", label=f"{size} bytes")
    client = await s.connect("small")
    await client.send(b"GET /" + b"a" * 1200)
    await client.reply("unfinished")
    await client.closed("unfinished, then")


@scenario(OPTIONS)
async def h1_upstream_header_limits(s: Session) -> None:
    """max_headers_count and max_response_headers_kb of a cluster."""
    names = [f"cluster.{name}.upstream_cx_protocol_error" for name in ("few", "large")]
    async with s.counting(*names), s.logging(6):
        for label, path, lines in (
            ("five", "/few", [f"x-{n}: {n}" for n in range(4)]),
            ("six", "/few", [f"x-{n}: {n}" for n in range(5)]),
            ("large", "/few", ["x: " + "a" * 1100]),
            ("300", "/large", [f"x-{n}: {n}" for n in range(299)]),
            ("301", "/large", [f"x-{n}: {n}" for n in range(300)]),
            ("150 KiB", "/large", ["x: " + "a" * 150 * 1024]),
        ):
            s.upstream().script = answers(head("HTTP/1.1 200 OK", *lines, "content-length: 0"))
            reply = await s.get(path, label=label)
            assert reply is None or reply.start_line


@scenario(OPTIONS)
async def h1_fully_qualified_url(s: Session) -> None:
    """send_fully_qualified_url: the upstream is sent the absolute form."""
    await s.get("/full/a?b=c")
    await s.get("/full", "x-forwarded-proto: https", label="https")
    await s.http(head("GET https://other.example:81/full HTTP/1.1", "host: a"), label="absolute")
    await s.http(head("OPTIONS /full HTTP/1.1", "host: a"), label="OPTIONS")


@scenario(OPTIONS)
async def h1_interim_responses_one_by_one(s: Session) -> None:
    """Each 1xx alone, proxied."""
    for status in ("100", "102", "103", "104", "110"):
        fields = (
            "x-a: 1",
            "Server: them",
            "date: then",
            "x-envoy-b: 2",
            "connection: x-d",
            "X-D: 3",
        )
        s.upstream().script = answers(head(f"HTTP/1.1 {status} Text", *fields) + ok())
        async with s.logging(1, "continue"):
            await s.get(to="continue", label=status)
    s.upstream().script = answers(
        head("HTTP/1.1 103 Hints") + head("HTTP/1.1 103 Hints", "x-b: 1") + head("HTTP/1.1 100 Go on") + ok()
    )
    await s.get(to="continue", label="several")


@scenario(OPTIONS)
async def h1_query_method(s: Session) -> None:
    """QUERY, with and without a body and a type."""
    async with s.logging(5):
        await s.http(head("QUERY / HTTP/1.1", "host: a"), label="bare")
        await s.http(head("QUERY / HTTP/1.1", "host: a", "content-length: 0"), label="empty")
        await s.http(head("QUERY / HTTP/1.1", "host: a", "content-type: a/b"), label="type")
        await s.http(head("QUERY / HTTP/1.1", "host: a", "content-length: 1") + b"x", label="body")
        await s.http(
            head("QUERY / HTTP/1.1", "host: a", "content-type: a/b", "content-length: 1") + b"x", label="both"
        )


@scenario(OPTIONS)
async def h1_legacy_parser(s: Session) -> None:
    """use_balsa_parser: false, where the two parsers of Envoy are known to differ."""
    for label, data in {
        "method": head("M-SEARCH / HTTP/1.1", "host: a"),
        "unknown method": head("BREW / HTTP/1.1", "host: a"),
        "bare LF": b"GET / HTTP/1.1\nhost: a\n\n",
        "two spaces": b"GET  / HTTP/1.1\r\nhost: a\r\n\r\n",
        "space in name": head("GET / HTTP/1.1", "host: a", "x : y"),
        "lengths": head("POST / HTTP/1.1", "host: a", "content-length: 1", "content-length: 1") + b"x",
        "high": head("GET /\xe9 HTTP/1.1", "host: a"),
    }.items():
        for to in ("legacy", "main"):
            await s.http(data, to, label=f"{label}, {to}")


@scenario(OPTIONS)
async def h1_key_format_of_trailers(s: Session) -> None:
    """The case of trailers' names."""
    s.upstream().script = answers(TRAILED)
    for to in ("case", "proper"):
        body = b"1\r\nx\r\n0\r\nX-CliEnt: t\r\n\r\n"
        await s.http(head("POST /case HTTP/1.1", "hosT: a", CHUNKED) + body, to, label=to)


@scenario(OPTIONS)
async def h1_preserve_case_of_interim_responses(s: Session) -> None:
    """The case of a 103: as the upstream wrote it where that is kept, else lower."""
    s.upstream().script = answers(head("HTTP/1.1 103 Early", "X-LinK: 1") + CASED)
    await s.get("/case", to="continue")
    await s.get("/", to="continue", label="plain")


@scenario(OPTIONS)
async def h1_trailers_in_number(s: Session) -> None:
    """max_headers_count counts trailers that are kept."""
    request = head("POST /trailers HTTP/1.1", "host: a", CHUNKED) + b"0\r\n"
    many = b"".join(b"x-%d: y\r\n" % number for number in range(101))
    large = b"x: " + b"a" * 61 * 1024 + b"\r\n"
    for label, to, trailers in (("many", "trailers", many), ("large, dropped", "main", large)):
        client = await s.connect(to)
        await client.send(request + trailers + b"\r\n")
        await client.reply(label)
        await client.closed(f"{label}, then")
    s.upstream().seen.clear()


@scenario(OPTIONS)
async def h1_upstream_trailers(s: Session) -> None:
    """Trailers of an upstream that are too many, too large or no fields."""
    cases = {
        "many": b"".join(b"x-%d: y\r\n" % number for number in range(101)),
        "large": b"x: " + b"a" * 81 * 1024 + b"\r\n",
        "no colon": b"nocolon\r\n",
    }
    for path in ("/", "/trailers"):
        for label, trailers in cases.items():
            s.upstream().script = answers(
                head("HTTP/1.1 200 OK", CHUNKED) + b"2\r\nok\r\n0\r\n" + trailers + b"\r\n"
            )
            reply = await s.get(path, to="trailers", label=f"{path} {label}")
            assert reply is None or reply.start_line
