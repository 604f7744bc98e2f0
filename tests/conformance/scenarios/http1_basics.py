"""HTTP/1.1 as decent peers speak it."""

from __future__ import annotations

import trio

from ..configuration import TO_APP, bootstrap, cluster, listener
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import Call, answers, ok
from ..wire import head

PROBE = "- {match: {path: /probe}, direct_response: {status: 200, body: {inline_string: here}}}\n"
BASICS = Setup(
    "http1-basics",
    bootstrap(
        [
            listener("main", routes=PROBE + TO_APP),
            listener("ten", "http_protocol_options: {accept_http_10: true}", routes=PROBE + TO_APP),
            listener(
                "trailers",
                "http_protocol_options: {enable_trailers: true}",
                routes=PROBE + "- {match: {prefix: /}, route: {cluster: trailers}}",
            ),
            listener("continue", "proxy_100_continue: true", routes=TO_APP),
        ],
        [
            cluster("app", "app"),
            cluster(
                "trailers",
                "app",
                extra="""
                    typed_extension_protocol_options:
                      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
                        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
                        explicit_http_config: {http_protocol_options: {enable_trailers: true}}
                """,
            ),
        ],
    ),
    {"app": "h1"},
)
IN_CHUNKS = "transfer-encoding: chunked"
CHUNKED = head("HTTP/1.1 200 OK", IN_CHUNKS, "x-a: 1") + b"4\r\nWiki\r\n5;ext=1\r\npedia\r\n0\r\n\r\n"


@scenario(BASICS)
async def h1_get(s: Session) -> None:
    """A GET and its answer pass with the headers that the proxy adds, on both sides."""
    s.upstream().script = answers(ok(b"hello", "x-upstream: yes", "content-type: text/plain"))
    await s.get("/path?query=1", "accept: */*", "user-agent: scenario")


@scenario(BASICS)
async def h1_post_with_length(s: Session) -> None:
    """A request body of known length keeps its content-length."""
    await s.http(b"POST /form HTTP/1.1\r\nhost: a\r\ncontent-length: 11\r\n\r\nhello world")


@scenario(BASICS)
async def h1_post_without_body(s: Session) -> None:
    """A POST with content-length 0, and one without any length."""
    await s.http(b"POST /zero HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n")
    await s.http(b"POST /none HTTP/1.1\r\nhost: a\r\n\r\n")


@scenario(BASICS)
async def h1_chunked_both_ways(s: Session) -> None:
    """Chunked bodies stay chunked in both directions, chunk extensions are dropped."""
    s.upstream().script = answers(CHUNKED)
    body = b"3;x=y\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    await s.http(head("PUT /up HTTP/1.1", "host: a", "Transfer-Encoding: chunked") + body)


@scenario(BASICS)
async def h1_head(s: Session) -> None:
    """HEAD: the length of the answer is kept, no body is sent, the connection stays usable."""
    s.upstream().script = answers(b"HTTP/1.1 200 OK\r\ncontent-length: 1234\r\n\r\n")
    client = await s.connect()
    await client.send(b"HEAD / HTTP/1.1\r\nhost: a\r\n\r\n")
    await client.reply(has_body=False)
    await client.usable()


@scenario(BASICS)
async def h1_head_chunked(s: Session) -> None:
    """HEAD answered with transfer-encoding: chunked, and with no length at all."""
    s.upstream().script = answers(
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", b"HTTP/1.1 200 OK\r\nx-a: b\r\n\r\n"
    )
    client = await s.connect()
    for _ in range(2):
        await client.send(b"HEAD / HTTP/1.1\r\nhost: a\r\n\r\n")
        await client.reply(has_body=False)
    await client.usable()


@scenario(BASICS)
async def h1_no_content_and_not_modified(s: Session) -> None:
    """204 and 304 have no body, whatever headers they carry; the connections stay usable."""
    s.upstream().script = answers(
        b"HTTP/1.1 204 No Content\r\nx-a: 1\r\n\r\n",
        b'HTTP/1.1 304 Not Modified\r\netag: "x"\r\ncontent-length: 10\r\n\r\n',
        ok(b"after"),
    )
    client = await s.connect()
    for _ in range(3):
        await client.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        await client.reply()
    await client.usable()


