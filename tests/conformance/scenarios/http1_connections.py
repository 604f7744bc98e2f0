"""HTTP/1.0, pipelining and targets: what ends a connection, what may follow on it."""

from __future__ import annotations

from ..configuration import TO_APP, bootstrap, cluster, listener
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import Call, answers, ok
from ..wire import Ended, head, read_response

PROBE = """
- {match: {path: /probe}, direct_response: {status: 200, body: {inline_string: here}}}
- {match: {path: /empty}, direct_response: {status: 200}}
"""
TEN = "http_protocol_options: {accept_http_10: true"
CONNECTIONS = Setup(
    "http1-connections",
    bootstrap(
        [
            listener("main", "delayed_close_timeout: 0.05s", routes=PROBE + TO_APP),
            listener("ten", f"{{delayed_close_timeout: 0.05s, {TEN}}}}}", routes=PROBE + TO_APP),
            listener(
                "named",
                f"{{delayed_close_timeout: 0.05s, {TEN}, default_host_for_http_10: dflt.example}}}}",
                routes=PROBE + TO_APP,
            ),
            listener(
                "cased",
                f"{{delayed_close_timeout: 0.05s, {TEN}, header_key_format: {{proper_case_words: {{}}}}}}}}",
                routes=PROBE + TO_APP,
            ),
        ],
        [cluster("app", "app")],
    ),
    {"app": "h1"},
)
CHUNKED = head("HTTP/1.1 200 OK", "transfer-encoding: chunked") + b"2\r\nok\r\n0\r\nx: y\r\n\r\n"


async def converse(s: Session, label: str, data: bytes, to: str = "main", *, heads: int = 0) -> None:
    """Send it all, and see every answer until the connection ends or a probe is answered.

    heads: how many of the first answers are to HEAD.
    """
    client = await s.connect(to)
    await client.send(data + head("GET /probe HTTP/1.1", "host: probe", "x-last: 1"))
    seen: list[object] = []
    try:
        while True:
            reply = await read_response(client.wire, has_body=heads <= 0)
            heads -= 1
            seen.append(reply.shown())
            if reply.body == b"here" or reply.cut:
                break
    except Ended as end:
        seen.append(f"closed after {end.partial.decode('latin-1')!r}")
    client.close()
    s.see(label, seen)


def ten(*lines: str, first: str = "GET /1 HTTP/1.0", body: bytes = b"") -> bytes:
    return head(first, *lines) + body


@scenario(CONNECTIONS)
async def h1_10_what_keeps_a_connection(s: Session) -> None:
    """Spellings of keep-alive in HTTP/1.0, and close beside it."""
    for label, lines in {
        "none": (),
        "keep-alive": ("connection: keep-alive",),
        "capitals": ("Connection: Keep-Alive",),
        "list": ("connection: x-a, keep-alive",),
        "both": ("connection: keep-alive, close",),
        "both, close first": ("connection: close, keep-alive",),
        "two lines": ("connection: keep-alive", "connection: close"),
        "proxy": ("proxy-connection: keep-alive",),
        "Keep-Alive": ("keep-alive: timeout=5",),
        "close": ("connection: close",),
    }.items():
        await converse(s, label, ten("host: a", *lines), "ten")


@scenario(CONNECTIONS)
async def h1_11_what_ends_a_connection(s: Session) -> None:
    """The same in HTTP/1.1."""
    for label, lines in {
        "close": ("connection: close",),
        "capitals": ("Connection: CLOSE",),
        "list": ("connection: x-a, close",),
        "both": ("connection: keep-alive, close",),
        "closed": ("connection: closed",),
        "proxy": ("proxy-connection: close",),
        "two lines": ("connection: x-a", "connection: close"),
        "empty": ("connection:",),
    }.items():
        await converse(s, label, head("GET /1 HTTP/1.1", "host: a", "x-a: 1", *lines))


