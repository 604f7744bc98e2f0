"""Requests of every kind through the recommended chain of filters, all of which are on the way."""

from __future__ import annotations

import gzip
from typing import Any

from tests.support import jose

from ..chain import CHAIN, EXPIRED, FOREIGN, STATS, TOKEN, Services, bearer, exchange, request
from ..client import get
from ..lab import Session
from ..scenario import scenario

SUBJECT = "filters"

ORIGIN = "origin: https://www.shop.test"
STRANGER = "origin: https://elsewhere.test"
METHOD = "access-control-request-method: POST"
OVER: dict[str, Any] = {
    "overall_code": "OVER_LIMIT",
    "response_headers_to_add": [{"key": "x-limit", "value": "over"}],
    "statuses": [
        {
            "code": "OVER_LIMIT",
            "current_limit": {"requests_per_unit": 10, "unit": "MINUTE"},
            "limit_remaining": 0,
            "duration_until_reset": "30s",
        }
    ],
}


@scenario(CHAIN)
async def chain_cors(s: Session) -> None:
    """Preflights end at the first filter, or pass the second by; other origins are let be."""
    services = Services(s)
    async with s.counting(*STATS), s.logging(9):
        await exchange(s, "preflight", request("OPTIONS /api", ORIGIN, METHOD, token=None))
        await exchange(s, "preflight of a stranger", request("OPTIONS /api", STRANGER, METHOD, token=None))
        await exchange(s, "preflight without a method", request("OPTIONS /api", ORIGIN, token=None))
        await exchange(s, "preflight nowhere", request("OPTIONS /else", ORIGIN, METHOD, token=None))
        await exchange(s, "simple", request("GET /api", ORIGIN))
        await exchange(s, "simple of a stranger", request("GET /api", STRANGER))
        await exchange(s, "without a token", request("GET /api", ORIGIN, token=None))
        services.check = {"status": {"code": 7}, "denied_response": {"status": {"code": "Forbidden"}}}
        await exchange(s, "denied", request("GET /api", ORIGIN))
        services.check, services.limit = {}, OVER
        await exchange(s, "too many", request("GET /api", ORIGIN))


@scenario(CHAIN)
async def chain_tokens(s: Session) -> None:
    """Tokens from everywhere, of every fault, and routes that ask for none."""
    Services(s)
    forged = ("x-user: root", "x-tier: gold", "x-payload: forged")
    head, _, signature = TOKEN.rpartition(".")
    async with s.counting(*STATS), s.logging(14):
        await exchange(s, "good", request("GET /api/x?a=b", *forged, "x-internal: 1"))
        await exchange(s, "in the query", request(f"GET /api?token={TOKEN}&c=d", token=None))
        await exchange(s, "in a cookie", request("GET /api", f"cookie: a=b; session={TOKEN}", token=None))
        await exchange(s, "missing", request("GET /api", *forged, token=None))
        await exchange(s, "expired", request("GET /api", token=EXPIRED))
        await exchange(s, "of another audience", request("GET /api", token=FOREIGN))
        await exchange(s, "with a bad signature", request("GET /api", token=f"{head}.{signature[::-1]}"))
        await exchange(s, "malformed", request("GET /api", token="a.b.c"))
        await exchange(s, "twice", request("GET /api", bearer(EXPIRED)))
        await exchange(s, "public", request("GET /public", *forged, token=None))
        await exchange(s, "public with a bad one", request("GET /public", token=EXPIRED))
        await exchange(s, "optional and missing", request("GET /optional", *forged, token=None))
        await exchange(s, "optional and bad", request("GET /optional", token=EXPIRED))
        await exchange(s, "HEAD without", request("HEAD /api", token=None), has_body=False)


