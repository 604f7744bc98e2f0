"""Operators of wire and header bytes: what requests, responses and tries take on both connections."""

from __future__ import annotations

import json
from typing import Any

from ..client import get
from ..configuration import ROUTER, bootstrap, cluster, listener
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import answers
from ..wire import head
from .access_log_every_operator import json_log

SUBJECT = "observability"

KINDS = ("WIRE", "HEADER", "DECOMPRESSED_HEADER")
#: All of them, and those that do not tell of header blocks that the proxy has compressed.
ALL = [
    f"{side}_{kind}_BYTES_{direction}"
    for side in ("DOWNSTREAM", "UPSTREAM")
    for kind in KINDS
    for direction in ("RECEIVED", "SENT")
]
COMPARED = [name for name in ALL if "DECOMPRESSED" in name or name.endswith("RECEIVED")]
#: What a log sees of a response's head.
RESPONSE = ["RESPONSE_HEADERS_BYTES", "RESP(CONNECTION)", "DOWNSTREAM_HEADER_BYTES_SENT"]
ROUTES = """
- {match: {path: /direct}, direct_response: {status: 200, body: {inline_string: here}}}
- {match: {path: /retry}, route: {cluster: app, retry_policy: {retry_on: 5xx, num_retries: 2}}}
- {match: {prefix: /}, route: {cluster: app}}
"""
#: Nothing in a head that differs from time to time.
PLAIN_ROUTER = f"""
generate_request_id: false
http_filters:
- {{name: router, typed_config: {{"@type": {ROUTER}, suppress_envoy_headers: true}}}}
"""


def logged(name: str, names: list[str], hcm: str = "", cluster: str = "app") -> dict[str, Any]:
    made = listener(name, PLAIN_ROUTER + hcm, routes=ROUTES.replace("cluster: app", f"cluster: {cluster}"))
    manager = made["filter_chains"][0]["filters"][0]["typed_config"]
    tree = {"path": "%REQ(:PATH)%", **{each: f"%{each}%" for each in names}}
    manager["access_log"] = [json_log(f"FILE({name}.log)", tree)]
    return made


SETUP = Setup(
    "log-wire",
    bootstrap(
        [
            logged("main", ALL),
            logged("trailers", ALL, "http_protocol_options: {enable_trailers: true}\n"),
            logged("two", COMPARED, cluster="app2"),
            logged("old", RESPONSE, "http_protocol_options: {accept_http_10: true}\n"),
            logged("once", RESPONSE, "common_http_protocol_options: {max_requests_per_connection: 1}\n"),
        ],
        [cluster("app", "app"), cluster("app2", "app2", http2=True)],
    ),
    {"app": "h1", "app2": "h2"},
)

CHUNKED = b"5\r\nhello\r\n2;a=b\r\nab\r\n0\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


@scenario(SETUP)
async def wire_bytes_of_requests(s: Session) -> None:
    """Bytes of requests with and without bodies, of spaces around values, and of the proxy's own answers."""
    requests = [
        head("GET / HTTP/1.1", "host: a"),
        head("GET / HTTP/1.1", "Host:   a  ", "X-Y:zz", "x-y:", "connection: x-y"),
        head("GET http://b/abs HTTP/1.1", "host: a"),
        head("POST / HTTP/1.1", "host: a", "content-length: 5") + b"hello",
        head("POST / HTTP/1.1", "host: a", "transfer-encoding: chunked") + CHUNKED,
        head("GET /direct HTTP/1.1", "host: a"),
        head("HEAD /direct HTTP/1.1", "host: a"),
        head("GET /close HTTP/1.1", "host: a", "connection: close"),
        head("GET /old HTTP/1.0"),
        head("GET /nohost HTTP/1.1"),
    ]
    for request in requests:
        async with s.logging(1, "main"):
            await s.http(request, has_body=not request.startswith(b"HEAD"))


@scenario(SETUP)
async def wire_bytes_of_one_connection(s: Session) -> None:
    """Requests behind one another, two of them at once: each has its own."""
    async with s.logging(3, "main"):
        client = await s.connect()
        await client.send(head("GET /1 HTTP/1.1", "host: a"))
        await client.reply()
        await client.send(head("GET /22 HTTP/1.1", "host: a") + head("GET /333 HTTP/1.1", "host: a"))
        await client.reply()
        await client.reply()


@scenario(SETUP)
async def wire_bytes_of_a_body_in_pieces(s: Session) -> None:
    """A long body each way, and one that comes after its head."""
    s.upstream().script = answers(
        b"HTTP/1.1 200 OK\r\ncontent-length: 300000\r\n\r\n" + b"x" * 300_000,
        OK,
    )
    async with s.logging(1, "main"):
        await s.http(head("POST / HTTP/1.1", "host: a", "content-length: 200000") + b"y" * 200_000)
    async with s.logging(1, "main"):
        client = await s.connect()
        await client.send(head("POST /late HTTP/1.1", "host: a", "content-length: 5"))
        await s.upstream().arrivals(2)
        await client.send(b"hello")
        await client.reply()