@scenario(CONNECTIONS)
async def h1_10_answers(s: Session) -> None:
    """Answers of unknown length end with the connection; the others may keep it."""
    keep = ("host: a", "connection: keep-alive")
    for label, answer in {
        "chunked": CHUNKED,
        "length": ok(),
        "empty": ok(b""),
        "204": head("HTTP/1.1 204 No Content"),
        "304": head("HTTP/1.1 304 Not Modified", "content-length: 5"),
        "close": head("HTTP/1.1 200 OK", "connection: close", "content-length: 2") + b"ok",
    }.items():
        s.upstream().script = answers(answer)
        await converse(s, label, ten(*keep), "ten")
        await converse(s, f"HEAD, {label}", ten(*keep, first="HEAD /1 HTTP/1.0"), "ten", heads=1)

    async def until_close(call: Call) -> None:
        await call.send(head("HTTP/1.1 200 OK") + b"until the end")
        await call.close()

    s.upstream().script = until_close
    await converse(s, "until close", ten(*keep), "ten")
    await converse(s, "direct", ten(*keep, first="GET /empty HTTP/1.0"), "ten")
    await converse(s, "direct HEAD", ten(*keep, first="HEAD /empty HTTP/1.0"), "ten", heads=1)
    await converse(s, "not found", ten(*keep, first="OPTIONS * HTTP/1.0"), "ten")


@scenario(CONNECTIONS)
async def h1_10_bodies(s: Session) -> None:
    """Bodies of HTTP/1.0 requests."""
    keep = ("host: a", "connection: keep-alive")
    post = "POST /1 HTTP/1.0"
    await converse(s, "length", ten(*keep, "content-length: 2", first=post, body=b"xy"), "ten")
    await converse(s, "none", ten(*keep, first=post), "ten")
    body = b"2\r\nxy\r\n0\r\n\r\n"
    await converse(s, "chunked", ten(*keep, "transfer-encoding: chunked", first=post, body=body), "ten")
    expecting = ten(*keep, "expect: 100-continue", "content-length: 2", first=post, body=b"xy")
    await converse(s, "expect", expecting, "ten")
    await converse(s, "upgrade", ten("host: a", "connection: upgrade", "upgrade: x"), "ten")
    await converse(s, "h2c", ten("host: a", "connection: upgrade", "upgrade: h2c"), "ten")


@scenario(CONNECTIONS)
async def h1_10_default_host(s: Session) -> None:
    """default_host_for_http_10 stands where HTTP/1.0 names no host."""
    for label, data in {
        "none": ten(),
        "own": ten("host: a"),
        "empty": ten("host:"),
        "absolute": ten(first="GET http://b/1 HTTP/1.0"),
        "absolute and own": ten("host: a", first="GET http://b/1 HTTP/1.0"),
        "HTTP/1.1": head("GET /1 HTTP/1.1"),
        "HTTP/0.9": b"GET /1\r\n\r\n",
    }.items():
        await converse(s, label, data, "named")
        await converse(s, f"{label}, no default", data, "ten")


@scenario(CONNECTIONS)
async def h1_10_local_replies(s: Session) -> None:
    """What the proxy answers itself to HTTP/1.0, the refusals of its codec among them."""
    async with s.logging(7, "ten"):
        for label, data in {
            "direct": ten("host: a", first="GET /probe HTTP/1.0"),
            "not found": ten("host: a", first="OPTIONS * HTTP/1.0"),
            "bad header": ten("host: a", "x y: z"),
            "length and chunks": ten("host: a", "content-length: 1", "transfer-encoding: chunked"),
            "coding": ten("host: a", "transfer-encoding: gzip"),
            "bad url": ten("host: a", first="GET http://a:x/ HTTP/1.0"),
            "bad host": ten("host: a b"),
        }.items():
            client = await s.connect("ten")
            await client.send(data)
            await client.reply(label)
            await client.closed(f"{label}, then")


@scenario(CONNECTIONS)
async def h1_10_case_of_names(s: Session) -> None:
    """proper_case_words of an HTTP/1.0 answer, kept and closed."""
    await converse(s, "kept", ten("host: a", "connection: keep-alive"), "cased")
    await converse(s, "closed", ten("host: a"), "cased")


