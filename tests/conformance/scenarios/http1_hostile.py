"""HTTP/1.1 as attackers and broken peers speak it: what is refused, what passes, what the upstream sees."""

from __future__ import annotations

from ..configuration import TO_APP, bootstrap, cluster, listener
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import Call, answers, ok
from ..wire import head

PROBE = "- {match: {path: /probe}, direct_response: {status: 200, body: {inline_string: here}}}\n"
HOSTILE = Setup(
    "http1-hostile",
    bootstrap(
        [
            listener("main", routes=PROBE + TO_APP),
            listener("normal", "{normalize_path: true, merge_slashes: true}", routes=TO_APP),
        ],
        [cluster("app", "app")],
    ),
    {"app": "h1"},
)

STRICT = Setup(
    "http1-strict",
    bootstrap(
        [
            listener("slashes", "path_with_escaped_slashes_action: REJECT_REQUEST", routes=TO_APP),
            listener(
                "strict",
                "common_http_protocol_options: {headers_with_underscores_action: REJECT_REQUEST}",
                routes=TO_APP,
            ),
            listener(
                "lenient",
                "common_http_protocol_options: {headers_with_underscores_action: DROP_HEADER}",
                routes=TO_APP,
            ),
        ],
        [cluster("app", "app")],
    ),
    {"app": "h1"},
)


async def each(s: Session, cases: dict[str, bytes], to: str = "main") -> None:
    """Send each on a connection of its own."""
    for label, data in cases.items():
        await s.http(data, to, label=label)


def post(*headers: str, body: bytes = b"") -> bytes:
    return head("POST / HTTP/1.1", "host: a", *headers) + body


def get(*headers: str) -> bytes:
    return head("GET / HTTP/1.1", "host: a", *headers)


@scenario(HOSTILE)
async def hostile_length_and_chunked(s: Session) -> None:
    """Content-Length beside Transfer-Encoding, in both orders: the classic smuggling request."""
    body = b"0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n"
    await each(
        s,
        {
            "length first": post("content-length: 6", "transfer-encoding: chunked", body=body),
            "chunked first": post("transfer-encoding: chunked", f"content-length: {len(body)}", body=body),
        },
    )


@scenario(HOSTILE)
async def hostile_content_lengths(s: Session) -> None:
    """Two lengths, equal and different, a list, and lengths that are no number."""
    await each(
        s,
        {
            "two different": post("content-length: 5", "content-length: 6", body=b"hello!"),
            "two equal": post("content-length: 5", "content-length: 5", body=b"hello"),
            "list": post("content-length: 5, 5", body=b"hello"),
            "negative": post("content-length: -1"),
            "plus": post("content-length: +5", body=b"hello"),
            "hex": post("content-length: 0x5", body=b"hello"),
            "empty": post("content-length:", body=b""),
            "words": post("content-length: five", body=b"hello"),
            "inner space": post("content-length: 5 5", body=b"hello"),
            "huge": post("content-length: 99999999999999999999999", body=b"hello"),
        },
    )


@scenario(HOSTILE)
async def hostile_transfer_encodings(s: Session) -> None:
    """Transfer-Encoding other than exactly chunked."""
    body = b"5\r\nhello\r\n0\r\n\r\n"
    values = {
        "gzip": "gzip",
        "gzip, chunked": "gzip, chunked",
        "chunked, gzip": "chunked, gzip",
        "identity": "identity",
        "chunked twice": "chunked, chunked",
        "capitals": "CHUNKED",
        "xchunked": "xchunked",
        "vertical tab": "\x0bchunked",
        "quoted": '"chunked"',
        "trailing comma": "chunked,",
    }
    await each(s, {label: post(f"transfer-encoding: {value}", body=body) for label, value in values.items()})
    await each(
        s,
        {
            "two lines": post("transfer-encoding: chunked", "transfer-encoding: chunked", body=body),
            "space before colon": post("transfer-encoding : chunked", body=body),
            "on GET": get("transfer-encoding: chunked") + body,
        },
    )


@scenario(HOSTILE)
async def hostile_chunks(s: Session) -> None:
    """Chunk sizes and chunk ends that are wrong."""
    bodies = {
        "no hex": b"xyz\r\nhello\r\n0\r\n\r\n",
        "negative": b"-5\r\nhello\r\n0\r\n\r\n",
        "prefix": b"0x5\r\nhello\r\n0\r\n\r\n",
        "overflow": b"fffffffffffffffff\r\nhello\r\n0\r\n\r\n",
        "empty size": b"\r\nhello\r\n0\r\n\r\n",
    }
    for label, body in bodies.items():
        client = await s.connect()
        await client.send(post("transfer-encoding: chunked", body=body))
        await client.reply(label)
        await client.closed(f"{label}, then")
    s.upstream().seen.clear()  # whether a head came before the end is a race


def all_of_it(difference: str) -> dict[str, str]:
    """A request that is refused where Envoy hands it on."""
    return dict.fromkeys(("reply", "reply, then", "upstream app"), difference)


