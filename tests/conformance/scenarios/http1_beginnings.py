"""Peers that do not speak HTTP/1.1 at all: what is seen from their first bytes, before they say any more."""

from __future__ import annotations

from ..configuration import bootstrap, cluster, listener
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import Call

SUBJECT = "connections"

BEGINNINGS = Setup(
    "http1-beginnings",
    bootstrap(
        [
            listener(
                "main",
                "request_headers_timeout: 0.2s",
                routes="- {match: {prefix: /}, route: {cluster: app, timeout: 0.2s}}",
            ),
        ],
        [cluster("app", "app")],
    ),
    {"app": "h1"},
)
HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(32)) + b"\x20"


@scenario(BEGINNINGS)
async def h1_beginning_that_is_no_request(s: Session) -> None:
    """The first byte of TLS, SOCKS and others is answered at once; what could begin a line is waited for."""
    cases = {
        "tls": HELLO,
        "tls alert": b"\x15\x03\x01\x00\x02\x02\x28",
        "socks": b"\x05\x01\x00",
        "zero": b"\0",
        "lower case": b"g",
        "digit": b"1",
        "space": b" ",
        "tab": b"\tGET",
        "letter that begins none": b"Z",
        "brace": b"{}",
        "high": b"\xff\xfe",
        "behind an empty line": b"\r\n\x16\x03",
        "behind a line feed": b"\n\x16\x03",
        "delete": b"\x7f",
    }
    async with s.logging(len(cases)):
        for label, data in cases.items():
            await s.http(data, label=label)


@scenario(BEGINNINGS)
async def h1_first_line_that_is_no_request(s: Session) -> None:
    """A first line is judged when it is here, and not only with the head."""
    cases = {
        "ssh": b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n",
        "no version": b"PING\r\n",
        "memcached": b"STATS items\r\n",
        "smtp": b"HELO there.example\r\n",
        "three words": b"NOT / HTTP\r\n",
        "rtsp": b"OPTIONS * RTSP/1.0\r\n",
        "version": b"GET / HTTP/3.7.1\r\n",
        "unknown method": b"GETS / HTTP/1.1\r\n",
        "method of none": b"{} / HTTP/1.1\r\n",
        "four words": b"GET / foo HTTP/1.1\r\n",
        "without a target": b"GET  HTTP/1.1\r\n",
        "http 0.9": b"GET /probe\r\n",
        "control": b"GET /\x01 HTTP/1.1\r\n",
        "target": b"GET \xff HTTP/1.1\r\n",
        "field": b"GET / HTTP/1.1\r\nno field\r\n",
        "old version": b"GET / HTTP/1.0\r\n",
        "new version": b"GET / HTTP/1.9\r\n",
        "two": b"GET / HTTP/2.0\r\n",
    }
    for label, data in cases.items():
        await s.http(data, label=label)


@scenario(BEGINNINGS)
async def h1_upstream_that_speaks_something_else(s: Session) -> None:
    """An upstream whose first bytes are no response is given up at once."""
    for label, data in {
        "tls alert": b"\x15\x03\x01\x00\x02\x02\x28",
        "ssh": b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n",
        "letter": b"h",
        "http 2": b"HTTP/2.0 200 OK\r\n",
        "line": b"HTTP\r\n",
        "status": b"HTTP/1.1 abc\r\n",
        "field": b"HTTP/1.1 200 OK\r\nno field\r\n",
        "empty line": b"\r\nHTTP/1.1 200 OK\r\n",
        "blank": b" HTTP/1.1 200 OK\r\n",
        "old": b"HTTP/1.0 200 OK\r\n",
        "zero": b"\0",
    }.items():

        async def answer(call: Call, data: bytes = data) -> None:
            await call.send(data)
            await call.gone()

        s.upstream().script = answer
        await s.get(f"/{label.replace(' ', '-')}", label=label)