@scenario(CHAIN)
async def chain_routes(s: Session) -> None:
    """Where claims lead, and what routes say of the filters; answers that no application gave."""
    Services(s)
    async with s.counting(*STATS), s.logging(12):
        await exchange(s, "gold by its claim", request("GET /tiers/x"))
        await exchange(
            s,
            "own settings",
            request("POST /own/large", "accept-encoding: gzip", "content-length: 4", body=b"body"),
        )
        await exchange(s, "slow", request("GET /slow"))
        await exchange(s, "dead", request("GET /dead"))
        await exchange(s, "nobody", request("GET /nobody", "x-cluster: nobody"))
        await exchange(s, "redirect", request("GET /moved", "accept-encoding: gzip"))
        await exchange(s, "direct", request("GET /direct", "accept-encoding: gzip"))
        await exchange(s, "no route", request("GET /else"))
        await exchange(s, "no route, no token", request("GET /else", token=None))
        await exchange(s, "dots", request("GET /public/../api//x", token=None))
        await exchange(s, "escaped dots", request("GET /public/%2e%2e/api", token=None))
        await exchange(s, "retried", request("GET /retried"))


@scenario(CHAIN)
async def chain_checks(s: Session) -> None:
    """What the authorization service says goes on to the filters behind it, or ends the request."""
    services = Services(s)
    async with s.counting(*STATS), s.logging(8):
        services.check = {
            "ok_response": {
                "headers": [
                    {
                        "header": {"key": "x-user", "value": "renamed"},
                        "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
                    },
                    {"header": {"key": "x-added", "value": "a"}},
                ],
                "headers_to_remove": ["x-payload", "authorization"],
                "response_headers_to_add": [{"header": {"key": "x-checked", "value": "yes"}}],
                "query_parameters_to_set": [{"key": "checked", "value": "1"}],
                "query_parameters_to_remove": ["a"],
            },
            "dynamic_metadata": {"group": "staff"},
        }
        await exchange(s, "edited", request("GET /api/large?a=b", "accept-encoding: br"))
        services.check = {
            "status": {"code": 16},
            "denied_response": {
                "status": {"code": "Unauthorized"},
                "headers": [{"header": {"key": "www-authenticate", "value": "x"}}],
                "body": "who are you? " * 20,
            },
        }
        await exchange(s, "denied with a body", request("GET /api", "accept-encoding: gzip"))
        services.check = {"status": {"code": 7}}
        await exchange(s, "denied", request("GET /api"))
        await exchange(s, "denied HEAD", request("HEAD /api"), has_body=False)
        await exchange(s, "denied but public", request("GET /public"))
        services.check, services.check_fails = {}, "14"
        await exchange(s, "no answer", request("GET /api"))
        services.check_fails, services.limit_fails = "", "14"
        await exchange(s, "no limits", request("GET /api"))
        services.limit_fails = ""
        services.limit = {
            "request_headers_to_add": [{"key": "x-left", "value": "9"}],
            "response_headers_to_add": [{"key": "x-limit", "value": "ok"}],
            "statuses": [{**OVER["statuses"][0], "code": "OK", "limit_remaining": 9}],
            "dynamic_metadata": {"bucket": "b"},
        }
        await exchange(s, "limited", request("GET /api"))


@scenario(CHAIN)
async def chain_bodies(s: Session) -> None:
    """Bodies that one filter asks about, another reads, and none lets grow."""
    Services(s)
    async with s.counting(*STATS), s.logging(7):
        await exchange(s, "small", request("POST /api", "content-length: 5", body=b"small"))
        chunked = b"3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n"
        await exchange(s, "chunked", request("POST /api", "transfer-encoding: chunked", body=chunked))
        await exchange(s, "read by a script", request("POST /lua/body", "content-length: 5", body=b"small"))
        await exchange(s, "too long", request("POST /api", "content-length: 65", body=b"x" * 65))
        await exchange(s, "empty", request("POST /api", "content-length: 0"))
        client = await s.connect()
        await client.send(request("POST /api", "expect: 100-continue", "content-length: 4"))
        s.see("continue", (await client.wire.line()).decode())
        await client.wire.line()
        await client.send(b"more")
        await client.reply("continued")
        await exchange(
            s, "long, unasked", request("POST /public", "content-length: 70000", body=b"x" * 70000)
        )