@scenario(HOSTILE, differs=all_of_it("chunk-longer-than-its-size"))
async def hostile_chunk_longer_than_its_size(s: Session) -> None:
    """Chunk data that goes on where its line end must be."""
    await s.http(post("transfer-encoding: chunked", body=b"3\r\nhello\r\n0\r\n\r\n"))


@scenario(HOSTILE)
async def hostile_line_ends(s: Session) -> None:
    """Bare line feeds, and empty lines before the request."""
    await each(
        s,
        {
            "bare LF everywhere": b"GET / HTTP/1.1\nhost: a\n\n",
            "bare LF in a header": b"GET / HTTP/1.1\r\nhost: a\nx-a: b\r\n\r\n",
            "empty lines first": b"\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n",
        },
    )


@scenario(HOSTILE, differs=all_of_it("bare-cr-in-a-value"))
async def hostile_bare_cr(s: Session) -> None:
    """A bare carriage return in a value."""
    await s.http(b"GET / HTTP/1.1\r\nhost: a\r\nx-a: b\rx-c: d\r\n\r\n")


@scenario(HOSTILE)
async def hostile_folded_headers(s: Session) -> None:
    """Obsolete line folding in a request, and a first header line that begins with a space."""
    await each(
        s,
        {
            "folded": b"GET / HTTP/1.1\r\nhost: a\r\nx-fold: one\r\n two\r\n\tthree\r\n\r\n",
            "first": b"GET / HTTP/1.1\r\n x-first: a\r\nhost: a\r\n\r\n",
        },
    )


@scenario(HOSTILE)
async def hostile_header_bytes(s: Session) -> None:
    """Control characters in names and values."""
    await each(
        s,
        {
            "NUL in value": get("x-a: b\0c"),
            "NUL in name": get("x\0a: b"),
            "BEL in value": get("x-a: b\x07c"),
            "DEL in value": get("x-a: b\x7fc"),
            "space in name": get("x a: b"),
            "space before colon": get("x-a : b"),
            "empty name": get(": b"),
            "no colon": get("nocolon"),
            "UTF-8 in name": get("x-\xc3\xa9: b"),
            "parentheses in name": get("x(a): b"),
        },
    )


@scenario(HOSTILE)
async def hostile_request_lines(s: Session) -> None:
    """Request lines that are none."""
    rest = b"host: a\r\n\r\n"
    await each(
        s,
        {
            "garbage": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
            "no version": b"GET /\r\n" + rest,
            "bad version": b"GET / HTTP/1.x\r\n" + rest,
            "version 2": b"GET / HTTP/2.0\r\n" + rest,
            "version 1.2": b"GET / HTTP/1.2\r\n" + rest,
            "version 0.9": b"GET / HTTP/0.9\r\n" + rest,
            "lower case method": b"get / HTTP/1.1\r\n" + rest,
            "two spaces": b"GET  / HTTP/1.1\r\n" + rest,
            "space in path": b"GET /a b HTTP/1.1\r\n" + rest,
            "tab": b"GET\t/ HTTP/1.1\r\n" + rest,
            "no leading slash": b"GET path HTTP/1.1\r\n" + rest,
            "high bytes in path": b"GET /\xc3\xa9 HTTP/1.1\r\n" + rest,
            "control in path": b"GET /a\x01b HTTP/1.1\r\n" + rest,
            "quotes in path": b'GET /a"<>b HTTP/1.1\r\n' + rest,
        },
    )


@scenario(HOSTILE)
async def hostile_long_request_line(s: Session) -> None:
    """A request line of more than the header limit."""
    await s.http(head("GET /" + "a" * 70000 + " HTTP/1.1", "host: a"))


@scenario(HOSTILE)
async def hostile_hosts(s: Session) -> None:
    """Two hosts, and hosts that are none."""
    await each(
        s,
        {
            "two": head("GET / HTTP/1.1", "host: a", "host: b"),
            "user info": head("GET / HTTP/1.1", "host: user@a"),
            "space": head("GET / HTTP/1.1", "host: a b"),
            "slash": head("GET / HTTP/1.1", "host: a/b"),
            "bad port": head("GET / HTTP/1.1", "host: a:b"),
            "IPv6": head("GET / HTTP/1.1", "host: [::1]:80"),
        },
    )


@scenario(HOSTILE)
async def hostile_connect_and_upgrade(s: Session) -> None:
    """CONNECT and Upgrade without a configuration for them."""
    await each(
        s,
        {
            "connect": head("CONNECT a:80 HTTP/1.1", "host: a:80"),
            "websocket": get("connection: upgrade", "upgrade: websocket"),
            "h2c": get("connection: upgrade, http2-settings", "upgrade: h2c", "http2-settings: AAMAAABk"),
        },
    )


@scenario(HOSTILE)
async def hostile_pseudo_headers(s: Session) -> None:
    """Names that look like HTTP/2 pseudo headers, and internal headers of Envoy, over HTTP/1."""
    await each(s, {"path": get(":path: /other"), "status": get(":status: 200")})


