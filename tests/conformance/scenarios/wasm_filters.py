"""The filters of filters_rust/, as their samples configure them, in both proxies."""

from __future__ import annotations

import base64
import json

import trio

from ..client import get
from ..configuration import bootstrap, cluster
from ..lab import Session
from ..rust_filters import FILTERS, Modules, build, sample_listener
from ..scenario import Setup, scenario
from ..upstream import Call, answers, ok
from ..wire import head

SUBJECT = "wasm"
CLUSTERS = {"application": "app", "canary": "canary", "authorization": "auth", "echo-service": "echo"}
RUST = Setup(
    "wasm_filters",
    bootstrap(
        [sample_listener(name) for name in FILTERS],
        [*(cluster(name, up) for name, up in CLUSTERS.items()), cluster("logs", "logs", http2=True)],
    ),
    {**dict.fromkeys(CLUSTERS.values(), "h1"), "echo": "raw", "logs": "h2"},
    Modules(),
    build,
)


@scenario(RUST)
async def rust_header_edit_of_requests(s: Session) -> None:
    """Rules remove, rename, copy, set and add, each under its own condition."""
    request_id = "x-request-id: 11111111-2222-4333-8444-555555555555"
    await s.get("/api/x", "x-internal: 1", "x-user: al", request_id, to="header-edit", label="of the API")
    await s.get("/other", "x-user: al", "x-user: bo", request_id, to="header-edit", label="two values")
    await s.http(
        head("POST /api HTTP/1.1", "host: a", request_id, "content-length: 0"), "header-edit", label="POST"
    )


@scenario(RUST)
async def rust_header_edit_of_responses(s: Session) -> None:
    """Answers of the upstream and of the proxy itself are edited by their status."""
    s.upstream().script = answers(ok(b"ok", "x-powered-by: it"))
    await s.get("/", to="header-edit", label="200")
    s.upstream().script = answers(b"HTTP/1.1 503 No\r\ncache-control: private\r\ncontent-length: 0\r\n\r\n")
    await s.get("/", to="header-edit", label="503")
    client = await s.connect_h2("header-edit")
    await client.request(get("/api"))


def _token(claims: object) -> str:
    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    return f"{part({'alg': 'none'})}.{part(claims)}.c2ln"


@scenario(RUST)
async def rust_jwt_claims(s: Session) -> None:
    """Claims go into headers, those that a client sent along do not stay; the issuer has to be right."""
    al = _token({"iss": "me", "sub": "al", "realm_access": {"roles": ["a", "b"]}})
    forged = ("x-jwt-sub: root", "x-jwt-roles: root")
    await s.get("/", f"authorization: Bearer {al}", *forged, to="jwt-claims", label="both claims")
    nobody = _token({"iss": "me", "sub": None})
    await s.get("/", f"authorization: bearer {nobody}", *forged, to="jwt-claims", label="no claims")
    broken = _token({"iss": "me", "sub": "a\r\nx-admin: 1"})
    await s.get("/", f"authorization: Bearer {broken}", to="jwt-claims", label="a line break")
    async with s.logging(3, "jwt-claims"):
        await s.get("/", *forged, to="jwt-claims", label="no token")
        await s.get("/", "authorization: Bearer a.b.c", to="jwt-claims", label="no JSON")
        other = _token({"iss": "you"})
        await s.get("/", f"authorization: Bearer {other}", to="jwt-claims", label="another issuer")


@scenario(RUST)
async def rust_canary_by_user(s: Session) -> None:
    """Half of the users go to the other cluster, each always the same way, whatever they say themselves."""
    for user in ("al", "bo", "cy", "di", "ed", "al"):
        await s.get("/", f"x-user: {user}", "x-canary: mine", to="canary", label=user)


@scenario(RUST)
async def rust_canary_by_cookie_and_force(s: Session) -> None:
    """A cookie keeps a client where it is, a header forces it there."""
    await s.get("/", "x-user: al", "cookie: a=b; canary=canary", to="canary", label="kept canary")
    await s.get("/", "x-user: al", "cookie: canary=stable", to="canary", label="kept stable")
    await s.get("/", "x-user: al", "x-force-canary: canary", to="canary", label="forced canary")
    await s.get(
        "/", "x-user: al", "x-force-canary: stable", "cookie: canary=canary", to="canary", label="forced"
    )
    await s.get("/", to="canary", label="known by its address")


@scenario(RUST)
async def rust_body_guard_of_requests(s: Session) -> None:
    """A body with a forbidden text is answered with 403, others pass as they are."""

    def post(body: bytes) -> bytes:
        return head("POST / HTTP/1.1", "host: a", f"content-length: {len(body)}") + body

    await s.http(post(b"drop tabs? no, drop tabl"), "body-guard", label="no")
    await s.http(post(b"x" * 70000), "body-guard", label="long")
    resets = ("downstream_rq_response_before_rq_complete", "downstream_rq_rx_reset", "downstream_rq_tx_reset")
    async with s.counting(*(f"http.body_guard.{name}" for name in resets)), s.logging(3, "body-guard"):
        await s.http(post(b"name=x'; DROP TABLE users"), "body-guard", label="text")
        await s.http(post(b"drop t" * 1001 + b"DROP TABLE" + b"y" * 99), "body-guard", label="far")
        await s.http(post(b"\xde\xad\xbe\xef"), "body-guard", label="bytes")
    del s.upstream().seen[2:]  # whether their heads still arrive is a race