@scenario(CHAIN)
async def chain_scripts(s: Session) -> None:
    """Scripts that answer, fail, ask and edit, with a guest behind them."""
    services = Services(s)
    async with s.counting(*STATS), s.logging(6):
        await exchange(s, "responds", request("GET /lua/respond", ORIGIN))
        await exchange(s, "fails", request("GET /lua/fail"))
        await exchange(s, "asks", request("GET /lua/call"))
        await exchange(s, "edits", request("GET /lua/wants"))
        services.check = {"ok_response": {"headers_to_remove": ["x-user"]}}
        await exchange(s, "without a user", request("GET /api"))
        await exchange(s, "broken", request("GET /api/broken"))


@scenario(CHAIN)
async def chain_codings(s: Session) -> None:
    """Answers of every kind for clients that take codings."""
    Services(s)
    async with s.counting(*STATS), s.logging(11):
        for accept in ("gzip", "br", "gzip, br", "gzip;q=0.1, br;q=0", "identity", "*"):
            await exchange(s, accept, request("GET /api/large", f"accept-encoding: {accept}"))
        both = "accept-encoding: gzip, br"
        await exchange(s, "vary", request("GET /api/large/vary", ORIGIN, both))
        await exchange(s, "etag", request("GET /api/large/etag", both))
        await exchange(s, "no-transform", request("GET /api/large/private", both))
        await exchange(s, "chunks", request("GET /api/chunks", both))
        await exchange(s, "image", request("GET /api/image", both))
    await exchange(s, "HEAD", request("HEAD /api/head", both), has_body=False)


@scenario(CHAIN)
async def chain_http2(s: Session) -> None:
    """Requests of HTTP/2 and of gRPC, let through and refused by each filter."""
    services = Services(s)
    bearing = [("authorization", f"Bearer {TOKEN}")]
    rpc = [*get("/pkg.S/Do", method="POST"), ("content-type", "application/grpc"), ("te", "trailers")]
    message = b"\0\0\0\0\2hi"
    async with s.counting(*STATS), s.logging(7):
        client = await s.connect_h2()
        await client.request([*get("/api"), *bearing, ("origin", "https://www.shop.test")], label="plain")
        await client.request(get("/api"), label="without a token")
        await client.request([*rpc, *bearing], message, label="gRPC")
        await client.request(rpc, message, label="gRPC without a token")
        services.check = {"status": {"code": 7}}
        await client.request([*rpc, *bearing], message, label="gRPC denied")
        services.check, services.limit = {}, OVER
        await client.request([*rpc, *bearing], message, label="gRPC too many")
        services.limit = {}
        trailers = [("x-checksum", "1")]
        await client.request([*get("/api", method="POST"), *bearing], b"body", trailers, label="trailers")


KEY = jose.ed_key()
CLAIMS = {"iss": "shop", "aud": "api", "sub": "al", "tier": "gold", "exp": 4_000_000_000}


@scenario(CHAIN)
async def chain_forged_tokens(s: Session) -> None:
    """Tokens that nobody signed, or that are meant to be read in two ways."""
    Services(s)
    public = jose.decode(jose.jwk(KEY)["x"])
    head, payload, signature = TOKEN.split(".")
    none = jose.unsigned({"alg": "none"}, CLAIMS)
    twice = '{"iss":"shop","aud":"api","exp":4000000000,"sub":"al","sub":"root","tier":"gold"}'
    tokens = {
        "none": f"{none}.",
        "none with a signature": f"{none}.{signature}",
        "NoNe": jose.unsigned({"alg": "NoNe"}, CLAIMS) + "." + signature,
        "the public key for a secret": jose.token(public, "HS256", CLAIMS),
        "another head": jose.encode(b'{"alg":"EdDSA","kid":"x"}') + f".{payload}.{signature}",
        "a key of its own": jose.token(KEY, "EdDSA", CLAIMS, jwk=jose.jwk(jose.ed_key(b"x" * 32))),
        "signed by the key it brings": jose.token(
            jose.ed_key(b"x" * 32), "EdDSA", CLAIMS, jwk=jose.jwk(jose.ed_key(b"x" * 32))
        ),
        "an unknown critical field": jose.token(KEY, "EdDSA", CLAIMS, crit=["exp"]),
        "claims twice": jose.token(KEY, "EdDSA", twice),
        "a nested claim": jose.token(KEY, "EdDSA", {**CLAIMS, "tier": {"a": "gold"}}),
        "huge": jose.token(KEY, "EdDSA", {**CLAIMS, "pad": "x" * 30_000}),
        "padded": TOKEN + "==",
        "with spaces": f"{head} . {payload}.{signature}",
        "five parts": f"{TOKEN}.a.b",
    }
    for name, token in tokens.items():
        await exchange(s, name, request("GET /api", token=token))
    good, bad = f"token={TOKEN}", f"token={EXPIRED}"
    await exchange(s, "good and bad in the query", request(f"GET /api?{good}&{bad}", token=None))
    await exchange(s, "bad and good in the query", request(f"GET /api?{bad}&{good}", token=None))
    cookies = f"cookie: session={EXPIRED}; session={TOKEN}"
    await exchange(s, "bad and good in cookies", request("GET /api", cookies, token=None))
    await exchange(s, "good in one place, bad in another", request(f"GET /api?{bad}"))