@scenario(CONNECTIONS)
async def h1_10_and_11_in_turns(s: Session) -> None:
    """Both versions on one connection."""
    old = ten("host: a", "connection: keep-alive")
    new = head("GET /2 HTTP/1.1", "host: a")
    s.upstream().script = answers(ok(b"1"), CHUNKED, ok(b"3"))
    await converse(s, "old, new, old", old + new + old, "ten")
    s.upstream().script = answers(CHUNKED)
    await converse(s, "new, old", new + old, "ten")


@scenario(CONNECTIONS)
async def h1_upstream_keeps_by_version(s: Session) -> None:
    """Which answers of HTTP/1.0 leave the upstream's connection open."""
    for label, line, fields in (
        ("plain", "HTTP/1.0 200 OK", ()),
        ("keep-alive", "HTTP/1.0 200 OK", ("connection: keep-alive",)),
        ("close", "HTTP/1.1 200 OK", ("connection: close",)),
        ("proxy close", "HTTP/1.1 200 OK", ("proxy-connection: close",)),
        ("both", "HTTP/1.1 200 OK", ("connection: keep-alive, close",)),
        ("version 1.2", "HTTP/1.2 200 OK", ("connection: keep-alive",)),
    ):
        s.upstream().script = answers(head(line, *fields, "content-length: 0"))
        await s.get(f"/1?{label.replace(' ', '-')}", label=label)
        await s.quiet()
        await s.get(f"/2?{label.replace(' ', '-')}", label=f"{label}, again")
        await s.quiet()


@scenario(CONNECTIONS)
async def h1_pipelined_behind(s: Session) -> None:
    """What is served behind a request that ends, breaks or hands over the connection."""
    next_one = head("GET /next HTTP/1.1", "host: a")
    host = "host: a"
    for label, data in {
        "a body": head("POST /1 HTTP/1.1", host, "content-length: 2") + b"xy" + next_one,
        "chunks": head("POST /1 HTTP/1.1", host, "transfer-encoding: chunked") + b"0\r\n\r\n" + next_one,
        "close": head("GET /1 HTTP/1.1", host, "connection: close") + next_one,
        "a refused upgrade": head("GET /1 HTTP/1.1", host, "connection: upgrade", "upgrade: x") + next_one,
        "a refused CONNECT": head("CONNECT a:80 HTTP/1.1", host) + next_one,
        "h2c": head("GET /1 HTTP/1.1", host, "connection: upgrade", "upgrade: h2c") + next_one,
        "no host": head("GET /1 HTTP/1.1") + next_one,
        "a fragment": head("GET /1#x HTTP/1.1", host) + next_one,
        "HTTP/1.0": head("GET /1 HTTP/1.0", host) + next_one,
        "an asterisk": head("OPTIONS * HTTP/1.1", host) + next_one,
        "an unread body": head("POST /probe2 HTTP/1.1", host, "content-length: 2") + b"xy" + next_one,
        "garbage": b"garbage\r\n\r\n" + next_one,
        "empty lines": next_one + b"\r\n\r\n\n" + next_one,
        "blanks": next_one + b"  " + next_one,
        "NUL": next_one + b"\0" + next_one,
    }.items():
        await converse(s, label, data)


@scenario(CONNECTIONS)
async def h1_pipelined_heads(s: Session) -> None:
    """HEAD among pipelined requests."""
    one = head("HEAD /1 HTTP/1.1", "host: a")
    await converse(s, "reply", one + one + head("GET /2 HTTP/1.1", "host: a"), heads=2)


@scenario(CONNECTIONS)
async def h1_pipelined_many(s: Session) -> None:
    """Forty requests in one piece."""
    data = b"".join(head(f"GET /{number} HTTP/1.1", "host: a") for number in range(40))
    await converse(s, "reply", data)


@scenario(CONNECTIONS)
async def h1_pipelined_behind_an_early_answer(s: Session) -> None:
    """A request behind a body that was never read."""

    async def script(call: Call) -> None:
        await call.send(head("HTTP/1.1 413 Too Big", "content-length: 0"))
        await call.gone()

    s.upstream().script = script
    client = await s.connect()
    await client.send(head("POST /1 HTTP/1.1", "host: a", "content-length: 100") + b"x")
    await client.reply()
    await client.send(b"y" * 99 + head("GET /next HTTP/1.1", "host: a"))
    await client.closed()