@scenario(RUST)
async def rust_body_guard_across_chunks(s: Session) -> None:
    """The text is found where chunks cut it in two: what came before has gone on, the rest does not."""
    begun, gone = trio.Event(), trio.Event()

    async def upstream(call: Call) -> None:
        await call.part(len(b"5\r\nunion\r\n"))
        begun.set()
        await call.gone()
        gone.set()

    s.upstream().script = upstream
    client = await s.connect("body-guard")
    await client.send(head("POST / HTTP/1.1", "host: a", "transfer-encoding: chunked") + b"5\r\nunion\r\n")
    await begun.wait()
    await client.send(b"8\r\n select \r\n")
    await client.reply()
    await gone.wait()


@scenario(RUST)
async def rust_body_guard_of_responses(s: Session) -> None:
    """An answer with a forbidden text is not handed on; one whose text is cut in two by chunks breaks off."""
    s.upstream().script = answers(ok(b"a Union Select b", "connection: close"))
    async with s.logging(1, "body-guard"):
        await s.get("/", to="body-guard", label="whole")

    first = trio.Event()

    async def upstream(call: Call) -> None:
        await call.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nunion\r\n")
        await first.wait()
        await call.send(b"7\r\n select\r\n0\r\n\r\n")

    s.upstream().script = upstream
    async with s.logging(1, "body-guard"):
        client = await s.connect("body-guard")
        await client.send(head("GET / HTTP/1.1", "host: a"))
        while await client.wire.line():
            pass
        await client.tunnel(len("5\r\nunion\r\n"), "begun")
        first.set()
        await client.closed()


@scenario(RUST)
async def rust_rate_limit(s: Session) -> None:
    """Each key has three requests; refusals say when to come again, go through the queue and count."""
    counters = [f"wasmcustom.rate_limit_{name}" for name in ("allowed", "refused", "contended", "reported")]
    async with s.counting(*counters):
        forged = "x-rate-limit-remaining: 99"
        for number in range(5):
            await s.get("/", "x-api-key: al", forged, to="rate-limit", label=f"al {number}")
        await s.get("/", "x-api-key: bo", to="rate-limit", label="bo")
        await s.get("/", to="rate-limit", label="no key")
        await s.until_stats(lambda stats: stats[counters[3]] >= 2, "rate_limit")
    s.proxy.is_spent = True  # the buckets are empty for an hour


@scenario(RUST)
async def rust_auth_callout(s: Session) -> None:
    """The request waits for the service's word: it passes, is refused with its answer, or nobody is asked."""
    auth = s.upstream("auth")
    async with s.logging(5, "auth-callout"):
        auth.script = answers(ok(b"", "x-user: al"))
        forged = ("x-user: root", "x-user: admin")
        await s.get(
            "/a?b", "authorization: Bearer good", "cookie: c", *forged, to="auth-callout", label="good"
        )
        refusal = head("HTTP/1.1 401 No", "www-authenticate: Bearer", "x-secret: 1", "content-length: 3")
        auth.script = answers(refusal + b"no!")
        await s.get("/", *forged, to="auth-callout", label="refused")
        auth.script = answers(b"HTTP/1.1 302 Go\r\nlocation: /login\r\ncontent-length: 0\r\n\r\n")
        await s.get("/", to="auth-callout", label="redirected")
        auth.script = answers(b"HTTP/1.1 500 Oh\r\ncontent-length: 2\r\n\r\noh")
        await s.get("/", to="auth-callout", label="failed")
        await s.get("/health/x", *forged, to="auth-callout", label="skipped")


@scenario(RUST)
async def rust_auth_callout_of_a_body(s: Session) -> None:
    """A request with a body, and one over HTTP/2: both wait, and pass or are refused as a whole."""
    auth = s.upstream("auth")
    auth.script = answers(ok(b"", "x-user: al"))
    request = head("POST / HTTP/1.1", "host: a", "content-length: 70000") + b"x" * 70000
    await s.http(request, "auth-callout")
    client = await s.connect_h2("auth-callout")
    await client.request(get("/", method="POST"), b"hello", [("x-trailer", "1")])
    auth.script = answers(b"HTTP/1.1 403 No\r\ncontent-length: 2\r\n\r\nno")
    await client.request(get("/"))


@scenario(RUST)
async def rust_auth_callout_that_breaks_off(s: Session) -> None:
    """A service that closes the connection without a word, or in the middle of its answer, is a failure."""

    async def nothing(call: Call) -> None:
        call.wire.close()

    async def half(call: Call) -> None:
        await call.send(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nx-user: al\r\n\r\nhe")
        call.wire.close()

    for name, script in (("nothing", nothing), ("half", half)):
        s.upstream("auth").script = script
        await s.get("/", to="auth-callout", label=name)


@scenario(RUST)
async def rust_tcp_echo_guard(s: Session) -> None:
    """Bytes pass with a banner in front, until a pattern is there, cut in two or not, or too many come."""
    names = ("connections", "denied", "bytes_from_client", "bytes_from_server", "closed_here", "open")
    async with s.counting(*(f"wasmcustom.tcp_echo_guard_{name}" for name in names)):
        for label, parts in (
            ("good", [b"hello", b"again"]),
            ("cut in two", [b"a QU", b"it b"]),
            ("too much", [b"x" * 990, b"y" * 11]),
        ):
            client = await s.connect("tcp-echo-guard")
            got = b""
            for part in parts:
                await client.send(part)
                if part == parts[-1] and label != "good":
                    break
                got += await client.wire.exactly(len(part) + (len("guarded\n") if not got else 0))
            s.see(label, got.decode())
            client.half_close()
            await client.closed(f"{label}, then")
        await s.until_stats(lambda stats: not stats["wasmcustom.tcp_echo_guard_open"], "guard_open")