# fmt: off
PATHS = (
    *("/public/..%2fapi", "/public%2f..%2fapi", "/public/..;/api", "/public/.%2e/api", "/public/..%5capi"),
    *(
        "/public/..\\api",
        "//api",
        "/./api",
        "/API",
        "/%61pi",
        "/%70ublic/x",
        "/public%00/api",
        "/api/../public",
    ),
    *(
        "/api?/public",
        "/api#/public",
        "/public/%252e%252e/api",
        "/public/%0d%0ax-admin:%201",
        "/public/...",
        "/..",
    ),
)


@scenario(CHAIN)
async def chain_paths(s: Session) -> None:
    """No path that is written in another way gets around what its route asks for, normalised."""
    Services(s)
    for path in PATHS:
        await exchange(s, path, request(f"GET {path}", token=None))


@scenario(CHAIN)
async def chain_paths_as_they_are(s: Session) -> None:
    """The same where paths are not normalised."""
    Services(s)
    for path in PATHS:
        await exchange(s, path, request(f"GET {path}", token=None), to="raw")


@scenario(CHAIN)
async def chain_injected_headers(s: Session) -> None:
    """What a client says in the name of the proxy, of its filters, or between the lines."""
    Services(s)
    for field in (
        "x-envoy-original-path: /public",
        "x-original-url: /public",
        "x-envoy-internal: true",
        "x-envoy-decorator-operation: x",
        "x-envoy-auth-partial-body: true",
        "x-envoy-ratelimited: true",
        "x-forwarded-proto: https",
        "x-forwarded-host: evil.test",
        "connection: x-user, authorization",
        "x_user: root",
        "x-user : root",
        "x-long: " + "x" * 70_000,
        "x-a: 1\r\n folded",
        "x-a: 1\0",
        "host: other.test",
        "content-length: 3\r\ncontent-length: 4",
        "transfer-encoding: chunked\r\ncontent-length: 4",
    ):
        await exchange(s, field[:40], request("GET /api", field))


@scenario(CHAIN)
async def chain_injected_answers(s: Session) -> None:
    """Services whose answers would turn the request into another."""
    services = Services(s)

    def adds(key: str, value: str) -> dict[str, Any]:
        return {"ok_response": {"headers": [{"header": {"key": key, "value": value}}]}}

    for key, value in (
        (":path", "/public"),
        (":method", "POST"),
        ("host", "evil.test"),
        ("x-user", "root"),
    ):
        services.check = adds(key, value)
        await exchange(s, f"added {key}", request("GET /api"))


@scenario(CHAIN)
async def chain_bombs(s: Session) -> None:
    """Bodies that grow when they are decoded are not read further than the limit."""
    Services(s)
    for name, size in (("small", 1000), ("at the limit", 65536), ("beyond", 65537)):
        body = gzip.compress(b"\0" * size, mtime=0)
        fields = ("content-encoding: gzip", f"content-length: {len(body)}")
        await exchange(s, name, request("POST /api", *fields, body=body), to="undo")