@scenario(CONNECTIONS)
async def h1_pipelined_behind_a_direct_response(s: Session) -> None:
    """A direct response to a request with a body, whole and in part, with another request behind."""
    for label, sent in {"whole": b"xy", "part": b"x"}.items():
        client = await s.connect()
        await client.send(head("POST /probe HTTP/1.1", "host: a", "content-length: 2") + sent)
        await client.reply(label)
        await client.send(head("GET /next HTTP/1.1", "host: a"))
        await client.closed(f"{label}, then")


@scenario(CONNECTIONS)
async def h1_targets(s: Session) -> None:
    """Targets of every form."""
    for target in (
        "/", "//", "///a", "/?", "/a?b=c?d", "/a;b", "/%00", "/%", "/a%zz", "/~a", "/a|b", "/a^b`{}", "/[]",
        "*", "*/", "a", "a:80", "a/b", "?", "#", "/#", "/a?b#c", "http://b", "http://b/", "http://b/c?d#e",
        "http://b:80/", "http://b:0/", "http://[::1]/", "http://[::1]:80/a", "http://[::1/", "http://b b/",
        "HTTPS://B/", "http:b", "http:/b", "http://", "http://?", "http://b?c", "http://b#c", "http://@b/",
        "http://b@/", "ws://b/", "h2://b/", "1http://b/", "ht+tp://b/", "://b/", "http://b\\c/", "http://b%20/",
        "http://b,c/", "http://b;c/", "http://b!$&'()*+=_~-.c/", "http://b/\"<>", "http://b/a b",
    ):  # fmt: skip
        await s.http(head(f"GET {target} HTTP/1.1", "host: a"), label=target)


@scenario(CONNECTIONS)
async def h1_targets_of_options(s: Session) -> None:
    """OPTIONS for the whole server, and for a URL."""
    for target in ("*", "*a", "*?b", "/*", "http://b", "http://b/*", "https://b:1/a"):
        await s.http(head(f"OPTIONS {target} HTTP/1.1", "host: a"), label=target)


@scenario(CONNECTIONS)
async def h1_authorities(s: Session) -> None:
    """Hosts of every form."""
    for host in (
        "a", "A.Example", "a:80", "a:", ":80", ":", "a:b", "a:99999", "[::1]", "[::1]:80", "[::1", "::1",
        "[]",
        "a.", "..", "-a", "a_b", "a~b", "a!b", "a$b", "a&b", "a'b", "a(b)", "a*b", "a+b", "a;b", "a=b", "a@b",
        "@", "a%20b", "a%", "a<b", 'a"b', "a\\b", "a|b", "a^b", "a`b", "a{b}", "a\tb", "a?b", "a#b", "\xe9",
    ):  # fmt: skip
        await s.http(head("GET / HTTP/1.1", f"host: {host}"), label=f"host {host}")


SIMPLE = {
    "target alone": b"GET /a\r\nhost: a\r\n\r\n",
    "no header at all": b"GET /a\r\n\r\n",
    "broken header": b"GET /a\r\nx y: z\r\n\r\n",
    "folded version": b"GET /a\r\n HTTP/1.1\r\nhost: a\r\n\r\n",
    "version on a line of its own": b"GET /a\r\nHTTP/1.1\r\nhost: a\r\n\r\n",
    "lengths": b"POST /a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
    "version without a blank": b"GET http://a/bHTTP/1.1\r\nhost: a\r\n\r\n",
    "no url": b"GET a\r\nhost: a\r\n\r\n",
    "URL": b"GET http://a/b\r\n\r\n",
}


@scenario(CONNECTIONS, differs={"version without a blank": "version-without-a-blank"})
async def h1_simple_requests(s: Session) -> None:
    """Requests of HTTP/0.9: the first line is all that is read of them."""
    for label, data in SIMPLE.items():
        client = await s.connect()
        await client.send(data)
        await client.reply(label)
    s.upstream().seen.clear()


@scenario(CONNECTIONS)
async def h1_codec_counters(s: Session) -> None:
    """The counters that a codec brings, downstream and upstream, once it spoke."""
    await s.get()
    s.see("counters", await s.counters(r"^(cluster\.app\.)?http1\."))