@scenario(STRICT)
async def hostile_underscores(s: Session) -> None:
    """headers_with_underscores_action: rejected, dropped."""
    await s.http(get("x_a: 1", "x-b: 2"), "strict", label="rejected")
    await s.http(get("x_a: 1", "x-b: 2"), "lenient", label="dropped")


@scenario(HOSTILE)
async def hostile_paths_normalised(s: Session) -> None:
    """normalize_path and merge_slashes."""
    for path in (
        "/a/../b",
        "//a//b",
        "/a/./b/",
        "/%2e%2e/b",
        "/a%2fb",
        "/../../x",
        "/a\\b",
        "/%61",
        "/a?b//c",
    ):
        await s.get(path, to="normal", label=path)


@scenario(STRICT)
async def hostile_escaped_slashes(s: Session) -> None:
    """REJECT_REQUEST for escaped slashes."""
    for path in ("/a%2fb", "/a%5Cb", "/a%2Fb", "/plain"):
        await s.get(path, to="slashes", label=path)


@scenario(HOSTILE)
async def hostile_body_beyond_length(s: Session) -> None:
    """What follows the body is the next request, and a 400 when it is garbage."""
    client = await s.connect()
    await client.send(post("content-length: 2", body=b"okGARBAGE\r\n\r\n"))
    await client.reply()
    await client.reply()
    await client.closed()


async def upstream_says(s: Session, cases: dict[str, bytes]) -> None:
    for label, data in cases.items():

        async def script(call: Call, data: bytes = data) -> None:
            await call.send(data)
            await call.close()

        s.upstream().script = script
        await s.get(label=label)


@scenario(HOSTILE)
async def hostile_upstream_garbage(s: Session) -> None:
    """Upstreams whose answer is no HTTP."""
    async with s.logging(8):
        await upstream_says(
            s,
            {
                "garbage": b"hello, who is there\r\n\r\n",
                "HTTP/2 frame": b"\x00\x00\x00\x04\x00\x00\x00\x00\x00",
                "bad version": b"HTTP/9.9 200 OK\r\ncontent-length: 0\r\n\r\n",
                "no status": b"HTTP/1.1 \r\ncontent-length: 0\r\n\r\n",
                "status of words": b"HTTP/1.1 OK 200\r\ncontent-length: 0\r\n\r\n",
                "status 600": b"HTTP/1.1 600 OK\r\ncontent-length: 0\r\n\r\n",
                "no reason": b"HTTP/1.1 200\r\ncontent-length: 0\r\n\r\n",
                "unasked 101": b"HTTP/1.1 101 Switching\r\n\r\n",
            },
        )


@scenario(HOSTILE)
async def hostile_upstream_framing(s: Session) -> None:
    """Upstreams whose framing is ambiguous or wrong."""
    async with s.logging(9):
        await upstream_says(
            s,
            {
                "length and chunked": head(
                    "HTTP/1.1 200 OK", "content-length: 2", "transfer-encoding: chunked"
                )
                + b"2\r\nok\r\n0\r\n\r\n",
                "two lengths": head("HTTP/1.1 200 OK", "content-length: 2", "content-length: 3") + b"ok",
                "negative length": head("HTTP/1.1 200 OK", "content-length: -2") + b"ok",
                "gzip": head("HTTP/1.1 200 OK", "transfer-encoding: gzip") + b"ok",
                "gzip, chunked": head("HTTP/1.1 200 OK", "transfer-encoding: gzip, chunked") + b"0\r\n\r\n",
                "NUL in a value": head("HTTP/1.1 200 OK", "x-a: b\0c", "content-length: 2") + b"ok",
                "folded": head("HTTP/1.1 200 OK", "x-a: b", " c", "content-length: 2") + b"ok",
                "no colon": head("HTTP/1.1 200 OK", "nocolon", "content-length: 2") + b"ok",
                "bare LF": b"HTTP/1.1 200 OK\ncontent-length: 2\n\nok",
            },
        )


@scenario(HOSTILE)
async def hostile_upstream_large_headers(s: Session) -> None:
    """Response headers over the limits of the upstream codec."""
    async with s.logging(2):
        await upstream_says(
            s,
            {
                "60 KiB": head("HTTP/1.1 200 OK", "x-large: " + "a" * 61 * 1024, "content-length: 0"),
                "101 headers": head(
                    "HTTP/1.1 200 OK", *(f"x-{n}: {n}" for n in range(101)), "content-length: 0"
                ),
            },
        )


@scenario(HOSTILE)
async def hostile_upstream_speaks_too_much(s: Session) -> None:
    """Bytes after a complete answer do not become the answer to the next request."""
    s.upstream().script = answers(ok() + b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison", ok(b"clean"))
    client = await s.connect()
    await client.send(get())
    await client.reply()
    await s.until_stats(lambda stats: not any(stats.values()), r"^cluster\.app\.upstream_cx_active$")
    await client.send(get())
    await client.reply()