@scenario(BASICS)
async def h1_keep_alive_reuses_both_connections(s: Session) -> None:
    """Three requests in turn share one downstream and one upstream connection."""
    client = await s.connect()
    for number in range(3):
        await client.send(f"GET /{number} HTTP/1.1\r\nhost: a\r\n\r\n".encode())
        await client.reply()


@scenario(BASICS)
async def h1_connection_close(s: Session) -> None:
    """Connection: close from the client closes downstream after the answer, upstream is kept alive."""
    await s.get("/1", "Connection: close")
    await s.get("/2", "Connection: Close")


@scenario(BASICS)
async def h1_upstream_connection_close(s: Session) -> None:
    """Connection: close from the upstream stays between the two; the next request opens a new one."""

    async def script(call: Call) -> None:
        await call.send(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok")
        await call.close()

    s.upstream().script = script
    client = await s.connect()
    for _ in range(2):
        await client.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        await client.reply()
    await client.usable()


@scenario(BASICS)
async def h1_pipelined(s: Session) -> None:
    """Requests sent in one piece are answered in order on one connection."""
    s.upstream().script = answers(ok(b"first"), CHUNKED, ok(b"third"))
    client = await s.connect()
    await client.send(
        b"GET /1 HTTP/1.1\r\nhost: a\r\n\r\n"
        b"POST /2 HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc"
        b"GET /3 HTTP/1.1\r\nhost: a\r\n\r\nGET /probe HTTP/1.1\r\nhost: a\r\n\r\n"
    )
    for _ in range(4):
        await client.reply()


@scenario(BASICS)
async def h1_expect_continue(s: Session) -> None:
    """Expect: 100-continue is answered by the proxy itself and does not reach the upstream."""
    client = await s.connect()
    await client.send(b"POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n")
    s.see("interim", (await client.wire.line()).decode())
    await client.wire.line()
    await client.send(b"hello")
    await client.reply()


@scenario(BASICS)
async def h1_expect_continue_proxied(s: Session) -> None:
    """With proxy_100_continue the upstream gets Expect and its 100 is handed on."""

    async def script(call: Call) -> None:
        await call.send(b"HTTP/1.1 100 Continue\r\nx-from: upstream\r\n\r\n")
        await call.body()
        await call.send(ok())

    s.upstream().script = script
    client = await s.connect("continue")
    await client.send(b"POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n")
    interim = [(await client.wire.line()).decode()]
    while line := await client.wire.line():
        interim.append(line.decode())
    s.see("interim", interim)
    await client.send(b"hello")
    await client.reply()


@scenario(BASICS)
async def h1_upstream_interim_responses(s: Session) -> None:
    """100, 102 and 103 from an upstream that nobody asked for."""
    interim = head("HTTP/1.1 100 Continue") + head("HTTP/1.1 102 Processing")
    s.upstream().script = answers(interim + head("HTTP/1.1 103 Early Hints", "link: x") + ok())
    await s.get()


@scenario(BASICS)
async def h1_trailers_dropped(s: Session) -> None:
    """Without enable_trailers the trailers of both directions are dropped."""
    s.upstream().script = answers(
        b"HTTP/1.1 200 OK\r\ntrailer: x-t\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx-t: 1\r\n\r\n"
    )
    await s.http(
        b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nx-client: t\r\n\r\n"
    )


@scenario(BASICS)
async def h1_trailers_passed(s: Session) -> None:
    """With enable_trailers on both sides they pass."""
    s.upstream().script = answers(
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-T: 1\r\nX-U: 2\r\n\r\n"
    )
    await s.http(
        b"POST / HTTP/1.1\r\nhost: a\r\nte: trailers\r\ntransfer-encoding: chunked\r\n\r\n"
        b"1\r\nx\r\n0\r\nX-Client: t\r\n\r\n",
        "trailers",
    )


@scenario(BASICS)
async def h1_http_10_refused(s: Session) -> None:
    """HTTP/1.0 is refused with 426 unless it is accepted by configuration."""
    await s.http(b"GET / HTTP/1.0\r\nhost: a\r\n\r\n")


@scenario(BASICS)
async def h1_http_10_accepted(s: Session) -> None:
    """Accepted HTTP/1.0: close by default, keep-alive on demand, no chunked answer."""
    s.upstream().script = answers(ok(b"one"), ok(b"two"), CHUNKED)
    await s.http(b"GET /1 HTTP/1.0\r\nhost: a\r\n\r\n", "ten")
    client = await s.connect("ten")
    await client.send(b"GET /2 HTTP/1.0\r\nhost: a\r\nconnection: keep-alive\r\n\r\n")
    await client.reply()
    await client.usable()
    await s.http(b"GET /3 HTTP/1.0\r\nhost: a\r\n\r\n", "ten")


@scenario(BASICS)
async def h1_http_10_without_host(s: Session) -> None:
    """HTTP/1.0 without a host and without default_host_for_http_10."""
    await s.http(b"GET /1 HTTP/1.0\r\n\r\n", "ten")


@scenario(BASICS)
async def h1_missing_host(s: Session) -> None:
    """HTTP/1.1 without a host header is a 400."""
    await s.http(b"GET / HTTP/1.1\r\naccept: */*\r\n\r\n")
    await s.http(b"GET / HTTP/1.1\r\nhost:\r\n\r\n", label="empty host")


@scenario(BASICS)
async def h1_absolute_form(s: Session) -> None:
    """The absolute form: its authority replaces the host, the upstream gets the origin form."""
    await s.http(b"GET http://other.example:81/a?b=c HTTP/1.1\r\nhost: example.com\r\n\r\n")
    await s.http(b"GET http://bare.example HTTP/1.1\r\nhost: example.com\r\n\r\n")
    await s.http(b"OPTIONS * HTTP/1.1\r\nhost: example.com\r\n\r\n", label="asterisk")


@scenario(BASICS)
async def h1_methods(s: Session) -> None:
    """Methods beyond GET and POST, an extension method and one that nobody knows."""
    for method in ("DELETE", "PATCH", "PROPFIND", "TRACE", "BREW"):
        await s.http(f"{method} / HTTP/1.1\r\nhost: a\r\n\r\n", label=method)


@scenario(BASICS)
async def h1_large_headers_refused(s: Session) -> None:
    """Request headers over 60 KiB are a 431; those just below pass."""
    await s.get("/", "x-large: " + "a" * 61 * 1024)
    await s.get("/", "x-large: " + "a" * 16 * 1024)


@scenario(BASICS)
async def h1_too_many_headers_refused(s: Session) -> None:
    """101 request headers are a 431; 100 pass."""
    await s.get("/", *(f"x-{n}: {n}" for n in range(101)))
    await s.get("/", *(f"x-{n}: {n}" for n in range(90)))


@scenario(BASICS)
async def h1_upstream_without_length(s: Session) -> None:
    """An answer that ends with the upstream's close becomes chunked."""

    async def script(call: Call) -> None:
        await call.send(b"HTTP/1.1 200 OK\r\nx-a: 1\r\n\r\nuntil the end")
        await call.close()

    s.upstream().script = script
    await s.get()


@scenario(BASICS)
async def h1_upstream_http_10(s: Session) -> None:
    """An HTTP/1.0 answer, with and without a length."""

    async def script(call: Call) -> None:
        length = b"content-length: 2\r\n" if call.path == "/length" else b""
        await call.send(b"HTTP/1.0 200 Fine\r\n" + length + b"\r\nok")
        await call.close()

    s.upstream().script = script
    await s.get("/length")
    await s.get("/close")


@scenario(BASICS)
async def h1_big_bodies(s: Session) -> None:
    """A mebibyte up and another down arrive whole."""
    up, down = bytes(range(256)) * 4096, bytes(reversed(range(256))) * 4096
    s.upstream().script = answers(ok(down))
    client = await s.connect()
    async with trio.open_nursery() as nursery:
        head = f"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {len(up)}\r\n\r\n".encode()
        nursery.start_soon(client.send, head + up)
        await client.reply()


@scenario(BASICS)
async def h1_big_chunked_bodies(s: Session) -> None:
    """The same in chunks of many sizes."""
    pieces = [bytes([size % 251]) * size for size in (1, 10, 4096, 65536, 300000, 3)]
    body = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    s.upstream().script = answers(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + body)
    client = await s.connect()
    async with trio.open_nursery() as nursery:
        head = b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"
        nursery.start_soon(client.send, head + body)
        await client.reply()


@scenario(BASICS)
async def h1_hop_by_hop_headers(s: Session) -> None:
    """Hop-by-hop headers of the request and of the response are not handed on."""
    s.upstream().script = answers(
        ok(
            b"ok",
            "Keep-Alive: timeout=5",
            "Proxy-Connection: keep-alive",
            "Upgrade: h2c",
            "TE: trailers",
            "Trailer: x",
        )
    )
    await s.get(
        "/",
        "keep-alive: timeout=5",
        "proxy-connection: keep-alive",
        "te: trailers, gzip",
        "trailer: x",
        "proxy-authorization: basic abc",
        "proxy-authenticate: x",
    )


@scenario(BASICS)
async def h1_connection_tokens(s: Session) -> None:
    """Headers named by Connection tokens."""
    s.upstream().script = answers(ok(b"ok", "Connection: x-resp-hop", "x-resp-hop: 1", "x-stay: 2"))
    await s.get("/", "connection: x-hop, keep-alive", "x-hop: 1", "x-kept: 2")
    await s.get("/", "connection: te", "te: trailers", label="te")


@scenario(BASICS)
async def h1_duplicate_headers_keep_their_order(s: Session) -> None:
    """Repeated headers stay separate lines, in order; cookies and set-cookie too."""
    s.upstream().script = answers(
        ok(b"ok", "set-cookie: a=1", "x-r: 1", "set-cookie: b=2", "x-r: 2", "vary: a")
    )
    await s.get(
        "/", "x-d: 1", "cookie: a=1", "x-e: e", "x-d: 2", "cookie: b=2", "x-d:", "accept: a", "accept: b"
    )


@scenario(BASICS)
async def h1_header_names_are_lowered(s: Session) -> None:
    """Header names pass in lower case, whatever their case was; values stay as they are."""
    s.upstream().script = answers(b"HTTP/1.1 200 oK dear\r\nContent-Length: 2\r\nX-MiXed: VaLue\r\n\r\nok")
    await s.http(
        b"GET / HTTP/1.1\r\nHOST: ExAmple.com\r\nX-FoO:   BaR  \r\nx_u: 1\r\nx!#$%&'*+^`|~: ok\r\n\r\n"
    )


@scenario(BASICS)
async def h1_header_values_with_odd_bytes(s: Session) -> None:
    """Tabs, UTF-8 and high bytes within values pass."""
    await s.http(b"GET / HTTP/1.1\r\nhost: a\r\nx-tab: a\tb\r\nx-utf: \xc3\xa9\r\nx-high: \xff\r\nx:\r\n\r\n")


@scenario(BASICS)
async def h1_response_before_request_is_complete(s: Session) -> None:
    """An answer before the body came reaches the client, then the connection closes."""

    async def script(call: Call) -> None:
        await call.send(b"HTTP/1.1 413 Too Big\r\ncontent-length: 3\r\n\r\nbig")
        await call.gone()

    s.upstream().script = script
    client = await s.connect()
    await client.send(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\nabc")
    await client.reply()
    await client.closed()


@scenario(BASICS)
async def h1_request_head_in_pieces(s: Session) -> None:
    """A head that arrives byte by byte is the same request."""
    client = await s.connect()
    for byte in b"GET /slow HTTP/1.1\r\nhost: a\r\n\r\n":
        await client.send(bytes([byte]))
    await client.reply()


@scenario(BASICS)
async def h1_odd_status_codes(s: Session) -> None:
    """Unusual but legal status codes get the reason phrase that the proxy has for them."""
    for status in ("299", "418", "451", "599", "203"):
        s.upstream().script = answers(f"HTTP/1.1 {status} Whatever\r\ncontent-length: 0\r\n\r\n".encode())
        await s.get(label=status)


@scenario(BASICS)
async def h1_paths(s: Session) -> None:
    """Paths pass unchanged by default: dots, double slashes, escapes, a fragment, an empty query."""
    for path in ("//a//b", "/a/../b", "/a/./b", "/%2e%2e/x", "/a%2Fb", "/?", "/a;b=c", "/p?a=/../b"):
        await s.get(path)
    await s.get("/frag#ment", label="fragment")