@scenario(CONNECTIONS, differs={"304 with no number": "length-of-a-304"})
async def h1_upstream_odd_answers(s: Session) -> None:
    """Answers that are barely HTTP, or not any more: what the client gets for them."""
    fields = b"\r\ncontent-length: 0\r\n\r\n"
    interim, no_content = "HTTP/1.1 100 Continue", "HTTP/1.1 204 No"
    two = b"2\r\nok\r\n0\r\n\r\n"
    chunked = "transfer-encoding: chunked"
    for label, answer in {
        "500 times 100": head(interim) * 500 + ok(),
        "100 with a length": head(interim, "content-length: 5") + ok(),
        "100 with length 0": head(interim, "content-length: 0") + ok(),
        "100 with chunks": head(interim, chunked) + ok(),
        "100 with close": head(interim, "connection: close") + ok(),
        "100 of HTTP/1.0": head("HTTP/1.0 100 Continue") + ok(),
        "204 with length 0": head(no_content, "content-length: 0"),
        "204 with a length": head(no_content, "content-length: 5"),
        "204 with chunks": head(no_content, chunked) + b"0\r\n\r\n",
        "304 with chunks": head("HTTP/1.1 304 No", chunked) + b"0\r\n\r\n",
        "304 with no number": head("HTTP/1.1 304 No", "content-length: x"),
        "205 with a length": head("HTTP/1.1 205 Reset", "content-length: 2") + b"xy",
        "999": head("HTTP/1.1 999 Odd", "content-length: 0"),
        "no reason": head("HTTP/1.1 200", "content-length: 0"),
        "empty lines": b"\r\n\r\nHTTP/1.1 200 OK" + fields,
        "empty line": b"\r\nHTTP/1.1 200 OK" + fields,
        "bare line feed": b"\nHTTP/1.1 200 OK" + fields,
        "blank": b" HTTP/1.1 200 OK" + fields,
        "control in the reason": b"HTTP/1.1 200 O\x01K" + fields,
        "NUL in the reason": b"HTTP/1.1 200 O\x00K" + fields,
        "high byte in the reason": b"HTTP/1.1 200 O\xffK" + fields,
        "tab in the reason": b"HTTP/1.1 200 O\tK" + fields,
        "blanks": b"HTTP/1.1  200  OK" + fields,
        "ICY": b"ICY 200 OK" + fields,
        "lower case": b"http/1.1 200 OK" + fields,
        "hosts": head("HTTP/1.1 200 OK", "Host: a", "x: y", "Host: b", "content-length: 0"),
        "one host": head("HTTP/1.1 200 OK", "host: a", "content-length: 0"),
        "fields of requests": head("HTTP/1.1 200 OK", "TE: b", "expect: 100-continue", "content-length: 0"),
        "two lengths": head("HTTP/1.1 200 OK", "content-length: 2", "content-length: 2") + b"ok",
        "02": head("HTTP/1.1 200 OK", "content-length: 02") + b"ok",
        "2, 2": head("HTTP/1.1 200 OK", "content-length: 2, 2") + b"ok",
        "two codings": head("HTTP/1.1 200 OK", chunked, chunked) + two,
        "empty coding": head("HTTP/1.1 200 OK", "transfer-encoding:", "content-length: 2") + b"ok",
        "identity": head("HTTP/1.1 200 OK", "transfer-encoding: identity", "content-length: 2") + b"ok",
        "chunks of HTTP/1.0": head("HTTP/1.0 200 OK", chunked) + two,
        "tokens": head("HTTP/1.1 200 OK", "connection: content-length, x", "x: 1", "content-length: 2")
        + b"ok",
        "pseudo header": head("HTTP/1.1 200 OK", ":status: 201", "content-length: 2") + b"ok",
        "body without a length": head("HTTP/1.1 200 OK", "connection: close") + b"ok",
    }.items():

        async def script(call: Call, answer: bytes = answer) -> None:
            await call.send(answer)
            await call.close()

        s.upstream().script = script
        await s.get(label=label)
        await s.quiet()
    s.upstream().seen.clear()