@scenario(SETUP)
async def wire_bytes_of_responses(s: Session) -> None:
    """Bytes of responses: chunks, trailers, no length, no fields, an interim one before."""
    s.upstream().script = answers(
        b"HTTP/1.1 200 OK\r\nx-a: b\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
        b"HTTP/1.1 200 All is fine\r\nContent-Length:   2  \r\nX-Foo:\r\n\r\nok",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" + OK,
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n",
    )
    for method in ("GET", "GET", "GET", "GET", "HEAD"):
        async with s.logging(1, "main"):
            await s.http(head(f"{method} / HTTP/1.1", "host: a"), has_body=method != "HEAD")


@scenario(SETUP, differs={"log trailers": "bytes-on-the-wire"})
async def wire_bytes_of_trailers(s: Session) -> None:
    """Trailers both ways, where they are enabled towards the client: Envoy's count as header bytes, too."""
    s.upstream().script = answers(
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx-t: v\r\n\r\n",
    )
    request = head("POST / HTTP/1.1", "host: a", "transfer-encoding: chunked")
    async with s.logging(1, "trailers"):
        await s.http(request + b"1\r\na\r\n0\r\nx-r: w\r\n\r\n", "trailers")


@scenario(SETUP)
async def wire_bytes_of_tries(s: Session) -> None:
    """Tries count together; of each further one Envoy adds to the decompressed bytes what came before."""
    s.upstream().script = answers(*[b"HTTP/1.1 503 No\r\ncontent-length: 2\r\n\r\nno"] * 2, OK)
    async with s.logging(1, "main"):
        await s.http(head("GET /retry HTTP/1.1", "host: a"))


@scenario(SETUP)
async def wire_bytes_over_http2(s: Session) -> None:
    """Frames count whole.  Of what the proxy compresses, what there was to compress."""
    async with s.logging(4, "two"):
        client = await s.connect_h2("two")
        for path in ("/", "/", "/direct"):
            await client.request([*get(path), ("cookie", "a=b"), ("cookie", "c=d")])
        await client.request([*get("/post", method="POST")], b"x" * 1000)


@scenario(SETUP)
async def wire_bytes_are_json(s: Session) -> None:
    """They are numbers."""
    async with s.logging(1, "main", lambda line: {k: type(v).__name__ for k, v in json.loads(line).items()}):
        await s.http(head("GET / HTTP/1.1", "host: a"))


@scenario(SETUP)
async def wire_bytes_of_broken_requests(s: Session) -> None:
    """What came of a request that cannot be read, and what it was answered."""
    requests = [
        head("BREW / HTTP/1.1", "host: a"),
        head("GET / HTTP/1.1", "host: a", "no colon"),
        head("BREW / HTTP/1.1", "host: a") + head("GET / HTTP/1.1", "host: a"),
    ]
    for request in requests:
        async with s.logging(1, "main"):
            await s.http(request)


@scenario(SETUP)
async def response_headers_of_the_last_response(s: Session) -> None:
    """`connection: close` belongs to the head of a response, whoever ends the connection and why."""
    requests = [
        ("once", head("GET /direct HTTP/1.1", "host: a")),
        ("once", head("GET /x HTTP/1.1", "host: a")),
        ("once", head("GET /direct HTTP/1.1", "host: a", "connection: close")),
        ("once", head("BREW /direct HTTP/1.1", "host: a")),
        ("once", head("GET /nohost HTTP/1.1")),
        ("once", head("GET /old HTTP/1.0")),
        ("old", head("GET /direct HTTP/1.1", "host: a")),
        ("old", head("GET /direct HTTP/1.0", "host: a")),
        ("old", head("GET /direct HTTP/1.0", "host: a", "connection: keep-alive")),
        ("old", head("GET /chunked HTTP/1.0", "host: a", "connection: keep-alive")),
    ]
    chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
    named = b"HTTP/1.1 200 OK\r\nconnection: x-y\r\ncontent-length: 2\r\n\r\nok"
    s.upstream().script = answers(named, chunked)
    for to, request in requests:
        async with s.logging(1, to):
            await s.http(request, to)


@scenario(SETUP)
async def response_headers_before_a_body_was_read(s: Session) -> None:
    """The same where the answer is there before the request."""
    async with s.logging(1, "old"):
        client = await s.connect("old")
        await client.send(head("POST /direct HTTP/1.1", "host: a", "content-length: 5"))
        await client.reply()
        client.close()
